//! Rows for reads by more than a range and conditions: versions, parts, checksums, overrides, owners.

use super::Expect::{Failed, NotModified, Part, Refused, Unsatisfiable, Whole};
use super::{ETAG, Headers, MODIFIED, OTHER, PARTS, Row, SIZE, WHOLE_SUM, asked};
use crate::conformance::Kind::{
    Current, Deleted, Empty, Large, Missing, Null, Old, OldParts, Parts,
};
use crate::support::OWNER;

const V1: Headers = &[("x-amz-version-id", "v1"), ("x-amz-delete-marker", "")];
const V2: Headers = &[("x-amz-version-id", "v2")];
const NULL: Headers = &[("x-amz-version-id", "null")];
const MARKER: Headers =
    &[("x-amz-version-id", "v2"), ("x-amz-delete-marker", "true"), ("etag", "")];
const MARKER_BY_ID: Headers = &[
    ("x-amz-version-id", "v2"),
    ("x-amz-delete-marker", "true"),
    ("allow", "DELETE"),
    ("last-modified", MODIFIED),
];

pub(super) const VERSIONS: &[Row] = &[
    asked("API GetObject: versionId", Old, "?versionId=v1", &[], Whole, V1),
    asked(
        "API GetObject: versionId",
        Old,
        "?versionId=v1",
        &[("range", "bytes=9-9")],
        Part(9..10),
        V1,
    ),
    asked(
        "API GetObject: versionId",
        Old,
        "?versionId=v1",
        &[("range", "bytes=65535-200000")],
        Part(65_535..200_001),
        V1,
    ),
    asked("API GetObject", Old, "?versionId=v1", &[("range", "bytes=-0")], Unsatisfiable, &[]),
    asked("API GetObject", Old, "?versionId=v1", &[("range", "bytes=330001-")], Unsatisfiable, &[]),
    asked("API GetObject", Old, "?versionId=v1", &[("if-none-match", ETAG)], NotModified, V1),
    asked("API GetObject", Old, "?versionId=v1", &[("if-match", OTHER)], Failed("If-Match"), &[]),
    asked("API GetObject: versionId", Current, "?versionId=v2", &[], Whole, V2),
    asked("API GetObject", Current, "", &[], Whole, V2),
    asked("User Guide: null version", Null, "?versionId=null", &[], Whole, NULL),
    asked(
        "User Guide: null version",
        Null,
        "?versionId=null",
        &[("range", "bytes=70000-80000")],
        Part(70_000..80_001),
        NULL,
    ),
    asked("User Guide: delete markers", Deleted, "?versionId=v1", &[], Whole, V1),
    asked("User Guide: delete markers", Deleted, "", &[], Refused(404, "NoSuchKey"), MARKER),
    asked(
        "User Guide: delete markers",
        Deleted,
        "?versionId=v2",
        &[],
        Refused(405, "MethodNotAllowed"),
        MARKER_BY_ID,
    ),
    asked(
        "404 and 405 come before conditions",
        Deleted,
        "?versionId=v2",
        &[("if-match", OTHER), ("range", "bytes=400000-")],
        Refused(405, "MethodNotAllowed"),
        MARKER_BY_ID,
    ),
    asked("API: NoSuchVersion", Old, "?versionId=v9", &[], Refused(404, "NoSuchVersion"), &[]),
    asked("API: NoSuchVersion", Old, "?versionId=null", &[], Refused(404, "NoSuchVersion"), &[]),
    asked("API: InvalidArgument", Old, "?versionId=", &[], Refused(400, "InvalidArgument"), &[]),
];

pub(super) const ENABLED: Headers = &[("x-amz-checksum-mode", "ENABLED")];
const COUNT: Headers = &[("x-amz-mp-parts-count", "3"), ("x-amz-checksum-crc32", "")];
const NO_COUNT: Headers = &[("x-amz-mp-parts-count", ""), ("x-amz-checksum-crc32", "")];
const SUM_1: Headers = &[
    ("x-amz-mp-parts-count", "3"),
    ("x-amz-checksum-crc32", PARTS[0].2),
    ("x-amz-checksum-type", "COMPOSITE"),
];
const SUM_7: Headers = &[
    ("x-amz-mp-parts-count", "3"),
    ("x-amz-checksum-crc32", PARTS[2].2),
    ("x-amz-checksum-type", "COMPOSITE"),
];
const WHOLES: Headers = &[
    ("x-amz-mp-parts-count", ""),
    ("x-amz-checksum-crc32", WHOLE_SUM),
    ("x-amz-checksum-type", "COMPOSITE"),
];

pub(super) const PARTED: &[Row] = &[
    asked("API GetObject: partNumber", Parts, "?partNumber=1", &[], Part(0..100_000), COUNT),
    asked("R18: sparse numbers", Parts, "?partNumber=3", &[], Part(100_000..230_001), COUNT),
    asked("R18: sparse numbers", Parts, "?partNumber=7", &[], Part(230_001..SIZE), COUNT),
    asked(
        "R18: sparse numbers",
        Parts,
        "?partNumber=2",
        &[],
        Refused(416, "InvalidPartNumber"),
        NO_COUNT,
    ),
    asked(
        "LocalStack: past the end",
        Parts,
        "?partNumber=8",
        &[],
        Refused(416, "InvalidPartNumber"),
        NO_COUNT,
    ),
    asked(
        "LocalStack: past the end",
        Parts,
        "?partNumber=10000",
        &[],
        Refused(416, "InvalidPartNumber"),
        NO_COUNT,
    ),
    asked("API: 1 to 10,000", Parts, "?partNumber=0", &[], Refused(400, "InvalidArgument"), &[]),
    asked(
        "API: 1 to 10,000",
        Parts,
        "?partNumber=10001",
        &[],
        Refused(400, "InvalidArgument"),
        &[],
    ),
    asked("API: 1 to 10,000", Parts, "?partNumber=x", &[], Refused(400, "InvalidArgument"), &[]),
    asked(
        "ceph#66780: not with a range",
        Parts,
        "?partNumber=1",
        &[("range", "bytes=0-9")],
        Refused(400, "InvalidRequest"),
        &[],
    ),
    asked("API GetObject", Parts, "?partNumber=1", ENABLED, Part(0..100_000), SUM_1),
    asked("API GetObject", Parts, "?partNumber=7", ENABLED, Part(230_001..SIZE), SUM_7),
    asked("API GetObject", Parts, "", ENABLED, Whole, WHOLES),
    asked("API GetObject", Parts, "", &[], Whole, NO_COUNT),
    asked("API GetObject", Parts, "?partNumber=3", &[("if-none-match", ETAG)], NotModified, &[]),
    asked(
        "API GetObject",
        Parts,
        "?partNumber=3",
        &[("if-match", OTHER)],
        Failed("If-Match"),
        NO_COUNT,
    ),
    asked(
        "aws-sdk-java: every part",
        Parts,
        "?partNumber=3",
        &[("if-match", ETAG)],
        Part(100_000..230_001),
        COUNT,
    ),
    asked(
        "RFC 13.1.5: nothing without a range",
        Parts,
        "?partNumber=3",
        &[("if-range", OTHER)],
        Part(100_000..230_001),
        COUNT,
    ),
    asked("versitygw#2074: one part", Large, "?partNumber=1", &[], Part(0..SIZE), NO_COUNT),
    asked(
        "s3-tests: test_non_multipart_get_part",
        Large,
        "?partNumber=2",
        &[],
        Refused(416, "InvalidPartNumber"),
        NO_COUNT,
    ),
    asked("aws-c-s3: retries with partNumber=1", Empty, "?partNumber=1", &[], Whole, NO_COUNT),
    asked(
        "API GetObject: both",
        OldParts,
        "?versionId=v1&partNumber=3",
        &[],
        Part(100_000..230_001),
        V1,
    ),
    asked(
        "API GetObject: both",
        OldParts,
        "?versionId=v1&partNumber=2",
        &[],
        Refused(416, "InvalidPartNumber"),
        &[],
    ),
];

const SIGNED: (&str, &str) = ("authorization", "AWS4-HMAC-SHA256 unchecked");
const NO_SUM: Headers = &[("x-amz-checksum-crc32", ""), ("x-amz-checksum-type", "")];
const OVERRIDDEN: Headers = &[("content-type", "x/y"), ("expires", "never")];
const AS_STORED: Headers = &[("content-type", ""), ("expires", "")];
const OVERRIDES: &str = "?response-content-type=x%2Fy&response-expires=never";

/// Rows that only the origin can answer; they stream through ([`Row::passes`]).
pub(super) const MORE: &[Row] = &[
    asked("API: checksum mode", Large, "", ENABLED, Whole, WHOLES),
    asked("API: checksum mode", Large, "?x-amz-checksum-mode=ENABLED", &[], Whole, WHOLES),
    asked(
        "aws-s3-transfer-manager-rs#149: not of a range",
        Large,
        "",
        &[("range", "bytes=1-330000"), ("x-amz-checksum-mode", "ENABLED")],
        Part(1..SIZE),
        NO_SUM,
    ),
    asked("API: no checksum mode", Large, "", &[], Whole, NO_SUM),
    asked("API: response-*", Large, OVERRIDES, &[SIGNED], Whole, OVERRIDDEN),
    asked(
        "API: response-*, 206 too",
        Large,
        OVERRIDES,
        &[SIGNED, ("range", "bytes=5-9")],
        Part(5..10),
        OVERRIDDEN,
    ),
    asked(
        "API: response-*, 200 and 206 only",
        Large,
        OVERRIDES,
        &[SIGNED, ("if-none-match", ETAG)],
        NotModified,
        AS_STORED,
    ),
    asked("API: response-*, signed", Large, OVERRIDES, &[], Refused(400, "InvalidRequest"), &[]),
    asked(
        "R18: control bytes",
        Large,
        "?response-expires=a%0D%0Ab",
        &[SIGNED],
        Refused(400, "InvalidArgument"),
        &[],
    ),
    asked("API: NoSuchKey", Missing, "", &[], Refused(404, "NoSuchKey"), &[("etag", "")]),
    asked(
        "404 comes before conditions",
        Missing,
        "",
        &[("if-match", ETAG), ("range", "bytes=0-0")],
        Refused(404, "NoSuchKey"),
        &[],
    ),
    asked("API: x-amz-expected-bucket-owner", Large, "", &[EXPECTED], Whole, &[]),
    asked(
        "API: x-amz-expected-bucket-owner",
        Large,
        "",
        &[("x-amz-expected-bucket-owner", "999999999999")],
        Refused(403, "AccessDenied"),
        &[("etag", "")],
    ),
    asked("API: x-amz-request-payer", Large, "", &[PAYS], Whole, &[]),
    asked("R16: SSE-C", Large, "", &[CUSTOMER], Whole, &[]),
    asked("R16: what is not known", Large, "", &[("x-amz-new", "1")], Whole, &[]),
];

const EXPECTED: (&str, &str) = ("x-amz-expected-bucket-owner", OWNER);
const PAYS: (&str, &str) = ("x-amz-request-payer", "requester");
const CUSTOMER: (&str, &str) = ("x-amz-server-side-encryption-customer-algorithm", "AES256");
