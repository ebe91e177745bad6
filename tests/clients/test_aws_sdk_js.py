"""Presigned URLs of the AWS SDK for JavaScript v3, whose query has `X-Amz-Content-Sha256` (R16, R23).

Behind hotset in `verify` and in `trust` mode, each in front of both servers.
"""

import pytest
import requests

from adapters.base import Missing
from adapters.node import AwsSdkJs
from hotset import Hotset

MODES = ("verify", "trust")


@pytest.fixture(scope="module", params=MODES)
def through(request, program, mode, server, hotset, tmp_path_factory) -> Hotset:
    if request.param == mode:
        yield hotset
        return
    running = Hotset(program, tmp_path_factory.mktemp(request.param), server, request.param)
    yield running
    running.stop()


@pytest.fixture(scope="module")
def client(through, pair, tmp_path_factory) -> AwsSdkJs:
    try:
        client = AwsSdkJs(through, pair.bucket, tmp_path_factory.mktemp("node"))
    except Missing as reason:
        pytest.skip(str(reason))
    yield client
    client.close()


def presigned(client: AwsSdkJs, key: str, method: str) -> str:
    url = client.presign(key, 300, method)
    assert "X-Amz-Content-Sha256=UNSIGNED-PAYLOAD" in url
    return url


def test_a_presigned_get_is_answered_from_the_cache(pair, client, prefix, some_bytes):
    key = pair.put(some_bytes, key=f"{prefix}read")
    statuses = []
    for _ in range(3):
        answer = requests.get(presigned(client, key, "get"), timeout=30)
        assert (answer.status_code, answer.content) == (200, some_bytes)
        statuses.append(answer.headers["cache-status"])
    assert statuses[0].startswith("hotset; fwd=uri-miss") and statuses[1:] == ["hotset; hit"] * 2
    # One request or several: each fetch of a cold object is a range of it.
    asked = pair.server.requests(pair.bucket, key)
    some = requests.get(
        presigned(client, key, "get"), headers={"Range": "bytes=65000-66000"}, timeout=30
    )
    assert (some.status_code, some.content) == (206, some_bytes[65_000:66_001])
    assert some.headers["cache-status"] == "hotset; hit"
    assert pair.server.requests(pair.bucket, key) == asked


def test_a_presigned_head_is_answered_from_the_cache(pair, client, prefix):
    key = pair.put(b"x" * 1001, key=f"{prefix}headed")
    for status in ("hotset; fwd=uri-miss; detail=new", "hotset; hit"):
        answer = requests.head(presigned(client, key, "head"), timeout=30)
        assert (answer.status_code, answer.headers["content-length"]) == (200, "1001")
        assert answer.headers["cache-status"] == status


def test_a_presigned_put_is_stored_and_read_back(pair, client, prefix):
    key = pair.put(b"before", key=f"{prefix}written")
    assert client.read(key) == b"before"
    put = requests.put(presigned(client, key, "put"), data=b"after", timeout=30)
    assert put.status_code == 200, put.text
    assert client.read(key) == b"after"
    assert pair.direct("get_object", Bucket=pair.bucket, Key=key).body == b"after"


def test_a_changed_presigned_url_is_refused_in_verify_mode(pair, through, client, prefix):
    if through.access == pair.server.access:
        pytest.skip("trust compares no signatures")
    key = pair.put(b"secret", key=f"{prefix}secret")
    url = presigned(client, key, "get")
    assert requests.get(url, timeout=30).status_code == 200
    changed = url.replace("UNSIGNED-PAYLOAD", "STREAMING-UNSIGNED-PAYLOAD-TRAILER")
    assert requests.get(changed, timeout=30).status_code == 403
