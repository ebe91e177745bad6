//! R39: if nothing but a connection identifies the client, web pages in a browser on that machine may send no
//! requests.

use hotset::auth::AuthMode;
use hotset::cache::Freshness;
use hotset::config::Config;
use hotset::config::units::HumanDuration;
use hotset::events::webhook::config::WebhookConfig;
use http::Method;

use crate::support::{
    Client, FakeS3, Form, Object, Request, Scratch, Signed, TestProxy, setup, within,
};

const EVIL: &str = "https://evil.example";
const PAGE: &str = "https://app.example.org";
const DELETE: &str = "<Delete><Object><Key>k</Key></Object></Delete>";

/// Starts an origin with `data/k`, hotset in front of it in `trust` mode that allows these origins, and a client.
async fn trusting(origins: &[&str]) -> (FakeS3, TestProxy, Client) {
    let s3 = FakeS3::start().await;
    s3.put("data", "k", Object::bytes("content"));
    let proxy = TestProxy::start_with(&s3, |config| {
        config.auth.origins = origins.iter().map(ToString::to_string).collect();
    })
    .await;
    let client = proxy.client();
    within("a hit", async {
        while client.get("/data/k").send().await.header("cache-status") != "hotset; hit" {}
    })
    .await;
    s3.forget_requests();
    (s3, proxy, client)
}

async fn assert_refused(request: Request) {
    let answer = request.send().await;
    assert_eq!(answer.status, 403);
    let text = answer.text();
    assert!(text.contains("<Code>AccessDenied</Code>"), "{text}");
    assert!(text.contains("auth.origins"), "{text}");
}

#[tokio::test]
async fn r39_a_web_page_cannot_write_in_trust_mode() {
    let (s3, proxy, client) = trusting(&[]).await;
    let own = format!("http://{}", proxy.addr);
    for origin in [EVIL, "null", own.as_str()] {
        // A request that a form without a script can send.
        let delete = client.post("/data?delete").header("Content-Type", "text/plain");
        assert_refused(delete.header("Origin", origin).body(DELETE)).await;
        let form = Form::new().key("k").file(b"evil").unsigned().header("Origin", origin);
        let answer = client.raw(&form.wire()).await;
        assert_eq!(answer.status, 403, "{origin}");
        assert!(answer.text().contains("auth.origins"), "{}", answer.text());
        for method in ["PUT", "DELETE", "POST", "PATCH"] {
            let request = client.request(method.parse().unwrap(), "/data/k");
            assert_refused(request.header("Origin", origin)).await;
        }
    }
    assert!(s3.requests().is_empty(), "{}", s3.describe());
    assert_eq!(s3.object_bytes("data", "k"), "content");
}

#[tokio::test]
async fn r39_a_web_page_reads_no_hit_in_trust_mode_and_a_tab_may_go_there() {
    let (s3, _proxy, client) = trusting(&[]).await;
    for site in ["cross-site", "same-site"] {
        for path in ["/data/k", "/data?list-type=2", "/data/other"] {
            let image = client.get(path).header("Sec-Fetch-Site", site);
            assert_refused(image.header("Sec-Fetch-Mode", "no-cors")).await;
        }
        let tab = client.get("/data/k").header("Sec-Fetch-Site", site);
        let tab = tab.header("Sec-Fetch-Mode", "navigate").header("Sec-Fetch-Dest", "document");
        assert_eq!(tab.send().await.text(), "content");
    }
    for site in ["none", "same-origin"] {
        let read = client.get("/data/k").header("Sec-Fetch-Site", site).send().await;
        assert_eq!(read.header("cache-status"), "hotset; hit", "{site}");
    }
    assert_refused(client.get("/data/k").header("Origin", EVIL)).await;
    assert!(s3.requests().is_empty(), "{}", s3.describe());
}

#[tokio::test]
async fn r39_a_page_that_is_listed_reads_and_writes() {
    let (s3, _proxy, client) = trusting(&["https://app.example.org"]).await;
    let of_page = |request: Request| {
        request
            .header("Origin", "https://app.example.org")
            .header("Sec-Fetch-Site", "cross-site")
            .header("Sec-Fetch-Mode", "cors")
    };
    assert_eq!(of_page(client.get("/data/k")).send().await.text(), "content");
    assert_eq!(of_page(client.put("/data/k")).body("new").send().await.status, 200);
    assert_eq!(s3.object_bytes("data", "k"), "new");
    assert_refused(client.get("/data/k").header("Origin", EVIL)).await;
}

/// DNS rebinding: a page whose own name points to this machine has the same origin as hotset; `Host` reveals it.
#[tokio::test]
async fn r24_r39_a_name_that_was_rebound_to_us_is_refused() {
    let (s3, _proxy, client) = trusting(&[]).await;
    let read = client.get("/data/k").host("evil.example:9000");
    let answer = read.header("Sec-Fetch-Site", "same-origin").send().await;
    assert_eq!(answer.status, 400);
    let write = client.put("/data/k").host("evil.example:9000");
    let answer = write.header("Origin", "http://evil.example:9000").body("x").send().await;
    assert_eq!(answer.status, 400);
    assert!(s3.requests().is_empty(), "{}", s3.describe());
}

async fn assert_preflight_is_unsigned(s3: &FakeS3, client: &Client) {
    s3.forget_requests();
    let preflight = client.request(Method::OPTIONS, "/data/k?X-Amz-Signature=s&x-id=PutObject");
    preflight
        .header("Origin", EVIL)
        .header("Access-Control-Request-Method", "PUT")
        .header("Access-Control-Request-Headers", "content-type")
        .header(
            "Authorization",
            "AWS4-HMAC-SHA256 Credential=AKX/x, SignedHeaders=host, Signature=0",
        )
        .header("x-amz-security-token", "token")
        .header("x-amz-meta-a", "b")
        .header("x-forwarded-for", "10.0.0.1")
        .header("Cookie", "a=b")
        .send()
        .await;
    let seen = s3.requests();
    assert_eq!(seen.len(), 1, "{}", s3.describe());
    let mut names: Vec<&str> = seen[0].headers.keys().map(http::HeaderName::as_str).collect();
    names.sort_unstable();
    let allowed =
        ["access-control-request-headers", "access-control-request-method", "host", "origin"];
    names.retain(|name| !["user-agent", "cdn-loop"].contains(name));
    assert_eq!(names, allowed);
    assert!(seen[0].target.starts_with("/data/k?"), "{}", seen[0].target);
}

#[tokio::test]
async fn r39_a_preflight_goes_to_the_origin_unsigned_in_every_mode() {
    let (s3, _proxy, client) = trusting(&[]).await;
    assert_preflight_is_unsigned(&s3, &client).await;
    let scratch = Scratch::new();
    let identities = scratch
        .file("identities.yaml", "identities:\n  - { name: guests, anonymous: true, allow: [] }\n");
    for mode in [AuthMode::Verify, AuthMode::Transparent] {
        let s3 = FakeS3::start().await;
        let proxy = TestProxy::start_with(&s3, |config| {
            config.auth.mode = mode;
            if mode == AuthMode::Verify {
                config.auth.identities = Some(identities.clone().into());
            }
        })
        .await;
        assert_preflight_is_unsigned(&s3, &proxy.client()).await;
    }
}

/// Starts hotset in this mode, with a `writer` and, if the mode identifies senders, guests who may read in `public/`.
async fn in_mode(mode: AuthMode, scratch: &Scratch) -> (FakeS3, TestProxy) {
    let identities = "identities:\n  - { name: writer, access_key: AKWRITER, secret_key: writers-secret,\n      \
                      allow: [{ actions: [read, write], resources: ['data/**'] }] }\n  \
                      - { name: guests, anonymous: true, origin: anonymous,\n      \
                      allow: [{ actions: [read, list], resources: ['public/**'] }] }\n";
    let identities = scratch.file("identities.yaml", identities);
    let s3 = FakeS3::start().await;
    s3.allow_cors("data", PAGE);
    let proxy = TestProxy::start_with(&s3, |config| {
        config.auth.mode = mode;
        if mode == AuthMode::Verify {
            config.auth.identities = Some(identities.into());
        }
        if mode == AuthMode::Trust {
            config.auth.origins = vec![PAGE.to_owned()];
        }
    })
    .await;
    (s3, proxy)
}

const MODES: [AuthMode; 3] = [AuthMode::Trust, AuthMode::Verify, AuthMode::Transparent];

/// The requests of a browser when a page uploads to a presigned URL.
#[tokio::test]
async fn a_page_uploads_by_a_presigned_url_in_every_mode() {
    let scratch = Scratch::new();
    for mode in MODES {
        let (s3, proxy) = in_mode(mode, &scratch).await;
        let client = proxy.client();
        let put = Signed::new("PUT", "/data/k", proxy.addr).body(b"uploaded");
        let put = put.unsigned("origin", PAGE).wire_presigned(60);
        let target = String::from_utf8_lossy(&put).split(' ').nth(1).unwrap().to_owned();
        let ask = |origin: &str| {
            let ask = client.request(Method::OPTIONS, &target).header("Origin", origin);
            ask.header("Access-Control-Request-Method", "PUT").send()
        };
        let allowed = ask(PAGE).await;
        assert_eq!(allowed.status, 200, "{mode:?}: {}", allowed.text());
        assert_eq!(allowed.header("access-control-allow-origin"), PAGE, "{mode:?}");
        assert_eq!(allowed.header("access-control-allow-methods"), "PUT", "{mode:?}");
        let refused = ask(EVIL).await;
        assert_eq!(refused.status, 403, "{mode:?}");
        assert!(refused.text().contains("<Code>AccessForbidden</Code>"), "{}", refused.text());
        let seen = s3.requests();
        assert!(seen.iter().all(|seen| seen.header("authorization").is_empty()), "{mode:?}");
        let answer = client.raw(&put).await;
        assert_eq!(answer.status, 200, "{mode:?}: {}", answer.text());
        assert_eq!(answer.header("access-control-allow-origin"), PAGE, "{mode:?}");
        assert_eq!(s3.object_bytes("data", "k"), "uploaded");
    }
}

#[tokio::test]
async fn options_without_an_origin_are_answered_by_the_origin_in_every_mode() {
    let scratch = Scratch::new();
    for mode in MODES {
        let (s3, proxy) = in_mode(mode, &scratch).await;
        let answer = proxy.client().request(Method::OPTIONS, "/data/k").send().await;
        assert_eq!(answer.status, 400, "{mode:?}");
        assert!(answer.text().contains("<Code>BadRequest</Code>"), "{mode:?}: {}", answer.text());
        let seen = s3.requests();
        assert_eq!(seen.len(), 1, "{mode:?}");
        assert_eq!(seen[0].header("authorization"), "", "{mode:?}");
    }
}

#[tokio::test]
async fn refusals_carry_the_cors_headers_that_the_origins_preflight_allows() {
    let scratch = Scratch::new();
    let (s3, proxy) = in_mode(AuthMode::Verify, &scratch).await;
    let client = proxy.client();
    let forged = |origin: &str| {
        let get = Signed::new("GET", "/data/k", proxy.addr).keys("AKWRITER", "forged");
        get.unsigned("origin", origin).wire()
    };
    let corrupted = Signed::new("PUT", "/data/k", proxy.addr).body(b"one").unsigned("origin", PAGE);
    let corrupted =
        String::from_utf8(corrupted.wire()).unwrap().replace("\r\n\r\none", "\r\n\r\ntwo");
    for (wire, status) in [
        (forged(PAGE), 403),
        (corrupted.into_bytes(), 400),
        (b"GET /data/k?list-type=2&x=%zz HTTP/1.1\r\nHost: a\r\nOrigin: x\r\n\r\n".to_vec(), 400),
    ] {
        let answer = client.raw(&wire).await;
        assert_eq!(answer.status, status, "{}", answer.text());
        let expected = if wire.ends_with(b"Origin: x\r\n\r\n") { "" } else { PAGE };
        assert_eq!(answer.header("access-control-allow-origin"), expected);
        assert_eq!(answer.header("vary").is_empty(), expected.is_empty());
    }
    let answer = client.raw(&forged(EVIL)).await;
    assert_eq!((answer.status.as_u16(), answer.header("access-control-allow-origin")), (403, ""));
    // Asked once for each page, bucket and method, unsigned.
    for _ in 0..5 {
        assert_eq!(client.raw(&forged(PAGE)).await.header("access-control-allow-origin"), PAGE);
    }
    let asked: Vec<_> =
        s3.requests().into_iter().filter(|seen| seen.method == Method::OPTIONS).collect();
    assert_eq!(asked.len(), 3, "{}", s3.describe());
    assert!(asked.iter().all(|seen| seen.header("authorization").is_empty()));
    // Nor does an origin that is down delay a refusal.
    s3.go_down().await;
    let other = Signed::new("GET", "/other/k", proxy.addr).keys("AKWRITER", "forged");
    let answer = client.raw(&other.unsigned("origin", PAGE).wire()).await;
    assert_eq!((answer.status.as_u16(), answer.header("access-control-allow-origin")), (403, ""));
}

#[tokio::test]
async fn a_page_that_is_not_listed_is_told_nothing_in_trust_mode() {
    let scratch = Scratch::new();
    let (s3, proxy) = in_mode(AuthMode::Trust, &scratch).await;
    s3.allow_cors("data", EVIL);
    let answer = proxy.client().get("/data/k").header("Origin", EVIL).send().await;
    assert_eq!((answer.status.as_u16(), answer.header("access-control-allow-origin")), (403, ""));
    assert!(s3.requests().is_empty(), "{}", s3.describe());
}

#[tokio::test]
async fn an_anonymous_identity_asks_the_origin_unsigned_if_it_says_so() {
    let scratch = Scratch::new();
    let (s3, proxy) = in_mode(AuthMode::Verify, &scratch).await;
    s3.put("public", "k", Object::bytes("for all"));
    let client = proxy.client();
    for cache in ["hotset; fwd=uri-miss; detail=new", "hotset; hit"] {
        let read = client.get("/public/k").send().await;
        assert_eq!((&*read.text(), read.header("cache-status")), ("for all", cache));
    }
    assert_eq!(client.get("/public?list-type=2").send().await.status, 200);
    s3.allow_cors("public", EVIL);
    let read = client.get("/public/k").header("Origin", EVIL).send().await;
    assert_eq!((&*read.text(), read.header("access-control-allow-origin")), ("for all", EVIL));
    let seen = s3.requests();
    assert_eq!(seen.len(), 3, "{}", s3.describe());
    assert!(seen.iter().all(|seen| seen.header("authorization").is_empty()), "{seen:?}");
    // Objects fetched like this are not served to others (R1).
    let signed = Signed::new("GET", "/data/k", proxy.addr).wire();
    client.raw(&signed).await;
    assert!(s3.requests().last().unwrap().header("authorization").contains("AKTEST"));
}

#[tokio::test]
async fn r39_options_that_are_no_preflight_are_no_way_around() {
    let (s3, _proxy, client) = trusting(&[]).await;
    assert_refused(client.request(Method::OPTIONS, "/data/k").header("Origin", EVIL)).await;
    let with_body = client.request(Method::OPTIONS, "/data/k").header("Origin", EVIL);
    let with_body = with_body.header("Access-Control-Request-Method", "PUT");
    assert_refused(with_body.body("x")).await;
    assert!(s3.requests().is_empty(), "{}", s3.describe());
}

#[tokio::test]
async fn r39_what_anybody_may_write_in_verify_mode_a_page_may_not() {
    let s3 = FakeS3::start().await;
    let scratch = Scratch::new();
    let identities = "identities:\n  - { name: guests, anonymous: true,\n      \
                      allow: [{ actions: [read, write], resources: ['data/**'] }] }\n";
    let identities = scratch.file("identities.yaml", identities);
    let proxy = TestProxy::start_with(&s3, |config| {
        config.auth.mode = AuthMode::Verify;
        config.auth.identities = Some(identities.into());
    })
    .await;
    let client = proxy.client();
    assert_eq!(client.put("/data/k").body("one").send().await.status, 200);
    assert_refused(client.put("/data/k").header("Origin", EVIL).body("two")).await;
    let form = Form::new().key("k").file(b"three").unsigned().header("Origin", EVIL);
    let answer = client.raw(&form.wire()).await;
    assert_eq!(answer.status, 403);
    assert!(answer.text().contains("auth.origins"), "{}", answer.text());
    assert_eq!(s3.object_bytes("data", "k"), "one");
    // The bucket's CORS rules decide what the page may read.
    assert_eq!(client.get("/data/k").header("Origin", EVIL).send().await.text(), "one");
}

#[tokio::test]
async fn r39_a_receiver_without_credentials_believes_no_web_page() {
    let s3 = FakeS3::start().await;
    s3.put("data", "k", Object::bytes("old"));
    let proxy = TestProxy::start_with(&s3, |config: &mut Config| {
        config.rules[0].freshness = Freshness::Ttl(HumanDuration::secs(3600));
        let address = "127.0.0.1:0".to_owned();
        config.events.webhook = Some(WebhookConfig { address, ..WebhookConfig::default() });
    })
    .await;
    let client = proxy.client();
    assert_eq!(client.get("/data/k").send().await.text(), "old");
    s3.put("data", "k", Object::bytes("new"));
    let event = r#"{"Records":[{"eventVersion":"2.1","eventSource":"aws:s3","eventName":"ObjectCreated:Put",
        "s3":{"bucket":{"name":"data"},"object":{"key":"k"}}}]}"#;
    let webhook = Client::new(proxy.webhook.unwrap());
    let own = format!("http://{}", proxy.webhook.unwrap());
    for (name, value) in
        [("Origin", EVIL), ("Origin", "null"), ("Origin", &own), ("Sec-Fetch-Site", "cross-site")]
    {
        let sent = webhook.post("/").header("Content-Type", "text/plain").header(name, value);
        let answer = sent.body(event).send().await;
        assert_eq!((answer.status.as_u16(), &*answer.text()), (403, "web_page\n"), "{value}");
        assert_eq!(client.get("/data/k").send().await.text(), "old", "{value}");
    }
    assert_eq!(webhook.post("/").body(event).send().await.status, 200);
    assert_eq!(client.get("/data/k").send().await.text(), "new");
}

#[tokio::test]
async fn r39_the_api_without_a_token_answers_no_web_page() {
    let (_s3, proxy, _client) = setup().await;
    let admin = Client::new(proxy.admin);
    for (name, value) in [("Origin", EVIL), ("Origin", "null"), ("Sec-Fetch-Site", "same-site")] {
        let purge = admin.post("/api/v1/purge").header("Content-Type", "application/json");
        let purge = purge.header(name, value).body(r#"{"everything":true}"#).send().await;
        assert_eq!(purge.status, 403, "{value}");
        let jobs = admin.get("/api/v1/warm").header(name, value).send().await;
        assert_eq!(jobs.status, 403, "{value}");
        assert!(jobs.text().contains("admin.token"), "{}", jobs.text());
    }
    assert_eq!(admin.get("/api/v1/warm").send().await.status, 200);
}
