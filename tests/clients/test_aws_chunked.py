"""Uploads in the aws-chunked framing arrive as the bytes that they frame (R23)."""

import pytest

import chunked
from compare import Caller

# radosgw 16 knows no trailers: they come with Ceph 18 and later.
UNKNOWN = {"radosgw": {chunked.SIGNED_TRAILER, chunked.UNSIGNED_TRAILER}}


@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 300_007])
@pytest.mark.parametrize(
    "payload", [chunked.SIGNED, chunked.SIGNED_TRAILER, chunked.UNSIGNED_TRAILER]
)
def test_aws_chunked_put(pair, server, some_bytes, payload, size):
    if size == 0 and server.name == "radosgw":
        pytest.skip("radosgw 16 refuses an empty body in chunks")
    if payload in UNKNOWN.get(server.name, ()):
        pytest.skip(f"{server.name} does not know {payload}")
    key, body = f"chunked ü/{payload}/{size}", some_bytes[:size]
    direct = chunked.put(server, pair.mirror, key, body, payload)
    through = chunked.put(pair.hotset, pair.bucket, key, body, payload)
    assert direct.status == 200, direct
    assert through.status == 200, through
    assert through.headers["etag"] == direct.headers["etag"]
    # None; but radosgw 16 takes aws-chunked for the object's own encoding.
    mirrored = pair.direct("head_object", Bucket=pair.mirror, Key=key)
    encoding = mirrored.headers.get("content-encoding")
    for caller in (pair.direct, pair.through):
        read = caller("get_object", Bucket=pair.bucket, Key=key, ChecksumMode="ENABLED")
        assert read.body == body
        assert read.headers.get("content-encoding") == encoding


def test_a_body_that_ends_early_is_not_an_object(pair, server, some_bytes, monkeypatch):
    """hotset must not complete the upload when the last chunk never came."""
    pair.put(b"before", key="cut")
    whole = chunked.framed
    monkeypatch.setattr(chunked, "framed", lambda *given: whole(*given)[:200_000])
    with_hotset = (pair.hotset, pair.bucket, "cut", some_bytes, chunked.SIGNED)
    assert chunked.put(*with_hotset).status >= 400
    assert pair.direct("get_object", Bucket=pair.bucket, Key="cut").body == b"before"
    assert pair.through("get_object", Bucket=pair.bucket, Key="cut").body == b"before"


def test_a_large_put_waits_for_100_continue(pair, server, some_bytes):
    """boto3 sends `Expect: 100-continue` with a body of this size and waits for the answer."""
    body = some_bytes * 10
    caller = Caller(pair.hotset)
    sent = {}
    caller.client.meta.events.register(
        "before-send.s3", lambda request, **_: sent.update(request.headers)
    )
    assert caller("put_object", Bucket=pair.bucket, Key="expected", Body=body).status == 200
    assert sent["Expect"] in ("100-continue", b"100-continue")
    assert pair.direct("get_object", Bucket=pair.bucket, Key="expected").body == body
