"""Child processes of the tests: free ports, a clean environment, waiting, logs, a certain end."""

import itertools
import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from contextlib import closing
from pathlib import Path


PORTS = itertools.cycle(range(32_000, 12_000, -1))
"""Below those that Linux gives to whoever asks for any: nobody takes one by chance."""


def free_port() -> int:
    """A port that nothing listens on now."""
    for port in PORTS:
        with closing(socket.socket()) as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("an endless range has ended")


def environment(**extra: str) -> dict[str, str]:
    """This process's environment without the AWS settings of whoever runs the tests."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    clean |= {
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "NO_PROXY": "*",
    }
    return clean | extra


class Process:
    """A server in a session of its own, its output in a file, stopped for certain at the end."""

    def __init__(self, name: str, command: list, log: Path, env: dict[str, str]):
        self.name, self.log = name, log
        with log.open("ab") as output:
            self.child = subprocess.Popen(
                [str(word) for word in command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=env,
                start_new_session=True,
            )

    def wait_until(self, ready, seconds: float = 30) -> None:
        """Polls `ready()` until it is true; an end or a timeout shows the log's last lines."""
        deadline = time.monotonic() + seconds
        while not ready():
            if self.child.poll() is not None:
                raise RuntimeError(f"{self.name} ended with {self.child.returncode}:\n{self.tail()}")
            if time.monotonic() > deadline:
                self.stop()
                raise RuntimeError(f"{self.name} is not ready after {seconds} s:\n{self.tail()}")
            time.sleep(0.05)

    def tail(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-30:])

    def stop(self, seconds: float = 10) -> int:
        """SIGTERM, then SIGKILL; the exit code."""
        self.child.terminate()
        try:
            return self.child.wait(seconds)
        except subprocess.TimeoutExpired:
            self.child.kill()
            return self.child.wait()


def answers(url: str) -> bool:
    """Whether anything at all speaks HTTP there."""
    try:
        urllib.request.urlopen(url, timeout=5).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


def answers_ok(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False
