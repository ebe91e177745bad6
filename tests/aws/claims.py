"""The claims that this suite puts to S3: each by its id, under the words of the page that calls it unverified.

The words are a bullet of docs/s3.md, below "Unverified against AWS", or the first cell of a row of docs/endpoints.md, below
"Amazon S3". `tests/clients/test_aws_claims.py` compares both lists with the pages: no claim is without words, no words
without a claim. An id is never given to another claim, so that reports of different days can be compared.
"""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

READS = {
    "A read, a range, a suffix and a range past the end are answered 200 or 206; a start past the end, and any range of an"
    " empty object, 416 InvalidRange.": (
        "read.whole",
        "range.inside",
        "range.suffix",
        "range.past-the-end",
        "range.start-past-the-end",
        "range.of-an-empty-object",
    ),
    "`bytes=-0` is answered 416 InvalidRange.": ("range.suffix-of-nothing",),
    "A range with its end before its start, a malformed one, one of several parts and one of another unit are ignored (200).": (
        "range.reversed",
        "range.malformed",
        "range.several",
        "range.another-unit",
    ),
    "HEAD with a range is answered 206 with the range's length, or 416.": ("head.range", "head.start-past-the-end"),
    "If-Match before If-Unmodified-Since and If-None-Match before If-Modified-Since, also with unquoted ETags, lists and `*`.": (
        "condition.if-match-first",
        "condition.if-none-match-first",
        "condition.if-match-another",
        "condition.if-match-any",
        "condition.if-none-match-any",
        "condition.unquoted",
        "condition.if-match-list",
        "condition.if-none-match-list",
    ),
    "404 and 403 come before all conditions, and 412 before 416.": (
        "condition.404-first",
        "condition.403-first",
        "condition.412-before-416",
    ),
    "If-Range with a strong ETag or a date is obeyed.": (
        "if-range.etag",
        "if-range.another-etag",
        "if-range.date",
        "if-range.earlier-date",
    ),
    "`response-*` overrides without a signature are refused with 400 InvalidRequest, on HEAD as on GET.": (
        "override.signed",
        "override.unsigned",
        "override.unsigned-head",
    ),
    "A presigned URL is good for 1 to 604,800 seconds: one of 0, of fewer or of more is refused with 400"
    " AuthorizationQueryParametersError.": (
        "presigned.read",
        "presigned.expires-0",
        "presigned.expires-negative",
        "presigned.expires-too-late",
    ),
    "A part is answered 206 with the number of parts, an object without parts is its part 1, and a part number past the end is"
    " answered 416 InvalidPartNumber, which is what the origin's answer is passed on for.": (
        "part.one",
        "part.of-an-object-without",
        "part.past-the-end",
    ),
    "The ETag of an object that was uploaded in parts ends with `-` and their number.": ("part.etag",),
}

CHECKSUMS = {
    "A whole read in checksum mode (the SDKs' default) and a HEAD tell the object's CRC64NVME, CRC32C or CRC32. One that was"
    " uploaded without a checksum has a CRC64NVME.": (
        "checksum.own",
        "checksum.crc64nvme",
        "checksum.crc32c",
        "checksum.crc32",
    ),
    "A multipart object has a CRC64NVME of its bytes (`FULL_OBJECT`), or a checksum of its parts' checksums (`COMPOSITE`), which"
    " ends with their number.": (
        "checksum.parts-full",
        "checksum.parts-composite",
    ),
    "A part that is read by its number has its checksum. So has a range that is exactly that part, afterwards; other ranges"
    " have none.": (
        "checksum.part",
        "checksum.range-of-a-part",
        "checksum.another-range",
    ),
    "Fetched bytes are compared with the checksum that was told before, also when they came in ranges.": (
        "checksum.compared-crc64nvme",
        "checksum.compared-crc32c",
        "checksum.compared-crc32",
    ),
}

WRITES = {
    "A version is read by its id; a delete marker is 404 NoSuchKey, and 405 MethodNotAllowed by its id.": (
        "version.by-id",
        "version.delete-marker",
        "version.delete-marker-by-id",
    ),
    "In a versioned bucket a read that has begun ends with the bytes of its version when the object is overwritten.": (
        "version.read-is-finished",
    ),
    "A write through hotset is seen by the next read, and `If-None-Match: *` of a key that is there is refused with 412"
    " PreconditionFailed.": (
        "write.seen-at-once",
        "write.if-none-match",
    ),
    "Uploads through hotset arrive as they were sent: in signed chunks, with a signed or an unsigned trailer, and in parts;"
    " one in parts that is aborted leaves nothing.": (
        "upload.signed-chunks",
        "upload.signed-trailer",
        "upload.unsigned-trailer",
        "upload.parts",
        "upload.aborted",
    ),
}

ACCOUNT = {
    "HeadBucket names the region of a bucket. A request at the endpoint of another region is answered 301 or 307 with the"
    " bucket's, one that is signed for another region 400 AuthorizationHeaderMalformed with it, and hotset reads such a bucket"
    " ([Regions](origins.md#regions)).": (
        "region.told",
        "region.another-endpoint",
        "region.signed-for-another",
        "region.through-hotset",
    ),
    "`hotset check --online` succeeds.": ("account.check-online",),
}

ENDPOINTS = {
    "regional": ("endpoint.regional",),
    "global": ("endpoint.global",),
    "dual-stack": ("endpoint.dual-stack",),
    "FIPS": ("endpoint.fips",),
    "Transfer Acceleration": ("endpoint.acceleration",),
    "VPC interface endpoint": ("endpoint.vpc-interface",),
    # Nothing that a client could see tells it from a regional one.
    "VPC gateway endpoint": ("endpoint.regional",),
    "access point, by alias": ("endpoint.access-point-alias",),
    "access point, by ARN": ("endpoint.access-point-arn",),
    "S3 Express One Zone": ("endpoint.express",),
}

SAID = {"docs/s3.md": READS | CHECKSUMS | WRITES | ACCOUNT, "docs/endpoints.md": ENDPOINTS}
CLAIMS: dict[str, tuple[str, str]] = {}
"""The page and the words of each id; of several words, the first."""
for page, said in SAID.items():
    for words, ids in said.items():
        for claim in ids:
            CLAIMS.setdefault(claim, (page, words))


def unverified() -> dict[str, list[str]]:
    """The words that the pages have, in their order."""
    semantics = (ROOT / "docs/s3.md").read_text().split("**Unverified against AWS.**", 1)[1]
    bullets = re.findall(r"^- (.+?)(?=^- |^\S|^$)", semantics, re.MULTILINE | re.DOTALL)
    endpoints = (ROOT / "docs/endpoints.md").read_text().split("\n## Amazon S3\n", 1)[1].split("\n#", 1)[0]
    rows = [line.strip("| ").split(" | ") for line in endpoints.splitlines() if line.startswith("| ")]
    # What hotset refuses it never asks S3.
    asked = [cells[0] for cells in rows[1:] if not cells[1].startswith("refused")]
    return {"docs/s3.md": [" ".join(bullet.split()) for bullet in bullets], "docs/endpoints.md": asked}
