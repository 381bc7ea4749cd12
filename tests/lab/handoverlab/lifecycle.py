"""Whole-lab actions: up, down, status."""

import contextlib
import re
import shutil
import time

from . import agent, daemon, guests, hosts, image, nameserver, network, nodes, settings, state
from .run import LabError, run, say


def up(host_count: int | None, guest_count: int | None, suite: str) -> None:
    """Everything that is not there yet, in order; quick when all is there."""
    began = time.monotonic()
    with state.locked():
        record = state.load()
        host_names = list(record["hosts"])
        while len(host_names) < (host_count or 1):
            host_names.append(next(name for n in range(1, 99) if (name := f"hv{n}") not in host_names))
        wanted_guests = guest_count if guest_count is not None else (0 if record["guests"] else 2)
        settings.STATE.mkdir(parents=True, exist_ok=True)
        names = [f"g{n + 1}" for n in range(wanted_guests)]
        if any(name not in record["guests"] for name in names):
            for wanted in guests.wanted_by_default(wanted_guests, host_names, suite):
                record["guests"].setdefault(wanted.name, guests.record_of(wanted))
        record["hosts"] = host_names
        state.save(record)
        network.start_switch()
        nameserver.start_dns()
        nameserver.start_client()
        _start_hosts(record)
        guests.bring_up_all([_settled(entry) for entry in record["guests"].values()])
    say(f"'{settings.NAME}' is up after {time.monotonic() - began:.1f} s: "
        f"{len(host_names)} host(s), {len(record['guests'])} guest(s)")


def _start_hosts(record: dict) -> None:
    for host in record["hosts"]:
        hosts.start(host, record["hosts"], record.get("pools", {}).get(host))
        daemon.configure(host)


def define_host(name: str, pool_of: str | None) -> None:
    """One more host."""
    _check_host(name)
    with state.locked():
        record = state.load()
        if name in record["hosts"]:
            raise LabError(f"host '{name}' is there already")
        if pool_of is not None and pool_of not in record["hosts"]:
            raise LabError(f"no host '{pool_of}' in this lab")
        settings.host_address(name)
        record["hosts"].append(name)
        if pool_of is not None:
            record.setdefault("pools", {})[name] = pool_of
        state.save(record)
        _start_hosts(record)


def undefine_host(name: str) -> None:
    """End a host with all that runs on it, and remove its files; definitions that came to it by migration go too."""
    _check_host(name)
    with state.locked():
        record = state.load()
        at_home = [guest for guest, entry in record["guests"].items() if entry["host"] == name]
        using = [host for host, pool_of in record.get("pools", {}).items() if pool_of == name]
        if at_home or using:
            raise LabError(f"host '{name}' is still needed: {', '.join(at_home + using)}")
        pid = nodes.find(name)
        if pid is not None:
            nodes.kill(pid, name)
        if settings.node_state(name).exists():
            _remove(settings.node_state(name))
        if name in record["hosts"]:
            record["hosts"].remove(name)
            record.get("pools", {}).pop(name, None)
            state.save(record)
            _start_hosts(record)


def _check_host(name: str) -> None:
    """A name is a path's part, and its number an address below those of the guests."""
    if not re.fullmatch(r"hv([1-9]|[1-8][0-9])", name):
        raise LabError(f"'{name}' is no host's name: hv1 to hv89")


def _settled(entry: dict) -> guests.Guest:
    """A guest may have been migrated since: it is started where it runs or is defined now."""
    guest = guests.guest_from(entry)
    try:
        host = agent.host_of(guest.name)
    except LabError:
        return guest
    return guests.guest_from({**entry, "host": host})


def down() -> None:
    """End every process of the lab and remove its files; the image cache stays."""
    with state.locked():
        for _ in range(3):
            found = nodes.inits()
            if not found:
                break
            for pid, node in found:
                nodes.kill(pid, node)
        left = nodes.inits()
        if left:
            raise LabError(f"still there: {left}")
        image.clean_half_built()
        if settings.STATE.exists():
            _remove(settings.STATE)
        with contextlib.suppress(OSError):
            # Other labs may be there, or be removing it just now.
            settings.STATE_PARENT.rmdir()
    say(f"'{settings.NAME}' is down")


def _remove(path) -> None:
    mounted = [line.split()[4] for line in open("/proc/self/mountinfo") if line.split()[4].startswith(f"{path}/")]
    for target in sorted(mounted, reverse=True):
        run(["umount", "-l", target])
    shutil.rmtree(path)


def status() -> dict:
    """What is there, looked at now."""
    record = state.load()
    report = {"name": settings.NAME, "state": str(settings.STATE), "nodes": [], "guests": []}
    for node in [settings.SWITCH, settings.DNS, settings.CLIENT, *record["hosts"]]:
        pid = nodes.find(node)
        entry = {"name": node, "pid": pid, "address": _address(node), "state": "running" if pid else "down"}
        if pid and node in record["hosts"]:
            entry["libvirtd"] = hosts.runs(node, "libvirtd")
            answer = daemon.status(node)
            entry["handoverd"] = "ready" if answer.get("ready") else "running" if answer.get("running") else "down"
        report["nodes"].append(entry)
    for name, entry in record["guests"].items():
        report["guests"].append(_guest_status(record, name, entry))
    return report


def _guest_status(record: dict, name: str, entry: dict) -> dict:
    guest = guests.guest_from(entry)
    result = {"name": name, "uuid": guest.uuid, "suite": guest.suite, "host": None, "state": "undefined",
              "agent": "-", "address": settings.guest_address(name), "mac": settings.guest_mac(name),
              "console": str(guest.console())}
    for host in record["hosts"]:
        if nodes.find(host) is None:
            continue
        done = hosts.virsh(host, "domstate", name, check=False)
        if done.returncode == 0 and (result["host"] is None or done.stdout.strip() == "running"):
            result["host"], result["state"] = host, done.stdout.strip()
    if result["state"] == "running" and guest.agent:
        result["agent"] = "up" if agent.ping(result["host"], name) else "silent"
    return result


def _address(node: str) -> str:
    if node in (settings.DNS, settings.CLIENT):
        return settings.DNS_ADDRESS if node == settings.DNS else settings.CLIENT_ADDRESS
    return settings.host_address(node) if node.startswith("hv") else "-"


def print_status(report: dict) -> None:
    rows = [("NODE", "PID", "ADDRESS", "STATE", "LIBVIRTD", "HANDOVERD")]
    for entry in report["nodes"]:
        libvirtd = {True: "running", False: "down", None: "-"}[entry.get("libvirtd")]
        rows.append((entry["name"], str(entry["pid"] or "-"), entry["address"], entry["state"], libvirtd,
                     entry.get("handoverd", "-")))
    _table(rows)
    print()
    rows = [("GUEST", "HOST", "STATE", "AGENT", "ADDRESS", "SUITE", "UUID")]
    for entry in report["guests"]:
        rows.append((entry["name"], entry["host"] or "-", entry["state"], entry["agent"], entry["address"],
                     entry["suite"], entry["uuid"]))
    _table(rows)


def _table(rows: list[tuple]) -> None:
    widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())
