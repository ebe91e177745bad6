#!/usr/bin/env python3
"""How stale readers see objects that are written behind hotset's back, by each road that events take.

    make test        # once: builds hotset with its receivers, and installs the servers
    target/venv/bin/python benches/staleness.py [--writes 200] [--road NAME ...]

Real S3 servers with real notifications: Ceph's gateway posts to hotset's webhook, moto's S3 notifies its SQS, SNS and
EventBridge. Readers read all the time; a writer overwrites at the origin. Printed for each road: how long after a
write was done readers still got what was before it. The rule's ttl is an hour: without events it would be that.
"""

import argparse
import os
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "clients"))

from compare import Caller  # noqa: E402
from hotset import Hotset  # noqa: E402
from servers import Unavailable, start_moto, start_radosgw  # noqa: E402
from test_events import Notified  # noqa: E402
from test_sqs import ROADS, Aws  # noqa: E402

READERS = 4
KEYS = [f"key-{n}" for n in range(8)]


class Race:
    """Readers of a few keys, and when each version of them was written."""

    def __init__(self, write, endpoint, bucket: str):
        self.write, self.endpoint, self.bucket = write, endpoint, bucket
        self.written = {key: [] for key in KEYS}
        """When the write of each version was done."""
        self.reads: list[tuple[str, float, int]] = []
        """Key, when the read began, and the version that it got."""
        self.over = threading.Event()

    def run(self, writes: int) -> tuple[list[float], int, int]:
        """For each write, how long after it was done a read still began that got an older version."""
        for key in KEYS:
            self.put(key)
        readers = [threading.Thread(target=self.read) for _ in range(READERS)]
        for reader in readers:
            reader.start()
        for number in range(writes):
            self.put(KEYS[number % len(KEYS)])
            time.sleep(0.02)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and not self.settled():
            time.sleep(0.1)
        self.over.set()
        for reader in readers:
            reader.join()
        return self.staleness()

    def put(self, key: str) -> None:
        version = len(self.written[key])
        self.write(self.bucket, key, b"%08d" % version)
        self.written[key].append(time.monotonic())

    def read(self) -> None:
        caller, number = Caller(self.endpoint), 0
        while not self.over.is_set():
            key, number = KEYS[number % len(KEYS)], number + 1
            began = time.monotonic()
            answer = caller("get_object", Bucket=self.bucket, Key=key)
            if answer.status == 200:
                self.reads.append((key, began, int(answer.body)))

    def settled(self) -> bool:
        last = {key: version for key, _, version in self.reads[-200:]}
        return all(last.get(key) == len(self.written[key]) - 1 for key in KEYS)

    def staleness(self) -> tuple[list[float], int, int]:
        longest = {(key, n): 0.0 for key in KEYS for n in range(1, len(self.written[key]))}
        stale = 0
        for key, began, version in self.reads:
            missed = [n for n in range(version + 1, len(self.written[key])) if self.written[key][n] < began]
            stale += bool(missed)
            for newer in missed:
                longest[key, newer] = max(longest[key, newer], began - self.written[key][newer])
        return sorted(longest.values()), stale, len(self.reads)


def report(road: str, race: Race, writes: int) -> None:
    ages, stale, reads = race.run(writes)
    at = lambda share: f"{1000 * ages[min(len(ages) - 1, int(len(ages) * share))]:9.1f}"
    print(f"| {road:30} | {at(0.5)} | {at(0.9)} | {at(0.99)} | {at(1.0)} | {stale:6} of {reads:6} |", flush=True)


def by_webhook(server, program: Path, folder: Path, persistent: bool) -> tuple[Race, Hotset]:
    notified = Notified(server, program, folder, "trust")
    return Race(notified.put, notified.hotset, notified.bucket(persistent)), notified.hotset


def by_queue(aws: Aws, wire, program: Path, folder: Path) -> tuple[Race, Hotset]:
    url, arn = aws.queue()
    bucket = wire(aws, arn)
    hotset = Hotset(program, folder, aws.moto, "trust", events={"sqs": [{"queue": url}]})
    write = lambda bucket, key, body: aws.s3.put_object(Bucket=bucket, Key=key, Body=body)
    return Race(write, hotset, bucket), hotset


def roads(program: Path, folder: Path):
    """Names, and how each is made."""
    place = lambda: Path(tempfile.mkdtemp(dir=folder))
    try:
        ceph = start_radosgw(place())
        yield "Ceph, at once", lambda: by_webhook(ceph, program, place(), False)
        yield "Ceph, from its queue", lambda: by_webhook(ceph, program, place(), True)
        ceph.stop()
    except Unavailable as why:
        print(f"no Ceph: {why}", file=sys.stderr)
    moto = start_moto(place())
    yield "moto: S3 to SNS to HTTP", lambda: by_webhook(moto, program, place(), False)
    for name, wire in ROADS.items():
        yield f"moto: {name}", lambda wire=wire: by_queue(Aws(moto), wire, program, place())
    moto.stop()


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--writes", type=int, default=200)
    arguments.add_argument("--road", action="append", help="only roads whose name holds this")
    chosen = arguments.parse_args()
    program = Path(os.environ.get("HOTSET", ROOT / "target" / "debug" / "hotset")).resolve()
    print("| road                           | half, ms  | 90 %      | 99 %      | most      | stale reads      |")
    print("|--------------------------------|-----------|-----------|-----------|-----------|------------------|")
    with tempfile.TemporaryDirectory() as folder:
        for name, make in roads(program, Path(folder)):
            if chosen.road and not any(part in name for part in chosen.road):
                continue
            race, hotset = make()
            report(name, race, chosen.writes)
            hotset.stop()


if __name__ == "__main__":
    main()
