//! Keys with every legal character, and the hosts under which a bucket can be addressed.

use std::fmt::Write as _;

use hotset::s3::spelling::is_ambiguous;
use http::Method;

use crate::support::*;

async fn setup() -> (FakeS3, TestProxy, Client) {
    let s3 = FakeS3::start().await;
    let proxy =
        TestProxy::start_with(&s3, |config| config.listen[0].domains = vec!["s3.local".to_owned()])
            .await;
    let client = proxy.client();
    (s3, proxy, client)
}

/// Encodes every byte but RFC 3986's unreserved characters and the slash as `%XX`, as SDKs send keys.
fn encode(key: &str) -> String {
    key.bytes().fold(String::new(), |mut out, byte| {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                out.push(byte.into());
            }
            _ => write!(out, "%{byte:02X}").expect("a String takes everything"),
        }
        out
    })
}

fn keys() -> Vec<String> {
    let mut keys: Vec<String> = [
        "a b/ü+x%.txt",
        "/x",
        "//x",
        "x//y/",
        "/",
        ".",
        "..",
        "./x",
        "../x",
        "a/../b",
        "a/./b",
        "%2F",
        "a%2Fb",
        "%",
        "%zz",
        "+",
        " ",
        "a?b=c&d",
        "a#b",
        "key with 'quotes\" <xml> & more",
        "!-_.*'()",
        "&$@=;:+ ,?",
        "\\{^}`]>[~<#|",
        "\u{1}\u{7f}\t\n\r\u{0}",
        "日本語/ключ/🦀",
        "e\u{301}",
        "é",
        "http://evil.example/x",
        "*",
    ]
    .map(str::to_owned)
    .into();
    keys.push("k".repeat(1024));
    keys.push("ü".repeat(512));
    keys
}

#[tokio::test]
async fn keys_of_every_legal_character_are_told_apart_and_read() {
    let (s3, _proxy, client) = setup().await;
    for (number, key) in keys().iter().enumerate() {
        s3.put("data", key, Object::bytes(format!("object {number}")));
    }
    for round in ["cold", "warm"] {
        for (number, key) in keys().iter().enumerate() {
            let encoded = encode(key);
            let path_style = client.get(&format!("/data/{encoded}"));
            let by_host = client.get(&format!("/{encoded}")).host("data.s3.local");
            for request in [path_style, by_host] {
                let answer = request.send().await;
                assert_eq!(answer.text(), format!("object {number}"), "{round} {key:?}");
            }
            let head = client.head(&format!("/data/{encoded}")).send().await;
            assert_eq!(head.status, 200, "{round} {key:?}");
        }
    }
    // Keys that a server may take for others are confirmed on every read, by a HEAD.
    let fetched = s3.requests().into_iter().filter(|r| r.method == Method::GET);
    let mut asked: Vec<String> = fetched.map(|r| r.key).collect();
    let confirmed = s3.count(|r| r.method == Method::HEAD && !is_ambiguous(&r.key));
    assert_eq!(confirmed, 0, "{}", s3.describe());
    let mut all = keys();
    asked.sort();
    all.sort();
    assert_eq!(asked, all);
}

#[tokio::test]
async fn keys_of_every_legal_character_are_written_and_forgotten_through_the_proxy() {
    let (s3, _proxy, client) = setup().await;
    for key in keys() {
        let path = format!("/data/{}", encode(&key));
        for content in ["one", "two"] {
            assert_eq!(client.put(&path).body(content).send().await.status, 200, "{key:?}");
            assert_eq!(client.get(&path).send().await.text(), content, "{key:?}");
        }
        assert_eq!(s3.object_bytes("data", &key), "two", "{key:?}");
        assert_eq!(client.delete(&path).send().await.status, 204, "{key:?}");
        let gone = client.get(&path).send().await;
        assert_eq!(gone.status, 404, "{key:?}");
    }
    assert!(s3.complaints().is_empty(), "{:?}", s3.complaints());
}

#[tokio::test]
async fn spellings_of_one_key_are_one_object() {
    let (s3, _proxy, client) = setup().await;
    s3.put("data", "a/b ü~", Object::bytes("one"));
    for path in ["/data/a/b%20%C3%BC~", "/data/a%2Fb%20%c3%bc%7E", "/d%61ta/%61/b%20ü~"] {
        assert_eq!(client.get(path).send().await.text(), "one", "{path}");
    }
    assert_eq!(s3.requests().len(), 1, "{}", s3.describe());
}

#[tokio::test]
async fn names_that_cannot_be_are_refused_here() {
    let (s3, _proxy, client) = setup().await;
    for (path, code) in [
        (format!("/data/{}", "k".repeat(1025)), "KeyTooLongError"),
        ("/data/%zz".to_owned(), "InvalidURI"),
        ("/data/%FF".to_owned(), "InvalidURI"),
        ("/data/%".to_owned(), "InvalidURI"),
        ("/data/k?x-id=%zz".to_owned(), "InvalidURI"),
        ("/a/k".to_owned(), "InvalidBucketName"),
        ("//k".to_owned(), "InvalidBucketName"),
        ("/../etc/passwd".to_owned(), "InvalidBucketName"),
    ] {
        let refused = client.get(&path).send().await;
        assert_eq!(refused.status, 400, "{path}");
        assert!(refused.text().contains(&format!("<Code>{code}</Code>")), "{}", refused.text());
        let head = client.head(&path).send().await;
        assert_eq!((head.status.as_u16(), head.body.len(), head.complete), (400, 0, true));
    }
    assert!(s3.requests().is_empty(), "{}", s3.describe());
    assert_eq!(client.connections(), 1, "a refused request does not cost its connection");
}

#[tokio::test]
async fn r24_the_bucket_is_in_the_host_or_in_the_path() {
    let (s3, proxy, client) = setup().await;
    s3.put("data", "k", Object::bytes("one"));
    let port = proxy.addr.port();
    for (host, path) in [
        ("data.s3.local", "/k"),
        ("DATA.S3.LOCAL:1234", "/k"),
        ("data.s3.local.", "/k"),
        ("s3.local", "/data/k"),
        ("localhost", "/data/k"),
        (&*format!("127.0.0.1:{port}"), "/data/k"),
        ("[::1]:9000", "/data/k"),
    ] {
        let answer = client.get(path).host(host).send().await;
        assert_eq!((answer.status.as_u16(), &*answer.text()), (200, "one"), "{host}{path}");
    }
    assert_eq!(s3.requests().len(), 1, "one object: {}", s3.describe());
    let put = client.put("/k").host("data.s3.local").body("two").send().await;
    assert_eq!(put.status, 200);
    assert_eq!(client.get("/data/k").send().await.text(), "two");
}

#[tokio::test]
async fn r24_any_other_host_is_refused() {
    let (s3, _proxy, client) = setup().await;
    s3.put("data", "k", Object::bytes("one"));
    assert_eq!(client.get("/data/k").send().await.status, 200);
    s3.forget_requests();
    for host in ["evil.example", "s3.local.evil.example", "xs3.local", "data.localhost", "", "a b"]
    {
        for method in [Method::GET, Method::HEAD, Method::PUT, Method::DELETE] {
            let answer = client.request(method.clone(), "/data/k").host(host).send().await;
            assert_eq!(answer.status, 400, "{method} {host}");
        }
    }
    assert!(s3.requests().is_empty(), "{}", s3.describe());
}

#[tokio::test]
async fn r24_an_absolute_target_counts_only_when_it_names_the_host() {
    let (s3, _proxy, client) = setup().await;
    s3.put("data", "a//b", Object::bytes("one"));
    for (target, host) in [
        ("http://s3.local/data/a//b", "s3.local"),
        ("http://data.s3.local/a//b", "data.s3.local"),
        ("http://127.0.0.1:9000/data/a%2F/b", "127.0.0.1:9000"),
    ] {
        let answer = client.get(target).host(host).send().await;
        assert_eq!((answer.status.as_u16(), &*answer.text()), (200, "one"), "{target} {host}");
    }
    assert_eq!(s3.count(|r| r.method == Method::GET), 1, "{}", s3.describe());
    assert!(s3.requests().iter().all(|r| r.target == "/data/a//b"), "{}", s3.describe());
    s3.forget_requests();
    for (target, host) in [
        ("http://data.s3.local/a//b", "other.s3.local"),
        ("http://s3.local/data/a//b", "data.s3.local"),
        ("http://evil.example/data/a//b", "s3.local"),
        ("http://s3.local/data/a//b", "evil.example"),
        ("ftp://s3.local/data/a//b", "s3.local"),
    ] {
        let refused = client.get(target).host(host).send().await;
        assert_eq!(refused.status, 400, "{target} {host}");
    }
    assert!(s3.requests().is_empty(), "{}", s3.describe());
    let put = client.put("http://data.s3.local/a//b").host("data.s3.local").body("two");
    assert_eq!(put.send().await.status, 200);
    assert_eq!(s3.object_bytes("data", "a//b"), "two");
    assert_eq!(client.get("/data/a//b").send().await.text(), "two");
}
