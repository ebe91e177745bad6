//! A purge invalidates metadata and blocks (R28), at once and for good (R11).

use hotset::cache::{DiskConfig, Freshness, KeyGlob, Scope};
use hotset::config::units::ByteSize;
use hotset::s3::{BucketName, ObjectKey};

use crate::support::*;

const HIT: &str = "hotset; hit";
const MISS: &str = "hotset; fwd=uri-miss; detail=new";
const SIZE: u64 = 200_000;
const OBJECTS: [(&str, &str); 5] =
    [("data", "a/1"), ("data", "a/2"), ("data", "b"), ("data", "ab"), ("other", "a/1")];

fn bucket(name: &str) -> BucketName {
    BucketName::new(name).unwrap()
}

fn object(name: &str, key: &str) -> Scope {
    Scope::Object(bucket(name), ObjectKey::new(key).unwrap())
}

fn prefix(name: &str, prefix: &str) -> Scope {
    Scope::Prefix(bucket(name), prefix.to_owned())
}

fn glob(name: &str, glob: &str) -> Scope {
    Scope::Glob(KeyGlob::new(bucket(name), glob).unwrap())
}

impl TestProxy {
    async fn purge(&self, scope: Scope) {
        let purged = self.cache.purge(&[scope]);
        within("a purge to be durable", self.cache.purged(purged)).await;
    }
}

/// Reads and checks every object; returns which of them came from the cache.
async fn hits(s3: &FakeS3, client: &Client) -> [bool; OBJECTS.len()] {
    let mut hits = [false; OBJECTS.len()];
    for (hit, (bucket, key)) in hits.iter_mut().zip(OBJECTS) {
        let read = client.get(&format!("/{bucket}/{key}")).send().await;
        assert!(read.complete && read.body == s3.object_bytes(bucket, key), "{bucket}/{key}");
        *hit = read.header("cache-status").starts_with(HIT);
    }
    hits
}

fn put_all(s3: &FakeS3) {
    for (n, (bucket, key)) in (0..).zip(OBJECTS) {
        s3.put(bucket, key, Object::random(SIZE, n));
    }
}

/// Scopes of purges, and the [`OBJECTS`] that each covers.
fn cases() -> [(Scope, [bool; OBJECTS.len()]); 9] {
    [
        (object("data", "a/1"), [true, false, false, false, false]),
        (prefix("data", "a/"), [true, true, false, false, false]),
        (prefix("data", "a"), [true, true, false, true, false]),
        (prefix("data", ""), [true, true, true, true, false]),
        (glob("data", "*/1"), [true, false, false, false, false]),
        (glob("data", "?"), [false, false, true, false, false]),
        (glob("data", "**/{1,b}"), [true, false, true, false, false]),
        (Scope::Bucket(bucket("data")), [true, true, true, true, false]),
        (Scope::Everything, [true; OBJECTS.len()]),
    ]
}

#[tokio::test]
async fn r28_a_purge_ends_the_blocks_of_what_it_names_and_of_nothing_else() {
    let s3 = FakeS3::start().await;
    put_all(&s3);
    let immutable = |config: &mut hotset::config::Config| {
        config.rules[0].freshness = Freshness::Immutable;
    };
    let proxy = TestProxy::start_with(&s3, immutable).await;
    let client = proxy.client();
    hits(&s3, &client).await;
    for (scope, ended) in cases() {
        assert_eq!(hits(&s3, &client).await, [true; OBJECTS.len()]);
        s3.forget_requests();
        let sent = s3.bytes_sent();
        proxy.purge(scope.clone()).await;
        assert_eq!(hits(&s3, &client).await, ended.map(|ended| !ended), "{scope:?}");
        let count = ended.iter().filter(|ended| **ended).count() as u64;
        // Fetched again, although nothing changed: the same ETag does not prove that the cached bytes are right.
        assert_eq!(s3.bytes_sent() - sent, count * SIZE, "{scope:?}");
    }
}

#[tokio::test]
async fn r6_what_was_under_way_when_a_purge_came_is_not_admitted() {
    for scope in [object("data", "k"), prefix("data", "k"), Scope::Everything] {
        let (s3, proxy, client) = setup().await;
        s3.put("data", "k", Object::random(SIZE, 1));
        let gate = Gate::new();
        s3.fault(Matcher::get("k"), Times(1), Fault::HoldBodyAfter(100_000, gate.clone()));
        let before = tokio::spawn(client.get("/data/k").send());
        gate.wait_reached().await;
        proxy.purge(scope.clone()).await;
        let after = client.get("/data/k").send().await;
        assert!(after.complete && after.header("cache-status") == MISS, "{scope:?}: {after:?}");
        gate.open();
        assert!(before.await.unwrap().complete);
        s3.wait_idle().await;
        assert_eq!(s3.requests().len(), 2, "{scope:?}: {}", s3.describe());
        assert_eq!(client.get("/data/k").send().await.header("cache-status"), HIT);
    }
}

#[tokio::test]
async fn r28_a_head_after_a_purge_brings_no_old_blocks_back() {
    for scope in [object("data", "k"), prefix("data", ""), Scope::Everything] {
        let (s3, proxy, client) = setup().await;
        s3.put("data", "k", Object::random(SIZE, 1));
        client.get("/data/k").send().await;
        proxy.purge(scope.clone()).await;
        assert_eq!(client.head("/data/k").send().await.status, 200);
        let sent = s3.bytes_sent();
        assert!(client.get("/data/k").send().await.complete);
        assert_eq!(s3.bytes_sent() - sent, SIZE, "{scope:?}");
    }
}

/// Runs `work` with a hotset of its own on `path`, and stops all of it.
pub(crate) fn restarted(s3: &FakeS3, path: &str, work: impl AsyncFnOnce(&TestProxy)) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let mut proxy = TestProxy::start_with(s3, |config| {
            config.rules[0].freshness = Freshness::Immutable;
            let (path, capacity) = (path.into(), ByteSize::mib(256));
            config.cache.disk = vec![DiskConfig { path, capacity, ..DiskConfig::default() }];
        })
        .await;
        work(&proxy).await;
        proxy.begin_shutdown();
        proxy.ended().await;
    });
}

#[test]
fn r28_blocks_on_disk_that_were_purged_do_not_come_back_with_a_restart() {
    let world = tokio::runtime::Runtime::new().unwrap();
    let s3 = world.block_on(FakeS3::start());
    put_all(&s3);
    for (scope, ended) in cases() {
        let scratch = Scratch::new();
        let path = scratch.path("disk");
        restarted(&s3, &path, async |proxy| {
            hits(&s3, &proxy.client()).await;
            hits(&s3, &proxy.client()).await;
        });
        restarted(&s3, &path, async |proxy| {
            assert_eq!(hits(&s3, &proxy.client()).await, [true; OBJECTS.len()], "from disk");
            proxy.purge(scope.clone()).await;
        });
        restarted(&s3, &path, async |proxy| {
            let sent = s3.bytes_sent();
            hits(&s3, &proxy.client()).await;
            let count = ended.iter().filter(|ended| **ended).count() as u64;
            let others = (OBJECTS.len() as u64 - count) * SIZE;
            let sent = s3.bytes_sent() - sent;
            // The bucket's other objects are confirmed by the origin; their blocks are still cached.
            assert!((count * SIZE..=count * SIZE + others).contains(&sent), "{scope:?}: {sent}");
        });
    }
}

#[test]
fn r28_what_was_purged_is_kept_or_nothing_on_disk_is_believed() {
    let world = tokio::runtime::Runtime::new().unwrap();
    let s3 = world.block_on(FakeS3::start());
    put_all(&s3);
    let scratch = Scratch::new();
    let path = scratch.path("disk");
    restarted(&s3, &path, async |proxy| {
        hits(&s3, &proxy.client()).await;
        proxy.purge(object("data", "b")).await;
        hits(&s3, &proxy.client()).await;
    });
    let files = std::fs::read_dir(format!("{path}/objects")).unwrap().map(|e| e.unwrap().path());
    let kept: Vec<_> =
        files.filter(|path| path.extension().is_some_and(|e| e == "floors")).collect();
    let [kept] = &kept[..] else { panic!("{kept:?}") };
    let mut bytes = std::fs::read(kept).unwrap();
    bytes[30] ^= 0xff;
    std::fs::write(kept, bytes).unwrap();
    restarted(&s3, &path, async |proxy| {
        let sent = s3.bytes_sent();
        hits(&s3, &proxy.client()).await;
        assert_eq!(s3.bytes_sent() - sent, OBJECTS.len() as u64 * SIZE);
    });
}
