"""Which replica is whose: one for each object, however it is asked for, and the same at every router."""

import itertools
import subprocess
from collections import Counter

import pytest
from fleet import CONF, DOMAIN, ENGINES
from load import Client

MARKS = itertools.count()
PATH, VIRTUAL = "127.0.0.1", f"bucket.{DOMAIN}"

# Targets and hosts that name the same object or bucket.
SAME = [
    [
        ("/bucket/a/b+c d", PATH),
        ("/bucket/a/b+c%20d", PATH),
        ("/bucket/a%2Fb%2bc%20d", PATH),
        ("/b%75cket/a/b%2Bc%20d", "unlisted.example"),
        ("/a/b+c%20d", VIRTUAL),
        ("/a/b%2Bc%20%64", VIRTUAL.upper()),
        ("/a/b+c%20d", f"{VIRTUAL}:9000"),
        ("/a/b+c%20d", f"{VIRTUAL}."),
        ("/bucket/a/b+c%20d", DOMAIN),
        ("/bucket/a/b+c%20d?uploadId=x&partNumber=7", PATH),
        ("/bucket/a/b+c%20d?versionId=7", PATH),
        ("/a/b+c%20d?tagging", VIRTUAL),
    ],
    [("/bucket/%C3%BC/%F0%9F%98%80%0A%00.%3F", PATH), ("/%c3%bc/%F0%9f%98%80%0a%00%2E%3f?a=/b", VIRTUAL)],
    [("/bucket//a/../b/./c", PATH), ("//a/../b/./c", VIRTUAL), ("/bucket/%2Fa/%2E%2E/b/%2e/c", PATH)],
    [
        ("/bucket?list-type=2&prefix=a", PATH),
        ("/bucket/?versions", PATH),
        ("/?list-type=2", VIRTUAL),
        ("/bucket", DOMAIN),
    ],
]


def home_of(fleet, router, target: str, host: str = PATH) -> int:
    """Asks there, and looks who logs it."""
    mark = f"mark={next(MARKS)}."
    path = target.replace(" ", "%20") + ("&" if "?" in target else "?") + mark
    outcome = Client([router.port], host=host).once("GET", path)
    assert outcome.status > 0, target
    return fleet.home(mark)


@pytest.mark.parametrize("number", range(len(SAME)))
def test_one_object_has_one_home_in_every_spelling_and_style(peaceful, router, number):
    homes = [home_of(peaceful, router, target, host) for target, host in SAME[number]]
    assert len({*homes}) == 1, dict(zip(SAME[number], homes, strict=True))


def test_other_objects_have_other_homes(peaceful, router):
    """What differs in the key alone, or in the bucket alone, is spread: the test above could fail."""
    assert {home_of(peaceful, router, f"/bucket/a/b+c%20d{n}") for n in range(12)} == {0, 1, 2}
    assert {home_of(peaceful, router, f"/bucket{n}/?location") for n in range(12)} == {0, 1, 2}
    assert {home_of(peaceful, router, "/a", f"bucket{n}.{DOMAIN}") for n in range(12)} == {0, 1, 2}


def test_replicas_have_equal_shares(peaceful, router):
    targets = [f"/shares-{router.name}/part-{number:05}.parquet" for number in range(450)]
    client = Client([router.port])
    for target in targets:
        assert client.once("HEAD", target).status == 404
    peaceful.home(f'{targets[-1]}"')
    asked = {number: replica.logged() for number, replica in enumerate(peaceful.replicas)}
    shares = Counter(number for number, log in asked.items() for target in targets if f'{target}"' in log)
    assert sum(shares.values()) > 440 and max(shares.values()) < 1.15 * 150, shares


def test_haproxies_of_all_versions_agree(peaceful):
    routers = [router for router in peaceful.routers if router.conf == "haproxy.cfg"]
    if len(routers) < 2:
        pytest.skip("there are no two versions of HAProxy here")
    for number in range(30):
        assert len({home_of(peaceful, router, f"/bucket/{number}") for router in routers}) == 1


def test_replicas_learn_the_addresses_of_clients(peaceful, router):
    mark = f"mark={next(MARKS)}."
    assert Client([router.port], address="127.0.0.77").once("GET", f"/bucket/k?{mark}").status > 0
    log = peaceful.replicas[peaceful.home(mark)].logged()
    (line,) = [line for line in log.splitlines() if mark in line]
    assert line.startswith("127.0.0.77:"), line


def test_haproxy_and_envoy_take_the_files_as_they_are():
    checks = {"haproxy.cfg": ["-dW", "-c", "-f"], "envoy.yaml": ["--mode", "validate", "--config-path"]}
    checked = 0
    for kind, program in ENGINES.values():
        if program:
            command = [program, *checks[kind.conf], CONF / kind.conf]
            done = subprocess.run(command, capture_output=True, text=True, timeout=60)
            assert done.returncode == 0, done.stderr
            checked += 1
    assert checked, "there is neither HAProxy nor Envoy here"
