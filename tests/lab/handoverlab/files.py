"""Putting files into a node through its own mounts."""

import os
import shutil
from pathlib import Path

from . import nodes


def put(node: str, path: str, content: str | bytes, mode: int = 0o644) -> None:
    """Write a file inside the node; a link that stood there is replaced, never followed."""
    target = _fresh(node, path)
    data = content.encode() if isinstance(content, str) else content
    handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(handle, "wb") as out:
        out.write(data)
        os.fchmod(out.fileno(), mode)


def copy(node: str, source: Path, path: str, mode: int = 0o644) -> None:
    """Copy a file of the machine into the node (a running program's file may be replaced)."""
    target = _fresh(node, path)
    shutil.copyfile(source, target)
    target.chmod(mode)


def make_directory(node: str, path: str, mode: int = 0o755) -> None:
    target = nodes.root_of(node) / path.lstrip("/")
    target.mkdir(parents=True, exist_ok=True)
    target.chmod(mode)


def exists(node: str, path: str) -> bool:
    return (nodes.root_of(node) / path.lstrip("/")).exists()


def _fresh(node: str, path: str) -> Path:
    target = nodes.root_of(node) / path.lstrip("/")
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.is_symlink() or target.exists():
        target.unlink()
    return target
