"""Restarts on one host: the sockets outlive the process, and no connection is refused."""

import shutil
import socket
import time
import urllib.request

import pytest
import yaml
from activation import Manager
from load import Group, Load, Objects, call
from processes import Process, answers_ok, environment, free_port

HOST = "127.0.0.1"
KEYS = {"AWS_ACCESS_KEY_ID": "AK", "AWS_SECRET_ACCESS_KEY": "sk"}


@pytest.fixture
def manager(tmp_path):
    made = Manager(tmp_path, addresses=2)
    yield made
    made.stop()


def configuration(folder, origin: str, addresses: list, **more) -> str:
    """With a disk tier, which one process at a time may have."""
    listen, admin = (f"{host}:{port}" for host, port in addresses)
    written = {
        "listen": [{"address": listen}],
        "admin": {"address": admin},
        "origin": {"endpoint": origin},
        "cache": {"memory": "64MiB", "in_flight": "64MiB", "read_ahead": "8MiB"},
        "shutdown": {"delay": "1s"},
    }
    written["cache"]["disk"] = [{"path": str(folder / "cache"), "capacity": "1GiB"}]
    path = folder / "hotset.yaml"
    path.write_text(yaml.safe_dump(written | more))
    return str(path)


def groups(objects: Objects) -> list[Group]:
    return [
        Group("small reads", 30, objects.read_small, (0, 0.2)),
        Group("reads on new connections", 30, objects.read_once, (0, 0.1)),
        Group("ranges", 10, objects.read_range, (0, 0.2)),
        Group("downloads", 10, objects.download(4), (0, 0.1), stagger=4),
        Group("uploads", 10, objects.upload(1 << 19, 3), (0, 0.1), stagger=3),
    ]


def test_a_restart_under_load_refuses_no_connection_and_loses_no_request(manager, program, origin, tmp_path):
    command = [program, "serve", "--config", configuration(tmp_path, origin, manager.addresses)]
    manager.start(command, **KEYS)
    manager.wait_for("READY=1")
    objects, address, waits = Objects.make("restarts", 8 << 20), manager.addresses[0], []
    call(address, HOST, objects.put)
    with Load(address, HOST, groups(objects)) as load:
        for _ in range(2):
            time.sleep(1)
            old = manager.process
            old.terminate()
            manager.wait_for("STOPPING=1")
            assert old.wait(40) == 0, manager.log.read_text()
            began = time.monotonic()
            manager.start(command, **KEYS)
            manager.wait_for("READY=1")
            waits.append(time.monotonic() - began)
        time.sleep(1)
    print(load.tally, f"; a new process was ready after {max(waits):.2f} s", sep="")
    assert load.tally.failures == []
    assert set(load.tally.done) == {group.kind for group in groups(objects)}
    assert manager.log.read_text().count("listening on the socket that was passed for") == 3 * 2
    assert "shutdown.grace is over" not in manager.log.read_text()


def test_connections_of_the_time_between_two_processes_wait_for_the_next_one(
    manager, program, origin, tmp_path
):
    command = [program, "serve", "--config", configuration(tmp_path, origin, manager.addresses)]
    host, port = manager.addresses[0]
    waiting = socket.create_connection((host, port), timeout=30)
    waiting.sendall(b"GET /samples/hello.txt HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    manager.start(command, **KEYS)
    manager.wait_for("READY=1")
    answer = b""
    while piece := waiting.recv(4096):
        answer += piece
    assert answer.startswith(b"HTTP/1.1 200") and answer.endswith(b"Hello from behind hotset.\n")


def test_the_service_manager_hears_of_the_start_the_watchdog_and_the_end(manager, program, origin, tmp_path):
    shutdown = {"shutdown": {"delay": "1s", "grace": "20s"}}
    command = [program, "serve", "--config", configuration(tmp_path, origin, manager.addresses, **shutdown)]
    manager.start(command, **KEYS)
    manager.wait_for("READY=1")
    host, port = manager.addresses[0]
    manager.wait_for(f"STATUS=serving S3 on http://{host}:{port}")
    # It asks for half of the time, 1 s, and sends on its own.
    for _ in range(2):
        manager.wait_for("WATCHDOG=1", 10)
        with manager.heard:
            manager.said.clear()
    assert manager.process.poll() is None
    manager.process.terminate()
    manager.wait_for("STOPPING=1")
    manager.wait_for("EXTEND_TIMEOUT_USEC=51000000")
    assert manager.process.wait(20) == 0


def test_a_socket_that_the_configuration_does_not_name_is_refused(manager, program, origin, tmp_path):
    other = ("127.0.0.1", free_port())
    command = [program, "serve", "--config", configuration(tmp_path, origin, [other, manager.addresses[1]])]
    assert manager.start(command, **KEYS).wait(30) == 1
    said = manager.log.read_text().splitlines()[-1]
    assert f"a socket on 127.0.0.1:{manager.addresses[0][1]} was passed" in said


@pytest.mark.skipif(not shutil.which("systemd-socket-activate"), reason="systemd is not installed")
def test_systemd_passes_sockets(program, origin, tmp_path):
    addresses = [("127.0.0.1", free_port()), ("127.0.0.1", free_port())]
    config = configuration(tmp_path, origin, addresses)
    listen = [f"--listen={host}:{port}" for host, port in addresses]
    variables = [f"--setenv={name}={value}" for name, value in KEYS.items()]
    command = ["systemd-socket-activate", *listen, *variables, "--fdname=s3:admin"]
    process = Process(
        "hotset", [*command, program, "serve", "--config", config], tmp_path / "log", environment()
    )
    try:
        process.wait_until(lambda: "Listening on" in process.log.read_text())
        # The first connection starts it.
        url = "http://{}:{}/samples/hello.txt".format(*addresses[0])
        with urllib.request.urlopen(url, timeout=30) as answer:
            assert answer.read() == b"Hello from behind hotset.\n"
        assert answers_ok("http://{}:{}/readyz".format(*addresses[1]))
        assert process.log.read_text().count("listening on the socket that was passed for") == 2
    finally:
        assert process.stop(40) == 0, process.tail()
