"""Versions, where the bucket has them."""

import http.client

import pytest
from conftest import BUCKET

CLAIMED = ("version.by-id", "version.delete-marker", "version.delete-marker-by-id")
OLD, NEW = b"o" * (5 << 20), b"n" * (5 << 20)


@pytest.fixture(scope="module")
def versions(s3, objects, is_versioned, report) -> dict[str, str]:
    """The ids of an object's two versions, and of the delete marker that hides them."""
    if not is_versioned:
        report.skip("the bucket is not versioned", *CLAIMED)
    key = {"Bucket": BUCKET, "Key": objects + "versions"}
    written = {name: s3.put_object(**key, Body=name.encode())["VersionId"] for name in ("first", "second")}
    return written | {"marker": s3.delete_object(**key)["VersionId"]}


def ask(claim, direct, through, objects, report, query: str, is_right, said: dict) -> None:
    path = f"/{BUCKET}/{objects}versions"
    theirs = direct.send("GET", path, query)
    ours = [through.send("GET", path, query) for _ in range(2)]
    wrong = [] if is_right(theirs) else ["s3"]
    if not all(is_right(answer) or (wrong and answer.status == theirs.status) for answer in ours):
        wrong.append("hotset")
    report(claim, said, theirs.shown(), {"cold": ours[0].shown(), "cached": ours[1].shown()}, wrong)


def test_a_version_is_read_by_its_id(versions, direct, through, objects, report):
    query = f"versionId={versions['first']}"

    def is_right(answer) -> bool:
        return answer.body == b"first" and answer.headers.get("x-amz-version-id") == versions["first"]

    ask("version.by-id", direct, through, objects, report, query, is_right, {"status": 200, "bytes": 5})


def test_a_delete_marker_hides_the_object(versions, direct, through, objects, report):
    def is_right(answer) -> bool:
        return (answer.status, answer.code, answer.headers.get("x-amz-delete-marker")) == (404, "NoSuchKey", "true")

    ask("version.delete-marker", direct, through, objects, report, "", is_right, {"status": 404, "code": "NoSuchKey"})


def test_a_delete_marker_cannot_be_read(versions, direct, through, objects, report):
    query, said = f"versionId={versions['marker']}", {"status": 405, "code": "MethodNotAllowed"}

    def is_right(answer) -> bool:
        return (answer.status, answer.code) == (405, "MethodNotAllowed")

    ask("version.delete-marker-by-id", direct, through, objects, report, query, is_right, said)


def test_a_read_is_finished_from_its_version(s3, through, hotset, objects, is_versioned, report):
    claim, key = "version.read-is-finished", objects + "overwritten"
    if not is_versioned:
        report.skip("the bucket is not versioned", claim)
    s3.put_object(Bucket=BUCKET, Key=key, Body=OLD)
    connection = http.client.HTTPConnection(through.netloc, timeout=60)
    try:
        connection.request("GET", f"/{BUCKET}/{key}")
        answer = connection.getresponse()
        body = answer.read(64 << 10)
        s3.put_object(Bucket=BUCKET, Key=key, Body=NEW)
        body += answer.read()
    except http.client.IncompleteRead as broken:
        body += broken.partial
    finally:
        connection.close()
    wrong = [] if body == OLD else ["hotset"]
    found = {"bytes": len(body), "of the old version": len(body) - body.count(b"n")}
    report(claim, {"bytes": len(OLD)}, {}, found, wrong)
