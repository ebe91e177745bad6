"""Clients that try once more, as those of S3 do, and count what failed."""

import functools
import http.client
import random
import threading
import time
from collections import Counter
from dataclasses import dataclass, field

PAUSE = (0.2, 1.0)
"""Seconds before another try. Each router learns by one broken request that a replica is gone; at once it would be the
other one's."""


@dataclass
class Outcome:
    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


class Client:
    """One connection to each of several routers, which it uses in turn."""

    def __init__(
        self, ports: list[int], address: str = "127.0.0.1", host: str | None = None, timeout: float = 60
    ):
        here = (address, 0)
        self.connections = [
            http.client.HTTPConnection("127.0.0.1", port, timeout=timeout, source_address=here)
            for port in ports
        ]
        self.next = 0
        self.headers = {"Host": host} if host else {}
        self.tries = Counter()
        """How many requests needed how many tries; 0: they failed."""
        self.slowest = 0.0
        """Seconds of the slowest request, with all its tries."""

    def once(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Outcome:
        connection = self.connections[self.next % len(self.connections)]
        self.next += 1
        try:
            connection.request(method, path, body, self.headers | headers)
            answer = connection.getresponse()
            return Outcome(
                answer.status, answer.read(), {name.lower(): value for name, value in answer.getheaders()}
            )
        except (OSError, http.client.HTTPException):
            connection.close()
            return Outcome(0)

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Outcome:
        """With one more try after a broken connection or a 5xx, and a pause before it, as SDKs make."""
        begun = time.monotonic()
        for tries in (1, 2):
            if tries == 2:
                time.sleep(random.uniform(*PAUSE))
            outcome = self.once(method, path, body, **headers)
            self.slowest = max(self.slowest, time.monotonic() - begun)
            if 0 < outcome.status < 500:
                self.tries[tries] += 1
                return outcome
        self.tries[0] += 1
        return outcome


def in_parallel(work, count: int) -> None:
    """`work(number)` on so many threads; the first failure is raised."""
    failures = []

    def guarded(number: int) -> None:
        try:
            work(number)
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=guarded, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


@functools.cache
def content(path: str, size: int) -> bytes:
    """What is in an object: it depends on its name."""
    return random.Random(path).randbytes(size)
