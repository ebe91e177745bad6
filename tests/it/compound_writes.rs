//! Writes that change more than they name, or later than they are answered: all objects that they change are
//! invalidated (R8).

use http::Method;

use crate::support::{Client, FakeS3, Fault, Gate, Matcher, Object, Response, Times, setup};

/// Puts objects and reads each twice, so that the next read would be a hit.
async fn cached(s3: &FakeS3, client: &Client, keys: &[&str]) {
    for key in keys {
        s3.put("data", key, Object::bytes(format!("content of {key}")));
        let path = format!("/data/{key}");
        client.get(&path).send().await;
        assert!(is_hit(&client.get(&path).send().await), "{key}");
    }
}

fn is_hit(answer: &Response) -> bool {
    answer.header("cache-status").starts_with("hotset; hit")
}

async fn hit(client: &Client, key: &str) -> bool {
    is_hit(&client.get(&format!("/data/{key}")).send().await)
}

fn delete_of(keys: &[&str]) -> String {
    let object = |key: &&str| format!("<Object><Key>{key}</Key></Object>");
    let objects: String = keys.iter().map(object).collect();
    format!("<Delete><Quiet>false</Quiet>{objects}</Delete>")
}

/// Returns the upload's id in the response that began it.
fn upload_id(answer: &Response) -> String {
    let text = answer.text();
    let rest = text.split_once("<UploadId>").expect("an upload's id").1;
    rest.split_once('<').expect("its end").0.to_owned()
}

#[tokio::test]
async fn r8_a_multipart_upload_is_seen_once_it_is_complete() {
    let (s3, _proxy, client) = setup().await;
    cached(&s3, &client, &["k"]).await;
    let begun = client.post("/data/k?uploads").send().await;
    assert!(begun.header("x-amz-request-id").starts_with("ORIGIN"));
    let id = upload_id(&begun);
    for (number, part) in [(1, "hello "), (2, "world")] {
        let path = format!("/data/k?partNumber={number}&uploadId={id}");
        let answer = client.put(&path).body(part).send().await;
        assert!(answer.status == 200 && !answer.header("etag").is_empty());
    }
    assert_eq!(client.get("/data/k").send().await.text(), "content of k");
    let completed = client.post(&format!("/data/k?uploadId={id}")).send().await;
    assert!(completed.text().contains("<CompleteMultipartUploadResult>"));
    assert_eq!(client.get("/data/k").send().await.text(), "hello world");

    let id = upload_id(&client.post("/data/k?uploads").send().await);
    assert_eq!(client.delete(&format!("/data/k?uploadId={id}")).send().await.status, 204);
    let gone = client.post(&format!("/data/k?uploadId={id}")).send().await;
    assert!(gone.status == 404 && gone.text().contains("<Code>NoSuchUpload</Code>"));
    assert_eq!(client.get("/data/k").send().await.text(), "hello world");
}

/// S3 sends 200 and whitespace long before it commits: a read in between may cache the old object.
#[tokio::test]
async fn r8_what_was_cached_between_the_200_and_the_commit_is_forgotten_again() {
    let (s3, _proxy, client) = setup().await;
    s3.put("data", "k", Object::bytes("old"));
    let id = upload_id(&client.post("/data/k?uploads").send().await);
    let part = format!("/data/k?partNumber=1&uploadId={id}");
    assert_eq!(client.put(&part).body("new").send().await.status, 200);
    let gate = Gate::new();
    let post = Matcher::any().method(Method::POST).query("uploadId");
    s3.fault(post, Times(1), Fault::LateCommit(gate.clone()));
    let mut completing = client.post(&format!("/data/k?uploadId={id}")).open().await;
    assert!(completing.read(5).await.starts_with(b"<?xml"), "the whitespace is not held back");
    gate.wait_reached().await;
    assert_eq!(client.get("/data/k").send().await.text(), "old");
    assert!(hit(&client, "k").await);
    gate.open();
    let completed = completing.finish().await;
    assert!(completed.complete && completed.text().contains("CompleteMultipartUploadResult"));
    assert_eq!(client.get("/data/k").send().await.text(), "new");
}

#[tokio::test]
async fn r8_a_copy_forgets_its_destination_and_no_other() {
    let (s3, _proxy, client) = setup().await;
    cached(&s3, &client, &["from", "to"]).await;
    let copy = client.put("/data/to").header("x-amz-copy-source", "/data/from");
    assert!(copy.send().await.text().contains("<CopyObjectResult>"));
    assert_eq!(client.get("/data/to").send().await.text(), "content of from");
    assert!(hit(&client, "from").await);
}

#[tokio::test]
async fn r10_a_copy_onto_itself_shows_the_new_headers() {
    let (s3, _proxy, client) = setup().await;
    cached(&s3, &client, &["k"]).await;
    let copy = client
        .put("/data/k")
        .header("x-amz-copy-source", "data/k")
        .header("x-amz-metadata-directive", "REPLACE")
        .header("Content-Type", "text/new");
    assert_eq!(copy.send().await.status, 200);
    let answer = client.get("/data/k").send().await;
    assert_eq!(
        (answer.text().as_str(), answer.header("content-type")),
        ("content of k", "text/new")
    );
}

#[tokio::test]
async fn r8_a_delete_of_many_forgets_its_keys_before_the_origin_can_act_and_after() {
    let (s3, _proxy, client) = setup().await;
    cached(&s3, &client, &["a", "b", "other"]).await;
    let gate = Gate::new();
    s3.fault(Matcher::any().query("delete"), Times(1), Fault::HoldRequest(gate.clone()));
    let deleting = client.post("/data?delete").body(delete_of(&["a", "b"])).send();
    let meanwhile = async {
        gate.wait_reached().await;
        // The origin has the whole request and may act at any time.
        assert!(!hit(&client, "a").await && !hit(&client, "b").await);
        assert!(hit(&client, "other").await);
        assert!(hit(&client, "a").await, "cached again");
        gate.open();
    };
    let (deleted, ()) = tokio::join!(deleting, meanwhile);
    assert!(deleted.text().contains("<DeleteResult>"), "{}", deleted.text());
    for key in ["a", "b"] {
        assert_eq!(client.get(&format!("/data/{key}")).send().await.status, 404);
    }
    assert!(hit(&client, "other").await);
}

/// A key that the origin would delete without our notice would be served for ever.
#[tokio::test]
async fn r8_a_delete_of_many_that_s3s_schema_does_not_have_is_refused_and_changes_nothing() {
    let (s3, _proxy, client) = setup().await;
    cached(&s3, &client, &["a", "other"]).await;
    let object = "<Object><Key>a</Key></Object>";
    for body in [
        String::new(),
        "<Delete><Object><Key>a</Key>".to_owned(),
        format!("<Delete>{object}<Prefix>other</Prefix></Delete>"),
        format!("<Delete>{object}other</Delete>"),
        format!("<Delete>{object}</Delete><Delete>{object}</Delete>"),
        "<Delete><Object><Key>a</Key><Key>other</Key></Object></Delete>".to_owned(),
        delete_of(&["a"; 1001]),
    ] {
        s3.forget_requests();
        let refused = client.post("/data?delete").body(body.clone()).send().await;
        assert_eq!(refused.status, 400, "{body:.200}");
        assert!(refused.text().contains("<Code>MalformedXML</Code>"), "{}", refused.text());
        s3.wait_idle().await;
        assert!(s3.requests().iter().all(|seen| seen.body.is_empty()), "{}", s3.describe());
        assert!(s3.object("data", "a").is_some());
        assert!(hit(&client, "a").await && hit(&client, "other").await);
    }
    let long = delete_of(&vec!["a"; 80_000]);
    let refused = client.post("/data?delete").body(long).send().await;
    assert!(refused.text().contains("<Code>MaxMessageLengthExceeded</Code>"), "{}", refused.text());
    assert!(s3.object("data", "a").is_some());
    assert_eq!(client.post("/data?delete").body(delete_of(&["a"; 1000])).send().await.status, 200);
    assert!(s3.object("data", "a").is_none());
    assert!(hit(&client, "other").await);
}

#[tokio::test]
async fn r8_nothing_of_a_delete_of_many_goes_out_before_all_of_it_has_come() {
    let (s3, _proxy, client) = setup().await;
    let document = delete_of(&["a", "b"]);
    for (rest, status) in [("<Prefix>other</Prefix></Delete>", 400), ("</Delete>", 200)] {
        cached(&s3, &client, &["a", "b", "other"]).await;
        s3.forget_requests();
        let most = document.strip_suffix("</Delete>").unwrap();
        let mut upload = client.post("/data?delete").start((most.len() + rest.len()) as u64).await;
        upload.write(most.as_bytes()).await.unwrap();
        s3.wait_for(|requests| !requests.is_empty()).await;
        upload.write(rest.as_bytes()).await.unwrap();
        assert_eq!(upload.finish().await.status, status, "{rest}");
        s3.wait_idle().await;
        let received = s3.requests()[0].body_bytes_received;
        let whole = (most.len() + rest.len()) as u64;
        assert_eq!(received, if status == 200 { whole } else { 0 }, "{rest}");
        assert_eq!(s3.object("data", "a").is_none(), status == 200);
        assert!(hit(&client, "other").await);
    }
    assert!(!hit(&client, "a").await && !hit(&client, "b").await);
}

/// The keys are in the decoded body: a chunk boundary may lie within a key.
#[tokio::test]
async fn r8_the_keys_of_an_aws_chunked_delete_of_many_are_found() {
    let (s3, _proxy, client) = setup().await;
    for kind in ["STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "STREAMING-UNSIGNED-PAYLOAD-TRAILER"] {
        cached(&s3, &client, &["a-long-key", "b", "other"]).await;
        let document = delete_of(&["a-long-key", "b"]);
        let cut = document.find("long").unwrap();
        let signed = kind.starts_with("STREAMING-AWS4");
        let extension = match signed {
            true => format!(";chunk-signature={}", "c".repeat(64)),
            false => String::new(),
        };
        let chunk = |text: &str| format!("{:x}{extension}\r\n{text}\r\n", text.len());
        let (first, second) = document.split_at(cut);
        let trailer = if signed { "" } else { "x-amz-checksum-crc32:NhCmhg==\r\n" };
        let body = format!("{}{}0{extension}\r\n{trailer}\r\n", chunk(first), chunk(second));
        let mut request = client
            .post("/data?delete")
            .header("x-amz-content-sha256", kind)
            .header("Content-Encoding", "aws-chunked")
            .header("x-amz-decoded-content-length", &document.len().to_string());
        if !signed {
            request = request.header("x-amz-trailer", "x-amz-checksum-crc32");
        }
        let answer = request.body(body).send().await;
        assert!(answer.text().contains("<Key>a-long-key</Key>"), "{kind}: {}", answer.text());
        for key in ["a-long-key", "b"] {
            assert_eq!(
                client.get(&format!("/data/{key}")).send().await.status,
                404,
                "{kind} {key}"
            );
        }
        assert!(hit(&client, "other").await, "{kind}: no more than the keys is forgotten");
    }
    assert!(s3.complaints().is_empty(), "{:?}", s3.complaints());
}

#[tokio::test]
async fn r8_methods_that_nobody_knows_forget_their_key_or_their_bucket() {
    let (s3, _proxy, client) = setup().await;
    cached(&s3, &client, &["k", "other"]).await;
    for name in ["PATCH", "APPEND", "MOVE"] {
        let answer = client.request(name.parse().unwrap(), "/data/k").send().await;
        assert_eq!(
            (answer.status.as_u16(), answer.header("cache-status")),
            (405, "hotset; fwd=method")
        );
        assert!(!hit(&client, "k").await, "{name}");
        assert!(hit(&client, "k").await && hit(&client, "other").await);
    }
    client.request("SHRED".parse().unwrap(), "/data").send().await;
    assert!(!hit(&client, "k").await && !hit(&client, "other").await);
}

#[tokio::test]
async fn r8_a_rename_forgets_its_source_too() {
    let (s3, _proxy, client) = setup().await;
    cached(&s3, &client, &["from", "to", "other"]).await;
    let rename = client.put("/data/to?renameObject").header("x-amz-rename-source", "/data/from");
    assert_eq!(rename.send().await.status, 200);
    assert!(!hit(&client, "from").await && !hit(&client, "to").await);
    assert!(hit(&client, "other").await);
}

#[tokio::test]
async fn r8_a_change_of_tags_or_of_the_bucket_forgets_what_it_may_show_in() {
    let (s3, _proxy, client) = setup().await;
    cached(&s3, &client, &["k", "other"]).await;
    assert_eq!(client.put("/data/k?tagging").body("<Tagging/>").send().await.status, 200);
    assert!(!hit(&client, "k").await && hit(&client, "other").await);
    assert_eq!(
        client.get("/data/k?tagging").send().await.header("cache-status"),
        "hotset; fwd=bypass"
    );
    assert!(hit(&client, "k").await, "reading tags changes nothing");
    assert_eq!(client.put("/data?policy").body("{}").send().await.status, 200);
    assert!(!hit(&client, "k").await && !hit(&client, "other").await);
}

#[tokio::test]
async fn r8_a_refused_conditional_write_leaves_the_object_readable() {
    let (s3, _proxy, client) = setup().await;
    cached(&s3, &client, &["k"]).await;
    let put = client.put("/data/k").header("If-None-Match", "*").body("new").send().await;
    assert_eq!((put.status.as_u16(), s3.count(|r| r.method == Method::PUT)), (412, 1));
    assert_eq!(client.get("/data/k").send().await.text(), "content of k");
}
