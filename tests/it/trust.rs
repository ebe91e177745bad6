//! R20: in `trust` mode any client may do what hotset's own keys may, restricted by two switches; R24: the unix
//! socket.

use std::os::unix::fs::{FileTypeExt, PermissionsExt};

use hotset::proxy::{FileMode, ListenConfig};
use http::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::support::{Client, FakeS3, Object, Scratch, TestProxy, within};

async fn with(writes: bool, buckets: Option<&[&str]>) -> (FakeS3, TestProxy, Client) {
    let s3 = FakeS3::start().await;
    for bucket in ["ours", "theirs"] {
        s3.put(bucket, "k", Object::bytes("content"));
    }
    let proxy = TestProxy::start_with(&s3, |config| {
        config.auth.writes = writes;
        config.auth.buckets = buckets.map(|b| b.iter().map(ToString::to_string).collect());
    })
    .await;
    let client = proxy.client();
    (s3, proxy, client)
}

async fn status(client: &Client, method: &str, path: &str) -> u16 {
    let answer = client.request(method.parse().unwrap(), path).send().await;
    assert!(answer.complete);
    if answer.status == 403 && method != "HEAD" {
        assert!(answer.text().contains("<Code>AccessDenied</Code>"), "{}", answer.text());
    }
    answer.status.as_u16()
}

#[tokio::test]
async fn r20_without_switches_nobody_is_refused_whatever_is_signed() {
    let (_s3, _proxy, client) = with(true, None).await;
    for authorization in ["", "nonsense", "AWS4-HMAC-SHA256 Credential=x/y, Signature=0"] {
        for (method, path) in [("GET", "/ours/k"), ("GET", "/"), ("PUT", "/theirs/new")] {
            let request = client.request(method.parse().unwrap(), path);
            let answer = request.header("Authorization", authorization).body("").send().await;
            assert_eq!(answer.status, 200, "{method} {path} {authorization}");
        }
    }
}

#[tokio::test]
async fn r20_writes_false_refuses_every_method_that_is_no_read() {
    let (s3, _proxy, client) = with(false, None).await;
    for (method, path) in
        [("GET", "/ours/k"), ("HEAD", "/ours/k"), ("GET", "/ours?list-type=2"), ("GET", "/")]
    {
        assert_eq!(status(&client, method, path).await, 200, "{method} {path}");
    }
    s3.forget_requests();
    for method in ["PUT", "POST", "DELETE", "PATCH", "MOVE"] {
        for path in ["/ours/k", "/ours", "/ours?delete", "/ours/k?uploads", "/"] {
            assert_eq!(status(&client, method, path).await, 403, "{method} {path}");
        }
    }
    let with_body = client.put("/ours/k").body("new").send().await;
    assert_eq!((with_body.status.as_u16(), with_body.complete), (403, true));
    assert!(s3.requests().is_empty(), "{}", s3.describe());
    assert_eq!(client.get("/ours/k").send().await.text(), "content");
}

#[tokio::test]
async fn r20_buckets_narrows_reads_writes_lists_and_copy_sources() {
    let (s3, _proxy, client) = with(true, Some(&["ours"])).await;
    for (method, path, expected) in
        [("GET", "/ours/k", 200), ("GET", "/ours", 200), ("DELETE", "/ours/none", 204)]
    {
        assert_eq!(status(&client, method, path).await, expected, "{method} {path}");
    }
    s3.forget_requests();
    for path in ["/theirs/k", "/theirs", "/", "/?x-id=ListBuckets", "/theirs/k?versionId=1"] {
        for method in ["GET", "HEAD", "PUT", "POST", "DELETE"] {
            assert_eq!(status(&client, method, path).await, 403, "{method} {path}");
        }
    }
    for source in ["/theirs/k", "theirs/k", "%2Ftheirs%2Fk", "/theirs/k?versionId=1", "//theirs/k"]
    {
        let copy = client.put("/ours/k").header("x-amz-copy-source", source).send().await;
        assert_eq!(copy.status, 403, "{source}");
    }
    assert!(s3.requests().is_empty(), "{}", s3.describe());
    let copy = client.put("/ours/copy").header("x-amz-copy-source", "/ours/k").send().await;
    assert_eq!(copy.status, 200);
}

/// A presigner moves every `x-amz-*` header into the query.
#[tokio::test]
async fn r20_a_copy_source_in_a_presigned_query_is_a_copy_source() {
    let (s3, _proxy, client) = with(true, Some(&["ours"])).await;
    s3.forget_requests();
    for name in ["x-amz-copy-source", "X-Amz-Copy-Source"] {
        let copy = client.put(&format!("/ours/k?{name}=%2Ftheirs%2Fk")).send().await;
        assert_eq!(copy.status, 403, "{name}");
    }
    let two = client
        .put("/ours/k")
        .header("x-amz-copy-source", "/ours/k")
        .header("x-amz-copy-source", "/theirs/k");
    assert_eq!(two.send().await.status, 403);
    assert!(s3.requests().is_empty(), "{}", s3.describe());
}

async fn over_unix(path: &str, request: &str) -> String {
    let mut stream = within("a connection", UnixStream::connect(path)).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    within("an answer", stream.read_to_string(&mut answer)).await.unwrap();
    answer
}

#[tokio::test]
async fn r24_a_unix_socket_serves_and_is_for_its_owner_only() {
    let scratch = Scratch::new();
    let path = scratch.path("s3.sock");
    // A socket file left by a process that was killed.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let s3 = FakeS3::start().await;
    s3.put("data", "k", Object::bytes("content"));
    let _proxy = TestProxy::start_with(&s3, |config| {
        let address = format!("unix:{path}");
        config.listen.push(ListenConfig {
            address,
            domains: vec!["s3.local".to_owned()],
            ..ListenConfig::default()
        });
    })
    .await;
    let metadata = std::fs::metadata(&path).unwrap();
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    let headers = "Host: localhost\r\nConnection: close\r\n\r\n";
    for expected in ["hotset; fwd=uri-miss; detail=new", "hotset; hit"] {
        let answer = over_unix(&path, &format!("GET /data/k HTTP/1.1\r\n{headers}")).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.ends_with("\r\n\r\ncontent") && answer.contains(expected), "{answer}");
    }
    let put = format!(
        "PUT /k HTTP/1.1\r\nContent-Length: 3\r\n{}new",
        headers.replace("localhost", "data.s3.local")
    );
    assert!(over_unix(&path, &put).await.starts_with("HTTP/1.1 200 OK\r\n"));
    assert_eq!(s3.count(|r| r.method == Method::PUT), 1);
    let answer = over_unix(&path, &format!("GET /data/k HTTP/1.1\r\n{headers}")).await;
    assert!(answer.ends_with("\r\n\r\nnew"), "{answer}");
}

#[tokio::test]
async fn r24_a_unix_socket_has_the_mode_that_is_configured() {
    let scratch = Scratch::new();
    let path = scratch.path("s3.sock");
    let s3 = FakeS3::start().await;
    let _proxy = TestProxy::start_with(&s3, |config| {
        config.listen.push(ListenConfig {
            address: format!("unix:{path}"),
            mode: "0660".parse().unwrap(),
            ..ListenConfig::default()
        });
    })
    .await;
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
    for wrong in ["660x", "0o660", "0999", "1777", "6", "", "0440"] {
        assert!(wrong.parse::<FileMode>().is_err(), "{wrong}");
    }
}

#[tokio::test]
async fn r24_a_unix_socket_in_use_is_not_taken_over() {
    let scratch = Scratch::new();
    let path = scratch.path("s3.sock");
    let _other = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let bound = hotset::proxy::Listener::bind(&format!("unix:{path}"), FileMode::OWNER).await;
    assert_eq!(bound.err().map(|e| e.kind()), Some(std::io::ErrorKind::AddrInUse));
    let file = scratch.file("file", "content");
    assert!(hotset::proxy::Listener::bind(&format!("unix:{file}"), FileMode::OWNER).await.is_err());
    assert_eq!(std::fs::read_to_string(file).unwrap(), "content", "a file is no dead socket");
}
