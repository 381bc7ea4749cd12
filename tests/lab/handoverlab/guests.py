"""Guests: define, start, wait until they are really up, undefine."""

import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from pathlib import Path

from . import agent, domain, hosts, image, state
from .domain import Guest
from .run import LabError, run, say

AT_A_TIME = 2
BOOT_DEADLINE = float(os.environ.get("LAB_BOOT_DEADLINE", "300"))


def guest_from(record: dict) -> Guest:
    known = {entry.name for entry in fields(Guest)}
    return Guest(**{key: value for key, value in record.items() if key in known})


def record_of(guest: Guest) -> dict:
    return {entry.name: getattr(guest, entry.name) for entry in fields(Guest)}


def define(guest: Guest) -> None:
    """Disk and domain; both are left alone where they exist already."""
    if not guest.disk.exists():
        guest.disk.parent.mkdir(parents=True, exist_ok=True)
        part = guest.disk.with_suffix(".part")
        run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", f"{guest.image}/root.img", part])
        os.replace(part, guest.disk)
    if guest.transient:
        return
    known = hosts.virsh(guest.host, "list", "--all", "--name").stdout.split()
    if guest.name not in known:
        hosts.virsh(guest.host, "define", _xml_file(guest))


def _xml_file(guest: Guest) -> Path:
    path = guest.disk.with_suffix(".xml")
    path.write_text(domain.xml(guest))
    return path


def start(guest: Guest) -> bool:
    """Start the guest unless it runs; True when it had to be started."""
    found = hosts.virsh(guest.host, "domstate", guest.name, check=False)
    if found.returncode == 0 and found.stdout.strip() == "running":
        return False
    if found.returncode == 0 and found.stdout.strip() == "paused":
        hosts.virsh(guest.host, "resume", guest.name)
        return False
    if guest.transient:
        hosts.virsh(guest.host, "create", _xml_file(guest))
    else:
        hosts.virsh(guest.host, "start", guest.name)
    return True


def wait_up(guest: Guest, deadline: float = BOOT_DEADLINE) -> None:
    """Wait for the agent's answer and for systemd to have finished booting."""
    began = time.monotonic()

    def left(what: str) -> None:
        if time.monotonic() - began > deadline:
            raise LabError(f"{guest.name}: {what} within {deadline:g} s; console log: {guest.console()}")

    if not guest.agent:
        say(f"{guest.name}: started (no agent to wait for)")
        return
    while not agent.ping(guest.host, guest.name, heal=True):
        left("guest agent did not answer")
        current = hosts.virsh(guest.host, "domstate", "--reason", guest.name, check=False).stdout.strip()
        if not current.startswith("running"):
            raise LabError(f"{guest.name}: is '{current}' instead of booting; console log: {guest.console()}")
        time.sleep(0.3)
    while True:
        try:
            code, out, _ = agent.execute(guest.host, guest.name, ["systemctl", "is-system-running"], timeout=30)
            word = out.decode().strip()
            if word in ("running", "degraded"):
                break
        except LabError as error:
            word = str(error)
        left(f"systemd is '{word}', not running or degraded,")
        time.sleep(0.3)
    say(f"{guest.name}: up after {time.monotonic() - began:.1f} s ({word})")


def bring_up(guest: Guest) -> None:
    """Define, start and wait for one guest."""
    define(guest)
    started = start(guest)
    if started:
        say(f"{guest.name}: started on {guest.host}; waiting for its agent and systemd")
        wait_up(guest)


def bring_up_all(wanted: list[Guest]) -> None:
    """All guests, a few at a time: more would only slow each other down under TCG."""
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        futures = [pool.submit(bring_up, guest) for guest in wanted]
        errors = [future.exception() for future in futures]
    for error in errors:
        if error and not isinstance(error, LabError):
            raise error
    failed = [str(error) for error in errors if error]
    if failed:
        raise LabError("\n     ".join(failed))


def undefine(name: str) -> None:
    """End a guest and remove its domain and disk."""
    record = state.load()
    for host in record["hosts"]:
        hosts.virsh(host, "destroy", name, check=False)
        hosts.virsh(host, "undefine", name, "--managed-save", "--snapshots-metadata", check=False)
    entry = record["guests"].pop(name, None)
    if entry:
        guest = guest_from(entry)
        for path in (guest.disk, guest.disk.with_suffix(".xml")):
            path.unlink(missing_ok=True)
        state.save(record)


def wanted_by_default(count: int, host_names: list[str], suite: str) -> list[Guest]:
    """g1 … gN, dealt to the hosts by turns."""
    base = str(image.ensure(suite))
    return [Guest(name=f"g{index + 1}", host=host_names[index % len(host_names)], suite=suite, image=base)
            for index in range(count)]


