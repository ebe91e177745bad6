//! `DeleteObjects` by a sender that may delete only some keys: done as a whole, or refused with nothing sent.

use super::Guarded;
use crate::support::{Object, Signed};

fn list(keys: &[&str]) -> String {
    let object = |list: String, key: &&str| list + &format!("<Object><Key>{key}</Key></Object>");
    let objects = keys.iter().fold(String::new(), object);
    format!("<Delete xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">{objects}</Delete>")
}

impl Guarded {
    fn delete_many(&self, access_key: &str, body: &str) -> Signed {
        self.by(access_key, "POST", "/data?delete").body(body.as_bytes())
    }

    fn has(&self, key: &str) -> bool {
        self.s3.object("data", key).is_some()
    }
}

#[tokio::test]
async fn r21_a_delete_of_many_with_one_forbidden_key_is_refused_whole_and_nothing_is_sent() {
    let guarded = Guarded::start().await;
    for keys in [
        &["team/k", "secret/k"][..],
        &["secret/k", "team/k"],
        &["team/k", "team/../secret/k"],
        &["team/k", "team%2F..%2Fsecret/k", "secret/k"],
    ] {
        let refused = guarded.send(&guarded.delete_many("TEAM", &list(keys))).await;
        assert_eq!((refused.status.as_u16(), refused.complete), (403, true), "{keys:?}");
        let text = refused.text();
        assert!(text.contains("<Message>Access Denied: team may not delete data/"), "{text}");
    }
    guarded.nothing_was_sent();
    assert!(guarded.has("team/k") && guarded.has("secret/k"));
    assert_eq!(guarded.status(&guarded.delete_many("LISTER", &list(&["team/k"]))).await, 403);
    guarded.nothing_was_sent();
}

#[tokio::test]
async fn r21_a_delete_of_many_is_done_when_each_key_may_be_deleted() {
    let guarded = Guarded::start().await;
    assert_eq!(guarded.ask("TEAM", "GET", "/data/team/k").await, 200);
    let body = list(&["team/k", "team/other"]);
    let done = guarded.send(&guarded.delete_many("TEAM", &body)).await;
    assert_eq!((done.status.as_u16(), done.complete), (200, true));
    assert!(done.text().contains("<DeleteResult>"), "{}", done.text());
    assert!(!guarded.has("team/k") && guarded.has("secret/k"));
    let sent = guarded.s3.requests().into_iter().find(|seen| seen.method == "POST").unwrap();
    assert_eq!(sent.body, body);
    // R8: the deleted objects are invalidated.
    assert_eq!(guarded.ask("TEAM", "GET", "/data/team/k").await, 404);
    // A sender that may delete everything in the bucket is not checked for each key.
    let all = guarded.delete_many("OWNER", &list(&["secret/k"]));
    assert_eq!(guarded.status(&all).await, 200);
    assert!(!guarded.has("secret/k"));
}

#[tokio::test]
async fn r21_who_may_delete_all_of_a_bucket_deletes_nothing_that_leads_out_of_it() {
    let identities = "identities:\n  - { name: keeper, access_key: KEEPER, secret_key: KEEPER-secret,\n      \
                      allow: [{ actions: [delete, admin], resources: ['data/**'] }] }\n";
    let guarded = Guarded::start_with(identities, |_| {}).await;
    for target in ["/data?delete", "/data?delete&foo"] {
        for key in ["../other/k", "team/../../other/k", "a\\b/../../other/k", "%2e%2e/other/k"] {
            let body = list(&["team/k", key]);
            let request = guarded.by("KEEPER", "POST", target).body(body.as_bytes());
            let refused = guarded.send(&request).await;
            assert_eq!(refused.status, 403, "{target} {key}: {}", refused.text());
        }
    }
    assert_eq!(guarded.s3.count(|seen| !seen.body.is_empty()), 0, "{}", guarded.s3.describe());
    assert!(guarded.has("team/k"));
    let within = guarded.delete_many("KEEPER", &list(&["team/k", "/secret/k"]));
    assert_eq!(guarded.status(&within).await, 200);
    assert!(!guarded.has("team/k"));
}

#[tokio::test]
async fn r21_a_question_that_is_not_known_opens_no_other_bucket() {
    let identities = "identities:\n  - { name: keeper, access_key: KEEPER, secret_key: KEEPER-secret,\n      \
                      allow: [{ actions: [read, write, list, delete, admin], resources: ['data/**'] }] }\n";
    let guarded = Guarded::start_with(identities, |_| {}).await;
    guarded.s3.put("other", "k", Object::bytes("theirs"));
    for target in ["/data/../other/k?foo", "/data?prefix=a&prefix=..%2Fother%2F"] {
        assert_eq!(guarded.ask("KEEPER", "GET", target).await, 403, "{target}");
    }
    for target in ["/data/new?foo", "/data/new?versionId=1"] {
        let copy = guarded.by("KEEPER", "PUT", target).header("x-amz-copy-source", "other/k");
        assert_eq!(guarded.status(&copy).await, 403, "{target}");
    }
    guarded.nothing_was_sent();
}

/// pingora keeps 64 KiB of a body that was read before; a longer one must arrive whole, too.
#[tokio::test]
async fn r21_a_long_list_arrives_whole() {
    let guarded = Guarded::start().await;
    for length in [100, 600, 700, 1000] {
        let keys: Vec<String> =
            (0..length).map(|n| format!("team/{n:04}/{}", "x".repeat(100))).collect();
        guarded.s3.put("data", &keys[length - 1], Object::bytes("last"));
        let body = list(&keys.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(guarded.status(&guarded.delete_many("TEAM", &body)).await, 200, "{length}");
        assert!(!guarded.has(&keys[length - 1]), "{length}");
        let sent = guarded.s3.requests().into_iter().rfind(|seen| seen.method == "POST").unwrap();
        assert_eq!(sent.body, body, "{length}");
    }
    assert!(guarded.s3.complaints().is_empty(), "{:?}", guarded.s3.complaints());
}

#[tokio::test]
async fn r21_a_list_that_cannot_be_held_or_read_is_refused() {
    let guarded = Guarded::start().await;
    let right = list(&["team/k"]);
    let of = |body: &str| guarded.delete_many("TEAM", body);
    assert_eq!(guarded.status(&of("<Delete>")).await, 400);
    assert_eq!(guarded.status(&of("")).await, 400);
    let longest = format!("<!--{}-->{right}", "x".repeat(2 << 20));
    let answer = guarded.send(&of(&longest)).await;
    assert!(answer.text().contains("<Code>MaxMessageLengthExceeded</Code>"), "{}", answer.text());
    let mut other = of(&right).wire();
    let at = other.len() - "k</Key></Object></Delete>".len();
    other[at] = b'l';
    let answer = guarded.client.raw(&other).await;
    assert!(answer.text().contains("<Code>XAmzContentSHA256Mismatch</Code>"), "{}", answer.text());
    guarded.nothing_was_sent();
    assert!(guarded.has("team/k"));
    let expecting = of(&right).header("expect", "100-continue");
    assert_eq!(guarded.status(&expecting).await, 200);
    assert!(!guarded.has("team/k"));
}
