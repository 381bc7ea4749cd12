"""Running commands, waiting with a deadline, and saying what happens."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import TypeVar

from . import linux

T = TypeVar("T")


class LabError(Exception):
    """Something the user can act on; shown without a traceback."""


def say(text: str) -> None:
    """One progress line, on stderr so that stdout stays the command's own."""
    print(f"lab: {text}", file=sys.stderr, flush=True)


def run(argv, *, timeout: float = 60, stdin: str | None = None, check: bool = True,
        env: dict | None = None, cwd: str | None = None, die_with_us: bool = False) -> subprocess.CompletedProcess:
    """Run a command, capture its output; a failure becomes a LabError with its text."""
    argv = [str(word) for word in argv]
    try:
        done = subprocess.run(argv, input=stdin, text=True, capture_output=True, errors="replace",
                              timeout=timeout, env=env, cwd=cwd, preexec_fn=_die_with_parent if die_with_us else None,
                              **({} if stdin is not None else {"stdin": subprocess.DEVNULL}))
    except subprocess.TimeoutExpired:
        raise LabError(f"no end within {timeout:g} s: {' '.join(argv)}") from None
    except FileNotFoundError:
        raise LabError(f"no such program: {argv[0]} (run tests/lab/install-deps)") from None
    if check and done.returncode != 0:
        text = (done.stderr or done.stdout).strip()
        raise LabError(f"exit code {done.returncode}: {' '.join(argv)}\n{text}")
    return done


def _die_with_parent() -> None:
    linux.set_parent_death_signal(signal.SIGKILL)


def wait_for(what: str, look: Callable[[], T], *, timeout: float, every: float = 0.1,
             hint: Callable[[], str] | None = None) -> T:
    """Call look until it returns something true; past the deadline say what was missing."""
    deadline = time.monotonic() + timeout
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() >= deadline:
            extra = f"; {hint()}" if hint else ""
            raise LabError(f"{what} within {timeout:g} s{extra}")
        time.sleep(every)
