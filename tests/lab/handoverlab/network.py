"""One flat network per lab: a bridge in the switch node, a cable to every other node.

There is no uplink: nothing of the lab can reach the machine's network, nor the other way round.
"""

from . import nodes, settings
from .run import run

BRIDGE = "sw0"


def start_switch() -> None:
    """The bridge that every cable goes to."""
    if nodes.find(settings.SWITCH) is not None:
        return
    nodes.start(settings.SWITCH, [{"kind": "tmpfs", "target": "/run"}])
    nodes.in_network(settings.SWITCH, ["ip", "link", "add", BRIDGE, "type", "bridge", "forward_delay", "0"])
    nodes.in_network(settings.SWITCH, ["ip", "link", "set", BRIDGE, "up"])


def connect(node: str, address: str, *, bridge: str | None = None) -> None:
    """A cable from the switch to the node's eth0, unless it is there; with a bridge the address goes there.

    When a node ends, its end of the cable is gone, and the switch's end with it; and the other way round.
    """
    port = f"p-{node}"
    if nodes.in_network(settings.SWITCH, ["ip", "link", "show", port], check=False).returncode == 0:
        return
    run(["nsenter", f"--net=/proc/{nodes.pid_of(settings.SWITCH)}/ns/net", "--",
         "ip", "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", nodes.pid_of(node)])
    nodes.in_network(settings.SWITCH, ["ip", "link", "set", port, "master", BRIDGE, "up"])
    carrier = "eth0"
    if bridge:
        carrier = bridge
        if nodes.in_network(node, ["ip", "link", "show", bridge], check=False).returncode != 0:
            nodes.in_network(node, ["ip", "link", "add", bridge, "type", "bridge", "forward_delay", "0"])
        nodes.in_network(node, ["ip", "link", "set", "eth0", "master", bridge])
        nodes.in_network(node, ["ip", "link", "set", bridge, "up"])
    nodes.in_network(node, ["ip", "link", "set", "eth0", "up"])
    nodes.in_network(node, ["ip", "address", "replace", f"{address}/24", "dev", carrier])


def cable(node: str, plugged: bool) -> None:
    """Pull a node's cable, or plug it in again: a partition without a crash."""
    nodes.in_network(settings.SWITCH, ["ip", "link", "set", f"p-{node}", "up" if plugged else "down"])
