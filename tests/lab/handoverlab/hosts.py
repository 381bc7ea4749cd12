"""Hosts: a node that runs what a hypervisor runs (dbus, polkit, virtlogd, libvirtd)."""

import subprocess

from . import certificates, files, network, nodes, settings
from .run import LabError, say, wait_for

POOL = "handoverd"
POOL_PATH = f"/var/lib/libvirt/images/{POOL}"
BRIDGE = "br0"

QEMU_CONF = """\
user = "root"
group = "root"
security_driver = "none"
remember_owner = 0
namespaces = []
cgroup_controllers = []
"""

LIBVIRTD_CONF = """\
host_uuid = "{uuid}"
listen_tls = 1
listen_tcp = 0
auth_tls = "none"
unix_sock_group = "libvirt"
unix_sock_rw_perms = "0770"
log_outputs = "3:file:/var/log/libvirt/libvirtd.log"
"""


def mounts(host: str, pool_of: str | None = None) -> list[dict]:
    """What is private in a host; all else (the repo, /tmp, guest disks) is the machine's.

    With pool_of, its storage pool is that host's, as on network storage: a guest can be migrated between the two.
    """
    state = settings.node_state(host)

    def own(target: str, store: str) -> dict:
        return {"kind": "bind", "source": str(state / store), "target": target}

    shared = []
    if pool_of is not None:
        source = settings.node_state(pool_of) / "lib-libvirt" / "images" / POOL
        shared.append({"kind": "bind", "source": str(source), "target": POOL_PATH})
    return [
        {"kind": "overlay", "source": str(state / "overlay-etc"), "target": "/etc"},
        {"kind": "overlay", "source": str(state / "overlay-usr"), "target": "/usr"},
        {"kind": "tmpfs", "target": "/run"},
        own("/etc/libvirt", "etc-libvirt"),
        own("/var/lib/libvirt", "lib-libvirt"),
        own("/var/cache/libvirt", "cache-libvirt"),
        own("/var/lib/handoverd", "lib-handoverd"),
        own("/var/lib/polkit-1", "lib-polkit"),
        own("/var/log", "log"),
        *shared,
    ]


def start(host: str, all_hosts: list[str], pool_of: str | None = None) -> None:
    """Bring one host up; a host that runs already is left as it is."""
    if nodes.find(host) is None:
        say(f"{host}: starting")
        nodes.start(host, mounts(host, pool_of))
    network.connect(host, settings.host_address(host), bridge=BRIDGE)
    _configure(host, all_hosts)
    _start_daemons(host)
    _ensure_pool(host)


def virsh(host: str, *words, timeout: float = 180, check: bool = True) -> subprocess.CompletedProcess:
    """virsh on the host's own libvirtd."""
    return nodes.inside(host, ["virsh", "-q", "-c", "qemu:///system", *words], timeout=timeout, check=check)


def runs(node: str, program: str) -> bool:
    """Whether a program of that name runs inside the node."""
    return nodes.inside(node, ["pgrep", "-x", program[:15]], check=False).returncode == 0


def libvirtd(host: str, wanted: str) -> None:
    """Stop, kill or start libvirtd; guests stay as they are."""
    if wanted in ("stop", "kill", "restart"):
        signal = "-KILL" if wanted == "kill" else "-TERM"
        nodes.inside(host, ["pkill", signal, "-x", "libvirtd"], check=False)
        wait_for(f"{host}: libvirtd did not end", lambda: not runs(host, "libvirtd"), timeout=30)
    if wanted in ("start", "restart"):
        _start_daemons(host)


def libvirtd_log(host: str, *, lines: int) -> str:
    """The last lines of what libvirtd has warned of."""
    done = nodes.inside(host, ["tail", "-n", str(lines), "/var/log/libvirt/libvirtd.log"], check=False)
    return done.stdout.rstrip()


def install_packaging(host: str) -> None:
    """The repo's D-Bus policies, polkit actions and rules, tmpfiles and sysusers, where they exist."""
    packaging = settings.REPO / "packaging"
    for pattern, target in (("dbus/*.conf", "/usr/share/dbus-1/system.d"),
                            ("dbus/*.xml", "/usr/share/dbus-1/interfaces"),
                            ("polkit/*.policy", "/usr/share/polkit-1/actions"),
                            ("polkit/*.rules", "/usr/share/polkit-1/rules.d")):
        for source in sorted(packaging.glob(pattern)):
            files.copy(host, source, f"{target}/{source.name}")
    sysusers = settings.REPO / "systemd" / "handoverd.sysusers.conf"
    if sysusers.exists():
        files.copy(host, sysusers, "/usr/lib/sysusers.d/handoverd.conf")
        nodes.inside(host, ["systemd-sysusers", "/usr/lib/sysusers.d/handoverd.conf"])
    if runs(host, "dbus-daemon"):
        nodes.inside(host, ["dbus-send", "--system", "--print-reply", "--dest=org.freedesktop.DBus",
                            "/org/freedesktop/DBus", "org.freedesktop.DBus.ReloadConfig"])


def _configure(host: str, all_hosts: list[str]) -> None:
    lines = ["127.0.0.1 localhost", f"{settings.DNS_ADDRESS} dns"]
    lines += [f"{settings.host_address(name)} {name}" for name in all_hosts]
    files.put(host, "/etc/hosts", "\n".join(lines) + "\n")
    if files.exists(host, "/etc/libvirt/libvirtd.conf"):
        return
    uuid = settings.stable_uuid("host", host)
    files.put(host, "/etc/hostname", f"{host}\n")
    files.put(host, "/etc/machine-id", uuid.replace("-", "") + "\n")
    files.put(host, "/etc/resolv.conf", f"nameserver {settings.DNS_ADDRESS}\n")
    files.put(host, "/etc/nsswitch.conf",
              "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nnetworks: files\n")
    files.put(host, "/etc/libvirt/qemu.conf", QEMU_CONF)
    certificates.install(host)
    for path in ("/var/log/libvirt/qemu", "/var/lib/libvirt/qemu", POOL_PATH, "/etc/libvirt/hooks"):
        files.make_directory(host, path)
    files.make_directory(host, "/var/lib/libvirt/images", 0o711)
    files.put(host, "/etc/libvirt/libvirtd.conf", LIBVIRTD_CONF.format(uuid=uuid))


def _start_daemons(host: str) -> None:
    for path in ("/run/dbus", "/run/libvirt", "/run/lock", "/run/handoverd-lab"):
        files.make_directory(host, path)
    if not runs(host, "dbus-daemon"):
        nodes.inside(host, ["dbus-daemon", "--system", "--fork", "--nosyslog"])
        wait_for(f"{host}: no D-Bus socket", lambda: files.exists(host, "/run/dbus/system_bus_socket"), timeout=10)
    if not runs(host, "polkitd"):
        install_packaging(host)
        nodes.inside(host, ["setsid", "-f", "sh", "-c",
                            "exec /usr/lib/polkit-1/polkitd --no-debug >>/var/log/polkitd.log 2>&1 </dev/null"])
    if not runs(host, "virtlogd"):
        nodes.inside(host, ["virtlogd", "-d"])
    if not runs(host, "libvirtd"):
        nodes.inside(host, ["nice", "-n", settings.NICE, "libvirtd", "-d", "-l"])
    wait_for(f"{host}: libvirtd does not answer",
             lambda: virsh(host, "uri", check=False, timeout=30).returncode == 0, timeout=60,
             hint=lambda: f"its log: {settings.node_state(host)}/log/libvirt/libvirtd.log")


def _ensure_pool(host: str) -> None:
    listed = virsh(host, "pool-list", "--name").stdout.split()
    if POOL in listed:
        return
    if POOL not in virsh(host, "pool-list", "--all", "--name").stdout.split():
        virsh(host, "pool-define-as", POOL, "dir", "--target", POOL_PATH)
        virsh(host, "pool-autostart", POOL)
    done = virsh(host, "pool-start", POOL, check=False)
    if done.returncode and "already active" not in done.stderr:
        raise LabError(f"{host}: pool {POOL}: {done.stderr.strip()}")
