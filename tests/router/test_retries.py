"""R9: what a router sends again: reads, and requests of which no replica can have seen a byte."""

import contextlib
import socket
import threading
from collections import Counter
from dataclasses import dataclass, field

import pytest
from conftest import needed
from fleet import ENGINES
from load import Client

KEYS = [f"/bucket/{number}" for number in range(9)]


@dataclass
class Stub:
    """Stands for a replica. It is healthy, and answers nothing that has a body or a key."""

    name: str
    asked: Counter = field(default_factory=Counter)
    """The requests that came, by their first words."""

    def __post_init__(self):
        self.sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
        self.port, self.admin_port = (server.getsockname()[1] for server in self.sockets)
        for server in self.sockets:
            threading.Thread(target=self.serve, args=(server,), daemon=True).start()

    def serve(self, server: socket.socket) -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            threading.Thread(target=self.hang_up, args=(connection,), daemon=True).start()

    def hang_up(self, connection: socket.socket) -> None:
        text = b""
        with connection, contextlib.suppress(OSError):
            connection.settimeout(10)
            # Before it may be a PROXY header, which begins as a head ends.
            while b" HTTP/1." not in text and (more := connection.recv(4096)):
                text += more
            if b"GET /readyz " in text:
                connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            else:
                self.count(text)

    def count(self, text: bytes) -> None:
        for method in (b"GET", b"PUT", b"POST", b"DELETE"):
            at = text.find(method + b" /bucket/")
            if at >= 0:
                self.asked[b" ".join(text[at:].split()[:2]).decode()] += 1

    def close(self) -> None:
        for server in self.sockets:
            server.close()


@pytest.fixture(params=ENGINES)
def routed(request, tmp_path):
    """A router in front of three stubs."""
    (engine,) = needed(request.param)
    kind, program = ENGINES[engine]
    made = []

    def make():
        stubs = [Stub(f"hotset-{number}") for number in range(3)]
        router = kind("router", program, tmp_path, stubs)
        made.extend([*stubs, router.process])
        return router.wait(), stubs

    yield make
    for one in made:
        one.stop() if hasattr(one, "stop") else one.close()


def test_r9_a_write_that_reached_a_replica_is_not_sent_again_and_a_read_is(routed):
    router, stubs = routed()
    client = Client([router.port])
    for key in KEYS:
        for method, body in {"PUT": b"x" * 100, "DELETE": None, "POST": b"x"}.items():
            assert client.once(method, key, body).status in (0, 502, 503)
        assert client.once("GET", key).status in (0, 502, 503)
    asked = sum((stub.asked for stub in stubs), start=Counter())
    writes = {request: count for request, count in asked.items() if not request.startswith("GET")}
    assert writes == {f"{method} {key}": 1 for key in KEYS for method in ("PUT", "DELETE", "POST")}
    assert all(asked[f"GET {key}"] > 1 for key in KEYS), asked
