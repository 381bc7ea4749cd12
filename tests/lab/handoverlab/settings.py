"""Names, paths and addresses of one lab. Everything derives from LAB_NAME."""

import os
import re
import uuid
from pathlib import Path

from .run import LabError

LAB_DIR = Path(__file__).resolve().parent.parent
REPO = LAB_DIR.parent.parent

NAME = os.environ.get("LAB_NAME", "handover")
CACHE = Path(os.environ.get("LAB_CACHE", "/var/cache/handoverd-lab"))
STATE_PARENT = Path(os.environ.get("LAB_STATE", "/var/lib/handoverd-lab"))
STATE = STATE_PARENT / NAME
# Guests run a little before other work of the machine (compilers): tests of them have deadlines.
NICE = os.environ.get("LAB_NICE", "-5")
ACCEL = os.environ.get("LAB_ACCEL", "tcg")

SWITCH = "switch"
DNS = "dns"
CLIENT = "client"

NETWORK = "10.77.0.0/24"
PREFIX = "10.77.0."
DNS_ADDRESS = PREFIX + "2"
CLIENT_ADDRESS = PREFIX + "3"

# The client's caching resolvers, each with the least time in seconds for which it remembers what it was told: the first
# honours TTLs exactly and is in resolv.conf, the second is one of those that do not.
RESOLVERS = {"127.0.0.1": 0, "127.0.0.2": 10}

SUITES = ("bullseye", "bookworm", "trixie")

_NAMESPACE = uuid.UUID("6f0c5a53-3b0e-5c55-9a43-0f6f3f6d7a10")


def check() -> None:
    """Refuse settings that would make paths or socket names unusable."""
    if not re.fullmatch(r"[a-z][a-z0-9-]{0,15}", NAME):
        raise LabError(f"LAB_NAME '{NAME}': use up to 16 of a-z, 0-9 and -, a letter first")
    if ACCEL not in ("tcg", "kvm"):
        raise LabError(f"LAB_ACCEL '{ACCEL}': use tcg or kvm")
    if os.geteuid() != 0:
        raise LabError("the lab needs root (namespaces, libvirtd)")


def stable_uuid(kind: str, name: str) -> str:
    """The same UUID for the same thing of the same lab, always."""
    return str(uuid.uuid5(_NAMESPACE, f"{NAME}/{kind}/{name}"))


def node_state(node: str) -> Path:
    """Where a node's private files are kept while the lab exists."""
    return STATE / node


def number(name: str) -> int:
    """The number in hv2 or g13."""
    digits = re.search(r"(\d+)$", name)
    if not digits:
        raise LabError(f"'{name}' has no number at its end (hv1, g1 …)")
    return int(digits.group(1))


def host_address(host: str) -> str:
    return f"{PREFIX}{10 + number(host)}"


def guest_address(guest: str) -> str:
    value = 100 + number(guest)
    if not 100 < value < 255:
        raise LabError(f"guest '{guest}': numbers 1 to 154 have an address")
    return f"{PREFIX}{value}"


def guest_mac(guest: str) -> str:
    return f"52:54:00:77:00:{number(guest):02x}"
