//! After many purges nothing else is fetched again (R28): through the admin API, on a real disk, after a restart.

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::purge::restarted;
use crate::support::*;

const KEYS: u32 = 100_000;
const PREFIXES: u32 = 10_000;
/// Number of keys in one request, the maximum.
const BATCH: u32 = 10_000;
/// Number of requests in flight at the same time.
const TOGETHER: u32 = 50;
const SIZE: u64 = 100_000;
/// Objects in the bucket of all purges: five that no purge covers, one purged by name, and one by its prefix.
const OBJECTS: [&str; 7] =
    ["kept/0", "kept/1", "key-", "key-100000", "folder-1", "key-77777", "folder-7777/x"];
const KEPT: usize = 5;

/// Reads and checks every object; returns which of them came from the cache.
async fn hits(s3: &FakeS3, client: &Client) -> [bool; OBJECTS.len()] {
    let mut hits = [false; OBJECTS.len()];
    for (hit, key) in hits.iter_mut().zip(OBJECTS) {
        let read = client.get(&format!("/data/{key}")).send().await;
        assert!(read.complete && read.body == s3.object_bytes("data", key), "{key}");
        *hit = read.header("cache-status").starts_with("hotset; hit");
    }
    hits
}

async fn purge(api: &Api, scope: Value) {
    let (status, answer) = api.post("/api/v1/purge", &scope.to_string()).await;
    assert_eq!(status, 200, "{answer}");
}

async fn purge_all(api: &Api) {
    for first in (0..KEYS).step_by(BATCH as usize) {
        let keys = first..first + BATCH;
        let keys: Vec<_> = keys.map(|n| format!("s3://data/key-{n}")).collect();
        purge(api, json!({ "keys": keys })).await;
    }
    for first in (0..PREFIXES).step_by(TOGETHER as usize) {
        let prefixes = first..first + TOGETHER;
        let prefix = |n| purge(api, json!({ "prefix": format!("s3://data/folder-{n}/") }));
        join_all(prefixes.map(prefix)).await;
    }
}

#[test]
fn r28_a_hundred_thousand_purged_keys_and_ten_thousand_prefixes_leave_all_else_cached() {
    let scratch = Scratch::new();
    let path = scratch.path("disk");
    let world = tokio::runtime::Runtime::new().unwrap();
    let s3 = world.block_on(FakeS3::start());
    for (seed, key) in (0..).zip(OBJECTS) {
        s3.put("data", key, Object::random(SIZE, seed));
    }
    let mut covered = [true; OBJECTS.len()];
    covered[..KEPT].fill(false);
    restarted(&s3, &path, async |proxy| {
        let client = proxy.client();
        hits(&s3, &client).await;
        assert_eq!(hits(&s3, &client).await, [true; OBJECTS.len()]);
        purge_all(&Api::new(proxy.admin)).await;
        let sent = s3.bytes_sent();
        assert_eq!(hits(&s3, &client).await, covered.map(|covered| !covered));
        assert_eq!(s3.bytes_sent() - sent, (OBJECTS.len() - KEPT) as u64 * SIZE);
    });
    restarted(&s3, &path, async |proxy| {
        let (client, sent) = (proxy.client(), s3.bytes_sent());
        assert_eq!(hits(&s3, &client).await, [true; OBJECTS.len()], "from disk");
        assert_eq!(s3.bytes_sent(), sent);
        purge(&Api::new(proxy.admin), json!({ "keys": ["s3://data/kept/0"] })).await;
        assert!(!hits(&s3, &client).await[0], "what is purged now is fetched again");
    });
}
