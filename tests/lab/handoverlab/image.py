"""The guests' system image: built once per recipe by debootstrap, then shared.

The cache holds <suite>-<hash>/{root.img,vmlinuz,initrd.img}; the hash covers the
recipe, so that a change of what goes into the image builds a new one.
"""

import fcntl
import hashlib
import inspect
import json
import os
import re
import shutil
import stat
import time
from pathlib import Path

from . import initramfs, settings
from .run import LabError, run, say

PACKAGES = (
    "systemd", "systemd-sysv", "dbus", "udev", "qemu-guest-agent", "iproute2", "kmod", "linux-image-cloud-amd64",
    "busybox-static", "python3", "procps", "e2fsprogs", "util-linux", "mount",
)
SIZE_MIB = 3072

# Units and generators that only cost boot time in a lab guest (10 to 20 s of it under TCG).
MASKED = """
    apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer
    man-db.timer logrotate.timer getty@tty1.service serial-getty@ttyS0.service networking.service rc-local.service
    systemd-binfmt.service proc-sys-fs-binfmt_misc.automount systemd-boot-system-token.service
    systemd-firstboot.service systemd-fsck-root.service systemd-hibernate-clear.service systemd-hwdb-update.service
    systemd-initctl.socket systemd-journal-flush.service systemd-machine-id-commit.service
    systemd-modules-load.service systemd-network-generator.service systemd-networkd-wait-online.service
    systemd-networkd.service systemd-pcrphase-sysinit.service systemd-pcrphase.service systemd-pstore.service
    systemd-random-seed.service systemd-remount-fs.service systemd-repart.service systemd-resolved.service
    systemd-sysctl.service systemd-sysusers.service systemd-timesyncd.service systemd-tmpfiles-clean.timer
    systemd-tmpfiles-setup-dev.service systemd-update-utmp-runlevel.service systemd-update-utmp.service
    systemd-user-sessions.service systemd-ask-password-console.path systemd-ask-password-wall.path
    kmod-static-nodes.service ldconfig.service modprobe@.service sys-kernel-debug.mount sys-kernel-tracing.mount
    sys-kernel-config.mount sys-fs-fuse-connections.mount dev-hugepages.mount dev-mqueue.mount
""".split()

NETWORK_SCRIPT = """#!/bin/sh
# The address comes from the kernel command line: lab.ip=10.77.0.101/24
for word in $(cat /proc/cmdline); do
    case $word in
    lab.ip=*) address=${word#lab.ip=} ;;
    esac
done
[ -n "$address" ] || exit 0
n=0
while [ ! -e /sys/class/net/eth0 ] && [ $n -lt 200 ]; do sleep 0.05; n=$((n + 1)); done
ip link set lo up
ip link set eth0 up
ip address replace "$address" dev eth0
"""

NETWORK_UNIT = """[Unit]
Description=The lab's address on eth0
DefaultDependencies=no
Wants=network.target
Before=network.target qemu-guest-agent.service shutdown.target
Conflicts=shutdown.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/local/sbin/lab-network

[Install]
WantedBy=multi-user.target
"""

READONLY_ETC_UNIT = """[Unit]
Description=/etc that nobody can write
ConditionKernelCommandLine=lab.readonly_etc
DefaultDependencies=no
After=lab-network.service
Before=sysinit.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/mount --bind /etc /etc
ExecStart=/bin/mount -o remount,bind,ro /etc

[Install]
WantedBy=sysinit.target
"""

# Only what the lab's guests have: coldplugging every tty and CPU costs seconds.
TRIGGER = """[Service]
ExecStart=
ExecStart=-udevadm trigger --action=add --subsystem-match=block --subsystem-match=net --subsystem-match=virtio-ports \\
    --subsystem-match=input
"""

BLACKLIST = "".join(f"blacklist {name}\n" for name in (
    "kvm_amd", "kvm_intel", "aesni_intel", "ghash_clmulni_intel", "sha512_ssse3", "sha256_ssse3", "sha1_ssse3",
    "crct10dif_pclmul", "crc32_pclmul", "crc32c_intel", "serio_raw", "psmouse", "qemu_fw_cfg"))

JOURNAL = "[Journal]\nStorage=volatile\nRuntimeMaxUse=16M\nForwardToConsole=no\n"

TIMEOUTS = "[Manager]\nDefaultTimeoutStopSec=20s\n"


def recipe_hash(suite: str) -> str:
    """Changes when anything that goes into the image changes."""
    recipe = repr((suite, PACKAGES, SIZE_MIB, MASKED, NETWORK_SCRIPT, NETWORK_UNIT, READONLY_ETC_UNIT, JOURNAL,
                   TIMEOUTS, TRIGGER, BLACKLIST, inspect.getsource(_configure), inspect.getsource(_collect), inspect.getsource(initramfs)))
    return hashlib.sha256(recipe.encode()).hexdigest()[:12]


def directory(suite: str) -> Path:
    return settings.CACHE / f"{suite}-{recipe_hash(suite)}"


def ensure(suite: str) -> Path:
    """The directory of the suite's image; builds it if it is not there."""
    if suite not in settings.SUITES:
        raise LabError(f"suite '{suite}': one of {', '.join(settings.SUITES)}")
    target = directory(suite)
    if (target / "root.img").exists():
        return target
    settings.CACHE.mkdir(parents=True, exist_ok=True)
    with open(settings.CACHE / ".lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another lab that builds a guest image")
            fcntl.flock(lock, fcntl.LOCK_EX)
        if not (target / "root.img").exists():
            _build(suite, target)
    return target


def mirror(suite: str) -> str:
    """The archive that this machine's own apt uses, without naming any here."""
    if os.environ.get("LAB_MIRROR"):
        return os.environ["LAB_MIRROR"]
    lines = run(["apt-get", "indextargets", "--format", "$(CREATED_BY)|$(CODENAME)|$(COMPONENT)|$(URI)"]).stdout
    found = {}
    for line in lines.splitlines():
        created, codename, component, uri = (line.split("|") + [""] * 4)[:4]
        if created != "Packages" or component != "main" or "/dists/" not in uri:
            continue
        if re.search(r"-(security|updates|backports)$", codename) or "security" in uri:
            continue
        found.setdefault(codename, uri.split("/dists/")[0])
    if not found:
        raise LabError("apt knows no Debian archive on this machine (apt-get indextargets); set LAB_MIRROR")
    return found.get(suite) or next(iter(found.values()))


def _proxy_env() -> dict:
    """apt's proxy, for debootstrap's downloader."""
    env = dict(os.environ, LC_ALL="C.UTF-8", PATH="/usr/sbin:/usr/bin:/sbin:/bin", DEBIAN_FRONTEND="noninteractive")
    for scheme in ("http", "https"):
        line = run(["apt-config", "shell", "P", f"Acquire::{scheme}::Proxy"]).stdout.strip()
        match = re.fullmatch(r"P='(.+)'", line)
        if match and match.group(1) != "DIRECT":
            env[f"{scheme}_proxy"] = match.group(1)
    return env


def _build(suite: str, target: Path) -> None:
    began = time.monotonic()
    work = settings.CACHE / f".build-{suite}"
    shutil.rmtree(work, ignore_errors=True)
    root = work / "root"
    root.mkdir(parents=True)
    archive = mirror(suite)
    say(f"building the {suite} guest image from {archive} (a minute or two, once)")
    try:
        _in_private_namespaces(
            ["debootstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}",
             *_keyring(), suite, root, archive], timeout=1200)
        say(f"{suite}: packages installed after {time.monotonic() - began:.0f} s; configuring")
        _configure(root)
        _collect(root, work)
        shutil.rmtree(root)
        os.rename(work, target)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise
    say(f"{suite}: guest image built in {time.monotonic() - began:.0f} s")


def _in_private_namespaces(argv, timeout: float) -> None:
    """Run with own mounts and pids, so that a killed build leaves neither behind."""
    run(["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--", *argv],
        timeout=timeout, env=_proxy_env(), die_with_us=True)


def clean_half_built() -> None:
    """Remove what a killed build left in the cache, unless a build is under way."""
    if not settings.CACHE.exists():
        return
    with open(settings.CACHE / ".lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        for left in settings.CACHE.glob(".build-*"):
            shutil.rmtree(left, ignore_errors=True)


def clean_unused() -> None:
    """Remove images of old recipes that back no guest of any lab."""
    clean_half_built()
    used = {directory(suite).name for suite in settings.SUITES}
    for disk in settings.STATE_PARENT.glob("*/guests/*.qcow2"):
        backing = json.loads(run(["qemu-img", "info", "-U", "--output=json", disk]).stdout).get("backing-filename", "")
        used.add(Path(backing).parent.name)
    for found in settings.CACHE.glob("*-*"):
        recent = time.time() - found.stat().st_mtime < 1800  # perhaps of a lab that is being made
        if found.name not in used and not recent:
            say(f"removing {found}")
            shutil.rmtree(found)


def _keyring() -> list[str]:
    path = "/usr/share/keyrings/debian-archive-keyring.gpg"
    return [f"--keyring={path}"] if os.path.exists(path) else []


def _configure(root: Path) -> None:
    def put(path: str, text: str, mode: int = 0o644) -> None:
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.unlink(missing_ok=True)
        file.write_text(text)
        file.chmod(mode)

    put("etc/hostname", "guest\n")
    put("etc/hosts", "127.0.0.1 localhost\n")
    put("etc/fstab", "")
    put("etc/machine-id", "")
    put("etc/systemd/journald.conf.d/lab.conf", JOURNAL)
    put("etc/systemd/system.conf.d/lab.conf", TIMEOUTS)
    put("usr/local/sbin/lab-network", NETWORK_SCRIPT, 0o755)
    put("etc/systemd/system/lab-network.service", NETWORK_UNIT)
    put("etc/systemd/system/lab-readonly-etc.service", READONLY_ETC_UNIT)
    put("etc/systemd/system/systemd-udev-trigger.service.d/lab.conf", TRIGGER)
    put("etc/modprobe.d/lab.conf", BLACKLIST)
    for unit in MASKED:
        (root / "etc/systemd/system" / unit).unlink(missing_ok=True)
        (root / "etc/systemd/system" / unit).symlink_to("/dev/null")
    generators = root / "etc/systemd/system-generators"
    generators.mkdir(exist_ok=True)
    for generator in (root / "lib/systemd/system-generators").iterdir():
        (generators / generator.name).symlink_to("/dev/null")
    run(["chroot", root, "systemctl", "enable", "lab-network.service", "lab-readonly-etc.service",
         "qemu-guest-agent.service"], check=False)
    run(["chroot", root, "systemctl", "set-default", "multi-user.target"])
    run(["chroot", root, "passwd", "-d", "root"])
    (root / "var/lib/dbus/machine-id").unlink(missing_ok=True)


def _collect(root: Path, work: Path) -> None:
    """Kernel and initramfs beside the image; then the image itself, without a loop mount."""
    shutil.copyfile(_newest(root / "boot", "vmlinuz-*"), work / "vmlinuz")
    initramfs.build(root, work / "initrd.img")
    for useless in ("boot", "usr/share/doc", "usr/share/man", "usr/share/locale", "var/lib/apt/lists",
                    "var/cache/apt", "var/cache/debconf", "var/log"):
        shutil.rmtree(root / useless, ignore_errors=True)
    for needed in ("boot", "var/log/journal", "var/lib/apt/lists/partial", "var/cache/apt/archives/partial"):
        (root / needed).mkdir(parents=True, exist_ok=True)
    (root / "var/log/journal").rmdir()
    _drop_devices(root / "dev")
    image = work / "root.img.part"
    run(["mke2fs", "-q", "-t", "ext4", "-L", "root", "-m", "0", "-E", "lazy_itable_init=0,lazy_journal_init=0",
         "-d", root, image, f"{SIZE_MIB}M"], timeout=300)
    os.rename(image, work / "root.img")


def _newest(where: Path, pattern: str) -> Path:
    found = sorted(where.glob(pattern))
    if not found:
        raise LabError(f"the new image has no {pattern}")
    return found[-1]


def _drop_devices(dev: Path) -> None:
    for entry in dev.iterdir():
        mode = entry.lstat().st_mode
        if stat.S_ISDIR(mode):
            shutil.rmtree(entry, ignore_errors=True)
        elif entry.name not in ("console", "null", "zero", "random", "urandom", "tty"):
            entry.unlink(missing_ok=True)
