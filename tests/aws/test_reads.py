"""What docs/s3.md calls unverified: each request is sent to S3, and twice to hotset, cold and from its cache."""

import pytest
from conftest import BUCKET

# name: method, key, query, headers, whether it is signed, and what S3 is said to answer: status, code, headers.
CASES = {
    "a plain read": ("GET", "small", "", {}, True, (200, "", {"content-length": "5000"})),
    "a range": ("GET", "small", "", {"range": "bytes=10-19"}, True, (206, "", {"content-range": "bytes 10-19/5000"})),
    "a suffix": ("GET", "small", "", {"range": "bytes=-7"}, True, (206, "", {"content-range": "bytes 4993-4999/5000"})),
    "a range past the end": ("GET", "small", "", {"range": "bytes=4990-9999"}, True, (206, "", {"content-length": "10"})),
    "a suffix of nothing": ("GET", "small", "", {"range": "bytes=-0"}, True, (416, "InvalidRange", {})),
    "a start past the end": ("GET", "small", "", {"range": "bytes=5000-"}, True, (416, "InvalidRange", {})),
    "a range of an empty object": ("GET", "empty", "", {"range": "bytes=0-9"}, True, (416, "InvalidRange", {})),
    "an end before its start": ("GET", "small", "", {"range": "bytes=5-2"}, True, (200, "", {"content-length": "5000"})),
    "a malformed range": ("GET", "small", "", {"range": "bytes=abc"}, True, (200, "", {"content-length": "5000"})),
    "several ranges": ("GET", "small", "", {"range": "bytes=0-1,5-6"}, True, (200, "", {"content-length": "5000"})),
    "another unit": ("GET", "small", "", {"range": "lines=0-1"}, True, (200, "", {"content-length": "5000"})),
    "HEAD with a range": ("HEAD", "small", "", {"range": "bytes=10-19"}, True, (206, "", {"content-length": "10"})),
    "HEAD with a start past the end": ("HEAD", "small", "", {"range": "bytes=5000-"}, True, (416, "", {})),
    "If-Match with another ETag": ("GET", "small", "", {"if-match": '"x"'}, True, (412, "PreconditionFailed", {})),
    "If-Match with *": ("GET", "small", "", {"if-match": "*"}, True, (200, "", {})),
    "If-None-Match with *": ("GET", "small", "", {"if-none-match": "*"}, True, (304, "", {})),
    "412 before 416": (
        "GET",
        "small",
        "",
        {"if-match": '"x"', "range": "bytes=9000-"},
        True,
        (412, "PreconditionFailed", {}),
    ),
    "If-Match before If-Unmodified-Since": (
        "GET",
        "small",
        "",
        {"if-match": "ETAG", "if-unmodified-since": "Mon, 01 Jan 2001 00:00:00 GMT"},
        True,
        (200, "", {}),
    ),
    "If-None-Match before If-Modified-Since": (
        "GET",
        "small",
        "",
        {"if-none-match": '"x"', "if-modified-since": "DATE"},
        True,
        (200, "", {}),
    ),
    "an ETag without quotes": ("GET", "small", "", {"if-match": "BARE"}, True, (200, "", {})),
    "a list of ETags": ("GET", "small", "", {"if-none-match": '"x", ETAG'}, True, (304, "", {})),
    "If-Range with the ETag": ("GET", "small", "", {"range": "bytes=0-9", "if-range": "ETAG"}, True, (206, "", {})),
    "If-Range with another": ("GET", "small", "", {"range": "bytes=0-9", "if-range": '"x"'}, True, (200, "", {})),
    "404 before conditions": ("GET", "none", "", {"if-match": '"x"'}, True, (404, "NoSuchKey", {})),
    "an override": ("GET", "small", "response-content-type=text%2Fx", {}, True, (200, "", {"content-type": "text/x"})),
    "an override without a signature": (
        "GET",
        "small",
        "response-content-type=text%2Fx",
        {},
        False,
        (400, "InvalidRequest", {}),
    ),
    "a part": ("GET", "parts", "partNumber=2", {}, True, (206, "", {"x-amz-mp-parts-count": "3"})),
    "a part past the end": ("GET", "parts", "partNumber=9", {}, True, (416, "InvalidPartNumber", {})),
    "part 1 of an object without parts": ("GET", "small", "partNumber=1", {}, True, (206, "", {})),
    "a part's checksum": (
        "GET",
        "parts",
        "partNumber=3",
        {"x-amz-checksum-mode": "ENABLED"},
        True,
        (206, "", {"content-length": str(1 << 20)}),
    ),
    "the checksum of the whole": ("GET", "small", "", {"x-amz-checksum-mode": "ENABLED"}, True, (200, "", {})),
}


def differs(answer, expected) -> bool:
    status, code, headers = expected
    wrong = [name for name, value in headers.items() if answer.headers.get(name) != value]
    return answer.status != status or (answer.code or code) != code or bool(wrong)


@pytest.mark.parametrize("claim", CASES)
def test_reads(claim, s3, direct, through, hotset, objects, report):
    method, key, query, headers, signed, expected = CASES[claim]
    path = f"/{BUCKET}/{objects}{key}"
    if any(value in text for value in headers.values() for text in ("ETAG", "BARE", "DATE")) or "ETAG" in str(headers):
        head = s3.head_object(Bucket=BUCKET, Key=objects + key)["ResponseMetadata"]["HTTPHeaders"]
        words = {"ETAG": head["etag"], "BARE": head["etag"].strip('"'), "DATE": head["last-modified"]}
        for word, value in words.items():
            headers = {name: text.replace(word, value) for name, text in headers.items()}
    theirs = direct.send(method, path, query, headers, signed)
    hotset.purge()
    # The second one finds what the first has brought.
    ours = [through.send(method, path, query, headers, signed) for _ in range(2)]
    wrong = ["s3"] if differs(theirs, expected) else []
    bodies = {answer.body for answer in ours if answer.status < 300}
    same = theirs.status >= 300 or differs(theirs, expected) or bodies <= {theirs.body}
    # What it passes on is the server's.
    passed_on = all(answer.headers.get("cache-status") == "hotset; fwd=bypass" for answer in ours)
    if wrong and passed_on and all(answer.status == theirs.status for answer in ours):
        expected_of_hotset = (theirs.status, theirs.code, {})
    else:
        expected_of_hotset = expected
    if any(differs(answer, expected_of_hotset) for answer in ours) or not same:
        wrong.append("hotset")
    status, code, wanted = expected
    said = {"status": status, "code": code, "headers": wanted}
    report(claim, said, theirs.shown(), {"cold": ours[0].shown(), "cached": ours[1].shown()}, wrong)
