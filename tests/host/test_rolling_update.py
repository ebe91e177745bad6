"""Two replicas with the chart's settings, restarted one after the other under load: no request is lost.

With `HOTSET_ROLLS=20` each replica is restarted so often (`make soak`).
"""

import os
import time

import pytest
from haproxy import PROGRAM, Haproxy
from helms import Helm3, Missing
from kubelet import Replica
from load import Group, Load, Objects, call

ROLLS = int(os.environ.get("HOTSET_ROLLS", "1"))
HOST = "cache-hotset"
"""The name of the Service: clients use it, and it is one of hotset's domains."""


@pytest.fixture
def replicas(program, origin, tmp_path):
    """As the chart renders them; writes are allowed, which they are not by default."""
    if not PROGRAM:
        pytest.skip("haproxy is not installed")
    try:
        helm = Helm3()
    except Missing as reason:
        pytest.skip(str(reason))
    rendered = helm.render({"config": {"origin": {"endpoint": origin}, "auth": {"writes": True}}})
    made = {name: Replica(name, tmp_path, program, rendered) for name in ("first", "second")}
    yield made
    for replica in made.values():
        replica.stop()


@pytest.fixture
def balancer(replicas, tmp_path):
    for replica in replicas.values():
        replica.start()
    made = Haproxy(tmp_path, replicas)
    made.wait_until(lambda: all(made.is_up(name) for name in replicas))
    yield made
    made.stop()


def groups(objects: Objects) -> list[Group]:
    """200 clients. Transfers outlast the time until the listener closes, and most are under way then. No client pauses
    for as long as `shutdown.delay`: it would meet the end of its connection unannounced, as with every server.
    """
    return [
        Group("small reads", 90, objects.read_small, (0.05, 0.4)),
        Group("ranges", 40, objects.read_range, (0.1, 0.5)),
        Group("reads after a long pause", 20, objects.read_small, (1, 8)),
        Group("reads on new connections", 10, objects.read_once, (0.2, 1)),
        Group("downloads", 20, objects.download(20), (0, 0.1), stagger=20),
        Group("uploads", 20, objects.upload(1 << 20, 18), (0, 0.1), stagger=18),
    ]


def restart(replica: Replica, balancer: Haproxy, name: str) -> int:
    """As a rolling update does; returns how many requests were under way when the listener closed."""
    balancer.wait_until(lambda: replica.metric("hotset_requests_in_flight") >= 10)
    replica.terminate()
    balancer.wait_until(lambda: not balancer.is_up(name))
    assert replica.listens(), "the listener was closed before the balancer knew"
    balancer.wait_until(lambda: not replica.listens())
    under_way, connections = (
        replica.metric(f"hotset_{of}") for of in ("requests_in_flight", "open_connections")
    )
    # The others were told to close in time: those of clients that pause for seconds are left.
    assert connections <= under_way + 20, (connections, under_way)
    replica.gone()
    replica.start()
    balancer.wait_until(lambda: balancer.is_up(name))
    time.sleep(replica.ready_seconds)
    return int(under_way)


def test_r30_a_rolling_update_under_load_loses_no_request(replicas, balancer):
    objects, address = Objects.make("rolling", 16 << 20), ("127.0.0.1", balancer.port)
    call(address, HOST, objects.put)
    under_way = []
    with Load(address, HOST, groups(objects)) as load:
        for _ in range(ROLLS):
            under_way += [restart(replica, balancer, name) for name, replica in replicas.items()]
    print(f"{load.tally}; requests under way when a listener closed: {under_way}")
    assert load.tally.failures == []
    assert set(load.tally.done) == {group.kind for group in groups(objects)}
    # Sampled a moment after each listener closed, when the last of its requests may have ended.
    assert sum(under_way) >= ROLLS, under_way
    # Unannounced ends are met by those alone that take a second and more to read what the kernels between them and the
    # replica hold of its last answer.
    assert set(load.tally.found_closed) <= {"downloads"}
