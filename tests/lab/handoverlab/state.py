"""What the lab remembers about itself: which hosts and guests it was asked for."""

import contextlib
import json
import os
import socket
import time
from collections.abc import Iterator

from . import settings
from .run import LabError, say


def load() -> dict:
    try:
        return json.loads((settings.STATE / "lab.json").read_text())
    except FileNotFoundError:
        return {"hosts": [], "guests": {}}


def save(record: dict) -> None:
    settings.STATE.mkdir(parents=True, exist_ok=True)
    part = settings.STATE / "lab.json.part"
    part.write_text(json.dumps(record, indent=1))
    os.replace(part, settings.STATE / "lab.json")


@contextlib.contextmanager
def locked(timeout: float = 600) -> Iterator[None]:
    """One change of the lab at a time. The lock is an abstract socket: a crash leaves none behind."""
    lock = socket.socket(socket.AF_UNIX)
    deadline = time.monotonic() + timeout
    told = False
    while True:
        try:
            lock.bind(f"\0handoverd-lab/{settings.STATE}")
            break
        except OSError:
            if time.monotonic() > deadline:
                raise LabError(f"another lab command held '{settings.NAME}' for {timeout:g} s") from None
            if not told:
                say(f"waiting for another lab command on '{settings.NAME}'")
                told = True
            time.sleep(0.1)
    try:
        yield
    finally:
        lock.close()
