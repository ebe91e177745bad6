"""GetObject and HeadObject with boto3: every read compared with the origin's, cold and warm."""

import time
from datetime import datetime, timedelta, timezone

import pytest
import requests

READS = ["get_object", "head_object"]

RANGES = [
    "bytes=0-0",
    "bytes=0-",
    "bytes=0-65535",
    "bytes=65535-65536",
    "bytes=100000-299999",
    "bytes=300006-",
    "bytes=299000-999999999",
    "bytes=-1",
    "bytes=-70000",
    "bytes=-300007",
    "bytes=-9999999",
    "bytes=300007-",
    "bytes=999999999-",
    "bytes=5-2",
    "bytes=-0",
    "bytes=abc",
    "bytes=0-1,5-6",
]

ODD_KEYS = [
    "a b/ü+x%.txt",
    "//x",
    "/leading",
    "trailing/",
    "a//b",
    "a/./b",
    "a/../b",
    "plus+and space",
    "100%25",
    "q?a=b&c#d",
    "colon:semi;comma,at@eq=",
    "quote'\"<>\\^`{|}~",
    "emoji-\N{SNOWMAN}-\U0001f600",
    "(parens)!*$",
    "k" * 1024,
]


@pytest.mark.parametrize("operation", READS)
def test_whole_object(pair, some_bytes, operation):
    key = pair.put(
        some_bytes,
        ContentType="text/x-test; charset=utf-8",
        ContentEncoding="gzip",
        ContentLanguage="de",
        ContentDisposition='attachment; filename="x y.bin"',
        CacheControl="max-age=60, public",
        Expires=datetime(2030, 1, 2, 3, 4, 5, tzinfo=timezone.utc),
        Metadata={"one": "1", "two-words": "a  b"},
    )
    answer = pair.same(f"{operation} whole", operation, Key=key)
    assert answer.body == (some_bytes if operation == "get_object" else b"")


@pytest.mark.parametrize("wanted", RANGES)
@pytest.mark.parametrize("operation", READS)
def test_range(pair, some_bytes, operation, wanted):
    key = pair.put(some_bytes)
    pair.same(f"{operation} range {wanted}", operation, Key=key, Range=wanted)


@pytest.mark.parametrize("wanted", [None, "bytes=0-", "bytes=0-0", "bytes=-1", "bytes=-0"])
@pytest.mark.parametrize("operation", READS)
def test_empty_object(pair, operation, wanted):
    key = pair.put(b"")
    inputs = {} if wanted is None else {"Range": wanted}
    pair.same(f"{operation} empty, range {wanted}", operation, Key=key, **inputs)


HOUR = timedelta(hours=1)
CONDITIONS = {
    "If-Match same": {"IfMatch": "{etag}"},
    "If-Match other": {"IfMatch": '"0123"'},
    "If-Match unquoted": {"IfMatch": "{bare}"},
    "If-Match list": {"IfMatch": '"0123", {etag}'},
    "If-Match any": {"IfMatch": "*"},
    "If-None-Match same": {"IfNoneMatch": "{etag}"},
    "If-None-Match other": {"IfNoneMatch": '"0123"'},
    "If-None-Match unquoted": {"IfNoneMatch": "{bare}"},
    "If-None-Match list": {"IfNoneMatch": '"0123", {etag}'},
    "If-None-Match any": {"IfNoneMatch": "*"},
    "If-Modified-Since before": {"IfModifiedSince": -HOUR},
    "If-Modified-Since same": {"IfModifiedSince": timedelta()},
    "If-Unmodified-Since before": {"IfUnmodifiedSince": -HOUR},
    "If-Unmodified-Since same": {"IfUnmodifiedSince": timedelta()},
    "If-Match true, If-Unmodified-Since false": {"IfMatch": "{etag}", "IfUnmodifiedSince": -HOUR},
    "If-Match false, If-Unmodified-Since true": {
        "IfMatch": '"0123"',
        "IfUnmodifiedSince": timedelta(),
    },
    "If-None-Match false, If-Modified-Since true": {
        "IfNoneMatch": "{etag}",
        "IfModifiedSince": -HOUR,
    },
    "If-None-Match true, If-Modified-Since false": {
        "IfNoneMatch": '"0123"',
        "IfModifiedSince": timedelta(),
    },
}


def filled(condition: dict, head: dict) -> dict:
    etag = head["ETag"]
    return {
        name: head["LastModified"] + value
        if isinstance(value, timedelta)
        else value.format(etag=etag, bare=etag.strip('"'))
        for name, value in condition.items()
    }


@pytest.mark.parametrize("name", CONDITIONS)
@pytest.mark.parametrize("operation", READS)
def test_condition(pair, operation, name):
    key = pair.put(b"conditional", CacheControl="max-age=7", Metadata={"m": "1"})
    head = pair.direct("head_object", Bucket=pair.bucket, Key=key).parsed
    pair.same(f"{operation} {name}", operation, Key=key, **filled(CONDITIONS[name], head))


@pytest.mark.parametrize("name", ["If-Match other", "If-None-Match same"])
def test_condition_beats_an_unsatisfiable_range(pair, name):
    key = pair.put(b"conditional")
    head = pair.direct("head_object", Bucket=pair.bucket, Key=key).parsed
    inputs = filled(CONDITIONS[name], head)
    pair.same(f"{name}, unsatisfiable range", "get_object", Key=key, Range="bytes=99-", **inputs)


@pytest.mark.parametrize("name", ["same etag", "other etag", "same date", "earlier date"])
def test_if_range(pair, some_bytes, name):
    key = pair.put(some_bytes)
    head = pair.direct("head_object", Bucket=pair.bucket, Key=key).parsed
    date = head["LastModified"] - (HOUR if name == "earlier date" else timedelta())
    value = {
        "same etag": head["ETag"],
        "other etag": '"0123"',
    }.get(name) or date.strftime("%a, %d %b %Y %H:%M:%S GMT")
    headers = {"If-Range": value}
    check = f"If-Range {name}"
    pair.same(check, "get_object", Key=key, Range="bytes=70000-139999", headers=headers)


@pytest.mark.parametrize("key", ODD_KEYS, ids=lambda key: key[:40].encode().hex())
def test_odd_key(pair, key):
    body = b"the object at " + key.encode()
    put = pair.direct("put_object", Bucket=pair.bucket, Key=key, Body=body)
    through = pair.through("put_object", Bucket=pair.mirror, Key=key, Body=body)
    assert through.status == put.status, "the same keys may be written"
    assert put.status == 200
    assert pair.same("get_object odd key", "get_object", Key=key).body == body
    pair.same("head_object odd key", "head_object", Key=key)


@pytest.mark.parametrize("operation", READS)
def test_missing_key(pair, operation):
    pair.same(f"{operation} missing key", operation, Key="no such/ü+key")


@pytest.mark.parametrize("operation", READS)
def test_missing_bucket(pair, operation):
    pair.same(f"{operation} missing bucket", operation, Bucket="no-such-bucket-here", Key="k")


OVERRIDES = {
    "ResponseContentType": "application/x-other",
    "ResponseContentLanguage": "fr",
    "ResponseContentDisposition": 'attachment; filename="ü.txt"',
    "ResponseContentEncoding": "identity",
    "ResponseCacheControl": "no-cache",
    "ResponseExpires": datetime(2031, 2, 3, tzinfo=timezone.utc),
}


@pytest.mark.parametrize("operation", READS)
def test_response_overrides(pair, operation):
    key = pair.put(b"overridden", ContentType="text/plain", CacheControl="max-age=1")
    overrides = {k: v for k, v in OVERRIDES.items() if k != "ResponseContentDisposition"}
    pair.same(f"{operation} response overrides", operation, Key=key, **overrides)
    pair.same(f"{operation} after overrides", operation, Key=key)


@pytest.mark.parametrize("operation", READS)
def test_checksum_mode(pair, operation):
    key = pair.put(b"checked", ChecksumAlgorithm="SHA256")
    pair.same(f"{operation} checksum", operation, Key=key, ChecksumMode="ENABLED")


def test_a_read_that_is_not_cacheable_passes_through(pair, some_bytes):
    key = pair.put(some_bytes)
    pair.same("get_object_tagging", "get_object_tagging", Key=key)


def fetched(url: str, **headers) -> tuple[int, bytes, dict]:
    answer = requests.get(url, headers={"Accept-Encoding": "identity"} | headers, timeout=30)
    kept = ("content-type", "etag", "last-modified", "content-range", "content-length")
    return answer.status_code, answer.content, {name: answer.headers.get(name) for name in kept}


def test_presigned_url(pair, some_bytes):
    key = pair.put(some_bytes, key="presigned ü+x%.bin")
    inputs = {"Bucket": pair.bucket, "Key": key, "ResponseContentType": "x/y"}
    for headers in ({}, {"Range": "bytes=65000-66000"}):
        direct, through = (
            caller.client.generate_presigned_url("get_object", Params=inputs, ExpiresIn=300)
            for caller in (pair.direct, pair.through)
        )
        assert fetched(through, **headers) == fetched(direct, **headers)
        assert fetched(through, **headers)[2]["content-type"] == "x/y"


def test_date_of_the_answer_is_now(pair):
    key = pair.put(b"dated")
    for _ in ("cold", "warm"):
        answer = pair.through("get_object", Bucket=pair.bucket, Key=key)
        date = datetime.strptime(answer.raw_headers["date"], "%a, %d %b %Y %H:%M:%S GMT")
        assert abs(date.replace(tzinfo=timezone.utc).timestamp() - time.time()) < 5
