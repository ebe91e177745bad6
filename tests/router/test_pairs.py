"""A read after a write sees it, through whatever routers both go, while replicas die, freeze and come back.

PAIRS is how many writes and reads: 2000 unless it says otherwise.
"""

import base64
import hashlib
import json
import os
import random
import signal
import threading
import time
from dataclasses import dataclass, field

import pytest
from conftest import needed
from fleet import ROOT, Fleet
from load import Client, in_parallel

PAIRS = int(os.environ.get("PAIRS", "2000"))
THREADS, KEYS = 8, 24
"""Each thread has keys of its own, so that it knows what it wrote last."""
TRIES = 60
BUCKET = "/pairs"


@dataclass
class Pairs:
    """Writes, each with a read after it through the other router."""

    fleet: Fleet
    number: int
    old: list[str] = field(default_factory=list)
    late: int = 0
    """Reads of what the origin has: a frozen replica sent on a write that its client had given up."""
    done: int = 0

    def __post_init__(self):
        ports = [router.port for router in self.fleet.routers]
        self.clients = [Client([port], timeout=30) for port in ports]
        self.direct = Client([self.fleet.origin.port])
        self.random = random.Random(self.number)
        self.version = 0
        self.written: dict[str, bytes | None] = {}

    def run(self, count: int) -> None:
        for _ in range(count):
            key = f"{BUCKET}/{self.number}-{self.random.randrange(KEYS)}"
            writer, reader = self.random.sample(self.clients, 2)
            kind = self.random.choices([self.put, self.delete_many, self.copy], [20, 1, 1])[0]
            kind(writer, key)
            self.check(reader, key)
            self.done += 1

    def until_answered(
        self, client: Client, method: str, path: str, body, expected: set[int], **headers: str
    ):
        """Asks until it is known what happened."""
        for _ in range(TRIES):
            outcome = client.once(method, path, body, **headers)
            if outcome.status in expected:
                return outcome
            assert outcome.status in (0, 429, 500, 502, 503, 504), (method, path, outcome)
        raise AssertionError(f"{method} {path}: {outcome}")

    def new_body(self, key: str) -> bytes:
        self.version += 1
        return f"{key} {self.version:08} ".encode() * self.random.randrange(1, 200)

    def put(self, client: Client, key: str) -> None:
        body = self.new_body(key)
        self.until_answered(client, "PUT", key, body, {200})
        self.written[key] = body

    def delete_many(self, client: Client, key: str) -> None:
        """The request names the bucket, whose home is another replica than the key's."""
        name = key.rpartition("/")[2]
        body = f"<Delete><Quiet>true</Quiet><Object><Key>{name}</Key></Object></Delete>".encode()
        digest = base64.b64encode(hashlib.md5(body).digest()).decode()
        self.until_answered(client, "POST", f"{BUCKET}?delete", body, {200}, **{"Content-MD5": digest})
        self.written[key] = None

    def copy(self, client: Client, key: str) -> None:
        source = f"{BUCKET}/{self.number}-source"
        body = self.new_body(source)
        self.until_answered(client, "PUT", source, body, {200})
        self.until_answered(client, "PUT", key, None, {200}, **{"x-amz-copy-source": source})
        self.written[key] = body

    def check(self, client: Client, key: str) -> None:
        outcome = self.until_answered(client, "GET", key, None, {200, 404})
        seen = outcome.body if outcome.status == 200 else None
        if seen == self.written[key]:
            return
        there = self.until_answered(self.direct, "GET", key, None, {200, 404})
        if seen == (there.body if there.status == 200 else None):
            self.late += 1
            self.written[key] = seen
        else:
            self.old.append(f"{key}: {short(seen)} was read, {short(self.written[key])} written")


def short(body: bytes | None) -> str:
    return body[:40].decode() if body else "nothing"


class Accidents(threading.Thread):
    """One after the other until it is told to stop: killed, frozen, drained, and back."""

    def __init__(self, fleet: Fleet):
        super().__init__()
        self.fleet, self.over, self.happened = fleet, threading.Event(), []
        self.random = random.Random(7)
        self.failure: BaseException | None = None

    def run(self) -> None:
        accidents = [self.kill, self.freeze, self.drain]
        try:
            while not self.over.is_set():
                accident = accidents[len(self.happened) % len(accidents)]
                accident(self.random.choice(self.fleet.replicas))
                self.happened.append(accident.__name__)
                self.everybody(3)
                self.over.wait(self.random.uniform(0, 6))
        except BaseException as failure:
            self.failure = failure

    def everybody(self, replicas: int) -> None:
        for router in self.fleet.routers:
            router.wait(replicas)

    def kill(self, replica) -> None:
        replica.kill()
        self.over.wait(self.random.uniform(0, 2))
        replica.start()
        replica.wait()

    def freeze(self, replica) -> None:
        replica.signal(signal.SIGSTOP)
        # Shorter and longer than routers need to see it.
        self.over.wait(self.random.uniform(0.1, 8))
        replica.signal(signal.SIGCONT)

    def drain(self, replica) -> None:
        replica.signal(signal.SIGTERM)
        replica.process.child.wait(40)
        replica.start()
        replica.wait()


@pytest.fixture
def replicated(program, origin, tmp_path):
    schema = json.loads((ROOT / "conf/hotset.schema.json").read_text())
    if "cluster" not in schema["properties"]:
        pytest.skip("this hotset has no cluster.peers")
    running = Fleet(
        program, tmp_path, origin, needed("haproxy", "haproxy"), peers=True, shutdown={"delay": "1s"}
    )
    yield running
    running.stop()


def test_no_read_after_a_write_is_old_whatever_happens_to_replicas(replicated):
    assert Client([replicated.origin.port]).once("PUT", BUCKET).status == 200
    pairs = [Pairs(replicated, number) for number in range(THREADS)]
    accidents = Accidents(replicated)
    accidents.start()
    begun = time.monotonic()
    try:
        in_parallel(lambda number: pairs[number].run(PAIRS // THREADS), THREADS)
    finally:
        accidents.over.set()
        accidents.join()
    took = time.monotonic() - begun
    done, late = sum(one.done for one in pairs), sum(one.late for one in pairs)
    old = [text for one in pairs for text in one.old]
    happened = f"{done} pairs in {took:.0f} s, {len(accidents.happened)} accidents"
    print(f"{happened}: {len(old)} old, {late} late writes")
    assert old == []
    assert accidents.failure is None and len(accidents.happened) >= 3
