//! R22: in `transparent` mode S3 authorizes each caller by its own request, before a cached object is shown to it.
//!
//! The origin verifies every signature, for its own name, and refuses one of the callers.

use std::time::SystemTime;

use hotset::auth::verify::Verifier;
use hotset::auth::{AuthMode, IdentitySet};
use hotset::config::units::HumanDuration;
use hotset::s3::{HostNames, RequestHead, operation};
use http::Method;

use crate::support::sigv4::SIGNED_CHUNKS;
use crate::support::{
    Client, FakeS3, Fault, Gate, Matcher, Object, Repeat, Response, Seen, Signed, TestProxy,
};

const KNOWN: &str = "
identities:
  - { name: hotset, access_key: AKTEST, secret_key: sktest, allow: [] }
  - { name: reader, access_key: AKREADER, secret_key: readers-secret, allow: [] }
  - { name: stranger, access_key: AKSTRANGER, secret_key: strangers-secret, allow: [] }
";

struct Transparent {
    s3: FakeS3,
    _proxy: TestProxy,
    client: Client,
}

impl Transparent {
    /// Starts hotset; decisions are kept for this many seconds.
    async fn start(decisions: u64) -> Transparent {
        let s3 = FakeS3::start().await;
        s3.put("data", "k", Object::bytes("content"));
        let identities = IdentitySet::parse(KNOWN).unwrap();
        let forged = Matcher::any().when(move |seen| !verifies(&identities, seen));
        s3.fault(forged, Repeat::Always, Fault::Status(403, "SignatureDoesNotMatch"));
        let of_stranger = Matcher::any().when(|seen| is_by(seen, "AKSTRANGER"));
        s3.fault(of_stranger, Repeat::Always, Fault::Status(403, "AccessDenied"));
        let proxy = TestProxy::start_with(&s3, |config| {
            config.auth.mode = AuthMode::Transparent;
            config.auth.decision_ttl = HumanDuration::secs(decisions);
            config.rules[0].lists = Some(HumanDuration::secs(60));
        })
        .await;
        let client = proxy.client();
        Transparent { s3, _proxy: proxy, client }
    }

    /// Makes a request of `reader`, signed for the origin.
    fn reader(&self, method: &'static str, target: &str) -> Signed {
        Signed::new(method, target, self.s3.addr()).keys("AKREADER", "readers-secret")
    }

    fn stranger(&self, target: &str) -> Signed {
        Signed::new("GET", target, self.s3.addr()).keys("AKSTRANGER", "strangers-secret")
    }

    async fn send(&self, wire: &[u8]) -> Response {
        let answer = self.client.raw(wire).await;
        assert!(answer.complete);
        answer
    }

    async fn is_refused(&self, target: &str) {
        let answer = self.send(&self.stranger(target).wire()).await;
        assert_eq!(answer.status, 403);
        assert!(answer.text().contains("<Code>AccessDenied</Code>"), "{}", answer.text());
    }

    /// Returns the requests with an `If-None-Match`, by whomever it was added.
    fn checks(&self) -> Vec<Seen> {
        let requests = self.s3.requests().into_iter();
        requests.filter(|seen| seen.headers.contains_key("if-none-match")).collect()
    }

    fn count_by(&self, access_key: &str) -> usize {
        self.s3.count(|seen| is_by(seen, access_key))
    }
}

fn verifies(identities: &IdentitySet, seen: &Seen) -> bool {
    let head = RequestHead {
        method: &seen.method,
        raw_target: seen.target.as_bytes(),
        host: Some(seen.header("host")),
        headers: &seen.headers,
        has_body: !seen.header("content-length").is_empty(),
    };
    let verifier = Verifier::new("us-east-1".to_owned(), Vec::new());
    let parsed = operation::parse(&head, &HostNames::default()).unwrap();
    let answer = verifier.verify(identities, &head, &parsed, SystemTime::now());
    matches!(answer, Ok(Some(_)))
}

fn is_by(seen: &Seen, access_key: &str) -> bool {
    let credential = seen.param("X-Amz-Credential").unwrap_or_default();
    seen.header("authorization").contains(access_key) || credential.starts_with(access_key)
}

/// Returns the value of a header in a serialized request.
fn sent(wire: &[u8], name: &str) -> String {
    let text = String::from_utf8_lossy(wire);
    let mut lines = text.split("\r\n").filter_map(|line| line.split_once(": "));
    lines.find(|(n, _)| *n == name).map_or(String::new(), |(_, value)| value.to_owned())
}

#[tokio::test]
async fn r22_a_hit_is_served_only_after_s3_said_yes_to_this_very_request() {
    let t = Transparent::start(0).await;
    let etag = t.s3.object("data", "k").unwrap().etag_value().unwrap().to_owned();
    for (seconds, cache) in
        [(0, "hotset; fwd=uri-miss; detail=new"), (-1, "hotset; hit"), (-1, "hotset; hit")]
    {
        let wire = t.reader("GET", "/data/k?x-id=GetObject").seconds_from_now(seconds).wire();
        let answer = t.send(&wire).await;
        assert_eq!((answer.status.as_u16(), &*answer.text()), (200, "content"));
        assert_eq!(answer.header("cache-status"), cache);
        let check = t.checks().pop().expect("S3 was asked");
        assert_eq!((check.status, check.header("if-none-match")), (304, &*etag));
        assert_eq!(check.target, "/data/k?x-id=GetObject");
        for name in ["host", "authorization", "x-amz-date", "x-amz-content-sha256"] {
            assert_eq!(check.header(name), sent(&wire, name), "{name}");
        }
    }
    assert_eq!((t.checks().len(), t.count_by("AKREADER"), t.count_by("AKTEST")), (3, 3, 1));
}

#[tokio::test]
async fn r22_a_decision_serves_repeats_of_the_very_request_and_nobody_else() {
    let t = Transparent::start(60).await;
    let first = t.reader("GET", "/data/k").wire();
    for _ in 0..3 {
        assert_eq!(t.send(&first).await.text(), "content");
    }
    assert_eq!(t.checks().len(), 1);
    // The same key, another signature.
    let second = t.reader("GET", "/data/k").seconds_from_now(-1).wire();
    assert_eq!(t.send(&second).await.text(), "content");
    assert_eq!(t.checks().len(), 2);
    // A policy may look at a header that is not signed.
    let from = t.reader("GET", "/data/k").unsigned("referer", "http://a").wire();
    assert_eq!(t.send(&from).await.text(), "content");
    assert_eq!(t.checks().len(), 3);
    t.is_refused("/data/k").await;
    // Another signature with the same access key.
    let forged = t.reader("GET", "/data/k").keys("AKREADER", "guessed").wire();
    assert_eq!(t.send(&forged).await.status, 403);
    let unsigned = t.client.get("/data/k").host(&t.s3.addr().to_string()).send().await;
    assert_eq!(unsigned.status, 403);
}

/// The AWS SDK for JavaScript v3 presigns like this.
#[tokio::test]
async fn r16_a_presigned_url_with_the_payload_in_its_query_is_answered_from_the_cache() {
    let t = Transparent::start(60).await;
    let target = "/data/k?X-Amz-Content-Sha256=UNSIGNED-PAYLOAD&x-id=GetObject";
    let wire = t.reader("GET", target).wire_presigned(60);
    for cache in ["hotset; fwd=uri-miss; detail=new", "hotset; hit"] {
        let answer = t.send(&wire).await;
        assert_eq!((answer.status.as_u16(), &*answer.text()), (200, "content"));
        assert_eq!(answer.header("cache-status"), cache);
    }
}

#[tokio::test]
async fn r22_a_version_that_replaced_another_is_decided_anew() {
    let t = Transparent::start(60).await;
    let wire = t.reader("GET", "/data/k").wire();
    assert_eq!(t.send(&wire).await.text(), "content");
    let put = t.reader("PUT", "/data/k").body(b"through us").wire();
    assert_eq!(t.send(&put).await.status, 200);
    assert_eq!(t.send(&wire).await.text(), "through us");
    assert_eq!(t.checks().len(), 2);
}

#[tokio::test]
async fn r22_who_is_refused_gets_no_bytes_of_a_fill_for_another_caller() {
    let t = Transparent::start(0).await;
    t.s3.put("data", "big", Object::random(1 << 20, 7));
    // The caller is refused first: this decision does not hold for the next one.
    t.is_refused("/data/big").await;
    t.s3.wait_idle().await;
    t.s3.put("data", "other", Object::random(1 << 20, 8));
    let gate = Gate::new();
    let fill = Matcher::get("other").when(|seen| is_by(seen, "AKTEST"));
    t.s3.fault(fill, Repeat::Always, Fault::HoldBodyAfter(1000, gate.clone()));
    let (wire, client) = (t.reader("GET", "/data/other").wire(), t.client.clone());
    let reading = tokio::spawn(async move { client.raw(&wire).await });
    gate.wait_reached().await;
    t.is_refused("/data/other").await;
    gate.open();
    let answer = reading.await.unwrap();
    assert!(answer.complete && answer.body == t.s3.object_bytes("data", "other"));
    t.s3.assert_each_byte_sent_once("data", "other");
    let answer = t.send(&t.reader("GET", "/data/big").wire()).await;
    assert!(answer.body == t.s3.object_bytes("data", "big"));
}

#[tokio::test]
async fn r22_an_object_that_changed_is_served_as_it_is_now() {
    let t = Transparent::start(0).await;
    assert_eq!(t.send(&t.reader("GET", "/data/k").wire()).await.text(), "content");
    // Still fresh for a minute, by the rule.
    t.s3.put("data", "k", Object::bytes("changed"));
    for _ in 0..2 {
        assert_eq!(t.send(&t.reader("GET", "/data/k").wire()).await.text(), "changed");
    }
    let ranged = t.reader("GET", "/data/k").header("range", "bytes=1-3").wire();
    let answer = t.send(&ranged).await;
    assert_eq!((answer.status.as_u16(), &*answer.text()), (206, "han"));
    t.s3.delete("data", "k");
    assert_eq!(t.send(&t.reader("GET", "/data/k").wire()).await.status, 404);
}

#[tokio::test]
async fn r40_a_write_that_s3_refuses_leaves_the_cache_as_it_is() {
    let t = Transparent::start(0).await;
    let read = || t.reader("GET", "/data/k").wire();
    assert_eq!(t.send(&read()).await.text(), "content");
    let host = t.s3.addr().to_string();
    for (method, target) in [
        (Method::DELETE, "/data/k"),
        (Method::PUT, "/data/k"),
        (Method::DELETE, "/data"),
        (Method::PUT, "/data?policy"),
    ] {
        let refused = t.client.request(method, target).host(&host).body("x").send().await;
        assert_eq!(refused.status, 403, "{target}");
        let answer = t.send(&read()).await;
        assert_eq!((&*answer.text(), answer.header("cache-status")), ("content", "hotset; hit"));
    }
    let many = "<Delete><Object><Key>k</Key></Object></Delete>";
    let refused = t.client.post("/data?delete").host(&host).body(many).send().await;
    assert_eq!(refused.status, 403);
    assert_eq!(t.send(&read()).await.header("cache-status"), "hotset; hit");
    assert_eq!(t.count_by("AKTEST"), 1, "{}", t.s3.describe());
}

#[tokio::test]
async fn r40_reads_ask_s3_while_a_write_is_on_its_way() {
    let t = Transparent::start(60).await;
    let read = t.reader("GET", "/data/k").wire();
    assert_eq!(t.send(&read).await.text(), "content");
    assert_eq!(t.send(&read).await.header("cache-status"), "hotset; hit");
    for (put, body) in [("/data/k", "second"), ("/data?policy", "{}")] {
        let (gate, client) = (Gate::new(), t.client.clone());
        let writes = Matcher::any().method(Method::PUT);
        t.s3.fault(writes, Repeat::Times(1), Fault::HoldHeader(gate.clone()));
        let put = t.reader("PUT", put).body(body.as_bytes()).wire();
        let writing = tokio::spawn(async move { client.raw(&put).await });
        gate.wait_reached().await;
        // S3 has executed it already.
        for _ in 0..2 {
            let answer = t.send(&read).await;
            assert_eq!(&*answer.text(), "second");
            assert_ne!(answer.header("cache-status"), "hotset; hit");
        }
        gate.open();
        writing.await.unwrap();
        assert_eq!(t.send(&read).await.text(), "second");
    }
}

#[tokio::test]
async fn r40_a_write_invalidates_unless_its_refusal_is_complete() {
    let t = Transparent::start(0).await;
    let read = || t.reader("GET", "/data/k").wire();
    let cut = Fault::All(vec![Fault::Status(403, "AccessDenied"), Fault::CutAfter(3)]);
    for (fault, status) in [(cut, None), (Fault::Status(404, "NoSuchBucket"), Some(404))] {
        assert_eq!(t.send(&read()).await.text(), "content");
        t.s3.clear_faults();
        t.s3.fault(Matcher::any().method(Method::DELETE), Repeat::Times(1), fault);
        let answer = t.client.raw(&t.reader("DELETE", "/data/k").wire()).await;
        assert_eq!(status.is_some(), answer.complete);
        let answer = t.send(&read()).await;
        assert_ne!(answer.header("cache-status"), "hotset; hit");
    }
}

#[tokio::test]
async fn r22_writes_are_passed_on_byte_for_byte() {
    let t = Transparent::start(0).await;
    assert_eq!(t.send(&t.reader("GET", "/data/k").wire()).await.text(), "content");
    let put = t.reader("PUT", "/data/k?x-id=PutObject").payload(SIGNED_CHUNKS);
    let wire = put.wire_chunked(b"new content", 8192);
    assert_eq!(t.send(&wire).await.status, 200);
    let requests = t.s3.requests();
    let write = requests.iter().find(|seen| seen.method == Method::PUT).expect("it was sent");
    for name in [
        "authorization",
        "host",
        "x-amz-date",
        "x-amz-content-sha256",
        "content-encoding",
        "x-amz-decoded-content-length",
        "content-length",
    ] {
        assert!(!sent(&wire, name).is_empty(), "{name}");
        assert_eq!(write.header(name), sent(&wire, name), "{name}");
    }
    assert!(wire.ends_with(&write.raw_body) && !write.raw_body.is_empty());
    assert_eq!(write.target, "/data/k?x-id=PutObject");
    assert_eq!(t.send(&t.reader("GET", "/data/k").wire()).await.text(), "new content");
}

#[tokio::test]
async fn r22_a_presigned_url_serves_its_own_ranges_and_no_other_query() {
    let t = Transparent::start(60).await;
    let url = t.reader("GET", "/data/k");
    assert_eq!(t.send(&url.wire_presigned(300)).await.text(), "content");
    let ranged = url.clone().unsigned("range", "bytes=0-2").wire_presigned(300);
    let answer = t.send(&ranged).await;
    assert_eq!((answer.status.as_u16(), &*answer.text()), (206, "con"));
    assert_eq!(t.checks().len(), 1);
    assert_eq!(t.send(&url.wire_presigned(301)).await.text(), "content");
    assert_eq!(t.checks().len(), 2);
    let wire = url.wire_presigned(300);
    let forged = String::from_utf8(wire).unwrap().replace("X-Amz-Expires=300", "X-Amz-Expires=999");
    assert_eq!(t.send(forged.as_bytes()).await.status, 403);
    assert_eq!(t.send(&t.stranger("/data/k").wire_presigned(300)).await.status, 403);
}

#[tokio::test]
async fn r22_a_condition_of_the_clients_own_is_s3s_to_answer() {
    let t = Transparent::start(60).await;
    let etag = t.s3.object("data", "k").unwrap().etag_value().unwrap().to_owned();
    for (own, status) in [("\"other\"", 200), (etag.as_str(), 304)] {
        let wire = t.reader("GET", "/data/k").header("if-none-match", own).wire();
        assert_eq!(t.send(&wire).await.status.as_u16(), status);
        let seen = t.s3.requests().pop().unwrap();
        assert_eq!(seen.headers.get_all("if-none-match").iter().count(), 1);
        assert_eq!(seen.header("if-none-match"), own);
    }
    assert_eq!(t.count_by("AKTEST"), 0, "{}", t.s3.describe());
    let wire = t.reader("GET", "/data/k").header("if-match", "\"other\"").wire();
    assert_eq!(t.send(&wire).await.status, 412);
}

#[tokio::test]
async fn r13_what_depends_on_the_caller_is_left_out_of_hits() {
    let t = Transparent::start(0).await;
    let hidden = [
        ("x-amz-tagging-count", "2"),
        ("x-amz-object-lock-mode", "GOVERNANCE"),
        ("x-amz-object-lock-retain-until-date", "2030-01-01T00:00:00Z"),
        ("x-amz-object-lock-legal-hold", "ON"),
    ];
    let object = Object::bytes("tagged").header("x-amz-meta-a", "b");
    let object = hidden.iter().fold(object, |object, (name, value)| object.header(name, value));
    t.s3.put("data", "tagged", object);
    for method in ["GET", "HEAD", "GET"] {
        let answer = match method {
            "HEAD" => t.client.raw(&t.reader("HEAD", "/data/tagged").wire()).await,
            _ => t.send(&t.reader("GET", "/data/tagged").wire()).await,
        };
        assert_eq!((answer.status.as_u16(), answer.header("x-amz-meta-a")), (200, "b"));
        assert!(hidden.iter().all(|(name, _)| answer.header(name).is_empty()), "{method}");
    }
    assert_eq!(t.checks().len(), 3);
}

#[tokio::test]
async fn r12_an_absence_is_told_by_s3_to_each_caller() {
    let t = Transparent::start(60).await;
    let wire = t.reader("GET", "/data/absent").wire();
    for asked in 1..=2 {
        let answer = t.send(&wire).await;
        assert_eq!(answer.status, 404);
        assert!(answer.text().contains("NoSuchKey"));
        assert_eq!(t.count_by("AKREADER"), asked);
    }
    t.is_refused("/data/absent").await;
}

#[tokio::test]
async fn r22_objects_under_a_key_of_kms_and_lists_are_s3s_to_answer() {
    let t = Transparent::start(60).await;
    let object = Object::bytes("secret").header("x-amz-server-side-encryption", "aws:kms");
    t.s3.put("data", "secret", object);
    for (target, status) in [("/data/secret", 200), ("/data?list-type=2", 200)] {
        let wire = t.reader("GET", target).wire();
        for asked in 1..=2 {
            assert_eq!(t.send(&wire).await.status.as_u16(), status, "{target}");
            let same = |seen: &Seen| seen.target == target && is_by(seen, "AKREADER");
            assert_eq!(t.s3.count(same), asked, "{target}");
        }
        t.is_refused(target).await;
    }
    assert!(t.checks().is_empty());
}

#[tokio::test]
async fn r24_the_origins_own_name_is_one_of_ours_and_buckets_before_it_too() {
    let s3 = FakeS3::start().await;
    let port = s3.addr().port();
    let proxy = TestProxy::start_with(&s3, |config| {
        config.auth.mode = AuthMode::Transparent;
        config.origin.endpoint = format!("http://localhost:{port}");
    })
    .await;
    let host = format!("data.localhost:{port}");
    proxy.client().put("/a%2fb").host(&host).body("x").send().await;
    let seen = s3.requests().pop().expect("it is passed on");
    assert_eq!((seen.header("host"), &*seen.target), (&*host, "/a%2fb"));
    let other = proxy.client().get("/k").host("data.evil.example").send().await;
    assert_eq!(other.status, 400);
}

/// Reads of a web page: the bytes come from the cache, S3 authorizes as for other callers, and the CORS headers are
/// those of the bucket.
#[tokio::test]
async fn r22_reads_of_web_pages_are_answered_once_s3_said_yes_with_its_cors_headers() {
    let t = Transparent::start(60).await;
    let (page, other) = ("https://one.example", "https://two.example");
    t.s3.allow_cors("data", page);
    let read = async |target: &str, origin: &str| {
        let wire = t.reader("GET", target).unsigned("origin", origin).wire();
        let answer = t.send(&wire).await;
        assert_eq!((answer.status.as_u16(), &*answer.text()), (200, "content"));
        let allowed = answer.header("access-control-allow-origin").to_owned();
        (answer.header("cache-status").to_owned(), allowed)
    };
    for cache in ["hotset; fwd=bypass", "hotset; fwd=uri-miss; detail=new", "hotset; hit"] {
        assert_eq!(read("/data/k", page).await, (cache.to_owned(), page.to_owned()));
    }
    for cache in ["hotset; fwd=bypass", "hotset; hit"] {
        assert_eq!(read("/data/k", other).await, (cache.to_owned(), String::new()));
    }
    // A caller that may not read is refused, whatever its page, and S3 got its own request.
    let refused = t.send(&t.stranger("/data/k").unsigned("origin", page).wire()).await;
    assert_eq!(refused.status, 403);
    assert!(t.count_by("AKSTRANGER") > 0);
    assert_eq!(read("/data/k", page).await, ("hotset; hit".to_owned(), page.to_owned()));
}
