"""Process 1 of one lab node (a host, dns, client or the switch).

Started as `python3 …/init.py --lab NAME --node NODE --spec FILE`: makes the node's
namespaces, forks into them, mounts what the spec says, reports `ready PID` on stdout and then
only reaps children. It is the anchor of the node's namespaces: killing it ends every process,
mount and interface of the node. Its command line is how `lab down` finds it, so keep it.
"""

import json
import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from handoverlab import linux  # noqa: E402  (run as a script, the path comes first)


def main() -> None:
    arguments = dict(zip(sys.argv[1::2], sys.argv[2::2]))
    spec = json.loads(Path(arguments["--spec"]).read_text())
    os.setsid()
    linux.unshare(linux.CLONE_NEWNS | linux.CLONE_NEWUTS | linux.CLONE_NEWIPC
                  | linux.CLONE_NEWNET | linux.CLONE_NEWPID)
    ready_read, ready_write = os.pipe()
    child = os.fork()
    if child:
        os.close(ready_write)
        with os.fdopen(ready_read) as pipe:
            answer = pipe.read()
        print(f"ready {child}" if answer == "ready" else answer, flush=True)
        os._exit(0 if answer == "ready" else 1)
    os.close(ready_read)
    try:
        _set_up(spec)
        answer = "ready"
    except Exception as error:  # whatever it is, the starter must hear of it
        answer = f"failed: {error}"
    os.write(ready_write, answer.encode())
    os.close(ready_write)
    if answer != "ready":
        os._exit(1)
    _close_stdio()
    _reap_for_ever()


def _set_up(spec: dict) -> None:
    linux.mount("none", "/", None, linux.MS_REC | linux.MS_PRIVATE)
    for entry in spec["mounts"]:
        kind, target = entry["kind"], entry["target"]
        os.makedirs(target, exist_ok=True)
        if kind == "bind":
            os.makedirs(entry["source"], exist_ok=True)
            linux.mount(entry["source"], target, None, linux.MS_BIND)
        elif kind == "overlay":
            _overlay(entry["source"], target)
        elif kind == "tmpfs":
            linux.mount("tmpfs", target, "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, "mode=755")
    linux.mount("proc", "/proc", "proc")
    linux.mount("sysfs", "/sys", "sysfs")
    linux.sethostname(spec["hostname"])
    for path, text in spec.get("sysctl", {}).items():
        _write("/proc/sys/" + path, text)


def _overlay(store: str, target: str) -> None:
    """The machine's directory with the node's own changes on top."""
    upper, work = f"{store}/upper", f"{store}/work"
    os.makedirs(upper, exist_ok=True)
    os.makedirs(work, exist_ok=True)
    linux.mount("overlay", target, "overlay", 0, f"lowerdir={target},upperdir={upper},workdir={work}")


def _write(path: str, text: str) -> None:
    try:
        Path(path).write_text(text)
    except OSError:
        pass  # a kernel without IPv6 has no such file, and then needs none


def _close_stdio() -> None:
    null = os.open("/dev/null", os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)


def _reap_for_ever() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    while True:
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            pass
        signal.sigtimedwait({signal.SIGCHLD}, 5)


if __name__ == "__main__":
    main()
