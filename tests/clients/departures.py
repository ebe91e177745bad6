"""Where hotset's answer is meant to differ from that of the server behind it.

Local servers disagree with S3 and with each other. hotset answers reads as S3 does; this is the one
table of the places where that is not what the server itself answers. A row names what hotset
answers, and the comparison fails on a row that is no longer needed.
"""

from dataclasses import dataclass, field
from fnmatch import fnmatchcase


@dataclass(frozen=True)
class Departure:
    server: str
    """Its name, or `*` for all of them."""
    checks: tuple[str, ...]
    """The names of the checks, or patterns of names with `*`."""
    why: str
    """What the server answers."""
    s3: str
    """What S3 answers, and who says so."""
    status: int
    """What hotset answers."""
    code: str | None = None
    headers: dict[str, str | None] = field(default_factory=dict)
    """Headers that hotset's answer has; `None`: must not have. Others are not looked at."""
    length: int | None = None
    """The body's length, where it is what the row is about."""

    def differs_from(self, through) -> str | None:
        """What is wrong with hotset's answer, by this row."""
        if through.status != self.status:
            return f"expected status {self.status}, got {through.status}"
        if through.body and self.code != through.code:
            return f"expected code {self.code}, got {through.code}"
        if self.length is not None and len(through.body) != self.length:
            return f"expected {self.length} bytes, got {len(through.body)}"
        for name, value in self.headers.items():
            if through.headers.get(name) != value:
                return f"expected {name}: {value}, got {through.headers.get(name)}"
        return None


class Table(list):
    def row(self, server: str, check: str) -> Departure | None:
        rows = [
            row
            for row in self
            if row.server in ("*", server) and any(fnmatchcase(check, c) for c in row.checks)
        ]
        assert len(rows) <= 1, f"{server}, {check}: {len(rows)} rows"
        return rows[0] if rows else None


# Headers of any server's answers that hotset does not store, and so lacks when it answers itself.
NOT_REPLAYED = {
    "access-control-allow-origin": "CORS answers depend on the request's Origin, and reads with an "
    "Origin pass through. moto sends `*` to everybody; S3 sends it only to a request with an "
    "Origin that the bucket's CORS rules allow (S3 User Guide, Using CORS).",
    "x-rgw-object-type": "radosgw's own, S3 has no such header; hotset keeps what describes the "
    "object in S3 (API Reference, GetObject, Response Elements).",
}

# Children of an error's XML that are for people and differ between servers; hotset has its own.
ERROR_TEXT = {
    "Message": "radosgw leaves it empty. S3: free text (API Reference, Error Responses).",
    "Resource": "hotset always names it; moto and radosgw never do. S3: the bucket or object that "
    "is involved in the error (API Reference, Error Responses).",
    "BucketName": "radosgw's own.",
}

GET_REFERENCE = "API Reference, GetObject"
S3_TESTS = "ceph/s3-tests"
RFC_304 = "RFC 9110, section 15.4.5: with the ETag and caching headers of a 200"

DEPARTURES = Table(
    [
        # Ranges
        Departure(
            server="*",
            checks=("*_object range bytes=300007-", "*_object range bytes=999999999-"),
            why="416 without Content-Range; radosgw also without the size in the body",
            s3=f"416 with ActualObjectSize and Content-Range ({S3_TESTS}; aws-c-s3 reads the body)",
            status=416,
            code="InvalidRange",
            headers={"content-range": "bytes */300007"},
        ),
        Departure(
            server="*",
            checks=("*_object range bytes=-0",),
            why="moto: 416 without Content-Range; radosgw: 206 with the whole object",
            s3="416 (RFC 9110, section 14.1.2); unverified: range.suffix-of-nothing",
            status=416,
            code="InvalidRange",
            headers={"content-range": "bytes */300007"},
        ),
        Departure(
            server="*",
            checks=tuple(f"*_object empty, range {r}" for r in ("bytes=0-", "bytes=0-0", "bytes=-0")),
            why="416 without Content-Range; radosgw also without the size in the body",
            s3="416 with ActualObjectSize, which aws-c-s3 takes for an empty object",
            status=416,
            code="InvalidRange",
            headers={"content-range": "bytes */0"},
        ),
        Departure(
            server="radosgw",
            checks=("*_object empty, range bytes=-1",),
            why="416 without Content-Range",
            s3="200 with the empty object (apache/arrow-rs-object-store#846)",
            status=200,
            headers={"content-length": "0", "content-range": None},
        ),
        Departure(
            server="radosgw",
            checks=tuple(
                f"*_object range {r}" for r in ("bytes=5-2", "bytes=abc", "bytes=0-1,5-6")
            ),
            why="416, or the first of several ranges",
            s3="a range that is malformed or not one is ignored (noobaa#9889, localstack#9082)",
            status=200,
            headers={"content-length": "300007", "content-range": None},
        ),
        Departure(
            server="moto",
            checks=tuple(
                f"get_object range {r}" for r in ("bytes=0-", "bytes=-300007", "bytes=-9999999")
            ),
            why="the whole object's checksum on a range that is all of it",
            s3="a whole GET's checksum, or a part's where the range is that part"
            " (awslabs/aws-s3-transfer-manager-rs#149); leaving it out is never wrong",
            status=206,
            headers={"x-amz-checksum-crc32": None, "content-range": "bytes 0-300006/300007"},
        ),
        Departure(
            server="*",
            checks=("If-Range other etag", "If-Range earlier date"),
            why="If-Range is ignored: 206",
            s3="the whole object when it does not match (RFC 9110, section 13.1.5);"
            " unverified: if-range.another-etag, if-range.earlier-date",
            status=200,
            headers={"content-range": None},
            length=300_007,
        ),
        # Presigned URLs
        Departure(
            server="*",
            checks=("presigned, expires 0",),
            why="moto: 200, it looks at no expiry; radosgw: 403, as for one that has expired",
            s3="400; that 0 is refused as negative numbers are is unverified: presigned.expires-0",
            status=400,
            code="AuthorizationQueryParametersError",
        ),
        Departure(
            server="*",
            checks=tuple(f"presigned, expires {e}" for e in ("-1", "604801", "soon")),
            why="moto: 200, it looks at no expiry; radosgw: 403 AccessDenied",
            s3="400: from 1 to 604800 seconds (API Reference, Authenticating Requests: Using Query"
            " Parameters, X-Amz-Expires)",
            status=400,
            code="AuthorizationQueryParametersError",
        ),
        # Conditions
        Departure(
            server="*",
            checks=("*_object If-Match list", "*_object If-Match any"),
            why="neither lists nor * are understood: 412",
            s3=f"as RFC 9110, section 13.1.1 ({GET_REFERENCE}); lists unverified: condition.if-match-list",
            status=200,
        ),
        Departure(
            server="moto",
            checks=("head_object If-Match unquoted",),
            why="412, though its GET takes an ETag without quotes",
            s3=f"ETags without quotes are taken ({S3_TESTS})",
            status=200,
        ),
        Departure(
            server="*",
            checks=("*_object If-None-Match list", "*_object If-None-Match any"),
            why="neither lists nor * are understood: 200",
            s3=f"as RFC 9110, section 13.1.2 ({GET_REFERENCE}); lists unverified: condition.if-none-match-list",
            status=304,
        ),
        Departure(
            server="*",
            checks=(
                "*_object If-None-Match same",
                "*_object If-None-Match unquoted",
                "*_object If-Modified-Since same",
                "*_object If-None-Match false, If-Modified-Since true",
                "If-None-Match same, unsatisfiable range",
            ),
            why="304 without the ETag (radosgw) or Last-Modified and Cache-Control; moto's HEAD has"
            " metadata too, and 200 for an ETag without quotes",
            s3=RFC_304,
            status=304,
        ),
        Departure(
            server="moto",
            checks=("*_object If-Match true, If-Unmodified-Since false",),
            why="412",
            s3=f"200: If-Match decides ({GET_REFERENCE}, If-Match)",
            status=200,
        ),
        Departure(
            server="moto",
            checks=("*_object If-None-Match true, If-Modified-Since false",),
            why="304",
            s3="200: If-Modified-Since is ignored beside If-None-Match (RFC 9110, section 13.1.3)",
            status=200,
        ),
        Departure(
            server="moto",
            checks=(
                "head_object If-Match other",
                "head_object If-Match false, If-Unmodified-Since true",
                "head_object If-Unmodified-Since before",
            ),
            why="412 with the object's own headers",
            s3="412 as of any error",
            status=412,
            headers={"etag": None, "content-type": "application/xml"},
        ),
        Departure(
            server="radosgw",
            checks=(
                "*_object If-Match other",
                "*_object If-Match false, If-Unmodified-Since true",
                "*_object If-Unmodified-Since before",
                "If-Match other, unsatisfiable range",
            ),
            why="412 without the condition's name in the body, with Accept-Ranges",
            s3="412 with Condition (API Reference, Error Responses)",
            status=412,
            code="PreconditionFailed",
        ),
        # Absent objects
        Departure(
            server="radosgw",
            checks=(
                "*_object missing key",
                "*_object deleted key",
                "*_object delete marker",
                "*_object delete marker by id",
                "*_object no such version",
            ),
            why="Accept-Ranges on an error; 404 NoSuchKey for a version that is a marker or none",
            s3="only on objects",
            status=404,
            code="NoSuchKey",
            headers={"accept-ranges": None},
        ),
        Departure(
            server="radosgw",
            checks=("*_object missing bucket",),
            why="Accept-Ranges on an error",
            s3="only on objects",
            status=404,
            code="NoSuchBucket",
            headers={"accept-ranges": None},
        ),
        Departure(
            server="moto",
            checks=(
                "head_object missing key",
                "head_object deleted key",
                "head_object no such version",
            ),
            why="404 with Content-Type: text/html",
            s3="application/xml",
            status=404,
            headers={"content-type": "application/xml"},
        ),
        # Overrides
        Departure(
            server="moto",
            checks=("head_object response overrides",),
            why="response-* are ignored on HEAD",
            s3="they apply (API Reference, HeadObject)",
            status=200,
            headers={"content-type": "application/x-other", "content-language": "fr"},
        ),
    ]
)
