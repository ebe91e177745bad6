"""Writes and lists with boto3: passed through, and what they leave behind is right at once."""

import base64
import hashlib
import io
import uuid

import pytest
import requests
from boto3.s3.transfer import TransferConfig

from compare import Caller, differences

MIB = 1024 * 1024


def left_behind(pair, key: str) -> bytes:
    """The object as the origin now has it, compared with what the mirror has and hotset reads."""
    read = {"Key": key, "ChecksumMode": "ENABLED"}
    mirrored = pair.direct("get_object", Bucket=pair.mirror, **read)
    written = pair.direct("get_object", Bucket=pair.bucket, **read)
    varying = {"last-modified", "x-amz-content-sha256"}  # the second: moto keeps the request's
    for name in written.headers.keys() | mirrored.headers.keys():
        if name not in varying and not name.startswith("x-amz-sdk-"):
            assert written.headers.get(name) == mirrored.headers.get(name), name
    assert written.body == mirrored.body
    through = pair.through("get_object", Bucket=pair.bucket, **read)
    assert not differences(written, through)
    return written.body


PUTS = {
    "default checksum": {},
    "crc32": {"ChecksumAlgorithm": "CRC32"},
    "sha1": {"ChecksumAlgorithm": "SHA1"},
    "sha256": {"ChecksumAlgorithm": "SHA256"},
    "metadata": {
        "ContentType": "text/x-test",
        "CacheControl": "max-age=5",
        "Metadata": {"one": "1", "spaces": "a  b"},
    },
}


@pytest.mark.parametrize("name", PUTS)
@pytest.mark.parametrize("size", [0, 1, 65_536, 300_007])
def test_put(pair, some_bytes, name, size):
    body = some_bytes[:size]
    key = f"put/{name}/{size}"
    pair.write(f"put {name}", "put_object", Key=key, Body=body, **PUTS[name])
    assert left_behind(pair, key) == body


def test_put_of_a_stream(pair, some_bytes):
    for caller, bucket in ((pair.direct, pair.mirror), (pair.through, pair.bucket)):
        caller.client.upload_fileobj(io.BytesIO(some_bytes), bucket, "streamed")
    assert left_behind(pair, "streamed") == some_bytes


def test_put_with_a_wrong_checksum_is_refused_and_leaves_what_was(pair, server):
    if server.name == "moto":
        pytest.skip("moto does not look at Content-MD5")
    pair.write("put", "put_object", Key="kept", Body=b"kept")
    wrong = base64.b64encode(hashlib.md5(b"other").digest()).decode()
    refused = pair.write("put, wrong MD5", "put_object", Key="kept", Body=b"lost", ContentMD5=wrong)
    assert refused.status == 400
    assert left_behind(pair, "kept") == b"kept"


def test_put_with_conditions(pair):
    inputs = {"Key": "conditional", "Body": b"1", "IfNoneMatch": "*"}
    pair.write("put If-None-Match, new", "put_object", **inputs)
    pair.write("put If-None-Match, there", "put_object", **inputs)
    assert left_behind(pair, "conditional") == b"1"


def test_overwritten_through_hotset_is_read_at_once(pair, some_bytes):
    for body in (b"first", some_bytes, b"", b"third"):
        pair.write("put", "put_object", Key="overwritten", Body=body)
        for _ in range(2):
            assert left_behind(pair, "overwritten") == body
            head = pair.through("head_object", Bucket=pair.bucket, Key="overwritten")
            assert head.headers["content-length"] == str(len(body))


def multipart(caller, bucket: str, key: str, parts: list[bytes], **inputs):
    upload = caller("create_multipart_upload", Bucket=bucket, Key=key, **inputs)
    names = {"Bucket": bucket, "Key": key, "UploadId": upload.parsed["UploadId"]}
    done = []
    for number, body in enumerate(parts, 1):
        part = caller("upload_part", PartNumber=number, Body=body, **names)
        assert part.status == 200, part
        done.append({"PartNumber": number, "ETag": part.parsed["ETag"]})
    listed = caller("list_parts", **names)
    assert [part["Size"] for part in listed.parsed["Parts"]] == [len(part) for part in parts]
    return caller("complete_multipart_upload", MultipartUpload={"Parts": done}, **names)


def test_multipart_upload_over_a_cached_object(pair, some_bytes):
    parts = [some_bytes * 18, some_bytes]
    assert len(parts[0]) > 5 * MIB
    pair.write("put", "put_object", Key="parts", Body=b"before")
    assert left_behind(pair, "parts") == b"before"
    direct = multipart(pair.direct, pair.mirror, "parts", parts, ContentType="x/parts")
    through = multipart(pair.through, pair.bucket, "parts", parts, ContentType="x/parts")
    assert through.status == direct.status == 200
    assert through.parsed["ETag"] == direct.parsed["ETag"]
    assert left_behind(pair, "parts") == b"".join(parts)


def test_aborted_multipart_upload_leaves_what_was(pair):
    pair.write("put", "put_object", Key="aborted", Body=b"before")
    for caller, bucket in ((pair.direct, pair.mirror), (pair.through, pair.bucket)):
        upload = caller("create_multipart_upload", Bucket=bucket, Key="aborted")
        names = {"Bucket": bucket, "Key": "aborted", "UploadId": upload.parsed["UploadId"]}
        caller("upload_part", PartNumber=1, Body=b"x", **names)
        assert caller("abort_multipart_upload", **names).status == 204
    assert left_behind(pair, "aborted") == b"before"


def test_managed_transfer_of_a_large_file(pair, some_bytes, tmp_path):
    body = some_bytes * 60
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(body)
    transfer = TransferConfig(multipart_threshold=8 * MIB, multipart_chunksize=8 * MIB)
    client = pair.through.client
    client.upload_file(str(source), pair.bucket, "managed", Config=transfer)
    for _ in ("cold", "warm"):
        client.download_file(pair.bucket, "managed", str(target), Config=transfer)
        assert target.read_bytes() == body
    assert pair.direct("get_object", Bucket=pair.bucket, Key="managed").body == body


@pytest.mark.parametrize("payload_signing", [True, False])
def test_put_with_the_body_signed_or_not(pair, some_bytes, payload_signing):
    caller = Caller(
        pair.hotset,
        s3={"payload_signing_enabled": payload_signing},
        request_checksum_calculation="when_required",
    )
    key = f"signed-{payload_signing}"
    put = caller("put_object", Bucket=pair.bucket, Key=key, Body=some_bytes)
    assert put.status == 200
    assert pair.direct("get_object", Bucket=pair.bucket, Key=key).body == some_bytes


@pytest.mark.parametrize("directive", ["COPY", "REPLACE"])
def test_copy_over_a_cached_object(pair, some_bytes, directive):
    source, target = f"copy source ü+/{directive}", f"copy-target-{directive}"
    pair.write("put", "put_object", Key=source, Body=some_bytes, Metadata={"m": "old"})
    pair.write("put", "put_object", Key=target, Body=b"before")
    assert left_behind(pair, target) == b"before"
    inputs = {"Metadata": {"m": "new"}} if directive == "REPLACE" else {}
    pair.write(
        "copy",
        "copy_object",
        Key=target,
        CopySource={"Bucket": pair.bucket, "Key": source},
        MetadataDirective=directive,
        **inputs,
    )
    assert left_behind(pair, target) == some_bytes


def test_copy_onto_itself_changes_what_is_read_of_the_headers(pair):
    pair.write("put", "put_object", Key="itself", Body=b"same", ContentType="x/old")
    assert left_behind(pair, "itself") == b"same"
    pair.write(
        "copy onto itself",
        "copy_object",
        Key="itself",
        CopySource={"Bucket": pair.bucket, "Key": "itself"},
        MetadataDirective="REPLACE",
        ContentType="x/new",
    )
    assert left_behind(pair, "itself") == b"same"
    head = pair.through("head_object", Bucket=pair.bucket, Key="itself")
    assert head.headers["content-type"] == "x/new"


def test_delete_of_a_cached_object_and_its_return(pair):
    pair.write("put", "put_object", Key="deleted", Body=b"there")
    assert left_behind(pair, "deleted") == b"there"
    pair.write("delete", "delete_object", Key="deleted")
    pair.same("get_object deleted key", "get_object", Key="deleted")
    pair.same("head_object deleted key", "head_object", Key="deleted")
    pair.write("put", "put_object", Key="deleted", Body=b"back")
    assert left_behind(pair, "deleted") == b"back"


def test_delete_objects_of_cached_objects(pair):
    keys = ["many/1", "many/ü &<>2", "many/ 3+"]
    for key in keys:
        pair.write("put", "put_object", Key=key, Body=b"there")
        assert left_behind(pair, key) == b"there"
    wanted = {"Objects": [{"Key": key} for key in [*keys, "many/never-there"]]}
    pair.write("delete_objects", "delete_objects", fresh=("Deleted",), Delete=wanted)
    for key in keys:
        assert pair.through("get_object", Bucket=pair.bucket, Key=key).status == 404


def test_tagging(pair):
    pair.write("put", "put_object", Key="tagged", Body=b"x", Tagging="a=1")
    assert left_behind(pair, "tagged") == b"x"
    tags = {"TagSet": [{"Key": "a", "Value": "2"}, {"Key": "ü", "Value": "+ &"}]}
    pair.write("put_object_tagging", "put_object_tagging", Key="tagged", Tagging=tags)
    pair.same("get_object_tagging", "get_object_tagging", Key="tagged")
    assert left_behind(pair, "tagged") == b"x"
    pair.write("delete_object_tagging", "delete_object_tagging", Key="tagged")
    assert left_behind(pair, "tagged") == b"x"


@pytest.fixture(scope="module")
def listed(pair) -> str:
    """The start of twelve keys, some of them odd, in two folders and none."""
    for key in ("a", "b/1", "b/2 ü", "b/3+", "c d/1", "c d/2&<", *(f"z{n}" for n in range(6))):
        pair.put(b"x" * len(key), key=f"list/{key}")
    return "list/"


@pytest.mark.parametrize("operation", ["list_objects", "list_objects_v2"])
@pytest.mark.parametrize(
    "inputs",
    [
        {},
        {"Delimiter": "/"},
        {"EncodingType": "url"},
        {"MaxKeys": 3},
        {"Delimiter": "/", "MaxKeys": 2, "EncodingType": "url"},
        {"Prefix": "list/c d/"},
        {"Prefix": "nothing/"},
        {"MaxKeys": 0},
    ],
    ids=str,
)
def test_list(pair, listed, operation, inputs):
    pair.same(f"{operation} {inputs}", operation, **{"Prefix": listed} | inputs)


@pytest.mark.parametrize("operation", ["list_objects", "list_objects_v2"])
def test_list_page_by_page(pair, listed, operation):
    def keys(caller) -> list[str]:
        pages = caller.client.get_paginator(operation).paginate(
            Bucket=pair.bucket, Prefix=listed, PaginationConfig={"PageSize": 5}
        )
        return [entry["Key"] for page in pages for entry in page["Contents"]]

    assert keys(pair.through) == keys(pair.direct)
    assert len(keys(pair.through)) == 12


def test_a_list_shows_a_write_at_once(pair):
    for n in range(3):
        pair.through("put_object", Bucket=pair.bucket, Key=f"growing/{n}", Body=b"")
        through = pair.through("list_objects_v2", Bucket=pair.bucket, Prefix="growing/")
        assert through.parsed["KeyCount"] == n + 1


def test_buckets(pair):
    for operation in ("head_bucket", "get_bucket_location", "get_bucket_versioning", "get_bucket_acl"):
        pair.same(operation, operation)
    names = [
        {bucket["Name"] for bucket in caller("list_buckets").parsed["Buckets"]}
        for caller in (pair.direct, pair.through)
    ]
    assert names[0] == names[1]
    name = f"made-{uuid.uuid4().hex[:12]}"
    assert pair.through("create_bucket", Bucket=name).status == 200
    assert pair.direct("head_bucket", Bucket=name).status == 200
    assert pair.through("delete_bucket", Bucket=name).status == 204
    assert pair.direct("head_bucket", Bucket=name).status == 404


def test_presigned_put_and_delete(pair, some_bytes):
    names = {"Bucket": pair.bucket, "Key": "presigned/put ü"}
    sign = pair.through.client.generate_presigned_url
    put = requests.put(sign("put_object", Params=names), data=some_bytes, timeout=30)
    assert put.status_code == 200, put.text
    assert pair.direct("get_object", **names).body == some_bytes
    assert pair.through("get_object", **names).body == some_bytes
    assert requests.delete(sign("delete_object", Params=names), timeout=30).status_code == 204
    assert pair.through("get_object", **names).status == 404


def test_versioned_bucket(pair):
    bucket = f"versioned-{uuid.uuid4().hex[:12]}"
    names = {"Bucket": bucket, "Key": "k"}
    pair.through("create_bucket", Bucket=bucket)
    pair.through(
        "put_bucket_versioning", Bucket=bucket, VersioningConfiguration={"Status": "Enabled"}
    )
    versions = []
    for body in (b"one", b"two"):
        put = pair.through("put_object", Body=body, **names)
        versions.append(put.headers["x-amz-version-id"])
        pair.same("get_object versioned", "get_object", **names)
        assert pair.through("get_object", **names).body == body
    for version, body in zip(versions, (b"one", b"two")):
        old = pair.same("get_object by version", "get_object", VersionId=version, **names)
        assert old.body == body
    pair.through("delete_object", **names)
    # HEAD first: moto's GET lacks the delete marker's headers, and answers for HEAD once cached.
    for operation in ("head_object", "get_object"):
        marker = pair.same(f"{operation} delete marker", operation, **names)
        assert marker.status == 404
    pair.same("list_object_versions", "list_object_versions", Bucket=bucket)
