"""Writes and uploads through hotset, read again from S3."""

import sys

import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from conftest import BUCKET
from objects import BODY, PARTS, checksum
from place import ROOT

# After this folder's own modules.
sys.path.append(str(ROOT / "tests/clients"))
import chunked  # noqa: E402
from servers import Endpoint  # noqa: E402

CHUNKED = {
    "upload.signed-chunks": chunked.SIGNED,
    "upload.signed-trailer": chunked.SIGNED_TRAILER,
    "upload.unsigned-trailer": chunked.UNSIGNED_TRAILER,
}
SENT = BODY[:300_007]


@pytest.fixture(scope="module")
def client(hotset, region, session):
    """boto3 as it comes, at hotset."""
    config = Config(s3={"addressing_style": "path"})
    return session.client("s3", endpoint_url=hotset.endpoint, region_name=region, config=config)


def read(s3, key: str) -> bytes:
    try:
        return s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()
    except ClientError as error:
        return error.response["Error"]["Code"].encode()


def test_a_write_is_seen_at_once(s3, client, through, objects, report):
    path, seen = f"/{BUCKET}/{objects}written", []
    for content in (b"one", b"two", b"three"):
        client.put_object(Bucket=BUCKET, Key=objects + "written", Body=content)
        seen += [through.send("GET", path).body == content for _ in range(2)]
        seen.append(read(s3, objects + "written") == content)
    report("write.seen-at-once", {"seen": True}, {}, {"seen": seen}, [] if all(seen) else ["hotset"])


def test_a_conditional_write_is_refused(s3, client, objects, report):
    def refusal(of) -> dict:
        try:
            of.put_object(Bucket=BUCKET, Key=objects + "kept", Body=b"x", IfNoneMatch="*")
        except ClientError as error:
            return {"status": error.response["ResponseMetadata"]["HTTPStatusCode"], "code": error.response["Error"]["Code"]}
        return {"status": 200}

    s3.put_object(Bucket=BUCKET, Key=objects + "kept", Body=b"kept")
    said = {"status": 412, "code": "PreconditionFailed"}
    theirs, ours = refusal(s3), refusal(client)
    wrong = [] if theirs == said else ["s3"]
    if ours != theirs:
        wrong.append("hotset")
    report("write.if-none-match", said, theirs, ours, wrong)


@pytest.mark.parametrize("claim", CHUNKED)
def test_uploads_in_chunks(claim, s3, direct, hotset, region, session, objects, report):
    keys = session.get_credentials().get_frozen_credentials()
    name, shown, arrived = claim.removeprefix("upload."), {}, {}
    for who, endpoint in {"s3": direct.endpoint, "hotset": hotset.endpoint}.items():
        key, to = f"{objects}{name}-{who}", Endpoint(endpoint, keys.access_key, keys.secret_key)
        answer = chunked.put(to, BUCKET, key, SENT, CHUNKED[claim], region=region, token=keys.token)
        arrived[who] = answer.status == 200 and read(s3, key) == SENT
        shown[who] = {"status": answer.status, "arrived": arrived[who]}
    wrong = [] if arrived["s3"] else ["s3"]
    if arrived["s3"] and not arrived["hotset"]:
        wrong.append("hotset")
    report(claim, {"status": 200, "arrived": True}, shown["s3"], shown["hotset"], wrong)


def test_an_upload_in_parts(s3, client, through, objects, report):
    key = objects + "uploaded"
    sent, place = [], {"Bucket": BUCKET, "Key": key}
    place["UploadId"] = client.create_multipart_upload(**place, ChecksumAlgorithm="CRC32")["UploadId"]
    for number, body in enumerate(PARTS, 1):
        given = {"ChecksumCRC32": checksum("CRC32", body)}
        part = client.upload_part(**place, PartNumber=number, Body=body, **given)
        sent.append({"PartNumber": number, "ETag": part["ETag"], **given})
    client.complete_multipart_upload(**place, MultipartUpload={"Parts": sent})
    found = {
        "etag ends with -3": s3.head_object(Bucket=BUCKET, Key=key)["ETag"].endswith('-3"'),
        "arrived": read(s3, key) == b"".join(PARTS),
        "read": through.send("GET", f"/{BUCKET}/{key}").body == b"".join(PARTS),
    }
    report("upload.parts", dict.fromkeys(found, True), {}, found, [] if all(found.values()) else ["hotset"])


def count(written, key: str) -> int:
    return sum(found == key for found, _ in written.uploads())


def test_an_upload_that_is_aborted(client, written, objects, report):
    place = {"Bucket": BUCKET, "Key": objects + "aborted"}
    place["UploadId"] = client.create_multipart_upload(**place)["UploadId"]
    client.upload_part(**place, PartNumber=1, Body=b"part")
    found = {"begun": count(written, place["Key"])}
    client.abort_multipart_upload(**place)
    found["left"] = count(written, place["Key"])
    wrong = [] if found == {"begun": 1, "left": 0} else ["hotset"]
    report("upload.aborted", {"begun": 1, "left": 0}, {}, found, wrong)
