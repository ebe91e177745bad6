"""A copy of this machine that nothing outlasts: an overlay over `/` and a network with nothing but loopback.

Packages are installed into it and commands of the documentation are run in it, as root, without a service manager.
"""

import os
import shutil
import subprocess
import time
from pathlib import Path


def unavailable() -> str | None:
    """Why there can be none here."""
    if os.geteuid() != 0:
        return "only root mounts file systems"
    missing = [name for name in ("unshare", "nsenter", "setpriv", "ip") if not shutil.which(name)]
    if missing:
        return f"{', '.join(missing)} not installed"
    probe = subprocess.run(
        ["unshare", "--mount", "--net", "sh", "-c", Machine.MOUNTS, "sh", "true"], capture_output=True
    )
    return f"no overlay over / here: {probe.stderr.decode().strip()}" if probe.returncode else None


class Machine:
    """It lives as long as a shell in its namespace, which runs whatever is asked for, one after the other."""

    MOUNTS = """
set -e
ip link set lo up
mount --make-rprivate /
mount -t tmpfs tmpfs /mnt
mkdir /mnt/upper /mnt/work /mnt/merged
mount -t overlay overlay -o lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work /mnt/merged
mount -t proc proc /mnt/merged/proc
mount --rbind /dev /mnt/merged/dev
mkdir -p /mnt/merged/run && mount -t tmpfs tmpfs /mnt/merged/run
mount -t tmpfs tmpfs /mnt/merged/tmp && chmod 1777 /mnt/merged/tmp
exec chroot /mnt/merged "$@"
"""

    def __init__(self):
        self.shell = subprocess.Popen(
            ["unshare", "--mount", "--net", "sh", "-c", self.MOUNTS, "sh", "sleep", "infinity"],
            start_new_session=True,
        )
        self.processes: list[subprocess.Popen] = []
        while not self.is_made():
            assert self.shell.poll() is None, "the machine was not made"
        self.path("/srv/hotset").mkdir()

    def is_made(self) -> bool:
        try:
            return Path(f"/proc/{self.shell.pid}/comm").read_text() == "sleep\n"
        except OSError:
            return False

    def path(self, inside: str) -> Path:
        """As it is seen from outside."""
        return Path(f"/proc/{self.shell.pid}/root{inside}")

    def enter(self, command: list) -> list[str]:
        namespace = [
            "nsenter",
            "--target",
            str(self.shell.pid),
            "--mount",
            "--net",
            "--root",
            f"--wd={self.path('/srv/hotset')}",
        ]
        return [*namespace, *(str(word) for word in command)]

    PLAIN = {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/srv",
        "LC_ALL": "C",
    }

    def run(self, *command: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            self.enter(command), env=self.PLAIN, capture_output=True, text=True, timeout=120
        )

    def ok(self, *command: str) -> str:
        done = self.run(*command)
        logs = [log.read_text() for log in self.path("/srv").glob("*.log")]
        assert done.returncode == 0, (command, done.stdout, done.stderr, logs)
        return done.stdout

    def start(self, name: str, command: list, env: dict[str, str] | None = None) -> subprocess.Popen:
        """In the background; its output goes to `/srv/NAME.log`."""
        with self.path(f"/srv/{name}.log").open("ab") as log:
            process = subprocess.Popen(
                self.enter(command), env=self.PLAIN | (env or {}), stdout=log, stderr=log
            )
        self.processes.append(process)
        return process

    def wait_for(self, *command: str) -> str:
        """Runs a command until it succeeds."""
        deadline = time.monotonic() + 30
        while (done := self.run(*command)).returncode != 0:
            logs = [log.read_text() for log in self.path("/srv").glob("*.log")]
            assert time.monotonic() < deadline, (done.stderr, logs)
            time.sleep(0.1)
        return done.stdout

    def stop(self) -> None:
        for process in [*self.processes, self.shell]:
            process.kill()
            process.wait()
