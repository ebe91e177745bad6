"""The kinds of endpoints of docs/endpoints.md, each with the settings of its row, read through hotset and by boto3.

The public ones are asked by themselves. Those that a bucket must be prepared for are named, `--endpoint KIND=..`:
`vpc-interface=URL`, `access-point-alias=ALIAS`, `access-point-arn=ARN`, `express=BUCKET` (a directory bucket, in which an
object is written below the prefix, and removed), and `acceleration` without more.
"""

import re
import time

import pytest
from botocore.exceptions import BotoCoreError, ClientError
from conftest import BUCKET, IS_AWS, client_of
from objects import BODY
from place import Place
from written import Written

PUBLIC = ["endpoint.regional", "endpoint.global", "endpoint.dual-stack", "endpoint.fips", "endpoint.acceleration"]
NAMED = ["endpoint.vpc-interface", "endpoint.access-point-alias", "endpoint.access-point-arn", "endpoint.express"]
FIPS = re.compile("(us|ca)-")
"""The regions that have such endpoints."""


def public(kind: str, region: str, regional: str) -> str:
    """The URL of a kind that every bucket has, by that of the region."""
    known = {
        "regional": regional,
        "global": "https://s3.amazonaws.com" if not region.startswith("cn-") else "",
        "dual-stack": regional.replace("://s3.", "://s3.dualstack."),
        "fips": regional.replace("://s3.", "://s3-fips.") if FIPS.match(region) else "",
        "acceleration": "https://s3-accelerate.amazonaws.com",
    }
    return known.get(kind, "")


class Kind:
    """The settings of hotset and of boto3 for one kind."""

    def __init__(self, kind: str, given: str, region: str, session, regional: str, style: str):
        self.bucket, self.settings, self.endpoint = BUCKET, {"addressing": style}, regional
        self.region = region
        self.name_at_s3, self.client = BUCKET, client_of(session, region, None if IS_AWS else regional)
        if kind == "access-point-arn":
            self.bucket, self.name_at_s3 = "by-arn", given
            self.settings["buckets"] = {"by-arn": {"bucket": given}}
        elif kind == "access-point-alias":
            self.bucket = self.name_at_s3 = given
        elif kind == "express":
            self.bucket = self.name_at_s3 = given
            self.settings["buckets"] = {given: {}}
        elif kind == "acceleration":
            self.endpoint, self.settings["addressing"] = given, "virtual"
            self.client = client_of(session, region, None, "virtual", use_accelerate_endpoint=True)
        else:
            self.endpoint = given
            self.client = client_of(session, region, given, style)
            # Its own region is that of a bucket that says nothing.
            self.region = "us-east-1" if kind == "global" else region

    def by_boto3(self, key: str) -> dict:
        try:
            body = self.client.get_object(Bucket=self.name_at_s3, Key=key)["Body"].read()
        except ClientError as error:
            return {"code": error.response["Error"]["Code"]}
        except BotoCoreError as error:
            return {"code": type(error).__name__}
        return {"read": body == BODY}

    def by_hotset(self, hotset, session, prefix: str) -> dict:
        place, path = Place(hotset.endpoint, self.region, session), f"/{self.bucket}/{prefix}large"
        # A directory bucket needs a session, which a start does not wait for.
        deadline = time.monotonic() + 10
        while place.send("HEAD", path).status == 503 and time.monotonic() < deadline:
            time.sleep(0.1)
        hotset.purge()
        whole = [place.send("GET", path) for _ in range(2)]
        part = place.send("GET", path, headers={"range": "bytes=1000-1999"})
        listed = place.send("GET", f"/{self.bucket}", f"list-type=2&prefix={prefix}")
        return {
            "read": all(answer.body == BODY for answer in whole),
            "range": part.body == BODY[1000:2000],
            "head": place.send("HEAD", path).headers.get("content-length") == str(len(BODY)),
            "list": listed.status == 200 and f"{prefix}large<".encode() in listed.body,
            "answers": [answer.shown() for answer in (*whole, part, listed)],
        }


def styles(kind: str) -> list[str]:
    """Both ways to name a bucket, where the certificate has its name."""
    both = IS_AWS and "." not in BUCKET and kind in ("regional", "global", "dual-stack", "fips", "vpc-interface")
    return ["path", "virtual"] if both else ["path"]


@pytest.fixture
def directory_bucket(named, session, region, objects):
    """`large` in the directory bucket that is named, if one is."""
    bucket = named.get("express")
    if not bucket:
        yield
        return
    client = client_of(session, region, None)
    written = Written(client, bucket, objects, has_versions=False)
    try:
        client.put_object(Bucket=bucket, Key=objects + "large", Body=BODY)
        yield
    finally:
        left = written.remove()
        assert not left, f"left in the directory bucket: {left}"


@pytest.mark.parametrize("claim", PUBLIC + NAMED)
def test_endpoints(claim, named, session, region, direct, start_hotset, objects, report, request):
    kind = claim.removeprefix("endpoint.")
    is_named = kind in named
    regional = client_of(session, region, None).meta.endpoint_url if IS_AWS else direct.endpoint
    if not (where := named.get(kind) or (public(kind, region, regional) if IS_AWS else "")):
        why = "another server than AWS" if not IS_AWS else f"not named: --endpoint {kind}=.." if claim in NAMED else "not there"
        report.skip(why, claim)
    if kind == "express":
        request.getfixturevalue("directory_bucket")
    theirs, ours = {}, {}
    for style in styles(kind):
        asked = Kind(kind, where, region, session, regional, style)
        theirs[style] = asked.by_boto3(objects + "large")
        hotset = start_hotset(asked.endpoint, asked.region, **asked.settings)
        ours[style] = asked.by_hotset(hotset, session, objects)
    works = all(answer[what] for answer in ours.values() for what in ("read", "range", "head", "list"))
    reached = all(answer.get("read") for answer in theirs.values())
    if not works and not reached and not is_named:
        report.skip(f"boto3 does not reach it either: {theirs}", claim)
    wrong = [] if works else ["hotset"] if reached else ["s3", "hotset"]
    report(claim, dict.fromkeys(("read", "range", "head", "list"), True), theirs, ours, wrong)
