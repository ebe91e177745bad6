"""The bucket, its objects, hotset in front of it, and the report.

Read-only but for one prefix, which is removed at the end, on failure and on Ctrl-C, too. Variables: `BUCKET`; `ENDPOINT` for
another server than AWS, whose differences from S3 are reported and no failures; `REGION`; `HOTSET`, the binary; `REPORT`,
the file. `--endpoint KIND=..` for kinds of endpoints that not every bucket has: see test_endpoints.py.
"""

import os
import signal
import urllib.parse
import uuid
from pathlib import Path

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from claims import CLAIMS
from objects import write_objects
from place import ROOT, Hotset, Place, program
from report import Report
from written import Written

BUCKET = os.environ.get("BUCKET", "")
ENDPOINT = os.environ.get("ENDPOINT", "")
IS_AWS = not ENDPOINT or (urllib.parse.urlsplit(ENDPOINT).hostname or "").endswith((".amazonaws.com", ".amazonaws.com.cn"))
REPORT = Path(os.environ.get("REPORT") or ROOT / "target/aws-report.json")
PREFIX = f"hotset-test-{uuid.uuid4().hex[:12]}/"
LAST = "test_nothing_is_left"

if not BUCKET:
    pytest.exit("name a bucket: make test-aws BUCKET=..", returncode=2)


def pytest_addoption(parser):
    parser.addoption("--endpoint", action="append", default=[], metavar="KIND=..", help="ask at this kind of endpoint, too")


def pytest_configure(config):
    # As Ctrl-C, so that what was written is removed.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    config.report = Report(IS_AWS)
    for given in config.getoption("endpoint"):
        if f"endpoint.{given.partition('=')[0]}" not in CLAIMS:
            pytest.exit(f"--endpoint {given}: no such kind; see tests/aws/test_endpoints.py", returncode=2)


def pytest_report_header():
    return f"writes below {PREFIX} of the bucket alone"


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: item.name == LAST)


def pytest_sessionfinish(session):
    if session.config.report.rows:
        session.config.report.write(REPORT)


def pytest_terminal_summary(terminalreporter, config):
    for line in config.report.summary(REPORT) if config.report.rows else []:
        terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def named(pytestconfig) -> dict[str, str]:
    """Kinds of endpoints, each with what it was given."""
    return dict(text.partition("=")[::2] for text in pytestconfig.getoption("endpoint"))


@pytest.fixture(scope="session")
def report(pytestconfig, session, named) -> Report:
    report, keys = pytestconfig.report, session.get_credentials().get_frozen_credentials()
    report.hide("BUCKET", BUCKET)
    report.hide("PREFIX", PREFIX.strip("/"))
    report.hide("KEY", *keys)
    report.hide("ENDPOINT", ENDPOINT, *named.values())
    return report


@pytest.fixture(scope="session")
def session() -> boto3.Session:
    found = boto3.Session()
    if not found.get_credentials():
        pytest.exit("boto3 finds no credentials: see `aws configure`", returncode=2)
    return found


def client_of(session: boto3.Session, region: str, endpoint: str | None = ENDPOINT, style: str = "path", **s3):
    # Objects have the checksums that they are given, and no others.
    checksums = {f"{way}_checksum_{what}": "when_required" for way, what in CALCULATED}
    s3 = {"addressing_style": style, "us_east_1_regional_endpoint": "regional"} | s3
    config = Config(retries={"mode": "standard"}, s3=s3, **checksums)
    return session.client("s3", endpoint_url=endpoint or None, region_name=region, config=config)


CALCULATED = (("request", "calculation"), ("response", "validation"))


@pytest.fixture(scope="session")
def region(session) -> str:
    if named := os.environ.get("REGION"):
        return named
    if not IS_AWS:
        return "us-east-1"
    try:
        answer = client_of(session, "us-east-1").head_bucket(Bucket=BUCKET)
    except ClientError as error:
        answer = error.response
    return answer["ResponseMetadata"]["HTTPHeaders"].get("x-amz-bucket-region", "us-east-1")


@pytest.fixture(scope="session")
def s3(session, region):
    return client_of(session, region)


@pytest.fixture(scope="session")
def direct(s3, region, session) -> Place:
    return Place(s3.meta.endpoint_url, region, session)


@pytest.fixture(scope="session")
def written(s3) -> Written:
    """Removes at the end what is below the prefix, whatever has happened."""
    written = Written(s3, BUCKET, PREFIX)
    try:
        # Nothing is written where it could not be seen that something is left.
        assert not written.left()
    except ClientError as error:
        pytest.exit(f"nothing was written: {error}; the permissions are in docs/endpoints.md", returncode=2)
    yield written
    left = written.remove()
    assert not left, f"left in the bucket: {left}"


@pytest.fixture(scope="session")
def start_hotset(written, direct, region, tmp_path_factory):
    """Starts a hotset, by default at the bucket's endpoint. All end before what was written is removed."""
    running = []

    def start(endpoint: str = direct.endpoint, region: str = region, **settings) -> Hotset:
        running.append(Hotset(program(), tmp_path_factory.mktemp("hotset"), endpoint, region, **settings))
        return running[-1]

    yield start
    for hotset in running:
        hotset.stop()


@pytest.fixture(scope="session")
def hotset(start_hotset, report) -> Hotset:
    started = start_hotset()
    report.hotset = started.run("--version").stdout.strip()
    return started


@pytest.fixture(scope="session")
def through(hotset, region, session) -> Place:
    return Place(hotset.endpoint, region, session)


@pytest.fixture(scope="session")
def objects(s3, written) -> str:
    """The prefix, below which there is what objects.py writes."""
    write_objects(s3, BUCKET, PREFIX)
    return PREFIX


@pytest.fixture(scope="session")
def is_versioned(s3, objects) -> bool:
    return s3.head_object(Bucket=BUCKET, Key=objects + "small").get("VersionId", "null") != "null"
