"""What systemd does for a service with a socket unit: holds the sockets, passes them on, hears what it says."""

import json
import re
import socket
import subprocess
import sys
import threading
from pathlib import Path

from processes import environment

# Becomes the service, as descriptors 3, 4, .. and with its own process id, which only it knows.
LAUNCHER = """
import fcntl, json, os, sys
passed, command = json.loads(sys.argv[1])
moved = [fcntl.fcntl(number, fcntl.F_DUPFD, 100) for number in passed]
for number, descriptor in enumerate(moved):
    os.dup2(descriptor, 3 + number)
    os.close(descriptor)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": str(len(moved))}
os.execv(command[0], command)
"""


class Manager:
    """Sockets that are bound once; services come and go."""

    def __init__(self, folder: Path, addresses: int, watchdog: str = "2000000"):
        self.folder, self.log = folder, folder / "service.log"
        self.sockets = [socket.create_server(("127.0.0.1", 0), backlog=4096) for _ in range(addresses)]
        self.addresses = [held.getsockname() for held in self.sockets]
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notify.bind(str(folder / "notify.sock"))
        self.said: list[tuple[int, str]] = []
        """Lines of states, each with the process that sent it."""
        self.heard = threading.Condition()
        self.env = environment(NOTIFY_SOCKET=str(folder / "notify.sock"), WATCHDOG_USEC=watchdog)
        self.process: subprocess.Popen | None = None
        self.notify.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self) -> None:
        while True:
            data, ancillary, *_ = self.notify.recvmsg(4096, socket.CMSG_SPACE(12))
            sender = int.from_bytes(ancillary[0][2][:4], sys.byteorder)
            with self.heard:
                self.said += [(sender, line) for line in data.decode().splitlines()]
                self.heard.notify_all()

    def start(self, command: list, **extra: str) -> subprocess.Popen:
        """Does not wait for `READY=1`."""
        numbers = [held.fileno() for held in self.sockets]
        asked = json.dumps([numbers, [str(word) for word in command]])
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", LAUNCHER, asked],
                env=self.env | extra,
                pass_fds=numbers,
                stdout=log,
                stderr=log,
            )
        return self.process

    def wait_for(self, state: str, seconds: float = 30) -> str:
        """The first line of the service that runs now that matches a regular expression."""

        def find() -> str | None:
            lines = [line for sender, line in self.said if sender == self.process.pid]
            return next((line for line in lines if re.fullmatch(state, line)), None)

        with self.heard:
            assert self.heard.wait_for(find, seconds), (state, self.said, self.log.read_text())
            return find()

    def stop(self) -> None:
        if self.process:
            self.process.kill()
            self.process.wait()
        for held in self.sockets:
            held.close()
