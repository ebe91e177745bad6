//! S3's read semantics as a table ([`table`]), asked of hotset in every state and under every freshness.
//!
//! The result of a row must be the same whether the cache has nothing of the object, only its metadata, only bytes in
//! its middle, or all of it. And cached data is used: a warm row costs no origin request, or exactly one HEAD under
//! `revalidate`.

/// Response headers that are replayed, and those that never are.
mod headers;
/// Objects of the maximum size of S3.
mod huge;
/// Keys and hosts in every legal spelling.
mod names;
/// The table again, with bytes on disk.
mod on_disk;
mod table;

use std::collections::HashSet;
use std::sync::{Arc, LazyLock};

use bytes::Bytes;

use hotset::cache::{Freshness, RuleConfig};
use hotset::config::units::{ByteSize, HumanDuration};
use http::Method;

use crate::support::*;
use on_disk::{Place, check_source};
use table::{ETAG, Expect, MODIFIED, Row, SIZE};

/// Object that a row reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Large,
    Empty,
    One,
    /// The large object as the version `v1`, which is no longer current.
    Old,
    /// The large object as the current version, `v2`.
    Current,
    /// The large object as the version `null`; `v2` is current.
    Null,
    /// The large object as the version `v1`, behind the delete marker `v2`.
    Deleted,
    /// The large object, uploaded in the parts 1, 3 and 7.
    Parts,
    /// No object.
    Missing,
    /// The same parts as the version `v1`, which is no longer current.
    OldParts,
}

const CHECKSUM: &str = "x-amz-checksum-crc32";
const TYPE: &str = "x-amz-checksum-type";
const BYPASS: &str = "hotset; fwd=bypass";

/// Bytes of the large object, made once: every row compares with them.
static LARGE: LazyLock<Bytes> = LazyLock::new(|| Object::random(SIZE, 9).all());

impl Kind {
    fn object(self) -> Object {
        let object = match self {
            Kind::Empty => Object::bytes(""),
            Kind::One => Object::bytes("1"),
            Kind::Parts | Kind::OldParts => table::PARTS.iter().fold(
                Object::bytes(LARGE.clone())
                    .parts(&table::PARTS.map(|(_, length, _)| length))
                    .part_numbers(&table::PARTS.map(|(number, ..)| number)),
                |object, (number, _, sum)| {
                    let object = object.part_checksum(*number, CHECKSUM, sum);
                    object.part_checksum(*number, TYPE, "COMPOSITE")
                },
            ),
            _ => Object::bytes(LARGE.clone()),
        };
        let object = object.checksum(CHECKSUM, table::WHOLE_SUM).checksum(TYPE, "COMPOSITE");
        object.etag(ETAG).last_modified(MODIFIED).header("x-amz-meta-kind", "conformance")
    }

    /// Puts the object, and other versions under its key.
    fn put(self, s3: &FakeS3, key: &str) {
        let (object, other) = (self.object(), Object::bytes("another version's bytes"));
        match self {
            Kind::Old | Kind::OldParts => {
                s3.put("data", key, object.version_id("v1"));
                s3.put("data", key, other.version_id("v2"));
            }
            Kind::Current => {
                s3.put("data", key, other.version_id("v1"));
                s3.put("data", key, object.version_id("v2"));
            }
            Kind::Null => {
                s3.put("data", key, object);
                s3.put("data", key, other.version_id("v2"));
            }
            Kind::Deleted => {
                s3.put("data", key, object.version_id("v1"));
                s3.put_marker("data", key, "v2");
            }
            Kind::Missing => {}
            Kind::Large | Kind::Empty | Kind::One | Kind::Parts => s3.put("data", key, object),
        }
    }
}

/// Reads of the object before the row's request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Before {
    Nothing,
    Head,
    /// Bytes in the middle: metadata from a 206, and some blocks, one of them only from its middle on.
    Middle,
    Whole,
}

/// Returns one rule for everything.
pub fn rule(freshness: Freshness) -> Vec<RuleConfig> {
    vec![RuleConfig { freshness, ..RuleConfig::default() }]
}

struct Table {
    s3: Arc<FakeS3>,
    client: Client,
    freshness: Freshness,
    before: Before,
    place: Place,
    request_ids: HashSet<String>,
    /// Keys that have been put.
    put: HashSet<String>,
}

impl Table {
    async fn run(freshness: Freshness, before: Before, block: ByteSize) {
        let s3 = Arc::new(FakeS3::start().await);
        let proxy = TestProxy::start_with(&s3, |config| {
            config.rules = rule(freshness);
            config.cache.block = block;
            config.cache.fetch = config.cache.fetch.max(block);
        })
        .await;
        let client = proxy.client();
        let (place, request_ids, put) = (Place::Memory, HashSet::new(), HashSet::new());
        let mut table = Table { s3, client, freshness, before, place, request_ids, put };
        for (number, row) in table::all().enumerate() {
            for method in [Method::GET, Method::HEAD] {
                table.ask(number, row, &method).await;
            }
        }
        assert!(table.s3.complaints().is_empty(), "{:?}", table.s3.complaints());
    }

    async fn ask(&mut self, number: usize, row: &Row, method: &Method) {
        // Rows only read, so those that find everything in memory share one object.
        let key = match (self.before, self.place) {
            (Before::Whole, Place::Memory) => {
                format!("{:?}{}", row.kind, row.query.replace(|c: char| !c.is_alphanumeric(), "-"))
            }
            _ => format!("{number}-{method}"),
        };
        if self.place == Place::Memory && self.put.insert(key.clone()) {
            row.kind.put(&self.s3, &key);
            self.prepare(&key, row).await;
        }
        self.s3.forget_requests();
        let mut request = self.client.request(method.clone(), &row.path(&key));
        for (name, value) in row.headers {
            request = request.header(name, value);
        }
        let answer = request.send().await;
        let what = format!(
            "{method} {:?} {} {:?} ({}), {:?} known, {:?}, {:?}\n{} {:?}, {} bytes\n{}",
            row.kind,
            row.query,
            row.headers,
            row.source,
            self.before,
            self.place,
            self.freshness,
            answer.status,
            answer.headers,
            answer.body.len(),
            self.s3.describe()
        );
        check(&answer, row, method, &what);
        self.check_identity(&answer, &what);
        self.check_cost(row, method, &what);
        let served = answer.status.is_success() && !answer.body.is_empty() && !row.passes();
        if self.before == Before::Whole && served {
            check_source(&answer, row, self.freshness, self.place, &what);
        }
    }

    /// Returns the parts of the row's object that the process still has: after a restart only objects with bytes on
    /// disk.
    fn known(&self, row: &Row) -> Before {
        let has_bytes = match row.kind {
            Kind::One => self.before == Before::Whole,
            // After a restart the version `null` is not known to be current.
            Kind::Empty | Kind::Null => false,
            _ => matches!(self.before, Before::Middle | Before::Whole),
        };
        if has_bytes || self.place != Place::Restarted { self.before } else { Before::Nothing }
    }

    async fn prepare(&self, key: &str, row: &Row) {
        let path = &row.path_of_whole(key);
        let answer = match self.before {
            Before::Nothing => return,
            Before::Head => self.client.head(path).send().await,
            Before::Middle => self.client.get(path).range("bytes=100000-150000").send().await,
            Before::Whole => self.client.get(path).send().await,
        };
        assert!(answer.complete, "{answer:?}");
        if row.is_part() && self.before == Before::Whole {
            assert!(self.client.get(&row.path(key)).send().await.complete);
        }
    }

    /// Checks that request ids are our own and new, except in responses that stream through.
    fn check_identity(&mut self, answer: &Response, what: &str) {
        let id = answer.header("x-amz-request-id").to_owned();
        if id.starts_with("ORIGIN") {
            assert_eq!(answer.header("cache-status"), BYPASS, "{what}");
            return;
        }
        assert!(id.len() == 16 && self.request_ids.insert(id), "{what}");
        assert!(!answer.header("x-amz-id-2").is_empty(), "{what}");
        assert_ne!(answer.header("x-amz-id-2"), "originhost", "{what}");
        assert!(!answer.header("cache-status").is_empty(), "{what}");
    }

    /// Checks that cached data is used, and that metadata comes with the first bytes (R17).
    fn check_cost(&self, row: &Row, method: &Method, what: &str) {
        if row.passes() || matches!(row.expect, Expect::Refused(..)) {
            return;
        }
        let seen = self.s3.requests();
        let heads = seen.iter().filter(|r| r.method == Method::HEAD).count();
        let gets = seen.len() - heads;
        let before = self.known(row);
        let revalidates = row.revalidates(self.freshness, self.place);
        // To refuse it, its size must be known; no byte of it can be asked for.
        let minus_zero = row.headers.contains(&("range", "bytes=-0"));
        match before {
            // For a part, the whole object is asked for, too.
            Before::Nothing if row.is_part() => {
                let part = usize::from(*method == Method::HEAD);
                assert_eq!((heads, gets), (1 + part, 1 - part), "{what}");
            }
            Before::Nothing if *method == Method::HEAD => {
                assert_eq!((heads, gets), (1, 0), "{what}");
            }
            Before::Nothing if minus_zero => assert_eq!((heads, gets), (1, 0), "{what}"),
            // A HEAD comes first where a condition is likely to make the bytes needless.
            Before::Nothing if row.is_asked_for_by_head() => {
                assert_eq!((heads, &seen[0].method), (1, &Method::HEAD), "{what}");
            }
            // The checksums of the whole come with its bytes, or with a HEAD, once.
            Before::Nothing if row.wants_the_wholes_checksums() => {
                assert_eq!((heads, gets), (0, 1), "{what}");
            }
            _ if row.wants_the_wholes_checksums() => assert!(heads <= 1, "{what}"),
            Before::Nothing => {
                assert_eq!(seen[0].method, Method::GET, "{what}");
                // Only a response without metadata (416) needs a HEAD after it.
                assert_eq!(heads, usize::from(seen[0].status == 416), "{what}");
            }
            Before::Head | Before::Middle if row.is_part() && *method == Method::HEAD => {
                assert_eq!(heads, 1 + usize::from(revalidates), "{what}");
            }
            // The response for the part confirms it, too.
            Before::Head | Before::Middle if row.is_part() && row.is_refused() => {
                assert!(heads <= 1, "{what}");
            }
            // No read is refused by cached metadata before it is confirmed (R33).
            _ => assert_eq!(heads, usize::from(revalidates || row.is_refused()), "{what}"),
        }
        if before == Before::Whole || *method == Method::HEAD {
            assert_eq!(gets, 0, "{what}");
        }
    }
}

fn check(answer: &Response, row: &Row, method: &Method, what: &str) {
    let object = row.kind.object();
    let (status, range) = match &row.expect {
        Expect::Whole => (200, Some(0..object.len())),
        Expect::Part(range) => (206, Some(range.clone())),
        Expect::NotModified => (304, None),
        Expect::Failed(_) => (412, None),
        Expect::Unsatisfiable => (416, None),
        Expect::Refused(status, _) => (*status, None),
    };
    assert!(answer.complete && answer.status == status, "{what}");
    let content_range = match &row.expect {
        Expect::Part(range) => format!("bytes {}-{}/{}", range.start, range.end - 1, object.len()),
        Expect::Unsatisfiable => format!("bytes */{}", object.len()),
        _ => String::new(),
    };
    assert_eq!(answer.header("content-range"), content_range, "{what}");
    if let Some(range) = range {
        let length = (range.end - range.start).to_string();
        assert_eq!(answer.header("content-length"), length, "{what}");
        assert_eq!(answer.header("x-amz-meta-kind"), "conformance", "{what}");
        assert_eq!(answer.header("accept-ranges"), "bytes", "{what}");
        let bytes = if *method == Method::HEAD { 0..0 } else { range };
        assert!(answer.body == object.slice(bytes), "other bytes: {what}");
    }
    if status < 400 {
        assert_eq!(answer.header("etag"), ETAG, "{what}");
        assert_eq!(answer.header("last-modified"), MODIFIED, "{what}");
    } else {
        assert_eq!(answer.header("content-type"), "application/xml", "{what}");
    }
    for (name, value) in row.answered {
        assert_eq!(answer.header(name), *value, "{name}: {what}");
    }
    if status == 304 || *method == Method::HEAD {
        assert!(answer.body.is_empty(), "{what}");
    } else {
        check_error(answer, row, what);
    }
}

fn check_error(answer: &Response, row: &Row, what: &str) {
    let text = answer.text();
    let details = match &row.expect {
        Expect::Failed(header) => vec![("Code", "PreconditionFailed"), ("Condition", header)],
        Expect::Unsatisfiable => {
            let range = row.headers.iter().find(|(name, _)| *name == "range");
            vec![("Code", "InvalidRange"), ("RangeRequested", range.expect("a 416's range").1)]
        }
        Expect::Refused(_, code) => vec![("Code", *code)],
        _ => return,
    };
    assert!(text.starts_with("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error>"), "{what}");
    let size = row.kind.object().len().to_string();
    let size = matches!(row.expect, Expect::Unsatisfiable).then_some(("ActualObjectSize", &*size));
    for (name, value) in details.into_iter().chain(size) {
        assert!(text.contains(&format!("<{name}>{value}</{name}>")), "{name}: {what}");
    }
    if answer.header("x-amz-request-id").starts_with("ORIGIN") {
        return;
    }
    let id = answer.header("x-amz-request-id");
    assert!(text.contains(&format!("<RequestId>{id}</RequestId>")), "{what}");
}

const TTL: Freshness = Freshness::Ttl(HumanDuration::secs(60));
const BLOCK: ByteSize = ByteSize::kib(64);

#[tokio::test]
async fn reads_of_what_is_not_known_answer_as_s3_under_ttl() {
    Table::run(TTL, Before::Nothing, BLOCK).await;
}

#[tokio::test]
async fn reads_of_what_is_not_known_answer_as_s3_under_immutable() {
    Table::run(Freshness::Immutable, Before::Nothing, BLOCK).await;
}

#[tokio::test]
async fn reads_of_what_is_not_known_answer_as_s3_under_revalidate() {
    Table::run(Freshness::Revalidate, Before::Nothing, BLOCK).await;
}

#[tokio::test]
async fn reads_after_a_head_answer_as_s3() {
    for freshness in [TTL, Freshness::Revalidate] {
        Table::run(freshness, Before::Head, BLOCK).await;
    }
}

#[tokio::test]
async fn reads_of_what_is_partly_in_memory_answer_as_s3() {
    for freshness in [TTL, Freshness::Revalidate] {
        Table::run(freshness, Before::Middle, BLOCK).await;
    }
}

#[tokio::test]
async fn reads_from_memory_answer_as_s3() {
    for freshness in [TTL, Freshness::Immutable, Freshness::Revalidate] {
        Table::run(freshness, Before::Whole, BLOCK).await;
    }
}

#[tokio::test]
async fn reads_answer_as_s3_with_the_default_and_the_largest_blocks() {
    for block in [ByteSize::mib(1), ByteSize::mib(16)] {
        for before in [Before::Nothing, Before::Middle, Before::Whole] {
            Table::run(TTL, before, block).await;
        }
    }
}
