"""A read after a write sees it, through whatever routers both go, while replicas die, freeze and come back.

PAIRS is how many writes and reads: 2000 unless it says otherwise. PAIRS_THREADS do them: 8.
"""

import base64
import hashlib
import json
import os
import random
import threading
import time
from collections import Counter
from dataclasses import dataclass, field

import pytest
from accidents import Accidents
from conftest import needed
from fleet import ROOT, Fleet
from in_memory import InMemory
from load import Client, Outcome, in_parallel

PAIRS = int(os.environ.get("PAIRS", "2000"))
THREADS, KEYS = int(os.environ.get("PAIRS_THREADS", "8")), 24
"""Each thread has keys of its own, so that it knows what it wrote last."""
TRIES = 60
LEAST = 3
"""Accidents, so that a run counts."""
BUCKET = "/pairs"
REPORT_EVERY = 5000


@dataclass
class Pairs:
    """Writes, each with a read after it through the other router."""

    fleet: Fleet
    accidents: Accidents
    number: int
    old: list[str] = field(default_factory=list)
    late: int = 0
    """Reads of what the origin had: a frozen replica sent on a write that its client had given up."""
    done: int = 0
    answered_by: Counter = field(default_factory=Counter)
    """Reads by `Cache-Status`."""

    def __post_init__(self):
        ports = [router.port for router in self.fleet.routers]
        self.clients = [Client([port], timeout=30) for port in ports]
        self.random = random.Random(self.number)
        self.version = 0
        self.written: dict[str, tuple[bytes | None, float]] = {}
        """The last write of each key, and when it was answered."""

    def run(self, count: int) -> None:
        for _ in range(count):
            key = f"{BUCKET}/{self.number}-{self.random.randrange(KEYS)}"
            writer, reader = self.random.sample(self.clients, 2)
            kind = self.random.choices([self.put, self.delete_many, self.copy], [20, 1, 1])[0]
            kind(writer, key)
            self.check(reader, key)
            self.done += 1
            # And what another replica may know of another key.
            other = self.random.choice(list(self.written))
            self.check(self.random.choice(self.clients), other)

    def until_answered(
        self, client: Client, method: str, path: str, body, expected: set[int], **headers: str
    ) -> Outcome:
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

    def note(self, key: str, body: bytes | None) -> None:
        self.written[key] = (body, time.monotonic())

    def put(self, client: Client, key: str) -> None:
        body = self.new_body(key)
        self.until_answered(client, "PUT", key, body, {200})
        self.note(key, body)

    def delete_many(self, client: Client, key: str) -> None:
        """The request names the bucket, whose home is another replica than the key's."""
        name = key.rpartition("/")[2]
        body = f"<Delete><Quiet>true</Quiet><Object><Key>{name}</Key></Object></Delete>".encode()
        digest = base64.b64encode(hashlib.md5(body).digest()).decode()
        self.until_answered(client, "POST", f"{BUCKET}?delete", body, {200}, **{"Content-MD5": digest})
        self.note(key, None)

    def copy(self, client: Client, key: str) -> None:
        source = f"{BUCKET}/{self.number}-source"
        body = self.new_body(source)
        self.until_answered(client, "PUT", source, body, {200})
        self.until_answered(client, "PUT", key, None, {200}, **{"x-amz-copy-source": source})
        self.note(key, body)

    def check(self, client: Client, key: str) -> None:
        outcome = self.until_answered(client, "GET", key, None, {200, 404})
        end = time.monotonic()
        seen = outcome.body if outcome.status == 200 else None
        status = outcome.headers.get("cache-status", "none")
        self.answered_by[status] += 1
        written, answered = self.written[key]
        if seen == written:
            return
        if short(seen) in self.fleet.origin.had(key, answered, end):
            # It may be written again at any time: what is compared from now on is what was read.
            self.late += 1
            self.written[key] = (seen, answered)
            return
        through = client.connections[0].port
        by = self.replica(outcome.headers.get("x-amz-request-id", "?"))
        self.old.append(
            f"{key}: {short(seen)!r} was read, {short(written)!r} written {end - answered:.3f} s before, through the "
            f"router at {through} and {by}, {status}, {outcome.headers.get('etag')}; {self.accidents.lately(end)}; "
            f"the origin had {self.fleet.origin.had(key, answered - 60, end)}"
        )
        print(f"old: {self.old[-1]}", flush=True)

    def replica(self, request: str) -> str:
        """Who answered a request, by its id in the access logs."""
        for _ in range(20):
            for replica in self.fleet.replicas:
                if request in replica.logged():
                    return replica.name
            time.sleep(0.05)
        return "nobody knows whom"


def short(body: bytes | None) -> str | None:
    return None if body is None else body[:40].decode()


class Progress(threading.Thread):
    """Says now and then how far it is."""

    def __init__(self, pairs: list[Pairs], accidents: Accidents):
        super().__init__(daemon=True)
        self.pairs, self.accidents, self.over = pairs, accidents, threading.Event()
        self.begun = time.monotonic()

    def run(self) -> None:
        said = 0
        while not self.over.wait(1):
            if sum(one.done for one in self.pairs) // REPORT_EVERY > said:
                said += 1
                print(self, flush=True)

    def __str__(self) -> str:
        done, late = sum(one.done for one in self.pairs), sum(one.late for one in self.pairs)
        old = sum(len(one.old) for one in self.pairs)
        reads = sum((one.answered_by for one in self.pairs), Counter())
        return (
            f"{done} pairs in {time.monotonic() - self.begun:.0f} s: {old} old, {late} late writes; "
            f"accidents: {dict(self.accidents.happened)}; {reads.total()} reads: {dict(reads)}"
        )


@pytest.fixture
def replicated(program, tmp_path):
    schema = json.loads((ROOT / "conf/hotset.schema.json").read_text())
    if "cluster" not in schema["properties"]:
        pytest.skip("this hotset has no cluster.peers")
    origin = InMemory(tmp_path)
    running = Fleet(
        program, tmp_path, origin, needed("haproxy", "haproxy"), peers=True, shutdown={"delay": "1s"}
    )
    yield running
    running.stop()
    origin.process.stop()


def test_no_read_after_a_write_is_old_whatever_happens_to_replicas(replicated):
    assert Client([replicated.routers[0].port]).once("PUT", BUCKET).status == 200
    accidents = Accidents(replicated)
    pairs = [Pairs(replicated, accidents, number) for number in range(THREADS)]
    progress = Progress(pairs, accidents)
    accidents.start()
    progress.start()
    try:
        in_parallel(lambda number: pairs[number].run(PAIRS // THREADS), THREADS)
        # On a fast machine they are done before enough has happened.
        for _ in range(100):
            if accidents.failures or accidents.happened.total() >= LEAST:
                break
            in_parallel(lambda number: pairs[number].run(50), THREADS)
    finally:
        for thread in (accidents, progress):
            thread.over.set()
            thread.join()
    print(progress)
    assert [text for one in pairs for text in one.old] == []
    assert accidents.failures == [] and accidents.happened.total() >= LEAST
    assert sum(count for one in pairs for text, count in one.answered_by.items() if "; hit" in text) > PAIRS // 10
