"""Checksums: which S3 tells of what, and that hotset compares what it fetches with them."""

import time

import pytest
from conftest import BUCKET
from objects import BODY, PARTS, checksum
from place import Answer

MODE = {"x-amz-checksum-mode": "ENABLED"}
FIRST, SECOND = len(PARTS[0]), len(PARTS[0]) + len(PARTS[1])
RANGE_OF_A_PART = {"range": f"bytes={FIRST}-{SECOND - 1}"}
COMPARED = {
    "checksum.compared-crc64nvme": "CRC64NVME",
    "checksum.compared-crc32c": "CRC32C",
    "checksum.compared-crc32": "CRC32",
}

# claim: object, algorithm, what it is a checksum of.
WHOLE = {
    "checksum.own": ("large", "CRC64NVME", BODY),
    "checksum.crc64nvme": ("CRC64NVME", "CRC64NVME", BODY),
    "checksum.crc32c": ("CRC32C", "CRC32C", BODY),
    "checksum.crc32": ("CRC32", "CRC32", BODY),
    "checksum.parts-full": ("parts-full", "CRC64NVME", b"".join(PARTS)),
}


def told(answer: Answer, algorithm: str) -> str:
    return answer.headers.get(f"x-amz-checksum-{algorithm.lower()}", "")


@pytest.mark.parametrize("claim", WHOLE)
def test_whole_objects(claim, direct, through, hotset, objects, report):
    key, algorithm, body = WHOLE[claim]
    path, value = f"/{BUCKET}/{objects}{key}", checksum(algorithm, body)
    kind = "FULL_OBJECT"
    theirs = [direct.send(method, path, headers=MODE) for method in ("HEAD", "GET")]
    hotset.purge()
    # A HEAD brings what a GET of ranges would not.
    ours = [through.send(method, path, headers=MODE) for method in ("HEAD", "GET", "GET")]

    def is_wrong(answer: Answer) -> bool:
        return told(answer, algorithm) != value or answer.headers.get("x-amz-checksum-type", kind) != kind

    wrong = ["s3"] if any(map(is_wrong, theirs)) else []
    # It tells what it was told, or nothing.
    expected = {told(answer, algorithm) for answer in theirs} | {""} if wrong else {value}
    if {told(answer, algorithm) for answer in ours} - expected:
        wrong.append("hotset")
    said = {"algorithm": algorithm, "type": kind, "value": value}
    report(claim, said, *({"answers": [answer.shown() for answer in answers]} for answers in (theirs, ours)), wrong)


def test_composite(direct, through, hotset, objects, report):
    path = f"/{BUCKET}/{objects}parts"
    hotset.purge()
    theirs, ours = (place.send("HEAD", path, headers=MODE) for place in (direct, through))
    is_composite = theirs.headers.get("x-amz-checksum-type") == "COMPOSITE" and told(theirs, "CRC32").endswith("-3")
    wrong = [] if is_composite else ["s3"]
    if told(ours, "CRC32") != told(theirs, "CRC32"):
        wrong.append("hotset")
    report("checksum.parts-composite", {"type": "COMPOSITE", "value": "..-3"}, theirs.shown(), ours.shown(), wrong)


def test_parts(direct, through, hotset, objects, report):
    path, value = f"/{BUCKET}/{objects}parts", checksum("CRC32", PARTS[1])
    hotset.purge()
    theirs, ours = (place.send("GET", path, "partNumber=2", MODE) for place in (direct, through))
    wrong = [] if told(theirs, "CRC32") == value else ["s3"]
    if told(ours, "CRC32") != told(theirs, "CRC32") or ours.body != theirs.body:
        wrong.append("hotset")
    report("checksum.part", {"status": 206, "value": value}, theirs.shown(), ours.shown(), wrong)


def test_a_range_that_is_a_part(direct, through, hotset, objects, report):
    path, value = f"/{BUCKET}/{objects}parts", checksum("CRC32", PARTS[1])
    hotset.purge()
    read = through.send("GET", path, "partNumber=2", MODE)
    theirs, ours = (place.send("GET", path, headers=MODE | RANGE_OF_A_PART) for place in (direct, through))
    wrong = [] if told(theirs, "CRC32") == value else ["s3"]
    # It knows the part's from the part, where the server has parts.
    if told(ours, "CRC32") != (told(read, "CRC32") if read.status == 206 else "") or ours.body != PARTS[1]:
        wrong.append("hotset")
    report("checksum.range-of-a-part", {"status": 206, "value": value}, theirs.shown(), ours.shown(), wrong)


def test_another_range(direct, through, hotset, objects, report):
    path, headers = f"/{BUCKET}/{objects}parts", MODE | {"range": f"bytes={FIRST}-{SECOND - 2}"}
    theirs, ours = (place.send("GET", path, headers=headers) for place in (direct, through))
    found = {"s3": theirs, "hotset": ours}
    wrong = [who for who, answer in found.items() if told(answer, "CRC32") or answer.body != PARTS[1][:-1]]
    report("checksum.another-range", {"status": 206, "value": ""}, theirs.shown(), ours.shown(), wrong)


@pytest.mark.parametrize("claim", COMPARED)
def test_fetched_bytes_are_compared(claim, direct, through, hotset, objects, report):
    algorithm = COMPARED[claim]
    path = f"/{BUCKET}/{objects}{algorithm}"
    hotset.purge()
    before = hotset.checksums(algorithm)
    theirs = direct.send("HEAD", path, headers=MODE)
    through.send("HEAD", path, headers=MODE)
    half = len(BODY) // 2
    ranges = [f"bytes={half}-", f"bytes=0-{half - 1}"]
    bodies = [through.send("GET", path, headers={"range": wanted}).body for wanted in ranges]
    wrong = [] if told(theirs, algorithm) == checksum(algorithm, BODY) else ["s3"]
    # They are counted soon after the last of them was sent.
    deadline = time.monotonic() + (0 if wrong else 10)
    while (matched := hotset.checksums(algorithm) - before) < 1 and time.monotonic() < deadline:
        time.sleep(0.05)
    if (matched < 1 and not wrong) or bodies != [BODY[half:], BODY[:half]]:
        wrong.append("hotset")
    report(claim, {"compared": 1}, theirs.shown(), {"compared": matched}, wrong)
