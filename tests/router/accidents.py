"""What happens to replicas one after the other: killed, frozen, ended, and back."""

import http.client
import random
import signal
import threading
import time
from collections import Counter

from fleet import Fleet, Replica


class Accidents(threading.Thread):
    """Happens until it is told to stop. An accident that fails is noted, and the next one happens all the same."""

    def __init__(self, fleet: Fleet):
        super().__init__()
        self.fleet, self.over = fleet, threading.Event()
        self.happened, self.failures = Counter(), []
        self.random = random.Random(7)
        self.history: list[tuple[float, str]] = []
        """When a step of which accident was taken."""

    def run(self) -> None:
        accidents = [self.kill, self.freeze, self.drain]
        while not self.over.is_set():
            accident = accidents[self.happened.total() % len(accidents)]
            replica = self.random.choice(self.fleet.replicas)
            try:
                accident(replica)
                self.note(f"{replica.name} is back")
                self.everybody(3)
                self.note("all routers see all replicas")
            except Exception as failure:
                self.failures.append(f"{accident.__name__} of {replica.name}: {failure!r}")
                self.note(self.failures[-1])
            self.happened[accident.__name__] += 1
            self.over.wait(self.random.uniform(0, 6))

    def note(self, what: str) -> None:
        self.history.append((time.monotonic(), what))

    def lately(self, now: float) -> str:
        """The last steps before a moment, and how long before."""
        steps = [f"{now - at:.2f} s after {what}" for at, what in self.history[-6:] if at <= now]
        return "; ".join(reversed(steps)) or "nothing happened yet"

    def everybody(self, replicas: int) -> None:
        for router in self.fleet.routers:
            patiently(lambda router=router: router.wait(replicas))

    def kill(self, replica: Replica) -> None:
        self.note(f"{replica.name} is killed")
        replica.kill()
        self.over.wait(self.random.uniform(0, 2))
        self.begin(replica)

    def freeze(self, replica: Replica) -> None:
        # Shorter and longer than others need to see it.
        seconds = self.random.uniform(0.1, 8)
        self.note(f"{replica.name} is frozen for {seconds:.1f} s")
        replica.signal(signal.SIGSTOP)
        try:
            self.over.wait(seconds)
        finally:
            replica.signal(signal.SIGCONT)

    def drain(self, replica: Replica) -> None:
        self.note(f"{replica.name} is told to end")
        replica.signal(signal.SIGTERM)
        replica.process.child.wait(40)
        self.begin(replica)

    def begin(self, replica: Replica) -> None:
        self.note(f"{replica.name} starts")
        replica.start()
        patiently(replica.wait)


def patiently(wait, tries: int = 3) -> None:
    """`wait()`, again when a connection breaks under it."""
    for left in reversed(range(tries)):
        try:
            wait()
            return
        except (OSError, http.client.HTTPException):
            if not left:
                raise
