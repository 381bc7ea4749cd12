"""handoverd on a host: install the build, start it like Type=notify, stop it, show its log."""

import json
import os
import socket
import subprocess
from pathlib import Path

from . import files, hosts, nameserver, nodes, settings
from .run import LabError, say, wait_for

SUPERVISOR = Path(__file__).resolve().parent / "supervise.py"
START_DEADLINE = float(os.environ.get("LAB_DAEMON_DEADLINE", "90"))


def binary() -> Path:
    """HANDOVERD_BIN, else the newer of the repo's debug and release builds."""
    named = os.environ.get("HANDOVERD_BIN")
    if named:
        if not Path(named).is_file():
            raise LabError(f"HANDOVERD_BIN: no such file: {named}")
        return Path(named).resolve()
    target = Path(os.environ.get("CARGO_TARGET_DIR", settings.REPO / "target"))
    builds = [path for kind in ("debug", "release") if (path := target / kind / "handoverd").is_file()]
    if not builds:
        raise LabError(f"no handoverd in {target}/debug or {target}/release; build it, or set HANDOVERD_BIN")
    return max(builds, key=lambda path: path.stat().st_mtime)


def configure(host: str, *, force: bool = False, control: list[str] | None = None) -> None:
    """handoverd.toml from the template, and the TSIG key; an edited configuration stays.

    With control, a drop-in lets the host's daemon control those hosts too, over libvirt's TLS.
    """
    nameserver.install_key(host)
    if control is not None:
        tables = [f'[[libvirt.host]]\nname = "{name}"\nuri = "qemu+tls://{name}/system"\n' for name in control]
        files.put(host, "/etc/handoverd/handoverd.d/hosts.toml", "\n".join(tables))
    if force or not files.exists(host, "/etc/handoverd/handoverd.toml"):
        template = (settings.LAB_DIR / "handoverd.toml.in").read_text()
        values = {"HOST": host, "NETWORK": settings.NETWORK, "DNS": settings.DNS_ADDRESS}
        for key, value in values.items():
            template = template.replace(f"@{key}@", value)
        files.put(host, "/etc/handoverd/handoverd.toml", template)


def install(host: str) -> None:
    """The binaries and the repo's packaging files, as an installed package would have them."""
    daemon = binary()
    files.copy(host, daemon, "/usr/bin/handoverd", 0o755)
    control = daemon.parent / "handoverctl"
    if control.is_file():
        files.copy(host, control, "/usr/bin/handoverctl", 0o755)
    hosts.install_packaging(host)


def start(host: str, arguments: list[str]) -> None:
    if _ask(host, "status").get("running"):
        say(f"{host}: handoverd runs already")
        return
    install(host)
    configure(host)
    log = _log(host)
    before = log.stat().st_size if log.exists() else 0
    spec = {"socket": str(_socket(host)), "log": str(log), "user": os.environ.get("LAB_DAEMON_USER", "root"),
            "argv": ["/usr/bin/handoverd", *arguments]}
    environment = nodes.environment(host)
    environment.setdefault("RUST_LOG", "info")
    environment.setdefault("RUST_BACKTRACE", "1")
    _ask(host, "quit")  # one that stayed to tell how its daemon ended
    _socket(host).unlink(missing_ok=True)
    nodes.inside(host, ["setsid", "-f", "/usr/bin/env", "python3", SUPERVISOR, json.dumps(spec)], env=environment)

    def ready() -> dict:
        answer = _ask(host, "status")
        return answer if answer.get("ready") or answer.get("ended") is not None else {}

    def tail() -> str:
        text = log.read_bytes()[before:].decode(errors="replace") if log.exists() else ""
        return "the log's tail:\n" + "\n".join(text.splitlines()[-40:])

    answer = wait_for(f"{host}: handoverd did not say READY=1", ready, timeout=START_DEADLINE, every=0.05, hint=tail)
    if not answer.get("ready"):
        raise LabError(f"{host}: handoverd ended with {answer['ended']} before it was ready; {tail()}")
    say(f"{host}: handoverd is ready (pid {answer['pid']} inside the host)")


def stop(host: str, how: str) -> None:
    """stop: SIGTERM and wait; kill: SIGKILL."""
    if not _ask(host, "status").get("running"):
        say(f"{host}: handoverd does not run")
        return
    _ask(host, how)
    deadline = 90.0
    wait_for(f"{host}: handoverd did not end", lambda: not _ask(host, "status").get("running"), timeout=deadline,
             every=0.05, hint=lambda: "`lab daemon HOST kill` ends it")


def status(host: str) -> dict:
    return _ask(host, "status")


def log_text(host: str) -> bytes:
    log = _log(host)
    return log.read_bytes() if log.exists() else b""


def follow_log(host: str) -> None:
    subprocess.run(["tail", "-n", "+1", "-F", str(_log(host))], check=False)


def _log(host: str) -> Path:
    return settings.node_state(host) / "log" / "handoverd.log"


def _socket(host: str) -> Path:
    return settings.node_state(host) / "handoverd.sock"


def _ask(host: str, word: str) -> dict:
    """The supervisor's answer; empty where none runs."""
    with socket.socket(socket.AF_UNIX) as link:
        link.settimeout(10)
        try:
            link.connect(str(_socket(host)))
            link.sendall(word.encode() + b"\n")
            return json.loads(link.makefile().readline() or "{}")
        except (FileNotFoundError, ConnectionError):
            return {}
