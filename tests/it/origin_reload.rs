//! Changes of the origins and their credentials while hotset serves.

use std::sync::Arc;

use bytes::Bytes;
use http::Method;
use serde_json::Value;

use crate::support::*;

/// A server whose configuration of origins can be rewritten.
struct Moving {
    scratch: Scratch,
    process: Process,
}

fn text(origins: &str) -> String {
    format!(
        "reload: null\nlisten: [{{ address: 127.0.0.1:0 }}]\nadmin: {{ address: 127.0.0.1:0 }}\n{origins}\n"
    )
}

fn origin(s3: &FakeS3, more: &str) -> String {
    let endpoint = s3.endpoint();
    format!(
        "{{ endpoint: '{endpoint}', hedging: false, backoff: {{ base: 1ms, cap: 10ms }}{more} }}"
    )
}

const IMMUTABLE: &str = "rules: [{ match: '**', freshness: immutable }]";

impl Moving {
    async fn start(origins: &str) -> Self {
        let scratch = Scratch::new();
        let mut command =
            hotset(&["serve", "--config", &scratch.file("hotset.yaml", &text(origins))]);
        if origins.contains("credentials") {
            // They would take precedence over any file.
            command.env_remove("AWS_ACCESS_KEY_ID").env_remove("AWS_SECRET_ACCESS_KEY");
        }
        Self { process: Process::spawn(command).await, scratch }
    }

    async fn try_reload(&self, origins: &str) -> (u16, Value) {
        self.scratch.file("hotset.yaml", &text(origins));
        Api::new(self.process.admin).post("/api/v1/reload", "{}").await
    }

    async fn reload(&self, origins: &str) {
        let (status, report) = self.try_reload(origins).await;
        assert_eq!((status, &report["restart_needed"]), (200, &Value::Bool(false)), "{report}");
    }

    /// Returns the bytes of a whole object, and whether they were a hit.
    async fn read(&self, path: &str) -> (Bytes, bool) {
        let read = self.process.client().get(path).send().await;
        assert_eq!((read.status.as_u16(), read.complete), (200, true), "{}", read.text());
        let is_hit = read.header("cache-status").starts_with("hotset; hit");
        (read.body, is_hit)
    }
}

fn gets(s3: &FakeS3) -> usize {
    s3.count(|seen| seen.method == Method::GET)
}

/// Starts two stores that have different bytes under the same name.
async fn two_stores() -> (FakeS3, FakeS3) {
    let (a, b) = (FakeS3::start().await, FakeS3::start().await);
    a.put("data", "k", Object::random(200_000, 1));
    b.put("data", "k", Object::random(200_000, 2));
    (a, b)
}

#[tokio::test]
async fn r1_what_is_cached_of_one_origin_is_never_served_for_another() {
    let (a, b) = two_stores().await;
    let config = |s3: &FakeS3| format!("origin: {}\n{IMMUTABLE}", origin(s3, ""));
    let server = Moving::start(&config(&a)).await;
    let (of_a, of_b) = (a.object_bytes("data", "k"), b.object_bytes("data", "k"));
    assert_eq!(server.read("/data/k").await, (of_a.clone(), false));
    assert_eq!(server.read("/data/k").await, (of_a.clone(), true));
    server.reload(&config(&b)).await;
    assert_eq!(server.read("/data/k").await, (of_b.clone(), false));
    assert_eq!(server.read("/data/k").await, (of_b, true));
    let fetched = gets(&a);
    server.reload(&config(&a)).await;
    assert_eq!(server.read("/data/k").await.0, of_a);
    assert_eq!(server.read("/data/k").await, (of_a, true));
    assert_eq!(gets(&a), fetched, "its bytes are still there");
}

#[tokio::test]
async fn r11_what_changed_at_an_origin_that_was_not_in_force_is_confirmed_when_it_is_again() {
    let (a, b) = two_stores().await;
    let config = |s3: &FakeS3| format!("origin: {}\n{IMMUTABLE}", origin(s3, ""));
    let server = Moving::start(&config(&a)).await;
    server.read("/data/k").await;
    server.reload(&config(&b)).await;
    a.put("data", "k", Object::random(200_000, 3));
    server.reload(&config(&a)).await;
    assert_eq!(server.read("/data/k").await, (a.object_bytes("data", "k"), false));
}

#[tokio::test]
async fn a_read_under_way_ends_with_the_origin_that_it_began_with() {
    let (a, b) = two_stores().await;
    a.put("data", "big", Object::random(24 << 20, 5));
    b.put("data", "big", Object::random(24 << 20, 6));
    let config = |s3: &FakeS3| {
        format!(
            "origin: {}\ncache: {{ memory: 64MiB, read_ahead: 1MiB, fetch: 1MiB }}",
            origin(s3, "")
        )
    };
    let server = Moving::start(&config(&a)).await;
    let client = server.process.client();
    let mut under_way = client.open("/data/big").await;
    let first = under_way.read(100_000).await;
    let before = gets(&a);
    server.reload(&config(&b)).await;
    assert_eq!(server.read("/data/big").await.0, b.object_bytes("data", "big"));
    let rest = under_way.rest().await;
    assert_eq!(under_way.complete(), Some(true));
    assert!([first, rest].concat() == a.object_bytes("data", "big"));
    assert!(gets(&a) > before, "more of it was fetched after the reload");
}

#[tokio::test]
async fn named_origins_and_buckets_follow() {
    let (a, b) = two_stores().await;
    b.put("other", "k", Object::bytes("other"));
    let with = |more: &str| {
        format!("origin: {}\norigins: {{ b: {} }}\n{more}", origin(&a, ""), origin(&b, ""))
    };
    let server = Moving::start(&format!("origin: {}", origin(&a, ""))).await;
    let (of_a, of_b) = (a.object_bytes("data", "k"), b.object_bytes("data", "k"));
    assert_eq!(server.read("/data/k").await.0, of_a);
    server.reload(&with("buckets: { data: { origin: b } }")).await;
    assert_eq!(server.read("/data/k").await, (of_b.clone(), false));
    server.reload(&with("buckets: { data: { origin: b, bucket: other } }")).await;
    assert_eq!(server.read("/data/k").await, (Bytes::from("other"), false));
    server.reload(&with("buckets: { mine: { origin: b, bucket: data } }")).await;
    assert_eq!(server.read("/data/k").await.0, of_a);
    assert_eq!(server.read("/mine/k").await.0, of_b);
}

#[tokio::test]
async fn an_origin_that_is_removed_is_neither_up_nor_down_in_metrics() {
    let (a, b) = two_stores().await;
    let default = format!("origin: {}", origin(&a, ""));
    let with = format!(
        "{default}\norigins: {{ b: {} }}\nbuckets: {{ data: {{ origin: b }} }}",
        origin(&b, "")
    );
    let server = Moving::start(&with).await;
    let up = r#"hotset_origin_up{origin="b"}"#;
    server.read("/data/k").await;
    server.process.wait_for_metric(up, |value| value >= 1.0).await;
    server.reload(&default).await;
    server.process.wait_for_metric(up, f64::is_nan).await;
    server.reload(&with).await;
    server.read("/data/k").await;
    server.process.wait_for_metric(up, |value| value >= 1.0).await;
}

#[tokio::test]
async fn r39_a_page_that_the_former_store_allowed_reads_no_refusal_after_a_move() {
    const PAGE: &str = "https://app.example.org";
    let (a, b) = two_stores().await;
    a.allow_cors("data", PAGE);
    let at =
        |s3| format!("origin: {}\nauth: {{ origins: ['{PAGE}'], writes: false }}", origin(s3, ""));
    let server = Moving::start(&at(&a)).await;
    let allowed = async || {
        let delete = server.process.client().request(Method::DELETE, "/data/k");
        let answer = delete.header("Origin", PAGE).send().await;
        assert_eq!(answer.status, 403, "{}", answer.text());
        answer.header("access-control-allow-origin").to_owned()
    };
    assert_eq!(allowed().await, PAGE);
    server.reload(&at(&b)).await;
    assert_eq!(allowed().await, "", "the rules of the former store");
    server.reload(&at(&a)).await;
    assert_eq!(allowed().await, PAGE);
}

fn key_of(seen: &Seen) -> String {
    let signed = seen.header("authorization");
    let key = signed.split_once("Credential=").map(|(_, rest)| rest.split('/').next());
    key.flatten().unwrap_or_default().to_owned()
}

fn keys(name: &str) -> String {
    format!("[default]\naws_access_key_id = {name}\naws_secret_access_key = secret\n")
}

#[tokio::test]
async fn credentials_follow_and_wrong_ones_change_nothing() {
    let (a, b) = two_stores().await;
    let scratch = Scratch::new();
    let (one, two) = (scratch.file("one", &keys("AKONE")), scratch.file("two", &keys("AKTWO")));
    let config = |s3: &FakeS3, file: &str| {
        let more = format!(", credentials: {{ file: '{file}' }}");
        format!("origin: {}\nrules: [{{ match: '**', freshness: bypass }}]", origin(s3, &more))
    };
    let server = Moving::start(&config(&a, &one)).await;
    let used = async || {
        a.forget_requests();
        server.read("/data/k").await;
        a.requests().iter().map(key_of).collect::<Vec<_>>()
    };
    assert_eq!(used().await, ["AKONE"]);
    server.reload(&config(&a, &two)).await;
    assert_eq!(used().await, ["AKTWO"]);
    let (status, said) = server.try_reload(&config(&b, "/nowhere/keys")).await;
    assert!(status == 400 && said.to_string().contains("/nowhere/keys"), "{said}");
    assert_eq!(used().await, ["AKTWO"], "nothing of it is applied, the endpoint neither");
    assert_eq!(gets(&b), 0);
}

const OBJECTS: u64 = 8;
const READERS: u64 = 6;
const RELOADS: u64 = 200;

#[tokio::test(flavor = "multi_thread")]
async fn no_request_fails_while_the_origin_changes_200_times_under_load() {
    let stores = Arc::new([FakeS3::start().await, FakeS3::start().await]);
    // The same bytes in both, as in a store that is reached by two names.
    for n in 0..OBJECTS {
        let object = Object::random(3000 + n * 150_000, n);
        stores.iter().for_each(|s3| s3.put("data", &format!("{n}/o"), object.clone()));
    }
    let scratch = Scratch::new();
    let files = ["AKONE", "AKTWO"].map(|name| scratch.file(name, &keys(name)));
    let variant = |n: u64| {
        let [endpoint, file] = [n / 2 % 2, n / 4 % 2].map(|n| usize::try_from(n).unwrap());
        // Half of the changes only tune the origin; the others move it, or change the signature.
        let more = format!(
            ", connections: {}, attempts: {}, credentials: {{ file: '{}' }}",
            64 + n % 9,
            3 + n % 2,
            files[file]
        );
        let freshness = ["revalidate", "bypass", "immutable"][usize::try_from(n % 3).unwrap()];
        format!(
            "origin: {}\nrules: [{{ match: '**', freshness: {freshness} }}]\nlog: {{ access: 'off' }}",
            origin(&stores[endpoint], &more)
        )
    };
    let server = Moving::start(&variant(0)).await;
    let right = (0..OBJECTS).map(|n| stores[0].object_bytes("data", &format!("{n}/o")));
    let right: Arc<[Bytes]> = right.collect();
    let clients = (0..READERS).map(|_| server.process.client());
    let readers = Readers::start(clients, &right);
    for n in 1..=RELOADS {
        server.reload(&variant(n)).await;
        readers.one_more().await;
    }
    assert_eq!(readers.end().await, READERS, "no connection was dropped");
    for s3 in stores.iter() {
        assert!(gets(s3) > 0 && s3.complaints().is_empty(), "{:?}", s3.complaints());
    }
}
