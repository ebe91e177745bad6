//! Reads of web pages: the bytes are cached like any other; the CORS headers are those that the origin sends for the
//! bucket, the page's origin and the method (R16, R39).

use std::time::Duration;

use hotset::auth::AuthMode;
use http::Method;

use crate::support::{
    Always, FakeS3, Fault, Gate, Matcher, Object, Response, Scratch, Signed, TestProxy, Times,
};

const ONE: &str = "https://one.example";
const TWO: &str = "https://two.example";
const EVIL: &str = "https://evil.example";
/// Keys answered on the fast path, and by a session of pingora.
const KEYS: [&str; 2] = ["small", "large"];

const ALLOW_ORIGIN: &str = "access-control-allow-origin";

struct Setup {
    s3: FakeS3,
    proxy: TestProxy,
    mode: AuthMode,
    _scratch: Scratch,
}

impl Setup {
    async fn in_mode(mode: AuthMode) -> Self {
        let scratch = Scratch::new();
        let identities = scratch.file(
            "identities.yaml",
            "identities:\n  - { name: writer, access_key: AKWRITER, secret_key: writers-secret,\n      \
             allow: [{ actions: [read, write, admin], resources: ['**'] }] }\n",
        );
        let s3 = FakeS3::start().await;
        s3.put("data", KEYS[0], Object::random(4096, 1));
        s3.put("data", KEYS[1], Object::random(300_000, 2));
        let proxy = TestProxy::start_with(&s3, |config| {
            config.auth.mode = mode;
            if mode == AuthMode::Verify {
                config.auth.identities = Some(identities.into());
            }
            if mode == AuthMode::Trust {
                config.auth.origins = [ONE, TWO, EVIL, "null"].map(str::to_owned).to_vec();
            }
        })
        .await;
        for origin in [ONE, TWO] {
            s3.allow_cors("data", origin);
        }
        Self { s3, proxy, mode, _scratch: scratch }
    }

    /// Makes the setup in `verify` mode, where any page may ask.
    async fn new() -> Self {
        Self::in_mode(AuthMode::Verify).await
    }

    async fn send(&self, request: Signed) -> Response {
        let wire = match self.mode {
            AuthMode::Verify => request.wire_presigned(60),
            _ => request.wire(),
        };
        self.proxy.client().raw(&wire).await
    }

    fn get(&self, key: &str, origin: &str) -> Signed {
        let get = Signed::new("GET", &format!("/data/{key}"), self.proxy.addr);
        get.unsigned("origin", origin)
    }

    /// Reads a whole object, and compares its body.
    async fn read(&self, key: &str, origin: &str) -> Response {
        let answer = self.send(self.get(key, origin)).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert!(answer.complete && answer.body == self.s3.object_bytes("data", key));
        answer
    }

    /// Returns the `Access-Control-Allow-Origin` of a whole read by a page of this origin, and whether it was a hit.
    async fn sees(&self, key: &str, origin: &str) -> (String, bool) {
        let answer = self.read(key, origin).await;
        let is_hit = answer.header("cache-status") == "hotset; hit";
        (answer.header(ALLOW_ORIGIN).to_owned(), is_hit)
    }
}

/// Advances the clock by this many seconds, for ages; no request may be in flight.
async fn pass(seconds: u64) {
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(seconds)).await;
    tokio::time::resume();
}

#[tokio::test]
async fn r16_pages_share_the_cached_bytes_and_each_has_its_own_cors_headers() {
    for mode in [AuthMode::Trust, AuthMode::Verify] {
        let setup = Setup::in_mode(mode).await;
        for (number, key) in KEYS.into_iter().enumerate() {
            setup.s3.forget_requests();
            for _ in 0..5 {
                for origin in [ONE, TWO] {
                    let answer = setup.read(key, origin).await;
                    assert_eq!(answer.header(ALLOW_ORIGIN), origin, "{mode:?} {key}");
                    assert_eq!(answer.header("access-control-allow-credentials"), "true");
                    assert_eq!(answer.header("access-control-expose-headers"), "ETag");
                    assert!(answer.header("vary").contains("Origin"), "{}", answer.header("vary"));
                    assert_eq!(answer.headers.get_all(ALLOW_ORIGIN).iter().count(), 1);
                }
            }
            // The first read of each page passes through, and the next one is fetched; then the rules are known.
            let asked = if number == 0 { 3 } else { 1 };
            assert_eq!(setup.s3.requests().len(), asked, "{mode:?} {}", setup.s3.describe());
        }
        let plain = Signed::new("GET", "/data/small", setup.proxy.addr);
        let answer = setup.send(plain).await;
        assert_eq!(answer.header("cache-status"), "hotset; hit");
        assert_eq!((answer.header(ALLOW_ORIGIN), answer.header("vary")), ("", ""));
    }
}

#[tokio::test]
async fn r16_what_a_page_may_not_see_is_learned_too_and_methods_apart() {
    let setup = Setup::new().await;
    for is_hit in [false, false, true] {
        assert_eq!(setup.sees("small", EVIL).await, (String::new(), is_hit));
    }
    let head = || {
        let head = Signed::new("HEAD", "/data/small", setup.proxy.addr);
        setup.send(head.unsigned("origin", ONE))
    };
    // The responses to its GETs say nothing about its HEADs.
    assert_eq!(setup.sees("small", ONE).await, (ONE.to_owned(), false));
    for cache in ["hotset; fwd=bypass", "hotset; hit", "hotset; hit"] {
        let answer = head().await;
        assert_eq!((answer.header("cache-status"), answer.header(ALLOW_ORIGIN)), (cache, ONE));
    }
    assert_eq!(setup.s3.requests().len(), 4, "{}", setup.s3.describe());
}

/// The reads of a viewer of images or maps.
#[tokio::test]
async fn r39_ranges_of_a_page_are_fetched_as_those_of_others_after_its_preflight() {
    let setup = Setup::new().await;
    let client = setup.proxy.client();
    let allowed = client
        .request(Method::OPTIONS, "/data/large")
        .header("Origin", ONE)
        .header("Access-Control-Request-Method", "GET")
        .header("Access-Control-Request-Headers", "range")
        .send()
        .await;
    assert_eq!((allowed.status.as_u16(), allowed.header(ALLOW_ORIGIN)), (200, ONE));
    let range = |first: usize| {
        let range = format!("bytes={first}-{}", first + 9_999);
        setup.send(setup.get("large", ONE).unsigned("range", &range))
    };
    let whole = setup.s3.object_bytes("data", "large");
    for first in (0..300_000).step_by(10_000) {
        let answer = range(first).await;
        assert_eq!((answer.status.as_u16(), answer.header(ALLOW_ORIGIN)), (206, ONE));
        assert!(answer.body == whole[first..first + 10_000], "{first}");
    }
    // The preflight, the range that passes through, a unit of 64 KiB, and the whole rest in one request.
    assert_eq!(setup.s3.requests().len(), 4, "{}", setup.s3.describe());
    let etag = range(0).await.header("etag").to_owned();
    let not_modified = setup.send(setup.get("large", ONE).unsigned("if-none-match", &etag)).await;
    let wrong = setup.send(setup.get("large", ONE).unsigned("if-match", "\"other\"")).await;
    let past_end = setup.send(setup.get("large", ONE).unsigned("range", "bytes=300000-")).await;
    let absent = setup.send(setup.get("absent", ONE)).await;
    for (answer, status) in [(not_modified, 304), (wrong, 412), (past_end, 416), (absent, 404)] {
        assert_eq!((answer.status.as_u16(), answer.header(ALLOW_ORIGIN)), (status, ONE));
    }
}

#[tokio::test]
async fn what_is_learned_ends_with_a_write_of_the_cors_configuration() {
    let setup = Setup::new().await;
    let configure = |method, allowed: bool| {
        let setup = &setup;
        async move {
            match allowed {
                true => setup.s3.allow_cors("data", ONE),
                false => setup.s3.deny_cors("data", ONE),
            }
            let write = Signed::new(method, "/data?cors", setup.proxy.addr).body(b"<CORS/>");
            let answer = setup.proxy.client().raw(&write.wire()).await;
            assert!(answer.status.is_success(), "{}", answer.text());
        }
    };
    for _ in 0..3 {
        assert_eq!(setup.sees("small", ONE).await.0, ONE);
    }
    configure("DELETE", false).await;
    for _ in 0..3 {
        assert_eq!(setup.sees("small", ONE).await.0, "");
    }
    // A read sent before the write and answered after it teaches nothing.
    let gate = Gate::new();
    setup.s3.fault(Matcher::get("small"), Times(1), Fault::HoldHeader(gate.clone()));
    pass(61).await;
    let (old, ()) = tokio::join!(setup.sees("small", ONE), async {
        gate.wait_reached().await;
        configure("PUT", true).await;
        gate.open();
    });
    assert_eq!(old.0, "");
    for _ in 0..3 {
        assert_eq!(setup.sees("small", ONE).await.0, ONE);
    }
}

#[tokio::test]
async fn what_is_learned_is_asked_again_by_one_read_and_ends_after_a_minute() {
    let setup = Setup::new().await;
    for is_hit in [false, false, true] {
        assert_eq!(setup.sees("small", ONE).await, (ONE.to_owned(), is_hit));
    }
    setup.s3.forget_requests();
    pass(31).await;
    setup.s3.deny_cors("data", ONE);
    let gate = Gate::new();
    setup.s3.fault(Matcher::get("small"), Times(1), Fault::HoldHeader(gate.clone()));
    let (renewing, ()) = tokio::join!(setup.sees("small", ONE), async {
        gate.wait_reached().await;
        for _ in 0..3 {
            assert_eq!(setup.sees("small", ONE).await, (ONE.to_owned(), true));
        }
        gate.open();
    });
    assert_eq!(renewing, (String::new(), false));
    assert_eq!(setup.sees("small", ONE).await, (String::new(), true));
    assert_eq!(setup.s3.requests().len(), 1, "{}", setup.s3.describe());
    // A refresh that fails ends by itself.
    setup.s3.allow_cors("data", ONE);
    pass(31).await;
    setup.s3.fault(Matcher::get("small"), Times(1), Fault::Status(404, "NoSuchKey"));
    assert_eq!(setup.send(setup.get("small", ONE)).await.status, 404);
    pass(30).await;
    assert_eq!(setup.sees("small", ONE).await, (ONE.to_owned(), false));
}

#[tokio::test]
async fn r39_odd_origins_are_answered_as_the_origin_does_and_never_by_each_other() {
    let setup = Setup::new().await;
    let long = format!("https://{}.example", "a".repeat(600));
    let odd = [
        "null",
        "",
        "*",
        " ",
        "HTTPS://ONE.EXAMPLE",
        "https://one.example:443",
        "https://one.example, https://two.example",
        "https://one.example.evil.example",
        &long,
    ];
    setup.s3.allow_cors("data", "null");
    for round in 0..3 {
        assert_eq!(setup.sees("small", ONE).await.0, ONE);
        for origin in odd {
            let expected = if origin == "null" { "null" } else { "" };
            assert_eq!(setup.sees("small", origin).await.0, expected, "{round} {origin:?}");
        }
        let two = setup.send(setup.get("small", ONE).unsigned("origin", EVIL)).await;
        assert_eq!(two.header("cache-status"), "hotset; fwd=bypass", "two origins pass through");
        for name in ["access-control-request-method", "access-control-request-headers"] {
            let more = setup.send(setup.get("small", ONE).unsigned(name, "PUT")).await;
            assert_eq!(more.header("cache-status"), "hotset; fwd=bypass", "{name}");
        }
    }
    let split = "https://x.example\r\n access-control-allow-origin: https://evil.example";
    assert_eq!(setup.send(setup.get("small", split)).await.status, 400);
    assert_eq!(setup.sees("small", ONE).await, (ONE.to_owned(), true));
}

#[tokio::test]
async fn r39_headers_that_name_another_page_are_passed_on_and_not_kept() {
    let setup = Setup::new().await;
    let other = Fault::SetHeader("Access-Control-Allow-Origin", TWO.to_owned());
    setup.s3.fault(Matcher::get("small"), Always, other);
    for _ in 0..3 {
        assert_eq!(setup.sees("small", ONE).await, (TWO.to_owned(), false));
    }
}

#[tokio::test]
async fn a_wildcard_is_kept_as_the_origin_says_it() {
    let setup = Setup::new().await;
    let all = Fault::SetHeader("Access-Control-Allow-Origin", "*".to_owned());
    setup.s3.fault(Matcher::get("small"), Always, all);
    for (origin, is_hit) in [(ONE, false), (ONE, false), (ONE, true), (EVIL, false), (EVIL, true)] {
        assert_eq!(setup.sees("small", origin).await, ("*".to_owned(), is_hit), "{origin}");
    }
}

#[tokio::test]
async fn r39_what_one_bucket_allows_another_does_not() {
    let setup = Setup::new().await;
    setup.s3.put("more", "small", Object::random(4096, 1));
    for is_hit in [false, false, true] {
        assert_eq!(setup.sees("small", ONE).await, (ONE.to_owned(), is_hit));
    }
    for cache in ["hotset; fwd=bypass", "hotset; fwd=uri-miss; detail=new", "hotset; hit"] {
        let more = Signed::new("GET", "/more/small", setup.proxy.addr).unsigned("origin", ONE);
        let answer = setup.send(more).await;
        assert_eq!((answer.header("cache-status"), answer.header(ALLOW_ORIGIN)), (cache, ""));
    }
}

#[tokio::test]
async fn answers_with_long_headers_and_to_long_origins_are_not_kept() {
    let setup = Setup::new().await;
    let long = format!("https://{}.example", "a".repeat(600));
    setup.s3.allow_cors("data", &long);
    for _ in 0..3 {
        assert_eq!(setup.sees("small", &long).await, (long.clone(), false));
    }
    let many = Fault::SetHeader("Access-Control-Expose-Headers", "x-long, ".repeat(300));
    setup.s3.fault(Matcher::get("small"), Always, many);
    for _ in 0..3 {
        assert_eq!(setup.sees("small", TWO).await, (TWO.to_owned(), false));
    }
}
