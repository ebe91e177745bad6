"""What a user sees of the cache: Cache-Status, and that the origin is asked for a byte once."""

import re
import time
import urllib.request
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from compare import Caller

SECONDS = 5


@pytest.fixture(scope="module")
def plain(pair) -> Caller:
    """A client that asks for no checksums, for which hotset sends no HEAD beside its GET."""
    return Caller(pair.hotset, response_checksum_validation="when_required")


def asked(pair, key: str, at_least: int = 0) -> Counter:
    """What the origin was asked of the key, once its log has caught up with `at_least` requests."""
    deadline = time.monotonic() + SECONDS
    while True:
        seen = pair.server.requests(pair.bucket, key)
        if seen.total() >= at_least or time.monotonic() > deadline:
            return seen
        time.sleep(0.05)


def is_hit(answer) -> bool:
    """RFC 9211: `hit`, or `fwd=` and why; never both."""
    parameters = [part.strip() for part in answer.cache_status.split(",")[-1].split(";")[1:]]
    forwarded = any(part.startswith("fwd=") for part in parameters)
    assert forwarded != ("hit" in parameters), answer.cache_status
    return not forwarded


@pytest.mark.parametrize("inputs", [{}, {"Range": "bytes=70000-139999"}], ids=["whole", "range"])
def test_cache_status_says_miss_and_then_hit(pair, some_bytes, inputs):
    key = pair.put(some_bytes)
    hits = [
        is_hit(pair.through("get_object", Bucket=pair.bucket, Key=key, **inputs))
        for _ in range(3)
    ]
    assert hits == [False, True, True]
    assert is_hit(pair.through("head_object", Bucket=pair.bucket, Key=key))


def test_cache_status_of_what_passes_through_is_no_hit(pair):
    for _ in range(2):
        assert not is_hit(pair.through("list_objects_v2", Bucket=pair.bucket))


def test_a_small_object_costs_the_origin_one_get_and_no_head(pair, plain, some_bytes):
    key = pair.put(some_bytes[:50_000])
    for _ in range(3):
        assert plain("get_object", Bucket=pair.bucket, Key=key).body == some_bytes[:50_000]
        plain("head_object", Bucket=pair.bucket, Key=key)
        plain("get_object", Bucket=pair.bucket, Key=key, Range="bytes=-1000")
    pair.direct("head_object", Bucket=pair.bucket, Key=key)  # in the log after all of hotset's
    assert asked(pair, key, 3) == {"PUT": 1, "GET": 1, "HEAD": 1}


def test_many_readers_at_once_cost_the_origin_one_get(pair, plain, some_bytes):
    key = pair.put(some_bytes[:50_000])

    def read(_) -> tuple[bytes, str]:
        answer = plain.client.get_object(Bucket=pair.bucket, Key=key)
        status = answer["ResponseMetadata"]["HTTPHeaders"]["cache-status"]
        return answer["Body"].read(), status

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(read, range(32)))
    assert all(body == some_bytes[:50_000] for body, _ in answers)
    pair.direct("head_object", Bucket=pair.bucket, Key=key)
    how = Counter(status for _, status in answers)
    assert asked(pair, key, 3) == {"PUT": 1, "GET": 1, "HEAD": 1}, how


def test_a_second_read_of_a_large_object_asks_the_origin_nothing(pair, plain, some_bytes):
    body = some_bytes * 20
    key = pair.put(body)
    assert plain("get_object", Bucket=pair.bucket, Key=key).body == body
    first = asked(pair, key, 2)
    assert plain("get_object", Bucket=pair.bucket, Key=key).body == body
    pair.direct("head_object", Bucket=pair.bucket, Key=key)
    first["HEAD"] += 1
    assert asked(pair, key, first.total()) == first


def test_no_cache_asks_the_origin_again(pair):
    key = pair.put(b"old", ContentType="x/old")
    names = {"Bucket": pair.bucket, "Key": key}
    assert pair.through("get_object", **names).body == b"old"
    pair.put(b"new!", key=key, ContentType="x/new")
    assert pair.through("get_object", **names).body == b"old", "within its ttl"
    fresh = pair.through("get_object", headers={"Cache-Control": "no-cache"}, **names)
    assert (fresh.body, fresh.headers["content-type"]) == (b"new!", "x/new")
    assert pair.through("get_object", **names).body == b"new!"


def test_metrics_and_health(pair, some_bytes):
    key = pair.put(some_bytes)
    for _ in range(2):
        pair.through("get_object", Bucket=pair.bucket, Key=key)
    with urllib.request.urlopen(f"{pair.hotset.admin}/metrics", timeout=5) as answer:
        text = answer.read().decode()
    assert re.search(r'^hotset_requests_total\{[^}]*"hit"[^}]*\} [1-9]', text, re.MULTILINE)
    for path in ("healthz", "readyz"):
        with urllib.request.urlopen(f"{pair.hotset.admin}/{path}", timeout=5) as answer:
            assert answer.status == 200
