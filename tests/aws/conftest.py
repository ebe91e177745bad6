"""The bucket, its objects, and the report.

Read-only but for one prefix, which is removed at the end. Variables: `BUCKET`; `ENDPOINT` for another server than AWS, whose
differences from S3 are reported and no failures; `REGION`; `HOTSET`, the binary; `REPORT`, the file.
"""

import json
import os
import platform
import time
import uuid
from pathlib import Path

import boto3
import pytest
from botocore.config import Config
from place import ROOT, Hotset, Place, program

BUCKET = os.environ.get("BUCKET", "")
ENDPOINT = os.environ.get("ENDPOINT", "")
REPORT = Path(os.environ.get("REPORT") or ROOT / "target/aws-report.json")
PREFIX = f"hotset-test-{uuid.uuid4().hex[:12]}/"
ROWS: list[dict] = []

if not BUCKET:
    pytest.exit("name a bucket: make test-aws BUCKET=..", returncode=2)


@pytest.fixture(scope="session")
def session() -> boto3.Session:
    found = boto3.Session()
    if not found.get_credentials():
        pytest.exit("boto3 finds no credentials: see `aws configure`", returncode=2)
    return found


def client_of(session: boto3.Session, region: str):
    config = Config(retries={"mode": "standard"}, s3={"addressing_style": "path"})
    return session.client("s3", endpoint_url=ENDPOINT or None, region_name=region, config=config)


@pytest.fixture(scope="session")
def region(session) -> str:
    if named := os.environ.get("REGION"):
        return named
    if ENDPOINT:
        return "us-east-1"
    answer = client_of(session, "us-east-1").head_bucket(Bucket=BUCKET)
    return answer["ResponseMetadata"]["HTTPHeaders"].get("x-amz-bucket-region", "us-east-1")


@pytest.fixture(scope="session")
def s3(session, region):
    return client_of(session, region)


@pytest.fixture(scope="session")
def direct(session, region) -> Place:
    return Place(ENDPOINT or f"https://s3.{region}.amazonaws.com", region, session)


@pytest.fixture(scope="session")
def hotset(direct, region, tmp_path_factory):
    running = Hotset(program(), tmp_path_factory.mktemp("hotset"), direct.endpoint, region)
    yield running
    running.stop()


@pytest.fixture(scope="session")
def through(hotset, region, session) -> Place:
    return Place(hotset.endpoint, region, session)


@pytest.fixture(scope="session")
def objects(s3):
    """Below the prefix: `small` of 5,000 bytes, `empty`, `large` of a million, and `parts` of 5 MiB, 5 MiB and 1 MiB."""
    try:
        body = bytes(n * 7 % 251 for n in range(1_000_000))
        for name, content in [("small", body[:5000]), ("empty", b""), ("large", body)]:
            s3.put_object(Bucket=BUCKET, Key=PREFIX + name, Body=content)
        upload = s3.create_multipart_upload(Bucket=BUCKET, Key=PREFIX + "parts", ChecksumAlgorithm="CRC32")
        place = {"Bucket": BUCKET, "Key": PREFIX + "parts", "UploadId": upload["UploadId"]}
        sent = []
        for number, length in enumerate([5 << 20, 5 << 20, 1 << 20], 1):
            content = bytes([number]) * length
            part = s3.upload_part(**place, PartNumber=number, Body=content, ChecksumAlgorithm="CRC32")
            kept = {name: part[name] for name in ("ETag", "ChecksumCRC32") if name in part}
            sent.append({"PartNumber": number, **kept})
        s3.complete_multipart_upload(**place, MultipartUpload={"Parts": sent})
        yield PREFIX
    finally:
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=PREFIX):
            for found in page.get("Contents", []):
                s3.delete_object(Bucket=BUCKET, Key=found["Key"])


def censored(value):
    """Without the names of the bucket and of the prefix."""
    if isinstance(value, dict):
        return {key: censored(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [censored(inner) for inner in value]
    return value.replace(BUCKET, "BUCKET").replace(PREFIX, "PREFIX/") if isinstance(value, str) else value


@pytest.fixture
def report(request):
    """Adds a row: what is claimed of S3, what it and hotset answered, and who differs."""

    def add(claim: str, expected: dict, s3: dict, through_hotset: dict, differs: list[str]) -> None:
        row = {"claim": claim, "expected": expected, "s3": s3, "hotset": through_hotset, "differs": differs}
        ROWS.append(censored(row))
        strict = [who for who in differs if who == "hotset" or not ENDPOINT]
        assert not strict, json.dumps(ROWS[-1], indent=1)

    return add


def pytest_sessionfinish(session):
    if not ROWS:
        return
    differs = {who: sum(who in row["differs"] for row in ROWS) for who in ("s3", "hotset")}
    written = {
        "server": "other" if ENDPOINT else "aws",
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "python": platform.python_version(),
        "boto3": boto3.__version__,
        "claims": len(ROWS),
        "differs": differs,
        "rows": ROWS,
    }
    REPORT.parent.mkdir(parents=True, exist_ok=True)
    REPORT.write_text(json.dumps(written, indent=1) + "\n")


def pytest_terminal_summary(terminalreporter):
    if ROWS:
        different = [row for row in ROWS if row["differs"]]
        for row in different:
            terminalreporter.write_line(f"{' and '.join(row['differs'])} differs: {row['claim']}")
        terminalreporter.write_line(f"{len(ROWS)} claims, {len(different)} with a difference: {REPORT}")
