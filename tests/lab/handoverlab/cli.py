"""The command line of `lab`."""

import argparse
import json
import sys

from . import agent, daemon, domain, guests, hosts, image, lifecycle, network, nodes, settings, state
from .run import LabError, say


def main(argv: list[str]) -> int:
    options = _parser().parse_args(argv)
    try:
        settings.check()
        return options.action(options) or 0
    except LabError as error:
        print(f"lab: error: {error}", file=sys.stderr)
        return 125
    except KeyboardInterrupt:
        print("lab: interrupted", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lab", description="Hosts, guests, a name server and a client on one machine. "
        "LAB_NAME picks the lab (default handover), LAB_CACHE the image cache, LAB_ACCEL=kvm uses KVM. "
        "Exit code 125 is the lab's own failure.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, action, text: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=text, description=text)
        made.set_defaults(action=action)
        return made

    made = command("up", _up, "start what is not there yet; wait until it works")
    made.add_argument("--hosts", type=int, help="how many hosts (default 1)")
    made.add_argument("--guests", type=int, help="how many guests, dealt to the hosts by turns (default 2)")
    made.add_argument("--suite", default="bookworm", choices=settings.SUITES)
    command("down", lambda _: lifecycle.down(), "end every process of the lab, remove its files")
    made = command("image", _image, "build the guests' system image if it is not there yet")
    made.add_argument("--suite", default="bookworm", choices=settings.SUITES)
    made = command("status", _status, "what is there")
    made.add_argument("--json", action="store_true")
    made = command("exec", _exec, "run a command inside a host, dns, client or switch")
    made.add_argument("node")
    made.add_argument("words", nargs=argparse.REMAINDER, metavar="-- COMMAND")
    made = command("guest", _guest, "run a command in a guest through its agent")
    made.add_argument("--stdin", action="store_true", help="send our stdin (small)")
    made.add_argument("--timeout", type=float, default=300)
    made.add_argument("guest")
    made.add_argument("words", nargs=argparse.REMAINDER, metavar="-- COMMAND")
    made = command("daemon", _daemon, "handoverd on a host")
    made.add_argument("--control", action="append", metavar="HOST",
                      help="configure: another host that this daemon controls; can be given again")
    made.add_argument("host")
    made.add_argument("verb", choices=("start", "stop", "restart", "kill", "status", "install", "configure"))
    made.add_argument("words", nargs=argparse.REMAINDER, metavar="-- ARGUMENT")
    made = command("logs", _logs, "handoverd's log on a host")
    made.add_argument("-f", "--follow", action="store_true")
    made.add_argument("host")
    made = command("libvirtd", _libvirtd, "libvirtd on a host; guests stay")
    made.add_argument("host")
    made.add_argument("verb", choices=("start", "stop", "restart", "kill"))
    made = command("host-crash", _host_crash, "power-cut a host: all its processes die; `lab up` starts it again")
    made.add_argument("host")
    made = command("host-define", lambda options: lifecycle.define_host(options.name, options.pool_of),
                   "start one more host")
    made.add_argument("name")
    made.add_argument("--pool-of", metavar="HOST", help="its pool is that host's: guests can be migrated to and fro")
    made = command("host-undefine", lambda options: lifecycle.undefine_host(options.name),
                   "end a host and what runs there, remove its files")
    made.add_argument("name")
    made = command("cable", _cable, "pull or plug a node's network cable")
    made.add_argument("node")
    made.add_argument("verb", choices=("pull", "plug"))
    made = command("guest-kill", _guest_kill, "SIGKILL a guest's QEMU process")
    made.add_argument("guest")
    made = command("guest-wait", _guest_wait, "wait until a guest's agent answers and systemd has booted")
    made.add_argument("guest")
    made.add_argument("--timeout", type=float, default=guests.BOOT_DEADLINE)
    made = command("guest-define", _guest_define, "define and start one more guest, an odd one if asked")
    made.add_argument("name")
    made.add_argument("--host", required=True)
    made.add_argument("--image", dest="suite", default="bookworm", choices=settings.SUITES)
    made.add_argument("--memory", type=int, default=384, help="MiB")
    made.add_argument("--no-scsi", action="store_true", help="no SCSI controller")
    made.add_argument("--no-agent", action="store_true", help="no agent channel")
    made.add_argument("--transient", action="store_true", help="no persistent definition")
    made.add_argument("--readonly-etc", action="store_true", help="/etc is read-only in the guest")
    made.add_argument("--on-crash", default="destroy", choices=("destroy", "restart", "preserve"))
    made.add_argument("--cmdline", default="", help="more kernel command line")
    made.add_argument("--no-start", action="store_true", help="only define it")
    command("cache-clean", lambda _: image.clean_unused(), "remove guest images that no lab's guest uses")
    made = command("guest-undefine", _guest_undefine, "end a guest, remove its domain and disk")
    made.add_argument("name")
    return parser


def _up(options) -> None:
    lifecycle.up(options.hosts, options.guests, options.suite)


def _image(options) -> None:
    image.ensure(options.suite)


def _status(options) -> None:
    report = lifecycle.status()
    if options.json:
        json.dump(report, sys.stdout, indent=1)
        print()
    else:
        lifecycle.print_status(report)


def _command_of(options) -> list[str]:
    words = options.words[1:] if options.words[:1] == ["--"] else options.words
    if not words:
        raise LabError("no command given")
    return words


def _exec(options) -> int:
    return nodes.execute(options.node, _command_of(options))


def _guest(options) -> int:
    words = _command_of(options)
    stdin = sys.stdin.buffer.read() if options.stdin else None
    code, out, err = agent.execute(agent.host_of(options.guest), options.guest, words, stdin=stdin,
                                   timeout=options.timeout)
    sys.stdout.buffer.write(out)
    sys.stdout.flush()
    sys.stderr.buffer.write(err)
    return code


def _daemon(options) -> int:
    host, verb = options.host, options.verb
    nodes.pid_of(host)
    words = options.words[1:] if options.words[:1] == ["--"] else options.words
    if verb == "status":
        answer = daemon.status(host)
        state_word = "ready" if answer.get("ready") else "starting" if answer.get("running") else "down"
        print(f"{state_word} pid={answer.get('pid', '-')} ended={answer.get('ended')} text={answer.get('text', '')}")
        return 0 if answer.get("running") else 3
    if verb == "install":
        daemon.install(host)
    elif verb == "configure":
        daemon.configure(host, force=True, control=options.control)
    elif verb in ("stop", "kill"):
        daemon.stop(host, verb)
    else:
        if verb == "restart":
            daemon.stop(host, "stop")
        daemon.start(host, words)
    return 0


def _logs(options) -> None:
    if options.follow:
        daemon.follow_log(options.host)
    else:
        sys.stdout.buffer.write(daemon.log_text(options.host))


def _libvirtd(options) -> None:
    hosts.libvirtd(options.host, options.verb)


def _host_crash(options) -> None:
    if options.host not in state.load()["hosts"]:
        raise LabError(f"no host '{options.host}' in this lab")
    nodes.kill(nodes.pid_of(options.host), options.host)
    say(f"{options.host}: lost its power")


def _cable(options) -> None:
    network.cable(options.node, options.verb == "plug")


def _guest_kill(options) -> None:
    host = agent.host_of(options.guest)
    nodes.inside(host, ["sh", "-c", 'kill -9 "$(cat /run/libvirt/qemu/"$1".pid)"', "sh", options.guest])


def _guest_wait(options) -> None:
    record = state.load()["guests"].get(options.guest)
    if record is None:
        raise LabError(f"no guest '{options.guest}' in this lab")
    guest = guests.guest_from({**record, "host": agent.host_of(options.guest)})
    guests.wait_up(guest, options.timeout)


def _guest_define(options) -> None:
    with state.locked():
        record = state.load()
        if options.host not in record["hosts"]:
            raise LabError(f"no host '{options.host}' in this lab")
        if options.name in record["guests"]:
            raise LabError(f"guest '{options.name}' is there already")
        guest = domain.Guest(
            name=options.name, host=options.host, suite=options.suite, memory_mib=options.memory,
            image=str(image.ensure(options.suite)), scsi=not options.no_scsi, agent=not options.no_agent, transient=options.transient,
            readonly_etc=options.readonly_etc, on_crash=options.on_crash, extra_cmdline=options.cmdline)
        settings.guest_address(guest.name)
        record["guests"][guest.name] = guests.record_of(guest)
        state.save(record)
        guests.define(guest)
    if not options.no_start:
        guests.bring_up(guest)


def _guest_undefine(options) -> None:
    with state.locked():
        guests.undefine(options.name)
