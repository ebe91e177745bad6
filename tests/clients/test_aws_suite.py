"""The suite for those who have an account (`make test-aws`), against a server of our own: it runs to its end and reports."""

import json
import os
import subprocess
import sys
import uuid

import boto3
from conftest import ROOT
from servers import REGION


def test_the_suite_reports_what_differs_and_leaves_nothing(server, program, tmp_path):
    bucket, report = f"aws-suite-{uuid.uuid4().hex[:8]}", tmp_path / "report.json"
    keys = {"AWS_ACCESS_KEY_ID": server.access, "AWS_SECRET_ACCESS_KEY": server.secret}
    named = {"aws_access_key_id": server.access, "aws_secret_access_key": server.secret}
    s3 = boto3.client("s3", endpoint_url=server.endpoint, region_name=REGION, **named)
    s3.create_bucket(Bucket=bucket)
    s3.put_object(Bucket=bucket, Key="mine", Body=b"not of the suite")
    settings = {"BUCKET": bucket, "ENDPOINT": server.endpoint, "REGION": REGION, "REPORT": str(report)}
    command = [sys.executable, "-m", "pytest", "-q", ROOT / "tests/aws"]
    environment = os.environ | keys | settings | {"HOTSET": str(program)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    text = report.read_text()
    found = json.loads(text)
    assert found["server"] == "other" and found["claims"] == len(found["rows"]) > 30
    assert found["differs"]["hotset"] == 0
    assert not [secret for secret in (bucket, server.access, server.secret, "hotset-test-") if secret in text]
    assert [kept["Key"] for kept in s3.list_objects_v2(Bucket=bucket)["Contents"]] == ["mine"]
