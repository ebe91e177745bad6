#!/usr/bin/env python3
"""A cold object of 1 GiB by one GET through hotset, against clients that download in parallel from the origin directly.

    make test                                        # once: installs the clients
    cargo bench --bench scenarios --no-run           # the origin: 30 ms to the first byte, 80 MB/s a connection
    target/venv/bin/python benches/direct.py --origin target/release/deps/scenarios-... [--hotset PROGRAM] [--rounds 3]

Nothing is written to a disk: clients that need a file get one in memory (`/dev/shm`).
"""

import argparse
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "clients"))

from processes import Process, answers_ok, environment, free_port  # noqa: E402

SIZE = 1 << 30
BIN = ROOT / "target" / "venv" / "bin"
KEYS = {"AWS_ACCESS_KEY_ID": "reader", "AWS_SECRET_ACCESS_KEY": "not-a-secret", "AWS_REGION": "us-east-1"}


def name(client: str, number: int) -> str:
    """A key whose end is the size, as the origin of the scenarios expects it."""
    return f"{client}{number}-{SIZE}"


def one_get(address: str, key: str) -> None:
    """One GET over one connection, as a client without parallel ranges sends it."""
    host, port = address.split(":")
    with socket.create_connection((host, int(port))) as stream:
        stream.sendall(f"GET /bench/{key} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        buffer, received = memoryview(bytearray(4 << 20)), 0
        while count := stream.recv_into(buffer):
            received += count
    assert received > SIZE, f"{key}: {received} bytes"


def run(command: list, target: Path) -> None:
    subprocess.run(command, check=True, env=environment(**KEYS), stdout=subprocess.DEVNULL)
    assert target.stat().st_size == SIZE
    target.unlink()


def aws(address: str, key: str) -> None:
    target = Path("/dev/shm") / key
    run([BIN / "aws", "--endpoint-url", f"http://{address}", "s3", "cp", "--quiet", f"s3://bench/{key}", target], target)


def aws_crt(address: str, key: str) -> None:
    config = Path(tempfile.gettempdir()) / "hotset-direct-aws-config"
    config.write_text("[default]\ns3 =\n  preferred_transfer_client = crt\n  target_bandwidth = 20Gb/s\n")
    KEYS["AWS_CONFIG_FILE"] = str(config)
    aws(address, key)
    del KEYS["AWS_CONFIG_FILE"]


def s5cmd(address: str, key: str) -> None:
    target = Path("/dev/shm") / key
    options = ["cp", "--concurrency", "32", "--part-size", "8"]
    run([BIN / "s5cmd", "--endpoint-url", f"http://{address}", *options, f"s3://bench/{key}", target], target)


def s3torchconnector(address: str, key: str) -> None:
    from s3torchconnectorclient._mountpoint_s3_client import MountpointS3Client

    os.environ.update(KEYS)
    client = MountpointS3Client(
        region="us-east-1",
        endpoint=f"http://{address}",
        throughput_target_gbps=20.0,
        part_size=8 << 20,
        force_path_style=True,
        user_agent_prefix="direct",
    )
    received = sum(len(part) for part in client.get_object("bench", key))
    assert received == SIZE, received


CLIENTS = {"aws s3 cp": aws, "aws s3 cp (CRT)": aws_crt, "s5cmd": s5cmd, "s3torchconnector": s3torchconnector}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--origin", type=Path, required=True)
    parser.add_argument("--hotset", type=Path, default=ROOT / "target/release/hotset")
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    serving = subprocess.Popen([asked.origin, "--origin"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    origin = serving.stdout.readline().strip()
    listen, admin = free_port(), free_port()
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "hotset.yaml"
        config.write_text(
            f"listen: [{{ address: '127.0.0.1:{listen}' }}]\nadmin: {{ address: '127.0.0.1:{admin}' }}\n"
            f"origin: {{ endpoint: 'http://{origin}' }}\ncache: {{ memory: 2GiB }}\n"
        )
        command = [asked.hotset, "serve", "--config", config]
        process = Process("hotset", command, Path(folder) / "hotset.log", environment(**KEYS))
        process.wait_until(lambda: answers_ok(f"http://127.0.0.1:{admin}/readyz"))
        through = f"127.0.0.1:{listen}"
        for number in range(3):  # fills the cache: memory that was never used is slow to touch
            one_get(through, name("touched", number))
        took = {client: [] for client in ["hotset", *CLIENTS]}
        for number in range(asked.rounds):
            for client in took:
                began = time.monotonic()
                try:
                    if client == "hotset":
                        one_get(through, name("cold", number))
                    else:
                        CLIENTS[client](origin, name("direct", number))
                except Exception as error:
                    print(f"{client}: {error}")
                    continue
                took[client].append(time.monotonic() - began)
        process.stop(40)
    serving.stdin.close()
    serving.wait(10)
    middle = {client: statistics.median(times) for client, times in took.items() if times}
    for client, seconds in middle.items():
        print(f"{client:18} {seconds:6.2f} s  {SIZE / seconds / 1e6:5.0f} MB/s  {[round(time, 2) for time in took[client]]}")
    best = min(seconds for client, seconds in middle.items() if client != "hotset")
    print(f"the best direct client / hotset: {best / middle['hotset']:.2f} (bar 1.0)")
    return best < middle["hotset"]


if __name__ == "__main__":
    sys.exit(main())
