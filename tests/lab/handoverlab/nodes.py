"""Nodes: sets of namespaces with a process 1 of ours as their anchor.

Nothing of a node has a name in the file system (no /run/netns, no bind mounts), so when its
process 1 is gone the node is gone: that is what makes `lab down` work from every half-made state.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from . import linux, settings
from .run import LabError, run

INIT = Path(__file__).resolve().parent / "init.py"
NODE_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

_FORWARDED = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGINT, signal.SIGQUIT)


def _command_line(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]
    except OSError:
        return []


def _alive(pid: int) -> bool:
    """A zombie counts as gone: its namespaces are released."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in ("Z", "X")


def _identity(pid: int) -> str | None:
    """The node whose init this process is, if it is one of this lab."""
    words = _command_line(pid)
    for index, word in enumerate(words):
        if word.endswith("handoverlab/init.py"):
            rest = words[index + 1:]
            if rest[0:2] == ["--lab", settings.NAME] and rest[2:3] == ["--node"] and len(rest) > 3:
                return rest[3]
    return None


def _is_process_one(pid: int) -> bool:
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("NSpid:"):
                return line.split()[-1] == "1" and len(line.split()) > 2
    except OSError:
        pass
    return False


def inits() -> list[tuple[int, str]]:
    """Every init process of this lab, half-made ones too, found by command line."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            node = _identity(int(entry))
            if node and _alive(int(entry)):
                found.append((int(entry), node))
    return found


def find(node: str) -> int | None:
    """The pid of a running node's process 1."""
    recorded = settings.node_state(node) / "init.pid"
    try:
        pid = int(recorded.read_text())
    except (OSError, ValueError):
        return None
    return pid if _identity(pid) == node and _is_process_one(pid) and _alive(pid) else None


def pid_of(node: str) -> int:
    pid = find(node)
    if pid is None:
        raise LabError(f"{node} is not running; see `lab status`, start it with `lab up`")
    return pid


def root_of(node: str) -> Path:
    """The node's file system as seen from outside; writes go through its own mounts."""
    return Path(f"/proc/{pid_of(node)}/root")


def start(node: str, mounts: list[dict]) -> int:
    """Start a node's process 1; returns its pid."""
    state = settings.node_state(node)
    state.mkdir(parents=True, exist_ok=True)
    spec = state / "node.json"
    spec.write_text(json.dumps({
        "hostname": node,
        "mounts": mounts,
        "sysctl": {"net/ipv6/conf/all/disable_ipv6": "1", "net/ipv6/conf/default/disable_ipv6": "1"},
    }, indent=1))
    done = subprocess.run(
        [sys.executable, "-I", str(INIT), "--lab", settings.NAME, "--node", node, "--spec", str(spec)],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=30, cwd="/",
        env={"PATH": NODE_PATH, "LANG": "C.UTF-8"})
    if not done.stdout.startswith("ready "):
        raise LabError(f"{node}: no namespaces: {(done.stdout + done.stderr).strip()}")
    pid = int(done.stdout.split()[1])
    (state / "init.pid").write_text(str(pid))
    in_network(node, ["ip", "link", "set", "lo", "up"])
    return pid


def kill(pid: int, node: str) -> None:
    """End a node's process 1, and with it everything inside; waits until it is gone."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        if _identity(pid) != node:
            return  # the pid is somebody else's by now
        signal.pidfd_send_signal(handle, signal.SIGKILL)
    except ProcessLookupError:
        return
    finally:
        os.close(handle)
    deadline = time.monotonic() + 30
    while _alive(pid):
        if time.monotonic() > deadline:
            raise LabError(f"{node}: process {pid} does not end")
        time.sleep(0.02)


def in_network(node: str, argv, **options) -> subprocess.CompletedProcess:
    """Run a command of the machine in the node's network only."""
    return run(["nsenter", f"--net=/proc/{pid_of(node)}/ns/net", "--", *argv], **options)


def inside(node: str, argv, **options) -> subprocess.CompletedProcess:
    """Run a command inside all of the node's namespaces, output captured."""
    options.setdefault("env", environment(node))
    return run(["nsenter", "-t", pid_of(node), "-m", "-u", "-i", "-n", "-p", "--", *argv], cwd="/", **options)


def environment(node: str) -> dict:
    kept = {key: value for key, value in os.environ.items()
            if key in ("TERM", "LANG", "LC_ALL", "NO_COLOR", "RUST_LOG", "RUST_BACKTRACE", "COLUMNS")
            or key.startswith(("HANDOVER", "LAB_"))}
    return {"LANG": "C.UTF-8", **kept, "PATH": NODE_PATH, "HOME": "/root", "LAB_NODE": node}


def execute(node: str, argv: list[str]) -> int:
    """Run a command inside with our stdin, stdout and signals; its exit code is the answer."""
    pid = pid_of(node)
    where = os.getcwd()
    handles = [(os.open(f"/proc/{pid}/ns/{name}", os.O_RDONLY), flag) for name, flag in (
        ("net", linux.CLONE_NEWNET), ("uts", linux.CLONE_NEWUTS), ("ipc", linux.CLONE_NEWIPC),
        ("pid", linux.CLONE_NEWPID), ("mnt", linux.CLONE_NEWNS))]
    for handle, flag in handles:
        linux.setns(handle, flag)
        os.close(handle)
    child = os.fork()
    if child == 0:
        _become(node, argv, where)
    for number in _FORWARDED:
        signal.signal(number, lambda received, _frame: _forward(child, received))
    while True:
        _, status = os.waitpid(child, os.WUNTRACED)
        if os.WIFSTOPPED(status):
            os.kill(os.getpid(), signal.SIGSTOP)
            os.kill(child, signal.SIGCONT)
            continue
        code = os.waitstatus_to_exitcode(status)
        return code if code >= 0 else 128 - code


def _become(node: str, argv: list[str], where: str) -> None:
    try:
        linux.set_parent_death_signal(signal.SIGTERM)
        try:
            os.chdir(where)
        except OSError:
            os.chdir("/")
        os.execvpe(argv[0], argv, environment(node))
    except FileNotFoundError:
        print(f"lab: {node}: no such program: {argv[0]}", file=sys.stderr)
        os._exit(127)
    except OSError as error:
        print(f"lab: {node}: {argv[0]}: {error}", file=sys.stderr)
        os._exit(126)


def _forward(child: int, number: int) -> None:
    """A terminal sends SIGINT and SIGQUIT to the whole group itself."""
    if number in (signal.SIGINT, signal.SIGQUIT) and os.isatty(0):
        return
    try:
        os.kill(child, number)
    except ProcessLookupError:
        pass
