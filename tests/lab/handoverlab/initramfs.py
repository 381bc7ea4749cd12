"""A tiny initramfs: static busybox, a handful of modules, no udev.

The distribution's own costs 6 s of every boot under TCG; this one a fraction of a second.
"""

import lzma
import shutil
import stat
import subprocess
from pathlib import Path

from .run import LabError

# In this order, each with what it depends on before it. A module that is built in is skipped.
MODULES = ("virtio_pci", "virtio_blk", "crc32c_generic", "ext4", "virtio_net", "virtio_console",
           "virtio_scsi", "sd_mod", "virtio_rng", "virtio_balloon", "squashfs")

INIT = """#!/bin/busybox sh
b=/bin/busybox
$b mount -t proc proc /proc
$b mount -t sysfs sysfs /sys
$b mount -t devtmpfs dev /dev
while read -r module; do $b insmod /modules/$module; done </modules/order
n=0
while [ ! -b /dev/vda ] && [ $n -lt 500 ]; do $b sleep 0.02; n=$((n + 1)); done
if ! $b mount -t ext4 -o rw,noatime /dev/vda /root; then
    echo "lab: no root disk"
    $b poweroff -f
fi
$b mount --move /dev /root/dev
$b umount /sys
$b umount /proc
exec $b switch_root /root /sbin/init
"""


def build(root: Path, out: Path) -> None:
    """Write the initramfs for the kernel that is installed below root."""
    versions = sorted(path for path in (root / "lib/modules").iterdir() if (path / "modules.dep").exists())
    if not versions:
        raise LabError("the new image has no kernel modules")
    modules = versions[-1]
    archive = Archive()
    for name in ("bin", "dev", "proc", "sys", "root", "modules"):
        archive.directory(name)
    archive.file("bin/busybox", (root / "bin/busybox").read_bytes(), 0o755)
    archive.file("init", INIT.encode(), 0o755)
    archive.device("dev/console", 5, 1)
    order = []
    for path in _in_order(modules):
        data = _unpacked(modules / path)
        name = Path(path).name.split(".ko")[0] + ".ko"
        archive.file(f"modules/{name}", data, 0o644)
        order.append(name)
    archive.file("modules/order", "".join(f"{name}\n" for name in order).encode(), 0o644)
    out.write_bytes(archive.finished())


def _in_order(modules: Path) -> list[str]:
    depends = {}
    for line in (modules / "modules.dep").read_text().splitlines():
        path, _, needed = line.partition(":")
        depends[path] = needed.split()
    by_name = {Path(path).name.split(".ko")[0].replace("-", "_"): path for path in depends}
    order = []
    for name in MODULES:
        path = by_name.get(name)
        if path is None:
            continue
        # modules.dep names what must come first last.
        for entry in [*reversed(depends[path]), path]:
            if entry not in order:
                order.append(entry)
    return order


def _unpacked(path: Path) -> bytes:
    if path.suffix == ".xz":
        return lzma.decompress(path.read_bytes())
    if path.suffix == ".zst":
        zstd = shutil.which("zstd")
        if not zstd:
            raise LabError("the suite's modules are zstd-packed and there is no zstd here")
        return subprocess.run([zstd, "-dc", path], check=True, capture_output=True).stdout
    return path.read_bytes()


class Archive:
    """A cpio archive in the kernel's "newc" form."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._count = 0

    def directory(self, name: str) -> None:
        self._entry(name, stat.S_IFDIR | 0o755)

    def file(self, name: str, data: bytes, mode: int) -> None:
        self._entry(name, stat.S_IFREG | mode, data)

    def device(self, name: str, major: int, minor: int) -> None:
        self._entry(name, stat.S_IFCHR | 0o600, device=(major, minor))

    def finished(self) -> bytes:
        self._entry("TRAILER!!!", 0)
        return b"".join(self._parts)

    def _entry(self, name: str, mode: int, data: bytes = b"", device: tuple[int, int] = (0, 0)) -> None:
        self._count += 1
        fields = (self._count, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(name) + 1, 0)
        head = b"070701" + b"".join(b"%08X" % value for value in fields) + name.encode() + b"\0"
        self._parts += [head, b"\0" * (-len(head) % 4), data, b"\0" * (-len(data) % 4)]
