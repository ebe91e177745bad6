"""What of an account hotset relies on: regions, ETags of parts, conditional writes, and its own check."""

import os

import pytest
from botocore.exceptions import ClientError
from conftest import BUCKET, ENDPOINT


def test_a_bucket_says_its_region(direct, through, region, report):
    theirs, ours = (place.send("HEAD", f"/{BUCKET}") for place in (direct, through))
    said = {"status": 200, "headers": {"x-amz-bucket-region": region}}
    wrong = ["s3"] if theirs.headers.get("x-amz-bucket-region") != region else []
    wrong += ["hotset"] if ours.status != theirs.status else []
    report("HeadBucket names the region of the bucket", said, theirs.shown(), ours.shown(), wrong)


@pytest.mark.skipif(bool(ENDPOINT), reason="other servers have one region")
def test_another_region_sends_to_the_bucket(session, region, report):
    """hotset's `origins.md`: 301, 307 or 400, with the region in a header or in the error."""
    from place import Place

    elsewhere = "eu-west-1" if region != "eu-west-1" else "us-west-2"
    answers = {}
    for method in ("GET", "HEAD"):
        place = Place(f"https://s3.{elsewhere}.amazonaws.com", elsewhere, session)
        answers[method] = place.send(method, f"/{BUCKET}", "list-type=2" if method == "GET" else "")
    wrong = [a for a in answers.values() if a.headers.get("x-amz-bucket-region") != region]
    shown = {method: answer.shown() for method, answer in answers.items()}
    said = {"status": "301 or 307", "headers": {"x-amz-bucket-region": region}}
    report("another region names the bucket's", said, shown, {}, ["s3"] if wrong else [])


def test_the_etag_of_parts_counts_them(s3, objects, report):
    etag = s3.head_object(Bucket=BUCKET, Key=objects + "parts")["ETag"]
    wrong = [] if etag.strip('"').endswith("-3") else ["s3"]
    report("the ETag of an object of 3 parts ends with -3", {"etag": '"..-3"'}, {"etag": etag}, {}, wrong)


def test_a_write_through_hotset_is_seen_at_once(s3, through, objects, hotset, report):
    import boto3
    from botocore.config import Config

    client = boto3.client(
        "s3",
        endpoint_url=hotset.endpoint,
        region_name=s3.meta.region_name,
        config=Config(s3={"addressing_style": "path"}),
    )
    path, seen = f"/{BUCKET}/{objects}written", []
    for content in (b"one", b"two", b"three"):
        client.put_object(Bucket=BUCKET, Key=objects + "written", Body=content)
        seen += [through.send("GET", path).body == content for _ in range(2)]
        seen.append(s3.get_object(Bucket=BUCKET, Key=objects + "written")["Body"].read() == content)
    wrong = [] if all(seen) else ["hotset"]
    report("a write through hotset is read at once", {"seen": True}, {}, {"seen": seen}, wrong)


def test_a_conditional_write_is_refused(s3, objects, report):
    """`If-None-Match: *` on a key that is there."""
    try:
        s3.put_object(Bucket=BUCKET, Key=objects + "small", Body=b"x", IfNoneMatch="*")
        found = {"status": 200}
    except ClientError as error:
        found = {"status": error.response["ResponseMetadata"]["HTTPStatusCode"], "code": error.response["Error"]["Code"]}
    wrong = [] if found == {"status": 412, "code": "PreconditionFailed"} else ["s3"]
    report("If-None-Match: * of a key that is there is 412", {"status": 412}, found, {}, wrong)


def test_hotset_checks_the_bucket(hotset, report):
    """`hotset check --online`: addresses, TLS, signature, one list, the clock."""
    done = hotset.run("check", "--online", "--bucket", BUCKET)
    lines = [line for line in done.stdout.splitlines() if line.strip()]
    steps = [line.split(":")[0].strip() for line in lines]
    wrong = ["hotset"] if done.returncode else []
    report("hotset check --online succeeds", {"exit": 0}, {}, {"exit": done.returncode, "steps": steps}, wrong)


def test_nothing_is_left(s3, objects, region):
    """Only what is below the prefix was written; it is removed when all tests have ended."""
    assert objects.startswith("hotset-test-") and objects.endswith("/")
    assert os.environ["BUCKET"] == BUCKET
