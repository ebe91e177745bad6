//! Keys that a server may take for others, reserved names, and uploads that write more than they name: their
//! permissions (R20, R21), and what they invalidate (R8).

use std::fmt::Write as _;

use hotset::auth::AuthMode;
use hotset::config::units::HumanDuration;
use http::Method;

use crate::support::{Client, FakeS3, Form, Object, Scratch, Signed, TestProxy, setup};

async fn trust(buckets: Option<&[&str]>) -> (FakeS3, TestProxy, Client) {
    let s3 = FakeS3::start().await;
    for bucket in ["data", "other"] {
        s3.put(bucket, "k", Object::bytes("content"));
    }
    let proxy = TestProxy::start_with(&s3, |config| {
        config.auth.buckets = buckets.map(|b| b.iter().map(ToString::to_string).collect());
    })
    .await;
    let client = proxy.client();
    (s3, proxy, client)
}

async fn read(client: &Client, path: &str) -> String {
    client.get(path).send().await.text()
}

#[tokio::test]
async fn r8_a_write_by_another_spelling_of_a_key_is_seen_by_the_next_read() {
    let (s3, _proxy, client) = setup().await;
    for (written, read_as) in [
        ("/data//k", "k"),
        ("/data/./k", "k"),
        ("/data/x/../k", "k"),
        ("/data/a%5Cb", "a/b"),
        ("/data/a//b", "a/b"),
        // A path that stays in its bucket.
        ("/data/../k", "k"),
    ] {
        let path = format!("/data/{read_as}");
        s3.put("data", read_as, Object::bytes("old"));
        client.put(&path).body("old").send().await;
        assert_eq!(read(&client, &path).await, "old");
        assert_eq!(client.put(written).body("new").send().await.status, 200);
        // The effect on a server that normalizes paths.
        s3.put("data", read_as, Object::bytes("new"));
        assert_eq!(read(&client, &path).await, "new", "{written}");
    }
}

#[tokio::test]
async fn r8_a_delete_of_many_by_another_spelling_is_seen_by_the_next_read() {
    let (s3, _proxy, client) = setup().await;
    s3.put("data", "k", Object::bytes("old"));
    assert_eq!(read(&client, "/data/k").await, "old");
    let body = "<Delete><Object><Key>/k</Key></Object></Delete>";
    assert_eq!(client.post("/data?delete").body(body).send().await.status, 200);
    s3.put("data", "k", Object::bytes("new"));
    assert_eq!(read(&client, "/data/k").await, "new");
}

#[tokio::test]
async fn r8_what_is_read_by_an_ambiguous_key_is_confirmed_each_time() {
    let (s3, _proxy, client) = setup().await;
    for key in ["/k", "a/../k", "./k"] {
        s3.put("data", key, Object::bytes("old"));
        let path = format!("/data/{key}");
        assert_eq!(read(&client, &path).await, "old");
        // A write of `k`, on a server that normalizes paths.
        assert_eq!(client.put("/data/k").body("new").send().await.status, 200);
        s3.put("data", key, Object::bytes("new"));
        assert_eq!(read(&client, &path).await, "new", "{key}");
    }
}

#[tokio::test]
async fn r8_an_upload_that_is_unpacked_invalidates_its_bucket() {
    let (s3, _proxy, client) = setup().await;
    for (name, target) in [
        ("x-amz-meta-snowball-auto-extract", "/data/batch.tar"),
        ("x-minio-extract", "/data/batch.tar"),
        ("x-amz-meta-owner", "/data/batch.tar?X-Amz-Meta-Snowball-Auto-Extract=true"),
    ] {
        s3.put("data", "k", Object::bytes("old"));
        client.put("/data/k").body("old").send().await;
        assert_eq!(read(&client, "/data/k").await, "old");
        let upload = client.put(target).header(name, "true").body("new");
        assert_eq!(upload.send().await.status, 200);
        s3.put("data", "k", Object::bytes("new"));
        assert_eq!(read(&client, "/data/k").await, "new", "{name}");
    }
}

#[tokio::test]
async fn r8_metadata_of_ones_own_invalidates_one_key() {
    let (s3, _proxy, client) = setup().await;
    s3.put("data", "k", Object::bytes("old"));
    assert_eq!(read(&client, "/data/k").await, "old");
    let upload = client.put("/data/l").header("x-amz-meta-extracted-by", "me").body("new");
    assert_eq!(upload.send().await.status, 200);
    s3.forget_requests();
    assert_eq!(read(&client, "/data/k").await, "old");
    assert!(s3.requests().is_empty(), "{}", s3.describe());
}

#[tokio::test]
async fn r20_buckets_lets_nothing_climb_out() {
    let (s3, _proxy, client) = trust(Some(&["data"])).await;
    assert_eq!(read(&client, "/data/k").await, "content");
    s3.forget_requests();
    for path in [
        "/data/../other/k",
        "/data/%2E%2E/other/k",
        "/data/a/..%2F../other/k",
        "/data/%252e%252e/other/k",
        "/data/..%5Cother%5Ck",
    ] {
        for method in [Method::GET, Method::HEAD, Method::PUT, Method::DELETE] {
            let answer = client.request(method.clone(), path).send().await;
            assert_eq!(answer.status, 403, "{method} {path}");
        }
    }
    let list = client.get("/data?list-type=2&prefix=..%2Fother%2F").send().await;
    assert_eq!(list.status, 403);
    for source in ["/data/../other/k", "data/%2e%2e/other/k", "other/k"] {
        for target in ["/data/new", "/data/new?foo", "/data/new?versionId=1"] {
            let copy = client.put(target).header("x-amz-copy-source", source);
            assert_eq!(copy.send().await.status, 403, "{target} {source}");
        }
    }
    for path in ["/data/../other/k?foo", "/data?prefix=a&prefix=..%2Fother%2F"] {
        assert_eq!(client.get(path).send().await.status, 403, "{path}");
    }
    let rename = client.put("/data/new?renameObject");
    let rename = rename.header("x-amz-rename-source", "/data/../other/k");
    assert_eq!(rename.send().await.status, 403);
    for key in ["../other/k", "a\\b/../../other/k"] {
        let body = format!(
            "<Delete><Object><Key>k</Key></Object><Object><Key>{key}</Key></Object></Delete>"
        );
        let listed = client.post("/data?delete").body(body).send().await;
        assert_eq!(listed.status, 403, "{}", listed.text());
    }
    let form = Form::new().key("../other/k").unsigned();
    let answer = client.raw(&form.wire_to("/data", "127.0.0.1")).await;
    assert_eq!(answer.status, 403, "{}", answer.text());
    assert!(s3.requests().is_empty(), "{}", s3.describe());
    let body = "<Delete><Object><Key>k</Key></Object></Delete>";
    assert_eq!(client.post("/data?delete").body(body).send().await.status, 200);
    assert_eq!(client.get("/data/k").send().await.status, 404);
}

#[tokio::test]
async fn r20_names_that_the_origin_reserves_are_not_reached() {
    let (s3, _proxy, client) = trust(None).await;
    for path in [
        "/minio/admin/v3/info",
        "/minio/health/live",
        "/_admin",
        "/.minio.sys/config",
        "/MinIO/x",
        "/data/../minio/admin/v3/info",
        "/data/%252e%252e/minio/admin/v3/info",
    ] {
        for method in [Method::GET, Method::PUT, Method::POST, Method::OPTIONS] {
            let answer = client.request(method.clone(), path).send().await;
            assert_eq!(answer.status, 403, "{method} {path}");
            assert!(answer.text().contains("auth.reserved"), "{}", answer.text());
        }
    }
    let account = client.post("/").body("Action=CreateAccessKey&Version=2010-05-08");
    assert_eq!(account.send().await.status, 403);
    let copy = client.put("/data/new").header("x-amz-copy-source", "/.minio.sys/config/k");
    assert_eq!(copy.send().await.status, 403);
    assert!(s3.requests().is_empty(), "{}", s3.describe());
    drop(client);
    let (s3, _proxy, client) = trust(Some(&["data", "admin"])).await;
    s3.put("admin", "k", Object::bytes("a bucket like any"));
    assert_eq!(read(&client, "/admin/k").await, "a bucket like any");
}

#[tokio::test]
async fn r21_names_that_the_origin_reserves_need_admin() {
    let s3 = FakeS3::start().await;
    let scratch = Scratch::new();
    let mut identities = "identities:\n".to_owned();
    for (name, actions) in [("USER", "read, write, list, delete"), ("ADMIN", "read, admin")] {
        writeln!(
            identities,
            "  - {{ name: {name}, access_key: {name}, secret_key: {name}-secret,\n\
             allow: [{{ actions: [{actions}], resources: ['**'] }}] }}"
        )
        .expect("a String takes everything");
    }
    let file = scratch.file("identities.yaml", &identities);
    let proxy = TestProxy::start_with(&s3, |config| {
        config.auth.mode = AuthMode::Verify;
        config.auth.identities = Some(file.into());
        config.auth.reload = HumanDuration::secs(60);
    })
    .await;
    let client = proxy.client();
    let ask = async |by: &str, method, target| {
        let request = Signed::new(method, target, proxy.addr).keys(by, &format!("{by}-secret"));
        client.raw(&request.wire()).await.status.as_u16()
    };
    for target in ["/minio/admin/v3/info", "/minio/health/live", "/_all/k", "/minio"] {
        assert_eq!(ask("USER", "GET", target).await, 403, "{target}");
    }
    assert_eq!(ask("USER", "GET", "/data/../minio/admin/v3/info").await, 403);
    assert!(s3.requests().is_empty(), "{}", s3.describe());
    assert_eq!(ask("ADMIN", "GET", "/minio/admin/v3/info").await, 404);
    assert_eq!(s3.requests().len(), 1, "{}", s3.describe());
}

#[tokio::test]
async fn r21_a_restore_goes_out_only_when_it_restores_in_place() {
    let (s3, _proxy, client) = setup().await;
    s3.put("data", "k", Object::bytes("content"));
    let select = "<RestoreRequest><Type>SELECT</Type><OutputLocation><S3><BucketName>other\
                  </BucketName><Prefix>k</Prefix></S3></OutputLocation></RestoreRequest>";
    for (body, status) in [
        (select.to_owned(), 501),
        ("<RestoreRequest><Days>1</Days>".to_owned(), 400),
        (" ".repeat(64 << 10) + "<RestoreRequest/>", 400),
    ] {
        let answer = client.post("/data/k?restore").body(body).send().await;
        assert_eq!(answer.status, status, "{}", answer.text());
    }
    // The origin received none of these bodies completely.
    assert_eq!(s3.count(|r| !r.body.is_empty()), 0, "{}", s3.describe());
    s3.forget_requests();
    let days = "<RestoreRequest><Days>1</Days></RestoreRequest>";
    client.post("/data/k?restore").body(days).send().await;
    assert_eq!(s3.count(|r| r.body == days.as_bytes()), 1, "{}", s3.describe());
}

#[tokio::test]
async fn r21_a_method_is_not_overridden() {
    let (s3, _proxy, client) = trust(None).await;
    for name in ["X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"] {
        for path in ["/data/k", "/data", "/data/k?tagging"] {
            let answer = client.get(path).header(name, "DELETE").send().await;
            assert_eq!(answer.status, 400, "{name} {path}");
            assert!(answer.text().contains("InvalidRequest"), "{}", answer.text());
        }
    }
    assert!(s3.requests().is_empty(), "{}", s3.describe());
}
