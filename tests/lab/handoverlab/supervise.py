"""Runs inside a host as handoverd's parent: what systemd would be for a Type=notify service.

Gives the daemon a NOTIFY_SOCKET, keeps its log, and answers status, stop and kill on a socket of its
own, so that signals only ever go to a child that has not been reaped. Stays when the daemon has ended,
to tell how; the next start replaces it.
"""

import json
import os
import pwd
import select
import signal
import socket
import subprocess
import sys

NOTIFY = "/run/handoverd-lab/notify"
CLIENT_KEY = "/etc/pki/libvirt/private/clientkey.pem"  # for libvirt on other hosts
DIRECTORIES = {"RUNTIME_DIRECTORY": "/run/handoverd", "STATE_DIRECTORY": "/var/lib/handoverd",
               "CONFIGURATION_DIRECTORY": "/etc/handoverd"}


class Supervisor:
    """One daemon process and what it said about itself."""

    def __init__(self, spec: dict) -> None:
        self.spec = spec
        self.ready = False
        self.text = ""
        self.ended: int | None = None
        self.notify = _bound(NOTIFY, socket.SOCK_DGRAM)
        os.chmod(NOTIFY, 0o777)
        self.quit = False
        self.wake = _wake_on_child()
        self.child = self._spawn()
        self.control = _bound(spec["socket"], socket.SOCK_STREAM)
        self.control.listen(8)

    def _spawn(self) -> subprocess.Popen:
        user = self.spec["user"]
        argv = list(self.spec["argv"])
        environment = dict(os.environ, NOTIFY_SOCKET=NOTIFY)
        for key, path in DIRECTORIES.items():
            os.makedirs(path, exist_ok=True)
            environment[key] = path
        if user != "root":
            account = pwd.getpwnam(user)
            for path in ("/run/handoverd", "/var/lib/handoverd"):
                _give(path, account.pw_uid, account.pw_gid)
            _give("/etc/handoverd/tsig", account.pw_uid, account.pw_gid)
            if os.path.exists(CLIENT_KEY):
                os.chown(CLIENT_KEY, -1, account.pw_gid)
                os.chmod(CLIENT_KEY, 0o640)
            environment.update(HOME=account.pw_dir, USER=user)
            argv = ["setpriv", f"--reuid={user}", f"--regid={account.pw_gid}", "--init-groups",
                    "--inh-caps=-all", "--bounding-set=-all", "--no-new-privs", "--", *argv]
        with open(self.spec["log"], "ab") as log:
            return subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, cwd="/",
                                    start_new_session=True)

    def status(self) -> dict:
        return {"running": self.ended is None, "ready": self.ready and self.ended is None, "pid": self.child.pid,
                "ended": self.ended, "text": self.text}

    def loop(self) -> None:
        """Until somebody says quit: a lab that goes down kills us anyway."""
        while not self.quit:
            readable, _, _ = select.select([self.notify, self.control, self.wake], [], [])
            if self.wake in readable:
                self.wake.recv(4096)
            if self.notify in readable:
                self._heard(self.notify.recv(65536).decode(errors="replace"))
            if self.ended is None:
                self.ended = self.child.poll()
            if self.control in readable:
                self._answer()

    def _heard(self, message: str) -> None:
        for line in message.splitlines():
            if line == "READY=1":
                self.ready = True
            elif line == "RELOADING=1":
                self.ready = False
            elif line.startswith("STATUS="):
                self.text = line[7:]

    def _answer(self) -> None:
        link, _ = self.control.accept()
        with link:
            link.settimeout(2)
            try:
                word = link.makefile().readline().strip()
                if word in ("stop", "kill", "reload") and self.child.poll() is None:
                    self.child.send_signal({"stop": signal.SIGTERM, "kill": signal.SIGKILL,
                                            "reload": signal.SIGHUP}[word])
                self.quit = word == "quit" and self.child.poll() is not None
                self.ended = self.child.poll()
                link.sendall(json.dumps(self.status()).encode() + b"\n")
            except OSError:
                pass


def _wake_on_child() -> socket.socket:
    """Readable whenever a child has ended."""
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    signal.set_wakeup_fd(theirs.detach())
    signal.signal(signal.SIGCHLD, lambda *_: None)
    return ours


def _bound(path: str, kind: int) -> socket.socket:
    if os.path.exists(path):
        os.unlink(path)
    made = socket.socket(socket.AF_UNIX, kind)
    made.bind(path)
    return made


def _give(path: str, uid: int, gid: int) -> None:
    os.chown(path, uid, gid)
    for top, directories, names in os.walk(path):
        for name in directories + names:
            os.chown(os.path.join(top, name), uid, gid, follow_symlinks=False)


if __name__ == "__main__":
    null = os.open("/dev/null", os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(null, standard)
    Supervisor(json.loads(sys.argv[1])).loop()
