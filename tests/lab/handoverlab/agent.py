"""The guest agent, through whichever host has the guest."""

import base64
import json
import time

from . import hosts, state
from .run import LabError, say

# libvirt's own error with a channel, which it may keep over the guest's next boot (docs/operations.md, "Stuck").
GIVEN_UP = "QEMU guest agent is not available due to an error"
# How long a new libvirtd may take to find the agents again, in seconds.
RECONNECTED = 15


class AgentError(LabError):
    """The agent did not answer, or refused."""


def host_of(guest: str) -> str:
    """The host where the guest runs now; else the one that defines it."""
    record = state.load()
    recorded = record["guests"].get(guest, {}).get("host")
    order = ([recorded] if recorded else []) + [name for name in record["hosts"] if name != recorded]
    defined = None
    for host in order:
        done = hosts.virsh(host, "domstate", guest, check=False)
        if done.returncode == 0:
            if done.stdout.strip() not in ("shut off", "crashed"):
                return host
            defined = defined or host
    if defined is None:
        raise LabError(f"no host knows the guest '{guest}'")
    return defined


def command(host: str, guest: str, name: str, arguments: dict | None = None, *, timeout: int = 10, heal: bool = True):
    """One agent command; its return value. `heal`: a channel that libvirt has given up is had back by a new libvirtd."""
    message = {"execute": name, **({"arguments": arguments} if arguments else {})}

    def ask():
        return hosts.virsh(host, "qemu-agent-command", guest, "--timeout", str(timeout), json.dumps(message),
                           timeout=timeout + 40, check=False)

    done = ask()
    if heal and done.returncode != 0 and GIVEN_UP in done.stderr:
        # Nothing that is done to the guest from outside takes this mark away, not even a boot: only a new libvirtd does.
        say(f"{guest}: libvirt has given its agent's channel up; restarting libvirtd of {host}, which has logged:\n"
            + hosts.libvirtd_log(host, lines=20))
        hosts.libvirtd(host, "restart")
        # It connects to the agents of running guests after it has begun to answer.
        until = time.monotonic() + RECONNECTED
        while (done := ask()).returncode != 0 and "is not connected" in done.stderr and time.monotonic() < until:
            time.sleep(0.3)
    if done.returncode != 0:
        raise AgentError(f"{guest}: {name}: {done.stderr.strip()}")
    return json.loads(done.stdout)["return"]


def ping(host: str, guest: str, *, heal: bool = False) -> bool:
    try:
        command(host, guest, "guest-ping", timeout=3, heal=heal)
    except AgentError:
        return False
    return True


def execute(host: str, guest: str, argv: list[str], *, stdin: bytes | None = None,
            timeout: float = 300) -> tuple[int, bytes, bytes]:
    """Run a command in the guest; exit code (128+n for a signal), stdout, stderr."""
    arguments = {"path": argv[0], "arg": argv[1:], "capture-output": True}
    if stdin is not None:
        arguments["input-data"] = base64.b64encode(stdin).decode()
    pid = command(host, guest, "guest-exec", arguments)["pid"]
    deadline = time.monotonic() + timeout
    pause = 0.03
    while True:
        answer = command(host, guest, "guest-exec-status", {"pid": pid})
        if answer["exited"]:
            break
        if time.monotonic() > deadline:
            raise AgentError(f"{guest}: {argv[0]} (pid {pid} in the guest) did not end within {timeout:g} s")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.5)
    code = answer["exitcode"] if "exitcode" in answer else 128 + answer.get("signal", 0)
    return code, base64.b64decode(answer.get("out-data", "")), base64.b64decode(answer.get("err-data", ""))
