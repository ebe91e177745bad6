"""The image run by podman, as the strictest policies have it."""

import http.client
import socket
import time

import pytest
from conftest import Server, connects

ANY_USER = ("--user=1000780000:0",)
"""As OpenShift runs images."""


def get(server: Server, key: str, headers: dict[str, str] | None = None) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    connection.request("GET", f"/{key}", headers=headers or {})
    answer = connection.getresponse()
    answer.content = answer.read()
    return answer


def put(port: int, key: str, body: bytes) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("PUT", f"/{key}", body)
    assert connection.getresponse().status == 200


def metric(server: Server, name: str, labels: str = "") -> float:
    """The sum of the series of a name that have the labels, among others."""
    connection = http.client.HTTPConnection("127.0.0.1", server.admin, timeout=30)
    connection.request("GET", "/metrics")
    page = connection.getresponse().read().decode()
    found = [line for line in page.splitlines() if line.startswith((f"{name} ", f"{name}{{")) and labels in line]
    assert found, (name, page)
    return sum(float(line.split()[-1]) for line in found)


@pytest.mark.parametrize("user", [(), ANY_USER], ids=["its_own_user", "any_user"])
def test_a_miss_and_a_hit_with_sizes_of_the_memory_limit(container, user):
    server = container("--memory=256m", *user).started()
    first, second = (get(server, "samples/measurements.csv") for _ in range(2))
    assert (first.status, second.status) == (200, 200), first.content
    assert first.content == second.content and len(first.content) == int(first.headers["Content-Length"])
    assert "fwd=uri-miss" in first.headers["Cache-Status"]
    assert second.headers["Cache-Status"].endswith("; hit")
    logs = server.wait("memory is limited to ")
    assert "memory is limited to 256MiB by " in logs and ": 128MiB of cache.memory + 64MiB of " in logs
    assert metric(server, "hotset_in_flight_limit_bytes") == 64 << 20


def test_it_is_healthy_while_it_serves(container):
    server = container(HOTSET_SHUTDOWN__DELAY="1h").started()
    assert server.healthy()
    server.terminate()
    server.wait("stopping: ")
    assert not server.healthy()


def test_without_a_word_on_who_may_use_it_it_does_not_start(container):
    refused = container(HOTSET_AUTH__OPEN="false")
    assert refused.exit_code() == 2
    logs = refused.logs()
    assert "HOTSET_AUTH__OPEN: auth.open: with auth.mode: trust whoever reaches the listener" in logs, logs


def test_a_stop_lets_downloads_end_and_exits_with_0(container, origin):
    body = bytes(range(256)) * (64 << 12)
    put(origin.port, "samples/drain", body)
    server = container().started()
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 10)
        client.sendall(b"GET /samples/drain HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        received = bytearray(client.recv(64 << 10))
        server.terminate()
        server.wait("stopping: ")
        while connects(server.port):
            time.sleep(0.02)
        while piece := client.recv(1 << 20):
            received += piece
    head, _, rest = bytes(received).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    # Not compared within the assertion, which would show the difference.
    assert (len(rest), rest.startswith(body)) == (len(body), True), server.logs()
    assert server.exit_code() == 0, server.logs()


def disk(**more: str) -> dict[str, str]:
    return {
        "HOTSET_CACHE__DISK__0__PATH": "/var/cache/hotset/blocks",
        "HOTSET_CACHE__DISK__0__CAPACITY": "1GiB",
        "HOTSET_CACHE__ADMISSION": "first-touch",
        "HOTSET_RULES__0__MATCH": "**",
        "HOTSET_RULES__0__FRESHNESS": "immutable",
    } | more


@pytest.fixture
def volume(podman):
    """A volume of its own, which takes owner and mode from the image."""
    name = podman("volume", "create")
    yield f"--volume={name}:/var/cache/hotset"
    podman("volume", "rm", "--force", name)


def test_a_volume_keeps_the_disk_tier_for_the_next_container(container, origin, volume):
    put(origin.port, "samples/kept", b"kept" * (1 << 20))
    first = container(volume, *ANY_USER, **disk()).started()
    whole = get(first, "samples/kept")
    assert (whole.status, len(whole.content)) == (200, 4 << 20)
    first.terminate()
    assert first.exit_code() == 0, first.logs()
    before = origin.reads("samples/kept")

    # Another user may be chosen for each namespace, and then owns nothing in it: this one is the same.
    second = container(volume, *ANY_USER, **disk()).started()
    again = get(second, "samples/kept")
    assert (again.status, again.content) == (200, whole.content)
    assert origin.reads("samples/kept") == before, "it was fetched once more"
    assert metric(second, "hotset_disk_failures_total", 'reason="damaged"') == 0


REFUSED = "; io_uring is not available: Function not implemented (os error 38)"


@pytest.mark.parametrize("direct, seccomp, said", [
    ("false", "default", f"use threads that wait{REFUSED}"),
    ("true", "default", f"use Linux AIO, then threads that wait{REFUSED}"),
    ("false", "unconfined", "use io_uring, then threads that wait"),
])  # fmt: skip
def test_the_disk_is_read_by_what_the_seccomp_profile_leaves(container, origin, volume, direct, seccomp, said):
    key = f"samples/read-{direct}-{seccomp}"
    body = bytes(range(256)) * (8 << 12)
    put(origin.port, key, body)
    options = [volume] + (["--security-opt=seccomp=unconfined"] if seccomp == "unconfined" else [])
    first = container(*options, **disk(HOTSET_CACHE__DISK__0__DIRECT=direct)).started()
    assert get(first, key).content == body
    first.terminate()
    assert first.exit_code() == 0, first.logs()

    server = container(*options, **disk(HOTSET_CACHE__DISK__0__DIRECT=direct)).started()
    before = origin.reads(key)
    for offset in range(5000, len(body), 300_000):
        part = get(server, key, {"Range": f"bytes={offset}-{offset + 999}"})
        assert (part.status, part.content) == (206, body[offset : offset + 1000])
    assert origin.reads(key) == before
    assert f"short reads of /var/cache/hotset/blocks {said}\n" in server.logs(), server.logs()
