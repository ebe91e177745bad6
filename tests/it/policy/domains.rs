//! R1: objects fetched with one identity's keys for the origin are not served to another identity.

use super::Guarded;
use crate::support::Object;

const IDENTITIES: &str = "
identities:
  - { name: plain, access_key: PLAIN, secret_key: PLAIN-secret,
      allow: [{ actions: [read, write, delete], resources: ['**'] }] }
  - { name: alice, access_key: ALICE, secret_key: ALICE-secret,
      allow: [{ actions: [read, write, delete], resources: ['**'] }],
      origin: { access_key: ORIGIN-A, secret_key: a } }
  - { name: bob, access_key: BOB, secret_key: BOB-secret,
      allow: [{ actions: [read, write], resources: ['**'] }],
      origin: { access_key: ORIGIN-B, secret_key: b, session_token: token-b, domain: team } }
  - { name: carol, access_key: CAROL, secret_key: CAROL-secret,
      allow: [{ actions: [read, write], resources: ['**'] }],
      origin: { access_key: ORIGIN-C, secret_key: c, domain: team } }
";

impl Guarded {
    /// Returns the access keys of the origin's requests since the last call, in order.
    fn asked_with(&self) -> Vec<String> {
        let requests = self.s3.requests();
        self.s3.forget_requests();
        let key = |authorization: &str| {
            let (_, rest) = authorization.split_once("Credential=").expect("it is signed");
            rest.split('/').next().unwrap_or_default().to_owned()
        };
        requests.iter().map(|seen| key(seen.header("authorization"))).collect()
    }
}

#[tokio::test]
async fn r1_each_domain_fetches_with_its_own_keys_and_shares_nothing() {
    let guarded = Guarded::start_with(IDENTITIES, |_| {}).await;
    for (who, asked) in [("PLAIN", "AKTEST"), ("ALICE", "ORIGIN-A"), ("BOB", "ORIGIN-B")] {
        assert_eq!(guarded.ask(who, "GET", "/data/secret/k").await, 200);
        assert_eq!(guarded.asked_with(), [asked], "{who} is the first of its domain");
        for method in ["GET", "HEAD"] {
            assert_eq!(guarded.ask(who, method, "/data/secret/k").await, 200);
            assert_eq!(guarded.asked_with(), [""; 0], "{who} again");
        }
    }
    assert_eq!(guarded.ask("CAROL", "GET", "/data/secret/k").await, 200);
    assert_eq!(guarded.asked_with(), [""; 0], "a domain that is named is shared");
    assert_eq!(guarded.ask("CAROL", "GET", "/data/team/k").await, 200);
    assert_eq!(guarded.asked_with(), ["ORIGIN-B"], "the first of a domain fetches for it");
    assert!(guarded.s3.complaints().is_empty(), "{:?}", guarded.s3.complaints());
}

#[tokio::test]
async fn r1_absence_is_known_in_one_domain_only() {
    let guarded = Guarded::start_with(IDENTITIES, |_| {}).await;
    for who in ["PLAIN", "ALICE"] {
        assert_eq!(guarded.ask(who, "GET", "/data/none").await, 404);
        assert_eq!(guarded.asked_with().len(), 1, "{who}");
    }
}

#[tokio::test]
async fn r1_what_passes_through_is_signed_with_the_keys_of_who_asks() {
    let guarded = Guarded::start_with(IDENTITIES, |_| {}).await;
    for (who, asked) in
        [("PLAIN", "AKTEST"), ("ALICE", "ORIGIN-A"), ("BOB", "ORIGIN-B"), ("CAROL", "ORIGIN-C")]
    {
        let put = guarded.by(who, "PUT", "/data/new").body(who.as_bytes());
        assert_eq!(guarded.status(&put).await, 200);
        assert_eq!(guarded.asked_with(), [asked]);
    }
    let put = guarded.by("BOB", "PUT", "/data/new").body(b"token");
    assert_eq!(guarded.status(&put).await, 200);
    assert_eq!(guarded.s3.requests()[0].header("x-amz-security-token"), "token-b");
}

#[tokio::test]
async fn r8_a_write_in_one_domain_is_seen_in_all() {
    let guarded = Guarded::start_with(IDENTITIES, |_| {}).await;
    let all = ["PLAIN", "ALICE", "BOB", "CAROL"];
    for (round, writer) in all.iter().enumerate() {
        for who in all {
            assert_eq!(guarded.ask(who, "GET", "/data/team/k").await, 200);
        }
        let content = format!("round {round}");
        let put = guarded.by(writer, "PUT", "/data/team/k").body(content.as_bytes());
        assert_eq!(guarded.status(&put).await, 200);
        for who in all {
            let read = guarded.send(&guarded.by(who, "GET", "/data/team/k")).await;
            assert_eq!(read.text(), content, "{who} after {writer}");
        }
    }
    for key in ["a", "b"] {
        guarded.s3.put("data", key, Object::bytes("content"));
        assert_eq!(guarded.ask("ALICE", "GET", &format!("/data/{key}")).await, 200);
    }
    let body = "<Delete><Object><Key>a</Key></Object></Delete>";
    let delete = guarded.by("PLAIN", "POST", "/data?delete").body(body.as_bytes());
    assert_eq!(guarded.status(&delete).await, 200);
    assert_eq!(guarded.ask("ALICE", "GET", "/data/a").await, 404);
    assert_eq!(guarded.ask("ALICE", "GET", "/data/b").await, 200);
}
