#!/usr/bin/env python3
"""What `cluster.peers` costs: a hit, a write and nothing at all, beside a hotset that is alone.

    cargo build --release --locked && .ci/setup router
    target/router/venv/bin/python benches/peers.py [--seconds 5] [--connections 8] [--replicas 3]

Clients keep their connections to one of the replicas, over loopback and without TLS. The origin keeps its objects in memory.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests" / name) for name in ("router", "clients")]

from fleet import ADMIN_TOKEN, Replica  # noqa: E402
from in_memory import InMemory  # noqa: E402
from processes import free_port  # noqa: E402

SIZE = 4096
OBJECTS = 100


def start(program: Path, folder: Path, origin: InMemory, count: int, peers: bool) -> list[Replica]:
    addresses = [f"127.0.0.1:{free_port()}" for _ in range(count)]
    cluster = {"cluster": {"peers": addresses}} if peers else {}
    replicas = []
    for number, address in enumerate(addresses):
        admin = {"address": address, "token": ADMIN_TOKEN}
        more = {"log": {"access": "off"}, "auth": {"mode": "trust", "writes": True, "buckets": ["bench"]}}
        replicas.append(Replica(number, program, folder, origin, admin=admin, **cluster, **more))
    for replica in replicas:
        replica.wait()
        live = 'hotset_peers{state="live"}'
        replica.process.wait_until(lambda: not peers or replica.metric(live) == count - 1)
    return replicas


async def request(reader, writer, method: str, path: str, body: bytes = b"") -> bytes:
    head = f"{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    assert head.startswith(b"http/1.1 200"), head
    await reader.readexactly(int(head.split(b"content-length: ")[1].split(b"\r\n")[0]))
    return head


async def client(number: int, port: int, method: str, seconds: float) -> list[float]:
    """Seconds that each request took."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"PROXY TCP4 127.0.0.1 127.0.0.1 1 1\r\n")
    took = []
    end = time.monotonic() + seconds
    while (time.monotonic() < end) if seconds else (len(took) < OBJECTS):
        begun = time.monotonic()
        path = f"/bench/{number}-{len(took) % OBJECTS}"
        head = await request(reader, writer, method, path, bytes(SIZE) if method == "PUT" else b"")
        took.append(time.monotonic() - begun)
        assert method == "PUT" or not seconds or b"; hit" in head, head
    writer.close()
    return took


async def clients(port: int, method: str, connections: int, seconds: float) -> list[float]:
    each = [client(number, port, method, seconds) for number in range(connections)]
    return sorted(sum(await asyncio.gather(*each), []))


def measure(replicas: list[Replica], arguments) -> list[str]:
    """A line for each kind of request."""

    def spent() -> list[float]:
        return [replica.cpu() for replica in replicas]

    lines = []
    for method in ("PUT", "GET"):
        # Each object once: from then on a read is a hit.
        asyncio.run(clients(replicas[0].port, method, arguments.connections, 0))
        before = spent()
        took = asyncio.run(clients(replicas[0].port, method, arguments.connections, arguments.seconds))
        own, *others = [(after - then) / len(took) * 1e6 for then, after in zip(before, spent(), strict=True)]
        of_others = sum(others) / len(others) if others else 0
        median, high = (took[len(took) * part // 1000] * 1e3 for part in (500, 990))
        rate = len(took) / arguments.seconds
        lines.append(f"{method}  {rate:9.0f}{median:12.2f}{high:10.2f}{own:14.1f}{of_others:14.1f}")
    before = spent()
    time.sleep(arguments.seconds)
    idle = max(after - then for then, after in zip(before, spent(), strict=True)) / arguments.seconds
    return [*lines, f"idle: {idle * 100:.2f} % of a core"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--replicas", type=int, default=3)
    parser.add_argument("--hotset", type=Path, default=ROOT / "target/release/hotset")
    arguments = parser.parse_args()
    print("                                            CPU for a request, us")
    print("      requests/s   median, ms   p99, ms     asked     each other")
    for name, count, peers in (("alone", 1, False), (f"{arguments.replicas} replicas", arguments.replicas, True)):
        with tempfile.TemporaryDirectory() as folder:
            origin = InMemory(Path(folder))
            replicas = start(arguments.hotset, Path(folder), origin, count, peers)
            try:
                print(name)
                print("\n".join(measure(replicas, arguments)), flush=True)
            finally:
                for replica in replicas:
                    replica.kill()
                origin.process.stop()


if __name__ == "__main__":
    main()
