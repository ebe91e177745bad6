"""Clients that count what fails, and send nothing twice.

A client keeps its connection as RFC 9112 (sections 9.3 and 9.6) lets it. After an answer with `Connection: close` it
opens a new one for its next request. A kept connection is looked at before it is used: when the server has closed it
meanwhile, unannounced, a new one is opened, as the pools of SDKs do. Nothing was sent on it, so that is no retry; it is
counted as `found_closed`. A request that was sent and not answered with every byte that it should have is a failure,
also when its connection ended before the first byte of an answer, where many clients would try again.
"""

import asyncio
import collections
import dataclasses
import random
import socket
import threading
import time
from collections.abc import Callable

SECONDS = 60
"""For a whole request that is not paced."""
READ = 64 * 1024


class Failed(Exception):
    """The request was not answered as it should have been."""


@dataclasses.dataclass
class Tally:
    done: collections.Counter = dataclasses.field(default_factory=collections.Counter)
    """Requests that were answered in full, by kind."""
    failures: list[str] = dataclasses.field(default_factory=list)
    opened: int = 0
    """Connections."""
    announced: int = 0
    """Connections that an answer said would close."""
    found_closed: collections.Counter = dataclasses.field(default_factory=collections.Counter)
    """Connections that were closed unannounced while they were idle, by kind of client."""
    slowest: float = 0.0
    """Seconds until the first byte of an answer."""

    def __str__(self) -> str:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(self.done.items()))
        return (
            f"{sum(self.done.values())} requests ({kinds}), {len(self.failures)} failed; {self.opened} connections, "
            f"{self.announced} closed by `Connection: close`, {self.found_closed.total()} found closed while idle; "
            f"first byte within {self.slowest:.2f} s"
        )


class Connection:
    """One TCP connection; small buffers, so that the pace of a client is that of the server."""

    def __init__(self, made: socket.socket):
        self.socket, self.read = made, bytearray()

    @classmethod
    async def open(cls, address: tuple[str, int]) -> "Connection":
        made = socket.socket()
        made.setblocking(False)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, READ)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, READ)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            await asyncio.get_running_loop().sock_connect(made, address)
        except BaseException:
            made.close()
            raise
        return cls(made)

    def is_closed(self) -> bool:
        """Whether the server has closed it, as far as is known here."""
        try:
            return not self.socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            return True

    async def send(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self.socket, data)

    async def more(self) -> None:
        data = await asyncio.get_running_loop().sock_recv(self.socket, READ)
        if not data:
            raise Failed(f"the connection ended after {len(self.read)} unread bytes")
        self.read += data

    async def head(self) -> tuple[int, dict[str, str]]:
        while (end := self.read.find(b"\r\n\r\n")) < 0:
            await self.more()
        status, *lines = self.read[:end].decode("latin-1").split("\r\n")
        del self.read[: end + 4]
        headers = dict(line.lower().split(": ", 1) for line in lines)
        return int(status.split()[1]), headers

    async def body(self, length: int, pace: float | None = None) -> bytes:
        """`pace`: bytes in a second, at most."""
        body, began = bytearray(), time.monotonic()
        while len(body) < length:
            if not self.read:
                await self.more()
            body += self.read[: length - len(body)]
            del self.read[:]
            if pace and (ahead := len(body) / pace - (time.monotonic() - began)) > 0:
                await asyncio.sleep(ahead)
        return bytes(body)

    def close(self) -> None:
        self.socket.close()


class Client:
    """One at a time: asks, reads, thinks."""

    def __init__(self, address: tuple[str, int], host: str, tally: Tally, kind: str):
        self.address, self.host, self.tally, self.kind = address, host, tally, kind
        self.kept: Connection | None = None

    async def connection(self) -> Connection:
        kept, self.kept = self.kept, None
        if kept and not kept.is_closed():
            return kept
        if kept:
            kept.close()
            self.tally.found_closed[self.kind] += 1
        self.tally.opened += 1
        return await Connection.open(self.address)

    async def request(
        self,
        method: str,
        path: str,
        headers: dict[str, str] | None = None,
        body: bytes = b"",
        pace: float | None = None,
        keep: bool = True,
    ) -> tuple[int, bytes]:
        connection = await self.connection()
        try:
            sent = {"Host": self.host, **(headers or {})}
            if method == "PUT":
                sent["Content-Length"] = str(len(body))
            lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in sent.items())]
            await connection.send("\r\n".join([*lines, "", ""]).encode())
            await self.upload(connection, body, pace)
            began = time.monotonic()
            status, answered = await connection.head()
            self.tally.slowest = max(self.tally.slowest, time.monotonic() - began)
            length = 0 if method == "HEAD" else int(answered.get("content-length", 0))
            content = await connection.body(length, pace if method == "GET" else None)
        except BaseException:
            connection.close()
            raise
        closes = answered.get("connection") == "close"
        self.tally.announced += closes
        if closes or not keep:
            connection.close()
        else:
            self.kept = connection
        return status, content

    async def upload(self, connection: Connection, body: bytes, pace: float | None) -> None:
        for start in range(0, len(body), READ):
            if pace and start:
                await asyncio.sleep(READ / pace)
            await connection.send(body[start : start + READ])

    async def run(self, group: "Group", stop: asyncio.Event) -> None:
        """Does its work over and over, until it is to stop."""
        work, think = group.work, group.think
        await pause(random.uniform(0, group.stagger), stop)
        while not stop.is_set():
            try:
                await work(self)
            except (Failed, OSError, TimeoutError) as error:
                self.tally.failures.append(
                    f"{time.strftime('%T')} {self.kind}: {type(error).__name__} {error}"
                )
                await pause(0.1, stop)
            else:
                self.tally.done[self.kind] += 1
            await pause(random.uniform(*think), stop)
        if self.kept:
            self.kept.close()


async def pause(seconds: float, stop: asyncio.Event) -> None:
    try:
        await asyncio.wait_for(stop.wait(), seconds)
    except TimeoutError:
        pass


def expect(got: tuple[int, bytes], status: int, content: bytes = b"") -> None:
    if got[0] != status:
        raise Failed(f"status {got[0]}: {got[1][:300]!r}")
    if got[1] != content:
        raise Failed(f"{len(got[1])} bytes that are not the {len(content)} of the object")


@dataclasses.dataclass
class Objects:
    """What is read; written by [`Objects.put`]."""

    bucket: str
    small: dict[str, bytes]
    large: bytes

    @classmethod
    def make(cls, bucket: str, large: int) -> "Objects":
        made = random.Random(7)
        small = {f"small-{number}": made.randbytes(4096 + number) for number in range(20)}
        return cls(bucket, small, made.randbytes(large))

    async def put(self, client: Client) -> None:
        expect(await client.request("PUT", f"/{self.bucket}"), 200)
        for key, content in [*self.small.items(), ("large", self.large)]:
            expect(await client.request("PUT", f"/{self.bucket}/{key}", body=content), 200)

    # What clients do.

    async def read_small(self, client: Client, keep: bool = True) -> None:
        key, content = random.choice(list(self.small.items()))
        async with asyncio.timeout(SECONDS):
            expect(await client.request("GET", f"/{self.bucket}/{key}", keep=keep), 200, content)

    async def read_once(self, client: Client) -> None:
        await self.read_small(client, keep=False)

    async def read_range(self, client: Client) -> None:
        start = random.randrange(len(self.large) - READ)
        asked = {"Range": f"bytes={start}-{start + READ - 1}"}
        async with asyncio.timeout(SECONDS):
            got = await client.request("GET", f"/{self.bucket}/large", asked)
        expect(got, 206, self.large[start : start + READ])

    def download(self, seconds: float) -> Callable:
        async def work(client: Client) -> None:
            pace = len(self.large) / seconds
            async with asyncio.timeout(SECONDS + seconds):
                expect(await client.request("GET", f"/{self.bucket}/large", pace=pace), 200, self.large)

        return work

    def upload(self, size: int, seconds: float) -> Callable:
        async def work(client: Client) -> None:
            path, body = f"/{self.bucket}/up-{random.randrange(1 << 60)}", random.randbytes(size)
            async with asyncio.timeout(SECONDS + seconds):
                expect(await client.request("PUT", path, body=body, pace=size / seconds), 200)
            async with asyncio.timeout(SECONDS):
                expect(await client.request("GET", path), 200, body)

        return work


@dataclasses.dataclass
class Group:
    """So many clients of one kind."""

    kind: str
    clients: int
    work: Callable
    think: tuple[float, float]
    """The least and the most time between two requests, in seconds."""
    stagger: float = 1.0
    """They begin within so many seconds."""


class Load:
    """All clients, in a thread of their own, until the `with` block ends."""

    def __init__(self, address: tuple[str, int], host: str, groups: list[Group]):
        self.address, self.host, self.groups = address, host, groups
        self.tally = Tally()
        self.thread = threading.Thread(target=lambda: asyncio.run(self.run()))
        self.started = threading.Event()

    async def run(self) -> None:
        self.loop, self.stop = asyncio.get_running_loop(), asyncio.Event()
        self.started.set()
        async with asyncio.TaskGroup() as tasks:
            for group in self.groups:
                for _ in range(group.clients):
                    client = Client(self.address, self.host, self.tally, group.kind)
                    tasks.create_task(client.run(group, self.stop))

    def __enter__(self) -> "Load":
        self.thread.start()
        self.started.wait()
        return self

    def __exit__(self, *_) -> None:
        self.loop.call_soon_threadsafe(self.stop.set)
        self.thread.join()


def call(address: tuple[str, int], host: str, work: Callable) -> None:
    """One client's work, now."""
    asyncio.run(work(Client(address, host, Tally(), "setup")))
