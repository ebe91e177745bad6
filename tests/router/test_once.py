"""Each byte of the origin is fetched once, and a replica that is away costs its share and no error."""

import random
import signal

import pytest
from conftest import needed
from fleet import ENGINES
from load import Client, content, in_parallel

KIB = 1024
THREADS = 8


def fill(fleet, bucket: str, sizes: dict[str, int]) -> None:
    """Writes objects behind the replicas' backs."""
    client = Client([fleet.origin.port])
    assert client.once("PUT", f"/{bucket}").status == 200
    for path, size in sizes.items():
        assert client.once("PUT", path, content(path, size)).status == 200


def read_all(fleet, sizes: dict[str, int], clients: list[Client], rounds: int = 1) -> None:
    """Every client reads every object whole, each in an order of its own."""

    def work(number: int) -> None:
        paths = [*sizes] * rounds
        random.Random(number).shuffle(paths)
        for path in paths:
            outcome = clients[number].ask("GET", path)
            if outcome.status == 200:
                assert outcome.body == content(path, sizes[path])

    in_parallel(work, len(clients))


def clients_of(fleet) -> list[Client]:
    return [Client([router.port for router in fleet.routers]) for _ in range(THREADS)]


def failed(clients: list[Client]) -> int:
    return sum(client.tries[0] for client in clients)


def test_each_byte_is_fetched_once_under_mixed_load(peaceful):
    """Whole objects and ranges, from several clients, through two routers that agree."""
    fleet, bucket = peaceful, "mixed"
    routers = [router.port for router in fleet.routers if router.conf == "haproxy.cfg"]
    if not routers:
        pytest.skip("there is no HAProxy here")
    chance = random.Random(1)
    sizes = {f"/{bucket}/small-{n}": chance.randrange(1, 200 * KIB) for n in range(120)}
    sizes |= {f"/{bucket}/large-{n}": chance.randrange(KIB * KIB, 4 * KIB * KIB) for n in range(12)}
    fill(fleet, bucket, sizes)
    clients = [Client(routers) for _ in range(THREADS)]

    def work(number: int) -> None:
        own = random.Random(number)
        for path in own.sample([*sizes], len(sizes)):
            body = content(path, sizes[path])
            first = own.randrange(len(body))
            last = own.randrange(first, len(body))
            wanted = {"Range": f"bytes={first}-{last}"} if own.random() < 0.5 else {}
            outcome = clients[number].once("GET", path, **wanted)
            assert outcome.status == (206 if wanted else 200)
            assert outcome.body == (body[first : last + 1] if wanted else body)

    in_parallel(work, THREADS)
    read_all(fleet, sizes, clients)
    total, sent = sum(sizes.values()), fleet.origin.sent(f"/{bucket}/")
    print(f"origin bytes {sent / total:.4f}x of {total}")
    assert sent == total


def test_a_replica_that_is_killed_costs_its_share_and_no_error(fleet):
    sizes = {f"/killed/part-{n:05}.parquet": 64 * KIB for n in range(240)}
    fill(fleet, "killed", sizes)
    clients, total = clients_of(fleet), sum(sizes.values())
    read_all(fleet, sizes, clients[:2])
    assert fleet.origin.sent("/killed/") == total

    victim, before = fleet.replicas[1], total

    def work(number: int) -> None:
        paths = random.Random(number).sample([*sizes], len(sizes))
        for index, path in enumerate(paths):
            if number == 0 and index == len(paths) // 4:
                victim.kill()
            outcome = clients[number].ask("GET", path)
            assert outcome.status == 200 and outcome.body == content(path, sizes[path])

    in_parallel(work, THREADS)
    read_all(fleet, sizes, clients)
    refetched = fleet.origin.sent("/killed/") - before
    again = sum(client.tries[2] for client in clients)
    print(f"killed: {refetched / total:.4f} of the hot set fetched again, {again} requests tried twice")
    assert failed(clients) == 0
    assert 0 < refetched <= 1.1 / 3 * total

    # It comes back with an empty memory: its share again, and nothing of the others'.
    before += refetched
    victim.start()
    victim.wait()
    for router in fleet.routers:
        router.wait()
    read_all(fleet, sizes, clients)
    refetched = fleet.origin.sent("/killed/") - before
    print(f"back: {refetched / total:.4f} of the hot set fetched again")
    assert failed(clients) == 0
    assert 0 < refetched <= 1.1 / 3 * total


def test_r30_a_replica_that_drains_gets_no_new_request_and_ends_its_own(fleet):
    sizes = {"/drained/large": 24 * KIB * KIB} | {f"/drained/{n}": 10 * KIB for n in range(40)}
    fill(fleet, "drained", sizes)
    path, clients = "/drained/large", clients_of(fleet)
    slow = clients[0].connections[0]
    slow.request("GET", path)
    answer = slow.getresponse()
    body = answer.read(KIB)
    (home,) = [replica for replica in fleet.replicas if replica.metric("hotset_requests_in_flight")]

    home.signal(signal.SIGTERM)
    for router in fleet.routers:
        router.wait(replicas=2)
    asked = home.logged().count('"GET /drained/')
    read_all(fleet, {name: size for name, size in sizes.items() if name != path}, clients[1:])
    assert home.logged().count('"GET /drained/') == asked
    # More than all buffers on the way hold: the replica is still sending it.
    assert home.process.child.poll() is None
    assert body + answer.read() == content(path, sizes[path])
    assert home.process.child.wait(30) == 0
    assert sum(client.tries[2] + client.tries[0] for client in clients) == 0


def test_a_router_that_ends_completes_what_runs(peaceful, tmp_path):
    engines = needed("haproxy")
    sizes = {"/ended/large": 24 * KIB * KIB}
    fill(peaceful, "ended", sizes)
    kind, program = ENGINES[engines[0]]
    router = kind("router", program, tmp_path, peaceful.replicas).wait()
    slow = Client([router.port]).connections[0]
    slow.request("GET", "/ended/large")
    answer = slow.getresponse()
    body = answer.read(KIB)
    router.process.child.send_signal(signal.SIGUSR1)
    router.process.wait_until(lambda: Client([router.port]).once("GET", "/ended/large").status == 0)
    assert router.process.child.poll() is None
    assert body + answer.read() == content("/ended/large", sizes["/ended/large"])
    # It closes no connection under a client that may be about to use it.
    slow.close()
    assert router.process.child.wait(20) == 0


def test_a_replica_that_freezes_is_left_out_and_what_waits_there_is_tried_elsewhere(fleet):
    sizes = {f"/frozen/{n}": 10 * KIB for n in range(60)}
    fill(fleet, "frozen", sizes)
    clients = clients_of(fleet)
    read_all(fleet, sizes, clients[:2])
    victim = fleet.replicas[2]
    victim.signal(signal.SIGSTOP)
    read_all(fleet, sizes, clients)
    slowest = max(client.slowest for client in clients)
    print(f"frozen: the slowest read took {slowest:.1f} s")
    assert failed(clients) == 0 and slowest < 15
    for router in fleet.routers:
        router.wait(replicas=2)
    victim.signal(signal.SIGCONT)
    for router in fleet.routers:
        router.wait()
    read_all(fleet, sizes, clients)
    assert failed(clients) == 0
