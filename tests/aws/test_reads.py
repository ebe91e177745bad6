"""Reads as they are answered: each request is sent to S3, and twice to hotset, cold and from its cache."""

from dataclasses import dataclass, field

import pytest
from conftest import BUCKET

LONG_AGO = "Mon, 01 Jan 2001 00:00:00 GMT"
OVERRIDE = "response-content-type=text%2Fx"


@dataclass(frozen=True)
class Case:
    """A request, and what S3 is said to answer. In headers `ETAG`, `BARE` and `DATE` stand for the object's."""

    status: int
    code: str = ""
    answers: dict = field(default_factory=dict)
    headers: dict = field(default_factory=dict)
    method: str = "GET"
    key: str = "small"
    query: str = ""
    signed: bool = True


def answered(status: int, code: str = "", method: str = "GET", key: str = "small", query: str = "", signed: bool = True, **all):
    """Headers of the answer are given as `has_NAME`, those of the request as `NAME`."""
    named = {name.replace("_", "-"): value for name, value in all.items()}
    answers = {name.removeprefix("has-"): value for name, value in named.items() if name.startswith("has-")}
    headers = {name: value for name, value in named.items() if not name.startswith("has-")}
    return Case(status, code, answers, headers, method, key, query, signed)


INVALID = (416, "InvalidRange")
FAILED = (412, "PreconditionFailed")
CASES = {
    "read.whole": answered(200, has_content_length="5000"),
    "range.inside": answered(206, range="bytes=10-19", has_content_range="bytes 10-19/5000"),
    "range.suffix": answered(206, range="bytes=-7", has_content_range="bytes 4993-4999/5000"),
    "range.past-the-end": answered(206, range="bytes=4990-9999", has_content_length="10"),
    "range.start-past-the-end": answered(*INVALID, range="bytes=5000-"),
    "range.of-an-empty-object": answered(*INVALID, key="empty", range="bytes=0-9"),
    "range.suffix-of-nothing": answered(*INVALID, range="bytes=-0"),
    "range.reversed": answered(200, range="bytes=5-2", has_content_length="5000"),
    "range.malformed": answered(200, range="bytes=abc", has_content_length="5000"),
    "range.several": answered(200, range="bytes=0-1,5-6", has_content_length="5000"),
    "range.another-unit": answered(200, range="lines=0-1", has_content_length="5000"),
    "head.range": answered(206, method="HEAD", range="bytes=10-19", has_content_length="10"),
    "head.start-past-the-end": answered(416, method="HEAD", range="bytes=5000-"),
    "condition.if-match-first": answered(200, if_match="ETAG", if_unmodified_since=LONG_AGO),
    "condition.if-none-match-first": answered(200, if_none_match='"x"', if_modified_since="DATE"),
    "condition.if-match-another": answered(*FAILED, if_match='"x"'),
    "condition.if-match-any": answered(200, if_match="*"),
    "condition.if-none-match-any": answered(304, if_none_match="*"),
    "condition.unquoted": answered(200, if_match="BARE"),
    "condition.if-match-list": answered(200, if_match='"x", ETAG'),
    "condition.if-none-match-list": answered(304, if_none_match='"x", ETAG'),
    "condition.404-first": answered(404, "NoSuchKey", key="none", if_match='"x"'),
    "condition.412-before-416": answered(*FAILED, if_match='"x"', range="bytes=9000-"),
    "if-range.etag": answered(206, range="bytes=0-9", if_range="ETAG"),
    "if-range.another-etag": answered(200, range="bytes=0-9", if_range='"x"'),
    "if-range.date": answered(206, range="bytes=0-9", if_range="DATE"),
    "if-range.earlier-date": answered(200, range="bytes=0-9", if_range=LONG_AGO),
    "override.signed": answered(200, query=OVERRIDE, has_content_type="text/x"),
    "override.unsigned": answered(400, "InvalidRequest", query=OVERRIDE, signed=False),
    "override.unsigned-head": answered(400, method="HEAD", query=OVERRIDE, signed=False),
    "part.one": answered(206, key="parts", query="partNumber=2", has_x_amz_mp_parts_count="3"),
    "part.of-an-object-without": answered(206, query="partNumber=1", has_content_length="5000"),
    "part.past-the-end": answered(416, "InvalidPartNumber", key="parts", query="partNumber=9"),
}


def differs(answer, case: Case) -> bool:
    """An answer to HEAD has no code."""
    wrong = [name for name, value in case.answers.items() if answer.headers.get(name) != value]
    return answer.status != case.status or (answer.code or case.code) != case.code or bool(wrong)


def filled_in(headers: dict, s3, key: str) -> dict:
    if not any(word in value for value in headers.values() for word in ("ETAG", "BARE", "DATE")):
        return headers
    head = s3.head_object(Bucket=BUCKET, Key=key)["ResponseMetadata"]["HTTPHeaders"]
    for word, value in {"ETAG": head["etag"], "BARE": head["etag"].strip('"'), "DATE": head["last-modified"]}.items():
        headers = {name: text.replace(word, value) for name, text in headers.items()}
    return headers


@pytest.mark.parametrize("claim", CASES)
def test_reads(claim, s3, direct, through, hotset, objects, report):
    case = CASES[claim]
    path = f"/{BUCKET}/{objects}{case.key}"
    request = (case.method, path, case.query, filled_in(case.headers, s3, objects + case.key), case.signed)
    theirs = direct.send(*request)
    hotset.purge()
    # The second one finds what the first has brought.
    ours = [through.send(*request) for _ in range(2)]
    wrong = ["s3"] if differs(theirs, case) else []
    bodies = {answer.body for answer in ours if answer.status < 300}
    same = theirs.status >= 300 or wrong or bodies <= {theirs.body}
    # What it passes on is the server's.
    passed_on = all(answer.headers.get("cache-status") == "hotset; fwd=bypass" for answer in ours)
    is_servers = wrong and passed_on and all(answer.status == theirs.status for answer in ours)
    expected = Case(theirs.status, theirs.code) if is_servers else case
    if any(differs(answer, expected) for answer in ours) or not same:
        wrong.append("hotset")
    said = {"status": case.status, "code": case.code, "headers": case.answers}
    report(claim, said, theirs.shown(), {"cold": ours[0].shown(), "cached": ours[1].shown()}, wrong)


def test_403_comes_before_conditions(s3, direct, start_hotset, region, session, objects, report):
    """Without a signature, where S3 itself decides who may read."""
    claim, path = "condition.403-first", f"/{BUCKET}/{objects}small"
    if direct.send("GET", path, signed=False).status == 200:
        report.skip("anybody may read the bucket", claim)
    through = type(direct)(start_hotset(auth={"mode": "transparent"}).endpoint, region, session, direct.netloc)
    etag = s3.head_object(Bucket=BUCKET, Key=objects + "small")["ETag"]
    asked = {"if-match": '"x"'}, {"if-none-match": etag}, {"if-unmodified-since": LONG_AGO}
    theirs, ours = ([place.send("GET", path, "", headers, False) for headers in asked] for place in (direct, through))
    case = Case(403, "AccessDenied")
    found = {"s3": theirs, "hotset": ours}
    wrong = [who for who, answers in found.items() if any(differs(answer, case) for answer in answers)]
    shown = ({"answers": [answer.shown() for answer in answers]} for answers in found.values())
    report(claim, {"status": 403, "code": "AccessDenied"}, *shown, wrong)


def test_the_etag_of_parts_counts_them(s3, objects, report):
    etag = s3.head_object(Bucket=BUCKET, Key=objects + "parts")["ETag"]
    wrong = [] if etag.strip('"').endswith("-3") else ["s3"]
    report("part.etag", {"etag": '"..-3"'}, {"etag": etag}, {}, wrong)
