//! Changes of the identities file while hotset serves.

use std::os::unix::fs::symlink;

use super::Guarded;
use crate::support::within;

const REFUSED: &str = "hotset_identities_reloads_total{outcome=\"refused\"}";

fn reader_with(access_key: &str, more: &str) -> String {
    format!(
        "identities:\n  - {{ name: reader, access_key: {access_key}, \
         secret_key: {access_key}-secret, \
         allow: [{{ actions: [read], resources: ['**'] }}]{more} }}\n"
    )
}

impl Guarded {
    /// Swaps one symbolic link, as the kubelet does when a Secret changes.
    fn swap_secret(&self, version: &str, identities: &str) {
        let folder = self.scratch.path(&format!("..{version}"));
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(format!("{folder}/identities.yaml"), identities).unwrap();
        symlink(format!("..{version}"), self.scratch.path("..data_tmp")).unwrap();
        std::fs::rename(self.scratch.path("..data_tmp"), self.scratch.path("..data")).unwrap();
    }

    fn mount(&self) {
        std::fs::remove_file(self.scratch.path("identities.yaml")).unwrap();
        symlink("..data/identities.yaml", self.scratch.path("identities.yaml")).unwrap();
    }

    async fn reads(&self, access_key: &str) -> u16 {
        let read = self.by(access_key, "GET", "/data/team/k");
        self.send(&read).await.status.as_u16()
    }

    /// Reads with an access key until the response has this status.
    async fn becomes(&self, access_key: &str, status: u16) {
        within("the identities to change", async {
            while self.reads(access_key).await != status {}
        })
        .await;
    }
}

#[tokio::test]
async fn r20_a_secret_that_is_swapped_takes_effect_and_a_broken_one_keeps_the_old() {
    let guarded = Guarded::start_with(&reader_with("ONE", ""), |_| {}).await;
    assert_eq!(guarded.ask("ONE", "GET", "/data/team/k").await, 200);
    guarded.swap_secret("1", &reader_with("TWO", ""));
    guarded.mount();
    guarded.becomes("TWO", 200).await;
    assert_eq!(guarded.reads("ONE").await, 403);

    let before = guarded.proxy.metric(REFUSED).await;
    guarded.swap_secret("2", "identities: [{ name: half, ");
    within("the broken file to be seen", async {
        while guarded.proxy.metric(REFUSED).await <= before {}
    })
    .await;
    assert_eq!(guarded.ask("TWO", "GET", "/data/team/k").await, 200);

    guarded.swap_secret("3", &reader_with("THREE", ""));
    guarded.becomes("THREE", 200).await;
    guarded.becomes("TWO", 403).await;
}

#[tokio::test]
async fn r20_a_key_is_rotated_without_a_request_refused_and_the_old_one_ends() {
    let next = ", keys: [{ access_key: TWO, secret_key: TWO-secret }]";
    let guarded = Guarded::start_with(&reader_with("ONE", ""), |_| {}).await;
    assert_eq!((guarded.reads("ONE").await, guarded.reads("TWO").await), (200, 403));
    guarded.swap_secret("1", &reader_with("ONE", next));
    guarded.mount();
    guarded.becomes("TWO", 200).await;
    assert_eq!(guarded.reads("ONE").await, 200, "both sign");
    guarded.swap_secret("2", &reader_with("TWO", ""));
    guarded.becomes("ONE", 403).await;
    assert_eq!(guarded.reads("TWO").await, 200);
}

const INCOMPLETE: &str = "hotset_identities_reloads_total{outcome=\"incomplete\"}";

/// A revocation in a file takes effect even if other parts of the file cannot be applied.
#[tokio::test]
async fn r20_a_realm_too_many_is_refused_and_holds_back_no_revocation_in_the_same_file() {
    let identity = |key: &str, resources: &str, more: &str| {
        format!(
            "  - {{ name: '{key}', access_key: {key}, secret_key: {key}-secret, \
             allow: [{{ actions: [read], resources: ['{resources}'] }}]{more} }}\n"
        )
    };
    let origin = |key: &str| format!(", origin: {{ access_key: O-{key}, secret_key: s }}");
    // Our own realm and these are the maximum number.
    let brought: String =
        (0..255).map(|n| format!("B{n}")).map(|key| identity(&key, "**", &origin(&key))).collect();
    let file = |others: &str| format!("identities:\n{brought}{others}");
    let [revoked, wide] = ["REVOKED", "NARROW"].map(|key| identity(key, "**", ""));
    let guarded = Guarded::start_with(&file(&(revoked + &wide)), |_| {}).await;
    for key in ["REVOKED", "NARROW", "B254"] {
        assert_eq!(guarded.reads(key).await, 200, "{key}");
    }
    let before = guarded.proxy.metric(INCOMPLETE).await;
    let narrow = identity("NARROW", "data/public/**", "");
    guarded.swap_secret("1", &file(&(identity("NEW", "**", &origin("NEW")) + &narrow)));
    guarded.mount();
    guarded.becomes("REVOKED", 403).await;
    assert_eq!(guarded.reads("NARROW").await, 403);
    assert_eq!(guarded.ask("NARROW", "GET", "/data/public/k").await, 200);
    assert_eq!(guarded.reads("NEW").await, 403, "nothing is asked in its name");
    assert_eq!(guarded.reads("B254").await, 200);
    assert!(guarded.proxy.metric(INCOMPLETE).await > before);
}

#[tokio::test]
async fn r1_keys_for_the_origin_that_change_are_used_at_once() {
    let with = |origin: &str| {
        reader_with("ONE", &format!(", origin: {{ access_key: {origin}, secret_key: s }}"))
    };
    let guarded = Guarded::start_with(&with("OLD"), |_| {}).await;
    assert_eq!(guarded.ask("ONE", "GET", "/data/team/k").await, 200);
    guarded.swap_secret("1", &with("NEW"));
    guarded.mount();
    let asked = |key: &'static str| {
        let by_key = format!("Credential={key}/");
        guarded.s3.count(|seen| seen.header("authorization").contains(&by_key))
    };
    within("the new keys to be used", async {
        while asked("NEW") == 0 {
            assert_eq!(guarded.ask("ONE", "GET", "/data/team/k?tagging").await, 200);
        }
    })
    .await;
    let before = asked("NEW");
    assert_eq!(guarded.ask("ONE", "GET", "/data/team/k").await, 200);
    assert_eq!(asked("NEW"), before, "the identity is the same: what it has read is still there");
    assert_eq!(guarded.ask("ONE", "GET", "/data/public/k").await, 200);
    assert_eq!(asked("NEW"), before + 1);
}
