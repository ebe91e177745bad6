"""Under `verify`, the identities file decides who gets what, whichever client asks (R20, R21).

hotset refuses before it asks the server behind it, so one server is enough: moto, which checks no
signature itself.
"""

import re
from datetime import datetime, timedelta, timezone
from urllib.parse import urlsplit

import botocore.auth
import pytest
import requests

from adapters.base import Client
from both import Both, that_can
from compare import Caller, get_by_address
from hotset import keys_of


@pytest.fixture(scope="module", autouse=True)
def one_server(server, mode):
    if server.name != "moto":
        pytest.skip("once is enough, and moto is always there")
    if mode != "verify":
        pytest.skip("only verify asks who it is")


@pytest.fixture
def client(request, open_clients) -> Both:
    return open_clients(request.param)


def read(client: Client, key: str):
    return client.read(key) if client.can("read") else client.read_table(key).num_rows


def as_(client: Client, keys: tuple[str, str], folder) -> Client:
    """The same client for somebody else. To be made may already ask."""
    return type(client)(client.to.for_(*keys), client.bucket, folder)


STRANGERS = {"wrong secret": ("AKCLIENT", "wrong"), "unknown key": ("AKNOBODY", "skclient")}


@that_can()
@pytest.mark.parametrize("stranger", STRANGERS)
def test_r20_a_stranger_does_not_read_what_is_cached(pair, client, prefix, parquet, stranger, tmp_path):
    key = pair.put(parquet, key=f"{prefix}secret")
    read(client.through, key)
    before = pair.hotset.statuses()
    with pytest.raises(Exception):
        other = as_(client.through, STRANGERS[stranger], tmp_path)
        try:
            read(other, key)
        finally:
            other.close()
    since = pair.hotset.statuses()[len(before) :]
    # 400: s3fs-fuse then tries SigV2.
    assert 403 in since and set(since) <= {400, 403}


@that_can("read", "write")
def test_r21_a_reader_reads_and_does_not_write(pair, client, prefix, tmp_path):
    key = pair.put(b"as it was", key=f"{prefix}kept")
    reader = as_(client.through, keys_of("reader"), tmp_path)
    try:
        assert reader.read(key) == b"as it was"
        with pytest.raises(Exception):
            reader.write(key, b"changed")
    finally:
        reader.close()
    assert 403 in pair.hotset.statuses()
    assert pair.direct("get_object", Bucket=pair.bucket, Key=key).body == b"as it was"


def last_digit(match: re.Match) -> str:
    digit = match[2]
    return match[1] + ("0" if digit != "0" else "1")


CHANGES = {
    "key": lambda url: url.replace("/mine", "/other"),
    "signature": lambda url: re.sub(r"(X-Amz-Signature=[0-9a-f]{63})([0-9a-f])", last_digit, url),
    "longer life": lambda url: url.replace("X-Amz-Expires=300", "X-Amz-Expires=3000"),
    "override": lambda url: f"{url}&response-content-type=text%2Fhtml",
    "identity": lambda url: url.replace("AKCLIENT", "AKREADER"),
    "host": lambda url: url.replace("127.0.0.1", "localhost").replace("s3.local", "S3.local"),
}


@that_can("presign")
def test_r20_a_presigned_url_is_good_as_it_is_and_not_changed(pair, client, prefix):
    for name in ("mine", "other"):
        pair.put(b"presigned", key=f"{prefix}{name}")
    url = client.through.presign(f"{prefix}mine", 300)
    assert get_by_address(url).content == b"presigned"
    for name, change in CHANGES.items():
        changed = change(url)
        assert changed != url, name
        answer = get_by_address(changed)
        assert answer.status_code == 403, f"{name}: {answer.text}"
        assert "<Code>SignatureDoesNotMatch</Code>" in answer.text, f"{name}: {answer.text}"
    parts = urlsplit(url)
    here = parts._replace(netloc=f"127.0.0.1:{parts.port}").geturl()
    put = requests.put(here, b"overwritten", headers={"Host": parts.netloc}, timeout=30)
    assert put.status_code == 403
    assert get_by_address(url).content == b"presigned"


@pytest.fixture
def clock(monkeypatch):
    """Sets the clock that boto3 signs by."""

    def ago(**how_long) -> None:
        now = datetime.now(timezone.utc).replace(tzinfo=None) - timedelta(**how_long)
        monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda *_, **__: now)

    return ago


@pytest.mark.parametrize("age, status", [(290, 200), (310, 403)])
def test_r20_a_presigned_url_expires(pair, clock, age, status):
    names = {"Bucket": pair.bucket, "Key": pair.put(b"for five minutes")}
    clock(seconds=age)
    url = pair.through.client.generate_presigned_url("get_object", Params=names, ExpiresIn=300)
    answer = get_by_address(url)
    assert answer.status_code == status
    assert ("Request has expired" in answer.text) == (status == 403)


@pytest.mark.parametrize("minutes, code", [(14, None), (16, "RequestTimeTooSkewed")])
def test_r20_a_clock_may_be_wrong_by_fifteen_minutes(pair, clock, minutes, code):
    key = pair.put(b"late")
    clock(minutes=minutes)
    assert pair.through("get_object", Bucket=pair.bucket, Key=key).code == code


def test_r20_what_is_not_signed_is_refused(pair):
    key = pair.put(b"nobody's")
    assert pair.through("get_object", Bucket=pair.bucket, Key=key).status == 200
    answer = requests.get(f"{pair.hotset.endpoint}/{pair.bucket}/{key}", timeout=30)
    assert answer.status_code == 403
    assert "<Code>AccessDenied</Code>" in answer.text


def test_r21_a_narrow_identity_reaches_nothing_outside_its_folder(pair):
    for key in ("mine/one", "theirs/two"):
        pair.put(key.encode(), key=key)
    narrow, bucket = Caller(pair.hotset.for_(*keys_of("narrow"))), {"Bucket": pair.bucket}
    mine, theirs = {**bucket, "Key": "mine/one"}, {**bucket, "Key": "theirs/two"}
    to_mine = {**bucket, "Key": "mine/copy"}
    assert narrow("get_object", **mine).body == b"mine/one"
    assert narrow("copy_object", CopySource=mine, **to_mine).status == 200
    assert narrow("list_objects_v2", Prefix="mine/", **bucket).parsed["KeyCount"] == 2
    both = {"Objects": [{"Key": "mine/copy"}, {"Key": "theirs/two"}]}
    refused = [
        narrow("get_object", **theirs),
        narrow("head_object", **theirs),
        narrow("put_object", Body=b"", **theirs),
        narrow("delete_object", **theirs),
        narrow("copy_object", CopySource=theirs, **to_mine),
        narrow("copy_object", CopySource=mine, **theirs),
        narrow("list_objects_v2", **bucket),
        narrow("list_objects_v2", Prefix="theirs/", **bucket),
        narrow("delete_objects", Delete=both, **bucket),
        narrow("get_bucket_policy", **bucket),
    ]
    assert [answer.status for answer in refused] == [403] * len(refused)
    assert pair.direct("get_object", **theirs).body == b"theirs/two"
