"""The suite for those who have an account (`make test-aws`), against a server of our own: it ends, reports, and leaves nothing."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import uuid
from pathlib import Path

import boto3
import pytest
from conftest import ROOT
from servers import REGION, Server

sys.path.append(str(ROOT / "tests/aws"))
from claims import CLAIMS  # noqa: E402
from written import Written  # noqa: E402

FOREVER = """
def pytest_collection_finish():
    import written

    written.Written.remove_once, written.PAUSES = lambda self: None, (0,)
"""

INTERRUPTED = """
import os

from botocore.client import BaseClient

send = BaseClient._make_api_call


def interrupted(client, operation, arguments):
    if operation == "UploadPart":
        os.kill(os.getpid(), {number})
    return send(client, operation, arguments)


BaseClient._make_api_call = interrupted
"""


class Account:
    """A bucket with an object that is not the suite's, and with an unfinished upload."""

    def __init__(self, server: Server, program: Path, folder: Path, versioned: bool = True):
        self.server, self.report = server, folder / "report.json"
        self.bucket = f"aws-suite-{uuid.uuid4().hex[:8]}"
        named = {"aws_access_key_id": server.access, "aws_secret_access_key": server.secret}
        self.s3 = boto3.client("s3", endpoint_url=server.endpoint, region_name=REGION, **named)
        self.s3.create_bucket(Bucket=self.bucket)
        if versioned:
            self.s3.put_bucket_versioning(Bucket=self.bucket, VersioningConfiguration={"Status": "Enabled"})
        self.s3.put_object(Bucket=self.bucket, Key="mine", Body=b"not of the suite")
        self.s3.create_multipart_upload(Bucket=self.bucket, Key="mine too")
        keys = {"AWS_ACCESS_KEY_ID": server.access, "AWS_SECRET_ACCESS_KEY": server.secret}
        settings = {"BUCKET": self.bucket, "ENDPOINT": server.endpoint, "REGION": REGION, "REPORT": str(self.report)}
        self.environment = os.environ | keys | settings | {"HOTSET": str(program), "PYTHONPATH": str(folder)}

    def start(self, *options) -> subprocess.Popen:
        command = [sys.executable, "-m", "pytest", "-q", ROOT / "tests/aws", *options]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        return subprocess.Popen(command, env=self.environment, start_new_session=True, **pipes)

    def run(self, *options) -> tuple[int, str]:
        process = self.start(*options)
        out, _ = process.communicate(timeout=300)
        return process.returncode, out

    def left(self) -> list[str]:
        """Lists all that is there besides its own."""
        everything = Written(self.s3, self.bucket, "").left()
        return [found for found in everything if not found.endswith((" mine", " of mine", " of mine too"))]


@pytest.mark.parametrize("versioned", [False, True], ids=["plain", "versioned"])
def test_the_suite_reports_what_differs_and_leaves_nothing(server, program, tmp_path, versioned):
    account = Account(server, program, tmp_path, versioned)
    kinds = [f"--endpoint=vpc-interface={server.endpoint}", f"--endpoint=access-point-alias={account.bucket}"]
    code, out = account.run(*kinds)
    assert code == 0, out
    text = account.report.read_text()
    found = json.loads(text)
    assert found["server"] == "other" and found["hotset"].startswith("hotset ")
    assert found["differs"]["hotset"] == 0
    asked = {row["claim"] for row in found["rows"]}
    assert found["claims"] == len(asked) > 50 and ("version.by-id" in asked) == versioned
    # Each is asked, or has a reason: no claim is without a test.
    assert asked | found["not_asked"].keys() == CLAIMS.keys() and not asked & found["not_asked"].keys()
    assert "its test did not come so far" not in found["not_asked"].values()
    names = (account.bucket, server.access, server.secret, server.endpoint, "hotset-test-", "127.0.0.1")
    assert not [secret for secret in names if secret in text]
    assert account.left() == []
    written = Written(account.s3, account.bucket, "mine")
    assert written.objects() == ["mine"] and len(written.uploads()) == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["int", "term"])
def test_an_interrupted_suite_leaves_nothing(server, program, tmp_path, number):
    account = Account(server, program, tmp_path)
    # In the middle of an upload in parts.
    (tmp_path / "interrupted.py").write_text(INTERRUPTED.format(number=int(number)))
    process = account.start("-p", "interrupted")
    try:
        out, _ = process.communicate(timeout=120)
    finally:
        # hotset, too, if it was left alone.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == pytest.ExitCode.INTERRUPTED, out
    assert account.left() == []


def test_what_is_left_fails_the_suite(server, program, tmp_path):
    account = Account(server, program, tmp_path)
    # A plug-in that takes from the suite what removes.
    (tmp_path / "forever.py").write_text(FOREVER)
    code, out = account.run("-p", "forever", "-k", "a_read_is_finished or nothing_is_left")
    assert code == pytest.ExitCode.TESTS_FAILED, out
    assert "FAILED" in out and "test_nothing_is_left" in out and "left in the bucket" in out, out
    assert account.left() != []


def test_everything_below_a_prefix_is_seen_and_removed(server, program, tmp_path):
    account = Account(server, program, tmp_path)
    s3, place = account.s3, {"Bucket": account.bucket}
    for key in ("p/deleted", "p/kept", "q/other"):
        for body in (b"first", b"second"):
            s3.put_object(**place, Key=key, Body=body)
    s3.delete_object(**place, Key="p/deleted")
    s3.create_multipart_upload(**place, Key="p/unfinished")
    written = Written(s3, account.bucket, "p/")
    kinds = sorted(found.split(" ")[0] for found in written.left())
    assert kinds == ["DeleteMarker", "Object", "Upload", *["Version"] * 4]
    others = Written(s3, account.bucket, "q/").left()
    assert written.remove() == [] == written.left()
    assert Written(s3, account.bucket, "q/").left() == others and len(others) == 3
