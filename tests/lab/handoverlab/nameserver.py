"""The dns node (BIND, authoritative, TSIG updates) and the client node (two caching resolvers)."""

import base64
import os

from . import files, hosts, network, nodes, settings
from .run import say, wait_for

KEY_NAME = "handoverd-key"
OTHER_KEY_NAME = "other-key"

NAMED_CONF = """\
key "{key}" {{ algorithm hmac-sha256; secret "{secret}"; }};
key "{other_key}" {{ algorithm hmac-sha256; secret "{other_secret}"; }};
controls {{ }};
options {{
    directory "{directory}";
    pid-file "{directory}/named.pid";
    session-keyfile none;
    managed-keys-directory "{directory}";
    listen-on {{ any; }};
    listen-on-v6 {{ none; }};
    recursion no;
    dnssec-validation no;
    allow-query {{ any; }};
    allow-transfer {{ any; }};
    notify no;
}};
logging {{
    channel lab {{ file "{directory}/named.log"; severity info; print-time yes; print-category yes; }};
    category default {{ lab; }};
    category update {{ lab; }};
    category update-security {{ lab; }};
}};
zone "svc.lab" {{
    type primary; file "{directory}/svc.lab.zone";
    update-policy {{ grant {key} zonesub ANY; }};
}};
zone "other.lab" {{
    type primary; file "{directory}/other.lab.zone";
    update-policy {{ grant {other_key} zonesub ANY; }};
}};
"""

ZONE = """\
$TTL 5
@   IN SOA ns.{zone}. hostmaster.{zone}. ( 1 60 30 86400 5 )
    IN NS  ns.{zone}.
ns  IN A   {address}
"""


def secret(name: str = KEY_NAME) -> str:
    """The key's secret in base64; made at the first call."""
    path = settings.node_state(settings.DNS) / f"{name}.secret"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        os.write(handle, base64.b64encode(os.urandom(32)))
        os.close(handle)
    return path.read_text()


def start_dns() -> None:
    node = settings.DNS
    directory = settings.node_state(node)
    if nodes.find(node) is None:
        say("dns: starting")
        nodes.start(node, [{"kind": "tmpfs", "target": "/run"}])
    network.connect(node, settings.DNS_ADDRESS)
    config = directory / "named.conf"
    if not config.exists():
        for zone in ("svc.lab", "other.lab"):
            (directory / f"{zone}.zone").write_text(ZONE.format(zone=zone, address=settings.DNS_ADDRESS))
        config.write_text(NAMED_CONF.format(key=KEY_NAME, secret=secret(), other_key=OTHER_KEY_NAME,
                                            other_secret=secret(OTHER_KEY_NAME), directory=directory))
        config.chmod(0o600)
    if not hosts.runs(node, "named"):
        nodes.inside(node, ["named", "-4", "-n", "1", "-c", config])
        wait_for("dns: named does not answer", lambda: _answers(node, settings.DNS_ADDRESS), timeout=20,
                 hint=lambda: f"its log: {directory}/named.log")


def start_client() -> None:
    node = settings.CLIENT
    if nodes.find(node) is None:
        say("client: starting")
        directory = settings.node_state(node)
        nodes.start(node, [{"kind": "overlay", "source": str(directory / "overlay-etc"), "target": "/etc"},
                           {"kind": "tmpfs", "target": "/run"}])
        files.put(node, "/etc/hosts", "127.0.0.1 localhost\n")
        files.put(node, "/etc/resolv.conf", "nameserver 127.0.0.1\n")
        files.put(node, "/etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n")
    network.connect(node, settings.CLIENT_ADDRESS)
    for address, least in settings.RESOLVERS.items():
        _start_resolver(address, least)


def _start_resolver(address: str, least: int) -> None:
    """A dnsmasq in the client: names that are not there are not cached, the others for their TTL, but at least `least` s."""
    node = settings.CLIENT
    if nodes.inside(node, ["pgrep", "-f", "--", f"--listen-address={address}"], check=False).returncode == 0:
        return
    log = settings.node_state(node) / f"dnsmasq-{address}.log"
    nodes.inside(node, [
        "dnsmasq", "--conf-file=/dev/null", "--user=root", f"--pid-file=/run/dnsmasq-{address}.pid", "--no-resolv",
        "--no-hosts", f"--listen-address={address}", "--bind-interfaces", "--cache-size=10000", "--no-negcache",
        f"--min-cache-ttl={least}", f"--server=/svc.lab/{settings.DNS_ADDRESS}",
        f"--server=/other.lab/{settings.DNS_ADDRESS}", f"--log-facility={log}"])
    wait_for(f"client: the resolver at {address} does not answer", lambda: _answers(node, address), timeout=20,
             hint=lambda: f"its log: {log}")


def _answers(node: str, server: str) -> bool:
    done = nodes.inside(node, ["dig", "+short", "+time=1", "+tries=1", f"@{server}", "ns.svc.lab", "A"], check=False)
    return done.stdout.strip() == settings.DNS_ADDRESS


def install_key(host: str) -> None:
    """The TSIG secret and handoverd's configuration, where they are not there yet."""
    if not files.exists(host, "/etc/handoverd/tsig/svc.lab.key"):
        files.make_directory(host, "/etc/handoverd/tsig", 0o700)
        files.put(host, "/etc/handoverd/tsig/svc.lab.key", secret() + "\n", 0o600)


def update(node: str, commands: str, key: str = KEY_NAME) -> None:
    """An nsupdate signed with the key, for checks and tests."""
    argument = f"hmac-sha256:{key}:{secret(key)}"
    nodes.inside(node, ["nsupdate", "-v", "-y", argument], stdin=commands)
