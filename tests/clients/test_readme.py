"""The table of what hotset does of S3, in docs/s3.md: each row is asked, directly and through hotset.

`cached`: asked again, it is a hit. `passes through`: each time the origin answers, and as it does
directly. `not done`: hotset refuses it, and the origin hears nothing of it.
"""

import re
import uuid
from base64 import b64encode
from dataclasses import dataclass, field
from hashlib import md5
from pathlib import Path

import pytest
import requests
from botocore.auth import HmacV1QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.crt.auth import CrtS3SigV4AsymQueryAuth

from compare import Answer, Caller, get_by_address
from hotset import LISTS
from servers import REGION, Endpoint
from test_cache import asked, is_hit

PAGE = Path(__file__).resolve().parents[2] / "docs/s3.md"
HEADING = "## What of S3 it does"
STATES = ("cached", "passes through", "not done")


def table() -> dict[str, str]:
    """Rows and their states, as the page has them."""
    section = PAGE.read_text().split(f"\n{HEADING}\n", 1)[1].split("\n## ", 1)[0]
    rows = re.findall(r"^\| (.+?) \| (.+?) \|", section, re.MULTILINE)
    return {row: state for row, state in rows if row != "of S3"}


@dataclass(frozen=True)
class Ask:
    """An operation of boto3 on an object that is there; `{key}` and `{bucket}` stand for names."""

    operation: str
    inputs: dict = field(default_factory=dict)
    headers: dict = field(default_factory=dict)
    on: str = "object"
    """`object`, `bucket` or `service`: what it is asked of."""

    def call(self, caller, bucket: str, key: str):
        names = {"object": {"Bucket": bucket, "Key": key}, "bucket": {"Bucket": bucket}}
        inputs = filled(self.inputs, bucket, key)
        return caller(self.operation, headers=self.headers, **names.get(self.on, {}), **inputs)


def filled(value, bucket: str, key: str):
    if isinstance(value, str):
        return value.format(bucket=bucket, key=key)
    if isinstance(value, dict):
        return {name: filled(item, bucket, key) for name, item in value.items()}
    if isinstance(value, list):
        return [filled(item, bucket, key) for item in value]
    return value


MOTO = "123456789012"
"""The account that owns moto's buckets; radosgw looks at none."""
CUSTOMER_KEY = bytes(range(32))
SSE_C = {
    "SSECustomerAlgorithm": "AES256",
    "SSECustomerKey": b64encode(CUSTOMER_KEY).decode(),
    "SSECustomerKeyMD5": b64encode(md5(CUSTOMER_KEY).digest()).decode(),
}
TAGS = {"Tagging": {"TagSet": [{"Key": "a", "Value": "b"}]}}

ASKED = {
    "GetObject, HeadObject": [Ask("get_object"), Ask("head_object")],
    "`Range`, `If-*`": [
        Ask("get_object", {"Range": "bytes=5-9"}),
        Ask("head_object", {"Range": "bytes=-9"}),
        Ask("get_object", {"IfMatch": f'"{md5(b"read me").hexdigest()}"'}),
        Ask("get_object", {"IfNoneMatch": '"other"'}),
    ],
    "an `If-Match` that fails (412)": [Ask("get_object", {"IfMatch": '"other"'})],
    "`response-*`, `x-amz-checksum-mode`": [
        Ask("get_object", {"ResponseContentType": "x/y", "ResponseExpires": "0"}),
        Ask("head_object", {"ChecksumMode": "ENABLED"}),
    ],
    "reads of a `partNumber`": [Ask("get_object", {"PartNumber": 1})],
    "reads with customer keys (SSE-C)": [Ask("get_object", SSE_C), Ask("head_object", SSE_C)],
    "reads with `x-amz-expected-bucket-owner`": [Ask("get_object", {"ExpectedBucketOwner": MOTO})],
    "reads with `x-amz-request-payer`": [Ask("get_object", {"RequestPayer": "requester"})],
    "reads with an `Origin` (CORS)": [Ask("get_object", {}, {"Origin": "https://example.com"})],
    "GetObjectAttributes, GetObjectTagging, GetObjectAcl": [
        Ask("get_object_attributes", {"ObjectAttributes": ["ETag"]}),
        Ask("get_object_tagging"),
        Ask("get_object_acl"),
    ],
    "ListObjectsV2, ListObjects, ListObjectVersions, ListMultipartUploads": [
        Ask("list_objects_v2", on="bucket"),
        Ask("list_objects", on="bucket"),
        Ask("list_object_versions", on="bucket"),
        Ask("list_multipart_uploads", on="bucket"),
    ],
    "ListBuckets, HeadBucket, GetBucketLocation": [
        Ask("list_buckets", on="service"),
        Ask("head_bucket", on="bucket"),
        Ask("get_bucket_location", on="bucket"),
    ],
    "PutObject, CopyObject, DeleteObject, DeleteObjects": [
        Ask("put_object", {"Body": b"other"}),
        Ask("copy_object", {"CopySource": "{bucket}/{key}", "MetadataDirective": "REPLACE"}),
        Ask("delete_objects", {"Delete": {"Objects": [{"Key": "{key}"}]}}, on="bucket"),
        Ask("delete_object"),
    ],
    "multipart uploads": [Ask("create_multipart_upload"), Ask("list_parts", {"UploadId": "none"})],
    "tags, ACLs": [
        Ask("put_object_tagging", TAGS),
        Ask("delete_object_tagging"),
        Ask("put_object_acl", {"ACL": "private"}),
    ],
    "buckets and their configuration": [
        Ask("create_bucket", on="bucket"),
        Ask("get_bucket_versioning", on="bucket"),
        Ask("get_bucket_lifecycle_configuration", on="bucket"),
        Ask("get_bucket_cors", on="bucket"),
        Ask("get_bucket_policy", on="bucket"),
        Ask("get_bucket_website", on="bucket"),
    ],
}


@pytest.mark.parametrize("row", ASKED)
def test_row_of_an_operation(pair, row):
    if pair.server.name == "radosgw" and "partNumber" in row:
        pytest.skip("radosgw 16 knows no parts")
    key = f"readme-{uuid.uuid4().hex}"
    states = set()
    for ask in ASKED[row]:
        pair.put(b"read me", key=key)
        direct = ask.call(pair.direct, pair.bucket, key)
        pair.put(b"read me", key=key)
        states.add(state(direct, lambda: ask.call(pair.through, pair.bucket, key)))
    assert states == {table()[row]}


def state(direct: Answer, ask) -> str:
    """How hotset handles a call, by the last of three: a first one may be what teaches it."""
    for _ in range(3):
        through = ask()
        assert through.status == direct.status, f"{direct}\n{through}"
    return "cached" if is_hit(through) else "passes through"


def test_row_of_versions(pair):
    bucket = f"{pair.bucket}-versions"
    pair.direct("create_bucket", Bucket=bucket)
    enabled = {"Status": "Enabled"}
    pair.direct("put_bucket_versioning", Bucket=bucket, VersioningConfiguration=enabled)
    names = {"Bucket": bucket, "Key": "k"}
    names["VersionId"] = pair.direct("put_object", **names, Body=b"1").parsed["VersionId"]
    pair.direct("put_object", Bucket=bucket, Key="k", Body=b"2")
    states = {
        state(pair.direct(ask, **names), lambda: pair.through(ask, **names))
        for ask in ("get_object", "head_object")
    }
    assert states == {table()["reads of a `versionId`"]}


def test_row_of_lists_by_rule(pair):
    bucket = {"Bucket": f"{LISTS}{uuid.uuid4().hex}"}
    pair.direct("create_bucket", **bucket)
    states = {
        state(pair.direct(ask, **bucket), lambda: pair.through(ask, **bucket))
        for ask in ("list_objects_v2", "head_bucket")
    }
    assert states == {table()["ListObjectsV2, HeadBucket by `rules[].lists`"]}


def test_row_of_the_presigned_url(pair, some_bytes):
    key = pair.put(some_bytes)
    signer = Caller(pair.hotset)
    assert table()["presigned URLs (SigV4)"] == state_of_url(signer, pair, key, some_bytes)


def test_row_of_browsers_uploads(pair):
    key = f"readme-{uuid.uuid4().hex}"
    statuses = set()
    for to in (pair.server, pair.hotset):
        form = Caller(to).client.generate_presigned_post(pair.bucket, key, ExpiresIn=300)
        for _ in range(2):
            answer = requests.post(form["url"], form["fields"], files={"file": b"x"}, timeout=30)
            statuses.add(answer.status_code)
    assert statuses == {204}
    assert not answer.headers["cache-status"].endswith("hit")
    assert table()["browsers' uploads (POST forms, SigV4)"] == "passes through"


def test_row_of_virtual_hosted_style(pair, some_bytes):
    key = pair.put(some_bytes)
    to = Endpoint(pair.hotset.virtual, pair.hotset.access, pair.hotset.secret)
    signer = Caller(to, s3={"addressing_style": "virtual"})
    assert table()["virtual-hosted style"] == state_of_url(signer, pair, key, some_bytes)


def state_of_url(signer: Caller, pair, key: str, body: bytes) -> str:
    names = {"Bucket": pair.bucket, "Key": key}
    url = signer.client.generate_presigned_url("get_object", Params=names, ExpiresIn=300)
    # As in `state`: the last of three. A second one may still find the fetch of the first under way.
    answers = [get_by_address(url) for _ in range(3)]
    assert [answer.content for answer in answers] == [body] * 3
    return "cached" if answers[-1].headers["cache-status"].endswith("hit") else "passes through"


def not_done(pair, key: str, ask) -> str:
    """Asks for the key; `not done` if that is an error of ours, of which the origin heard nothing."""
    before = asked(pair, key, 1)
    answer = ask()
    assert 400 <= answer.status_code < 500, answer.text
    assert "<Code>" in answer.text
    assert asked(pair, key) == before
    return "not done"


OTHER_SIGNATURES = {
    "SigV2": lambda keys: HmacV1QueryAuth(keys),
    "SigV4A": lambda keys: CrtS3SigV4AsymQueryAuth(keys, "s3", REGION),
}


@pytest.mark.parametrize("version", OTHER_SIGNATURES)
def test_row_of_other_signatures(pair, mode, version):
    if mode == "trust":
        pytest.skip("trust looks at no signature")
    key = pair.put(b"signed otherwise")
    request = AWSRequest("GET", f"{pair.hotset.endpoint}/{pair.bucket}/{key}")
    signer = OTHER_SIGNATURES[version](Credentials(pair.hotset.access, pair.hotset.secret))
    signer.add_auth(request)
    assert table()[version] == not_done(pair, key, lambda: get_by_address(request.url))


def test_row_of_website_endpoints(pair):
    key = pair.put(b"<html></html>", key="index.html")
    host = f"{pair.bucket}.s3-website-{REGION}.amazonaws.com"
    url = f"{pair.hotset.endpoint}/{key}"

    def ask():
        return requests.get(url, headers={"Host": host}, timeout=30)

    assert table()["website endpoints"] == not_done(pair, key, ask)


def test_the_table_has_no_row_that_is_not_asked():
    others = {
        "presigned URLs (SigV4)",
        "browsers' uploads (POST forms, SigV4)",
        "virtual-hosted style",
        "reads of a `versionId`",
        "ListObjectsV2, HeadBucket by `rules[].lists`",
        "SigV2",
        "SigV4A",
        "website endpoints",
    }
    assert table().keys() == ASKED.keys() | others
    assert set(table().values()) == set(STATES)
