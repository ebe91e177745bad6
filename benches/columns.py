#!/usr/bin/env python3
"""Five of 200 columns of a cold Parquet file by pyarrow and polars: wall time and bytes, against going direct.

    make test        # once: builds hotset, and installs the clients
    target/venv/bin/python benches/columns.py [--rounds 11] [--rows 200000] [--hotset target/try/hotset]

The origin answers after 30 ms and sends 80 MB/s a connection, as S3 does from another region. Each round reads a file that
nobody read before, direct and through hotset in its default configuration, in turns.
"""

import argparse
import asyncio
import hashlib
import io
import multiprocessing
import random
import re
import statistics
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "clients"))

import polars  # noqa: E402
import pyarrow  # noqa: E402
import pyarrow.fs  # noqa: E402
import pyarrow.parquet  # noqa: E402
from processes import Process, answers_ok, environment, free_port  # noqa: E402

DELAY = 0.030
"""Seconds to the first byte of each response."""
RATE = 80_000_000
"""Bytes a second of one connection."""
CHUNK = 256 << 10
COLUMNS = [f"c{number}" for number in (3, 50, 51, 120, 199)]
WALL, BYTES = 0.8, 1.3
"""Most that a read through hotset may take, as a share of direct."""
SECRET = "not-a-secret"


class Origin:
    """Serves the same bytes under every key, each an object of its own; runs in a process of its own."""

    def __init__(self, body: bytes):
        self.body, self.port = body, free_port()
        self.sent, self.requests = multiprocessing.Value("q", 0), multiprocessing.Value("q", 0)
        self.ready = multiprocessing.Event()
        self.process = multiprocessing.Process(target=lambda: asyncio.run(self.serve()), daemon=True)
        self.process.start()
        assert self.ready.wait(30), "the origin does not start"

    async def serve(self) -> None:
        server = await asyncio.start_server(self.connection, "127.0.0.1", self.port, backlog=256)
        self.ready.set()
        await server.serve_forever()

    async def connection(self, reader, writer) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                await self.answer(head, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def answer(self, head: str, writer) -> None:
        method, target = head.split(" ", 2)[:2]
        start, end, status = 0, len(self.body), "200 OK"
        fields = [
            f'ETag: "{hashlib.md5(target.split("?")[0].encode()).hexdigest()}"',
            "Last-Modified: Tue, 04 Mar 2025 10:20:30 GMT",
            "Accept-Ranges: bytes",
            "Content-Type: binary/octet-stream",
        ]
        if asked := re.search(r"(?im)^range: bytes=(\d*)-(\d*)\r$", head):
            first, last = asked.groups()
            start = int(first) if first else max(0, end - int(last))
            end = min(end, int(last) + 1) if first and last else end
            status = "206 Partial Content"
            fields.append(f"Content-Range: bytes {start}-{end - 1}/{len(self.body)}")
        fields.append(f"Content-Length: {end - start}")
        await asyncio.sleep(DELAY)
        writer.write(f"HTTP/1.1 {status}\r\n".encode() + "".join(f"{field}\r\n" for field in fields).encode() + b"\r\n")
        with self.requests.get_lock():
            self.requests.value += 1
        if method == "GET":
            await self.send(start, end, writer)
        await writer.drain()

    async def send(self, start: int, end: int, writer) -> None:
        began, first = time.monotonic(), start
        while start < end:
            until = min(end, start + CHUNK)
            writer.write(self.body[start:until])
            await writer.drain()
            with self.sent.get_lock():
                self.sent.value += until - start
            start = until
            late = (start - first) / RATE - (time.monotonic() - began)
            if late > 0 and start < end:
                await asyncio.sleep(late)


def table(rows: int) -> bytes:
    """A file of 200 columns of doubles in row groups of 50,000 rows."""
    source = random.Random(7)
    column = lambda: [None, pyarrow.py_buffer(source.randbytes(8 * rows))]  # noqa: E731
    columns = {f"c{n}": pyarrow.Array.from_buffers(pyarrow.float64(), rows, column()) for n in range(200)}
    target = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table(columns), target, row_group_size=50_000, compression="none")
    return target.getvalue()


def files(endpoint: str) -> pyarrow.fs.S3FileSystem:
    return pyarrow.fs.S3FileSystem(
        access_key="reader", secret_key=SECRET, region="us-east-1", scheme="http", endpoint_override=endpoint
    )


def pyarrow_table(endpoint: str, key: str):
    return pyarrow.parquet.read_table(f"data/{key}", filesystem=files(endpoint), columns=COLUMNS)


def pyarrow_row_groups(endpoint: str, key: str):
    with files(endpoint).open_input_file(f"data/{key}") as source:
        found = pyarrow.parquet.ParquetFile(source, pre_buffer=True)
        return [found.read_row_group(group, columns=COLUMNS) for group in range(found.num_row_groups)]


def polars_scan(endpoint: str, key: str):
    options = {
        "aws_access_key_id": "reader",
        "aws_secret_access_key": SECRET,
        "aws_region": "us-east-1",
        "aws_endpoint_url": f"http://{endpoint}",
        "aws_allow_http": "true",
    }
    return polars.scan_parquet(f"s3://data/{key}", storage_options=options).select(COLUMNS).collect()


READERS = {
    "pyarrow, whole table": pyarrow_table,
    "pyarrow, by row group": pyarrow_row_groups,
    "polars": polars_scan,
}


def start(program: Path, folder: Path, origin: Origin) -> tuple[Process, str, str]:
    listen, admin = free_port(), free_port()
    config = folder / "hotset.yaml"
    config.write_text(
        f"listen: [{{ address: '127.0.0.1:{listen}' }}]\nadmin: {{ address: '127.0.0.1:{admin}' }}\n"
        f"origin: {{ endpoint: 'http://127.0.0.1:{origin.port}', region: us-east-1 }}\ncache: {{ memory: 256MiB }}\n"
    )
    keys = {"AWS_ACCESS_KEY_ID": "origin", "AWS_SECRET_ACCESS_KEY": SECRET}
    process = Process("hotset", [program, "serve", "--config", config], folder / "hotset.log", environment(**keys))
    process.wait_until(lambda: answers_ok(f"http://127.0.0.1:{admin}/readyz"))
    return process, f"127.0.0.1:{listen}", f"127.0.0.1:{admin}"


def measure(read, endpoint: str, key: str, origin: Origin) -> tuple[float, int, int]:
    """Seconds, and what the origin sent: bytes and responses, also those that came after the read."""
    before = (origin.sent.value, origin.requests.value)
    began = time.monotonic()
    read(endpoint, key)
    took = time.monotonic() - began
    last = -1
    while last != origin.sent.value:
        last = origin.sent.value
        time.sleep(0.1)
    return took, origin.sent.value - before[0], origin.requests.value - before[1]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--hotset", type=Path, default=ROOT / "target/try/hotset")
    asked = parser.parse_args()
    origin = Origin(table(asked.rows))
    direct, missed = f"127.0.0.1:{origin.port}", 0
    print(f"file of {len(origin.body) / 1e6:.0f} MB, {asked.rows:,} rows; medians of {asked.rounds} rounds")
    with tempfile.TemporaryDirectory() as folder:
        process, through, _ = start(asked.hotset, Path(folder), origin)
        # Fills the cache: memory that the machine has not used yet is slow to touch, which a server pays once.
        with files(through).open_input_stream("data/touched") as source:
            while source.read(16 << 20):
                pass
        for name, read in READERS.items():
            rounds = []
            measure(read, direct, "warm-up", origin)
            for number in range(asked.rounds):
                key = f"{name.replace(' ', '-').replace(',', '')}-{number}.parquet"
                both = [(direct, f"direct-{key}"), (through, key)]
                found = {where: measure(read, where, at, origin) for where, at in (both if number % 2 else both[::-1])}
                rounds.append((found[direct], found[through]))
            wall = statistics.median(ours[0] / theirs[0] for theirs, ours in rounds)
            size = statistics.median(ours[1] / theirs[1] for theirs, ours in rounds)
            middle = [statistics.median(of[side][part] for of in rounds) for side in (0, 1) for part in (0, 1, 2)]
            verdict = "ok" if wall <= WALL and size <= BYTES else "MISSED"
            missed += verdict != "ok"
            print(
                f"{name:22} wall {wall:.2f} of direct (bar {WALL}), bytes {size:.2f} (bar {BYTES}) {verdict}; "
                f"direct {middle[0] * 1e3:.0f} ms, {middle[1] / 1e6:.1f} MB, {middle[2]:.0f} requests; "
                f"hotset {middle[3] * 1e3:.0f} ms, {middle[4] / 1e6:.1f} MB, {middle[5]:.0f} requests"
            )
        process.stop(40)
    return missed > 0


if __name__ == "__main__":
    sys.exit(main())
