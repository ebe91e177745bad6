//! Reads with an expected bucket owner or requester-pays: answered from memory only if the origin confirmed it for
//! that caller.

use http::Method;

use crate::admission::setup;
use crate::support::*;

fn expecting(request: Request, owner: &str) -> Request {
    request.header("x-amz-expected-bucket-owner", owner)
}

#[tokio::test]
async fn an_expected_owner_is_checked_by_the_origin_and_a_confirmed_one_is_believed() {
    let (s3, _proxy, client) = setup().await;
    s3.put("data", "k", Object::bytes("one"));
    s3.put("data", "other", Object::bytes("other"));
    assert_eq!(client.get("/data/k").send().await.text(), "one");
    for _ in 0..2 {
        let wrong = expecting(client.get("/data/k"), "999999999999").send().await;
        assert_eq!(
            (wrong.status.as_u16(), wrong.header("cache-status")),
            (403, "hotset; fwd=bypass")
        );
        assert_eq!(
            s3.requests().pop().unwrap().header("x-amz-expected-bucket-owner"),
            "999999999999"
        );
    }
    for status in ["hotset; fwd=bypass", "hotset; hit", "hotset; hit"] {
        let right = expecting(client.get("/data/k"), OWNER).send().await;
        assert_eq!((&*right.text(), right.header("cache-status")), ("one", status));
    }
    let other = expecting(client.get("/data/other"), OWNER).send().await;
    assert_eq!(
        other.header("cache-status"),
        "hotset; fwd=uri-miss; detail=new",
        "it is the bucket's owner"
    );
    // Deleting a bucket may make way for somebody else's.
    client.delete("/data").send().await;
    let again = expecting(client.get("/data/k"), OWNER).send().await;
    assert_eq!(again.header("cache-status"), "hotset; fwd=bypass");
    let wrong = expecting(client.head("/data/k"), "999999999999").send().await;
    assert_eq!(wrong.status, 403);
}

#[tokio::test]
async fn an_expected_owner_is_not_confirmed_by_an_error() {
    let (s3, _proxy, client) = setup().await;
    s3.put("data", "k", Object::bytes("one"));
    for (status, code) in [(500, "InternalError"), (404, "NoSuchBucket"), (403, "AccessDenied")] {
        s3.fault(Matcher::any().key("k"), Times(1), Fault::Status(status, code));
        let failed = expecting(client.get("/data/k"), OWNER).send().await;
        assert_eq!(failed.status, status, "{code}");
        s3.fault(Matcher::any().key("k"), Times(1), Fault::Status(status, code));
        let failed = expecting(client.get("/data/k"), OWNER).send().await;
        assert_eq!(failed.header("cache-status"), "hotset; fwd=bypass", "{code}");
    }
}

fn paying(request: Request) -> Request {
    request.header("x-amz-request-payer", "requester")
}

#[tokio::test]
async fn what_is_given_to_who_pays_is_not_given_to_others() {
    let (s3, _proxy, client) = setup().await;
    s3.put("paid", "k", Object::bytes("one"));
    s3.make_requester_pays("paid");
    for status in ["hotset; fwd=uri-miss; detail=new", "hotset; hit", "hotset; hit"] {
        let paid = paying(client.get("/paid/k")).send().await;
        assert_eq!((&*paid.text(), paid.header("cache-status")), ("one", status));
        assert_eq!(paid.header("x-amz-request-charged"), "", "of ours, not of the client's");
    }
    assert_eq!(s3.requests().len(), 1, "{}", s3.describe());
    assert_eq!(s3.requests()[0].header("x-amz-request-payer"), "requester");
    for silent in [client.get("/paid/k"), client.head("/paid/k")] {
        assert_eq!(silent.send().await.status, 403);
        assert_eq!(paying(client.get("/paid/k")).send().await.text(), "one");
    }
    let gets = s3.count(|r| r.method == Method::GET && r.status == 206);
    assert_eq!(gets, 1, "its bytes were fetched once: {}", s3.describe());
}

#[tokio::test]
async fn r8_a_write_through_us_is_seen_by_who_pays() {
    let (s3, _proxy, client) = setup().await;
    s3.put("paid", "k", Object::bytes("one").version_id("v1"));
    s3.make_requester_pays("paid");
    for path in ["/paid/k", "/paid/k?versionId=v1", "/paid/k?partNumber=1"] {
        assert_eq!(paying(client.get(path)).send().await.text(), "one", "{path}");
        assert_eq!(client.get(path).send().await.status, 403, "{path}");
    }
    assert_eq!(paying(client.put("/paid/k")).body("two").send().await.status, 200);
    assert_eq!(paying(client.get("/paid/k")).send().await.text(), "two");
    assert_eq!(paying(client.get("/paid/k?versionId=v1")).send().await.text(), "one");
    assert_eq!(paying(client.delete("/paid/k?versionId=v1")).send().await.status, 204);
    assert_eq!(paying(client.get("/paid/k?versionId=v1")).send().await.status, 404);
    assert_eq!(client.get("/paid/k").send().await.status, 403);
}

/// A bucket that is deleted while a read of it is in flight may be somebody else's when the response arrives.
#[tokio::test]
async fn an_expected_owner_is_not_confirmed_by_a_read_from_before_a_write_to_the_bucket() {
    let (s3, _proxy, client) = setup().await;
    s3.put("data", "k", Object::bytes("one"));
    let gate = Gate::new();
    s3.fault(Matcher::get("k"), Times(1), Fault::HoldHeader(gate.clone()));
    let early = tokio::spawn(expecting(client.get("/data/k"), OWNER).send());
    gate.wait_reached().await;
    assert!(client.delete("/data").send().await.status.is_success());
    gate.open();
    assert_eq!(early.await.unwrap().status, 200);
    for status in ["hotset; fwd=bypass", "hotset; fwd=uri-miss; detail=new"] {
        let answer = expecting(client.get("/data/k"), OWNER).send().await;
        assert_eq!(answer.header("cache-status"), status);
    }
}
