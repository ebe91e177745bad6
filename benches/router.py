#!/usr/bin/env python3
"""What a router costs: CPU time of HAProxy and of Envoy for each request and each gigabyte, beside that of hotset.

    cargo build --release --locked && .ci/setup router
    target/router/venv/bin/python benches/router.py [--seconds 5] [--connections 16]

Three hotsets serve hits from memory over loopback, without TLS, to clients that keep their connections: directly, and
through each router with its file of conf/router.
"""

import argparse
import asyncio
import random
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests" / name) for name in ("router", "clients")]

from fleet import ENGINES, Fleet, Origin  # noqa: E402
from load import Client, content  # noqa: E402

KIB = 1024
SIZES = {4 * KIB: 300, 64 * KIB: 200, 1024 * KIB: 40, 8192 * KIB: 8}
"""Bytes of an object, and how many there are."""
READ = 256 * KIB


def path_of(size: int, number: int) -> str:
    return f"/bench/{size}-{number}"


async def get(reader, writer, path: str) -> None:
    writer.write(f"GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode())
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    assert head.startswith(b"http/1.1 200") and b"; hit" in head, head
    left = int(head.split(b"content-length: ")[1].split(b"\r\n")[0])
    while left:
        left -= len(await reader.read(min(left, READ)))


async def client(port: int, direct: bool, size: int, deadline: float) -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2 * READ)
    if direct:
        writer.write(b"PROXY TCP4 127.0.0.1 127.0.0.1 1 1\r\n")
    done = 0
    while time.monotonic() < deadline:
        await get(reader, writer, path_of(size, random.randrange(SIZES[size])))
        done += 1
    writer.close()
    return done


def measure(fleet: Fleet, ports: list[int], cpu, size: int, arguments) -> tuple[float, float]:
    """Microseconds of CPU for each request: of the router, and of all hotsets together."""

    async def all_clients() -> int:
        deadline = time.monotonic() + arguments.seconds
        direct = len(ports) > 1
        each = [client(ports[n % len(ports)], direct, size, deadline) for n in range(arguments.connections)]
        return sum(await asyncio.gather(*each))

    def spent() -> tuple[float, float]:
        return cpu(), sum(replica.cpu() for replica in fleet.replicas)

    before = spent()
    requests = asyncio.run(all_clients())
    after = spent()
    return tuple((end - begin) / requests * 1e6 for begin, end in zip(before, after, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--hotset", type=Path, default=ROOT / "target/release/hotset")
    arguments = parser.parse_args()
    engines = [name for name, (_, found) in ENGINES.items() if found]
    with tempfile.TemporaryDirectory() as folder:
        origin = Origin(arguments.hotset, Path(folder)).wait()
        fleet = Fleet(arguments.hotset, Path(folder), origin, engines, log={"access": "off"})
        try:
            fill(fleet)
            print("object    through       CPU for a request, us      CPU for a GB, s")
            print("                          router      hotset      router      hotset")
            for size in SIZES:
                rows = {"(directly)": ([replica.port for replica in fleet.replicas], lambda: 0.0)}
                rows |= {router.name: ([router.port], router.cpu) for router in fleet.routers}
                for name, (ports, cpu) in rows.items():
                    router, hotset = measure(fleet, ports, cpu, size, arguments)
                    of_gb = [value / size * 1e3 for value in (router, hotset)]
                    costs = f"{router:12.1f}{hotset:12.1f}{of_gb[0]:12.3f}{of_gb[1]:12.3f}"
                    print(f"{size // KIB:5} KiB  {name.rpartition('-')[0] or name:12}{costs}", flush=True)
        finally:
            fleet.stop()
            origin.kill()


def fill(fleet: Fleet) -> None:
    """Every object is in the memory of every replica."""
    client = Client([fleet.origin.port])
    assert client.once("PUT", "/bench").status == 200
    for size, count in SIZES.items():
        for number in range(count):
            path = path_of(size, number)
            assert client.once("PUT", path, content(path, size)).status == 200
    for replica in fleet.replicas:
        asyncio.run(warm(replica.port))


async def warm(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2 * READ)
    writer.write(b"PROXY TCP4 127.0.0.1 127.0.0.1 1 1\r\n")
    for size, count in SIZES.items():
        for number in range(count):
            writer.write(f"GET {path_of(size, number)} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode())
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            await reader.readexactly(int(head.split(b"content-length: ")[1].split(b"\r\n")[0]))


if __name__ == "__main__":
    main()
