//! S3's response to a read, row by row, each with its source.
//!
//! The object is one of three of the same date and `ETag` ([`Kind`]); a row holds for GET and for HEAD, in every
//! state of the cache. Sources: *API* is S3's API reference, *s3-tests* is ceph/s3-tests' `functional/test_s3.py`,
//! *RFC* is RFC 9110, other names are issues of servers that had it wrong.

mod asked;

use std::ops::Range;

use hotset::cache::Freshness;

use super::Kind::{self, Empty, Large, Null, One};
use super::on_disk::Place;
use asked::{ENABLED, MORE, PARTED, VERSIONS};

/// `ETag` of every object here, as the origin sends it.
pub const ETAG: &str = "\"9b2cf535f27731c974343645a3985328\"";
const UNQUOTED: &str = "9b2cf535f27731c974343645a3985328";
const WEAK: &str = "W/\"9b2cf535f27731c974343645a3985328\"";
const LISTED: &str = "\"x\", \"9b2cf535f27731c974343645a3985328\" , \"y\"";
const OTHER: &str = "\"00000000000000000000000000000000\"";
const OTHERS: &str = "\"x\", \"9b2cf535f27731c974343645a398532\"";

/// `Last-Modified` of every object here.
pub const MODIFIED: &str = "Wed, 01 Jan 2025 00:00:00 GMT";
const BEFORE: &str = "Tue, 31 Dec 2024 23:59:59 GMT";
const AFTER: &str = "Wed, 01 Jan 2025 00:00:01 GMT";

/// Size of the large object, in bytes: five blocks of 64 KiB and a rest.
pub const SIZE: u64 = 330_001;

/// Number, length and checksum of each part.
pub const PARTS: [(u64, u64, &str); 3] =
    [(1, 100_000, "cGFydDE="), (3, 130_001, "cGFydDM="), (7, 100_000, "cGFydDc=")];
pub const WHOLE_SUM: &str = "d2hvbGU=-3";

/// Expected response of a row.
#[derive(Clone, Debug)]
pub enum Expect {
    /// 200 with all bytes.
    Whole,
    /// 206 with these bytes.
    Part(Range<u64>),
    /// 304 with the `ETag`.
    NotModified,
    /// 412 `PreconditionFailed` that names this header.
    Failed(&'static str),
    /// 416 `InvalidRange` with the size.
    Unsatisfiable,
    /// This status, and this error code if there is a body.
    Refused(u16, &'static str),
}

/// A request and its expected response.
pub struct Row {
    pub source: &'static str,
    pub kind: Kind,
    /// Query with its question mark.
    pub query: &'static str,
    pub headers: Headers,
    pub expect: Expect,
    /// Headers that the response must have; an empty value: must not have.
    pub answered: Headers,
}

type Headers = &'static [(&'static str, &'static str)];

impl Row {
    pub fn path(&self, key: &str) -> String {
        format!("/data/{key}{}", self.query)
    }

    pub fn is_part(&self) -> bool {
        self.query.contains("partNumber")
    }

    pub fn wants_the_wholes_checksums(&self) -> bool {
        let asked = self.headers == ENABLED || self.query.contains("checksum-mode");
        !self.is_part() && asked
    }

    /// Whether the request has a condition that most likely ends in 304, or that some origins do not understand.
    pub fn is_asked_for_by_head(&self) -> bool {
        let has = |asked: &str| self.headers.iter().any(|(name, _)| *name == asked);
        let asks = |(name, value): &(&str, &str)| match *name {
            "if-none-match" => true,
            "if-match" => [UNQUOTED, LISTED, OTHERS, WEAK].contains(value),
            "if-modified-since" => *value != "yesterday",
            "if-unmodified-since" => *value != "yesterday" && !has("if-match"),
            _ => false,
        };
        self.headers.iter().any(asks)
    }

    /// Whether the origin's own response is passed through, at least the first time.
    pub fn passes(&self) -> bool {
        let asks =
            |(name, _): &(&str, &str)| name.starts_with("x-amz-") && *name != "x-amz-checksum-mode";
        self.is_part() && self.kind == Empty || self.headers.iter().any(asks)
    }

    /// Whether the read is refused with 412 or 416.
    pub fn is_refused(&self) -> bool {
        matches!(self.expect, Failed(_) | Unsatisfiable)
    }

    /// Returns the path of the whole object, or of the whole version.
    pub fn path_of_whole(&self, key: &str) -> String {
        let version = self.query.split('&').next().filter(|query| query.contains("versionId"));
        format!("/data/{key}{}", version.unwrap_or_default())
    }

    /// Whether cached metadata is confirmed by one HEAD.
    pub fn revalidates(&self, freshness: Freshness, place: Place) -> bool {
        let is_version = self.query.contains("versionId");
        match (freshness, place) {
            // `null` can change, whatever the rule says about its object.
            _ if self.kind == Null => true,
            // It may have been deleted meanwhile.
            (_, Place::Restarted) if is_version => true,
            (Freshness::Immutable, _) => false,
            (Freshness::Revalidate, _) => true,
            (_, place) => place == Place::Restarted,
        }
    }
}

const fn row(source: &'static str, kind: Kind, headers: Headers, expect: Expect) -> Row {
    Row { source, kind, query: "", headers, expect, answered: &[] }
}

/// Makes a row for a version, or for a part.
const fn asked(
    source: &'static str,
    kind: Kind,
    query: &'static str,
    headers: Headers,
    expect: Expect,
    answered: Headers,
) -> Row {
    Row { source, kind, query, headers, expect, answered }
}

use Expect::{Failed, NotModified, Part, Unsatisfiable, Whole};

/// Returns all rows.
pub fn all() -> impl Iterator<Item = &'static Row> {
    RANGES
        .iter()
        .chain(IGNORED)
        .chain(SMALL)
        .chain(CONDITIONS)
        .chain(PAIRS)
        .chain(IF_RANGE)
        .chain(VERSIONS)
        .chain(PARTED)
        .chain(MORE)
}

const RANGES: &[Row] = &[
    row("API GetObject", Large, &[], Whole),
    row("API GetObject", Large, &[("range", "bytes=0-0")], Part(0..1)),
    row("API GetObject", Large, &[("range", "bytes=0-99")], Part(0..100)),
    row("within a block", Large, &[("range", "bytes=70000-80000")], Part(70_000..80_001)),
    row("last of a block", Large, &[("range", "bytes=65535-65535")], Part(65_535..65_536)),
    row("first of a block", Large, &[("range", "bytes=65536-65536")], Part(65_536..65_537)),
    row("across two blocks", Large, &[("range", "bytes=65535-65536")], Part(65_535..65_537)),
    row("one whole block", Large, &[("range", "bytes=65536-131071")], Part(65_536..131_072)),
    row("across four blocks", Large, &[("range", "bytes=60000-200000")], Part(60_000..200_001)),
    row("RFC 14.1.2", Large, &[("range", "bytes=0-")], Part(0..SIZE)),
    row("RFC 14.1.2", Large, &[("range", "bytes=131072-")], Part(131_072..SIZE)),
    row("RFC 14.1.2", Large, &[("range", "bytes=330000-")], Part(330_000..SIZE)),
    row("RFC 14.1.2", Large, &[("range", "bytes=330000-330000")], Part(330_000..SIZE)),
    row("RFC 14.1.2", Large, &[("range", "bytes=0-330000")], Part(0..SIZE)),
    row("RFC 14.1.2", Large, &[("range", "bytes=-1")], Part(330_000..SIZE)),
    row("across two blocks", Large, &[("range", "bytes=-70000")], Part(260_001..SIZE)),
    row("RFC 14.1.2", Large, &[("range", "bytes=-330001")], Part(0..SIZE)),
    row("versitygw#591, chimera#704", Large, &[("range", "bytes=-330002")], Part(0..SIZE)),
    row("no 64-bit number", Large, &[("range", "bytes=-99999999999999999999")], Part(0..SIZE)),
    row("RFC 14.1.2: clamped", Large, &[("range", "bytes=329990-330001")], Part(329_990..SIZE)),
    row("RFC 14.1.2: clamped", Large, &[("range", "bytes=1-99999999999999999999")], Part(1..SIZE)),
    row("RFC 14.1.1", Large, &[("range", "Bytes=5-6")], Part(5..7)),
    row("API: InvalidRange", Large, &[("range", "bytes=330001-")], Unsatisfiable),
    row("API: InvalidRange", Large, &[("range", "bytes=330001-330001")], Unsatisfiable),
    row("API: InvalidRange", Large, &[("range", "bytes=400000-500000")], Unsatisfiable),
    row("R18", Large, &[("range", "bytes=-0")], Unsatisfiable),
];

/// S3 ignores what it cannot read, and answers one range only: noobaa#9889, localstack#9082, scality#2194,
/// `riak_cs`#304.
const IGNORED: &[Row] = &[
    row("noobaa#9889: last before first", Large, &[("range", "bytes=1-0")], Whole),
    row("noobaa#9889: last before first", Large, &[("range", "bytes=400000-3")], Whole),
    row("API: one range only", Large, &[("range", "bytes=0-1,5-6")], Whole),
    row("API: one range only", Large, &[("range", "bytes=0-0,-1")], Whole),
    row("API: one range only", Large, &[("range", "bytes=400000-,500000-")], Whole),
    row("localstack#9082", Large, &[("range", "bytes=")], Whole),
    row("localstack#9082", Large, &[("range", "bytes=-")], Whole),
    row("localstack#9082", Large, &[("range", "bytes=a-b")], Whole),
    row("localstack#9082", Large, &[("range", "bytes=0-1,")], Whole),
    row("localstack#9082", Large, &[("range", "bytes=+1-2")], Whole),
    row("localstack#9082", Large, &[("range", "bytes=--1")], Whole),
    row("localstack#9082", Large, &[("range", "0-1")], Whole),
    row("RFC 14.2: another unit", Large, &[("range", "items=0-1")], Whole),
];

const SMALL: &[Row] = &[
    row("API GetObject", Empty, &[], Whole),
    row("aws-c-s3: ActualObjectSize 0", Empty, &[("range", "bytes=0-")], Unsatisfiable),
    row("aws-c-s3: ActualObjectSize 0", Empty, &[("range", "bytes=0-0")], Unsatisfiable),
    row("aws-c-s3: ActualObjectSize 0", Empty, &[("range", "bytes=5-9")], Unsatisfiable),
    row("arrow-rs-object-store#846", Empty, &[("range", "bytes=-1")], Whole),
    row("arrow-rs-object-store#846", Empty, &[("range", "bytes=-524288")], Whole),
    row("R18", Empty, &[("range", "bytes=-0")], Unsatisfiable),
    row("noobaa#9889", Empty, &[("range", "bytes=1-0")], Whole),
    row(
        "R17: 412 beats 416",
        Empty,
        &[("range", "bytes=0-"), ("if-match", OTHER)],
        Failed("If-Match"),
    ),
    row(
        "R17: 304 beats 416",
        Empty,
        &[("range", "bytes=0-"), ("if-none-match", ETAG)],
        NotModified,
    ),
    row("API GetObject", Empty, &[("if-match", ETAG)], Whole),
    row("API GetObject", Empty, &[("if-none-match", ETAG)], NotModified),
    row("API GetObject", One, &[], Whole),
    row("RFC 14.1.2", One, &[("range", "bytes=0-0")], Part(0..1)),
    row("RFC 14.1.2", One, &[("range", "bytes=0-")], Part(0..1)),
    row("RFC 14.1.2", One, &[("range", "bytes=-1")], Part(0..1)),
    row("versitygw#591", One, &[("range", "bytes=-5")], Part(0..1)),
    row("RFC 14.1.2: clamped", One, &[("range", "bytes=0-5")], Part(0..1)),
    row("API: InvalidRange", One, &[("range", "bytes=1-")], Unsatisfiable),
    row("API: InvalidRange", One, &[("range", "bytes=1-1")], Unsatisfiable),
    row("R18", One, &[("range", "bytes=-0")], Unsatisfiable),
];

const CONDITIONS: &[Row] = &[
    row("API GetObject", Large, &[("if-match", ETAG)], Whole),
    row("s3-tests: unquoted", Large, &[("if-match", UNQUOTED)], Whole),
    row("RFC 13.1.1", Large, &[("if-match", "*")], Whole),
    row("RFC 13.1.1: a list", Large, &[("if-match", LISTED)], Whole),
    row("API GetObject", Large, &[("if-match", OTHER)], Failed("If-Match")),
    row("RFC 13.1.1: a list", Large, &[("if-match", OTHERS)], Failed("If-Match")),
    row("R2: weak never matches", Large, &[("if-match", WEAK)], Failed("If-Match")),
    row("API GetObject", Large, &[("if-none-match", ETAG)], NotModified),
    row("s3-tests: unquoted", Large, &[("if-none-match", UNQUOTED)], NotModified),
    row("RFC 13.1.2", Large, &[("if-none-match", "*")], NotModified),
    row("RFC 13.1.2: a list", Large, &[("if-none-match", LISTED)], NotModified),
    row("RFC 13.1.2: weak comparison", Large, &[("if-none-match", WEAK)], NotModified),
    row("API GetObject", Large, &[("if-none-match", OTHER)], Whole),
    row("RFC 13.1.2: a list", Large, &[("if-none-match", OTHERS)], Whole),
    row("API GetObject", Large, &[("if-modified-since", BEFORE)], Whole),
    row("RFC 13.1.3", Large, &[("if-modified-since", MODIFIED)], NotModified),
    row("API GetObject", Large, &[("if-modified-since", AFTER)], NotModified),
    row("RFC 13.1.3: no date", Large, &[("if-modified-since", "yesterday")], Whole),
    row("API GetObject", Large, &[("if-unmodified-since", AFTER)], Whole),
    row("RFC 13.1.4", Large, &[("if-unmodified-since", MODIFIED)], Whole),
    row("API GetObject", Large, &[("if-unmodified-since", BEFORE)], Failed("If-Unmodified-Since")),
    row("RFC 13.1.4: no date", Large, &[("if-unmodified-since", "yesterday")], Whole),
];

const PAIRS: &[Row] = &[
    row(
        "API GetObject: If-Match true, If-Unmodified-Since false",
        Large,
        &[("if-match", ETAG), ("if-unmodified-since", BEFORE)],
        Whole,
    ),
    row(
        "RFC 13.2.2",
        Large,
        &[("if-match", OTHER), ("if-unmodified-since", AFTER)],
        Failed("If-Match"),
    ),
    row(
        "API GetObject: If-None-Match false, If-Modified-Since true",
        Large,
        &[("if-none-match", ETAG), ("if-modified-since", BEFORE)],
        NotModified,
    ),
    row("RFC 13.1.3", Large, &[("if-none-match", OTHER), ("if-modified-since", AFTER)], Whole),
    row("RFC 13.2.2", Large, &[("if-match", ETAG), ("if-none-match", ETAG)], NotModified),
    row("RFC 13.2.2", Large, &[("if-match", OTHER), ("if-none-match", ETAG)], Failed("If-Match")),
    row("aws-c-s3: every part", Large, &[("range", "bytes=9-9"), ("if-match", ETAG)], Part(9..10)),
    row("RFC 13.2.2", Large, &[("range", "bytes=9-9"), ("if-match", OTHER)], Failed("If-Match")),
    row("RFC 13.2.2", Large, &[("range", "bytes=9-9"), ("if-none-match", ETAG)], NotModified),
    row(
        "RFC 13.2.2: 412 beats 416",
        Large,
        &[("range", "bytes=400000-"), ("if-match", OTHER)],
        Failed("If-Match"),
    ),
    row(
        "RFC 13.2.2: 412 beats 416",
        Large,
        &[("range", "bytes=-0"), ("if-unmodified-since", BEFORE)],
        Failed("If-Unmodified-Since"),
    ),
    row(
        "RFC 13.2.2: 304 beats 416",
        Large,
        &[("range", "bytes=400000-"), ("if-none-match", ETAG)],
        NotModified,
    ),
    row("RFC 13.2.2", Large, &[("range", "bytes=400000-"), ("if-match", ETAG)], Unsatisfiable),
];

const IF_RANGE: &[Row] = &[
    row("RFC 13.1.5", Large, &[("range", "bytes=1-2"), ("if-range", ETAG)], Part(1..3)),
    row("RFC 13.1.5", Large, &[("range", "bytes=1-2"), ("if-range", OTHER)], Whole),
    row("RFC 13.1.5: strong only", Large, &[("range", "bytes=1-2"), ("if-range", WEAK)], Whole),
    row("RFC 13.1.5", Large, &[("range", "bytes=1-2"), ("if-range", MODIFIED)], Part(1..3)),
    row("RFC 13.1.5: exactly", Large, &[("range", "bytes=1-2"), ("if-range", BEFORE)], Whole),
    row("RFC 13.1.5: exactly", Large, &[("range", "bytes=1-2"), ("if-range", AFTER)], Whole),
    row("RFC 13.1.5", Large, &[("if-range", OTHER)], Whole),
    row("RFC 13.1.5", Large, &[("range", "bytes=-9"), ("if-range", OTHER)], Whole),
    row("RFC 13.1.5", Large, &[("range", "bytes=400000-"), ("if-range", OTHER)], Whole),
    row("RFC 13.1.5", Large, &[("range", "bytes=400000-"), ("if-range", ETAG)], Unsatisfiable),
    row("RFC 13.2.2", Large, &[("range", "bytes=1-0"), ("if-range", ETAG)], Whole),
    row(
        "RFC 13.2.2",
        Large,
        &[("range", "bytes=1-2"), ("if-range", ETAG), ("if-match", OTHER)],
        Failed("If-Match"),
    ),
    row("RFC 13.1.5", Empty, &[("range", "bytes=0-"), ("if-range", OTHER)], Whole),
];
