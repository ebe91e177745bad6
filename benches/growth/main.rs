//! Growth of costs: CPU time of single operations on a cache with N and with 10 N purges, prefixes, lists and
//! objects.
//!
//! ```text
//! cargo bench --bench growth
//! ```
//!
//! With ten times as many entries an operation may cost a few times as much, for cache misses and deeper trees; an
//! operation that scans all entries costs ten times as much. A bar that is missed makes the exit code 1. Rows in
//! parentheses have no bar: real times depend on what else the machine does.

use std::hint::black_box;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hotset::cache::disk::synthetic::{BlockIndex, MetadataIndex};
use hotset::cache::{Cache, CacheConfig, ListAnswer, ListKey, RuleConfig, Scope};
use hotset::config::units::{ByteSize, HumanDuration};
use hotset::metrics::cache::InvalidationCause;
use hotset::origin::{Origin, OriginConfig};
use hotset::s3::{BucketName, Listing, ObjectId, ObjectKey, Realm};
use rustix::time::{ClockId, clock_gettime};

/// The largest allowed ratio of an operation's cost at 10 N to its cost at N.
const BAR: f64 = 4.0;
/// Number of operations measured together.
const ROUNDS: u32 = 2_000;
/// Weight of a bucket with most of the objects.
const LARGE: u32 = u32::MAX >> 12;
/// Number of blocks in a segment that is reclaimed.
const BLOCKS: u32 = 5_000;

type Case = (&'static str, u32, fn(u32) -> Duration);

const CASES: [Case; 12] = [
    ("purge of a key, after N of them", 10_000, purge_keys),
    ("purge of a prefix, after N of them", 1_000, purge_prefixes),
    ("lookup of a key's epoch, with N purged keys", 10_000, look_up_keys),
    ("lookup of a key's epoch, with N purged prefixes", 1_000, look_up_prefixes),
    ("event, with N lists of other prefixes in its bucket", 1_000, end_lists),
    ("event that ends one of N lists of its bucket", 1_000, end_one_of_many_lists),
    ("end of a small bucket, with N objects on disk", 100_000, end_bucket),
    ("(the same by a look at all objects)", 100_000, end_bucket_by_scan),
    ("end of a bucket of N objects, for each of them", 100_000, end_large_bucket),
    ("(lookup while small buckets end, N objects, real time)", 100_000, look_up_while_buckets_end),
    ("(lookup while a bucket of N objects ends, real time)", 100_000, look_up_while_a_bucket_ends),
    ("reclaim of a segment, with N blocks on disk", 100_000, reclaim),
];

fn main() -> ExitCode {
    let mut missed = false;
    println!("{:54} {:>12} {:>12} {:>7}", "", "N", "10 N", "times");
    for (name, n, measure) in CASES {
        let [few, many] = [n, 10 * n].map(|n| measure(n).as_secs_f64() * 1e9);
        let times = many / few.max(1.0);
        println!("{name:54} {few:9.0} ns {many:9.0} ns {times:7.1}");
        missed |= times > BAR && !name.starts_with('(');
    }
    if missed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn cache() -> Arc<Cache> {
    let origin = Origin::new(OriginConfig::default(), None).expect("the default is right");
    let config = CacheConfig { memory: Some(ByteSize::mib(4096)), ..CacheConfig::default() };
    let lists = Some(HumanDuration(Duration::from_mins(1)));
    let rules = [RuleConfig { lists, ..RuleConfig::default() }];
    Cache::new(&config, &rules, Arc::new(origin)).expect("there is no disk")
}

fn bucket() -> BucketName {
    BucketName::new("a-bucket").expect("a legal name")
}

fn id(key: &str) -> ObjectId {
    let realm = Realm::new("http://origin", "default");
    ObjectId::new(&realm, bucket(), ObjectKey::new(key).expect("a legal key"))
}

fn purge_keys(n: u32) -> Duration {
    let cache = cache();
    let key = |n| ObjectKey::new(&format!("a folder/object-{n:09}")).expect("a legal key");
    let purge = |n| drop(cache.purge(&[Scope::Object(bucket(), key(n))]));
    (0..n).for_each(purge);
    per_round(|round| purge(n + round))
}

fn purge_prefixes(n: u32) -> Duration {
    let cache = cache();
    let purge = |n| drop(cache.purge(&[Scope::Prefix(bucket(), format!("folder-{n:09}/"))]));
    (0..n).for_each(purge);
    per_round(|round| purge(n + round))
}

fn look_up_keys(n: u32) -> Duration {
    let cache = cache();
    let key = |n| ObjectKey::new(&format!("a folder/object-{n:09}")).expect("a legal key");
    for n in 0..n {
        drop(cache.purge(&[Scope::Object(bucket(), key(n))]));
    }
    let ids: Vec<_> = (0..ROUNDS).map(|n| id(&format!("a folder/object-{:09}", n * 5))).collect();
    per_round(|round| {
        black_box(cache.purge_epoch(&ids[round as usize]));
    })
}

fn look_up_prefixes(n: u32) -> Duration {
    let cache = cache();
    for n in 0..n {
        drop(cache.purge(&[Scope::Prefix(bucket(), format!("folder-{n:09}/"))]));
    }
    let ids: Vec<_> =
        (0..ROUNDS).map(|n| id(&format!("folder-{:09}/object", n * 7 % 1_000))).collect();
    per_round(|round| {
        black_box(cache.purge_epoch(&ids[round as usize]));
    })
}

fn keep_list(cache: &Cache, prefix: String) {
    let (realm, question) = (Realm::new("http://origin", "default"), prefix.clone());
    let key = ListKey { realm, bucket: bucket(), identity: None, question: question.clone() };
    let listing = Listing { prefix: Some(prefix), question, no_cache: false };
    let fill = cache.list_begins(key, listing, Duration::from_mins(1));
    cache.admit_list(fill, ListAnswer { headers: Vec::new(), body: Bytes::from_static(b"x") });
}

fn end_lists(n: u32) -> Duration {
    let cache = cache();
    (0..n).for_each(|n| keep_list(&cache, format!("folder-{n:09}/")));
    let ids: Vec<_> = (0..ROUNDS).map(|n| id(&format!("elsewhere/object-{n}"))).collect();
    per_round(|round| {
        let _ = cache.invalidate(&ids[round as usize], InvalidationCause::Write);
    })
}

fn end_one_of_many_lists(n: u32) -> Duration {
    let cache = cache();
    (0..n + ROUNDS).for_each(|n| keep_list(&cache, format!("folder-{n:09}/")));
    let ids: Vec<_> = (0..ROUNDS).map(|n| id(&format!("folder-{n:09}/object"))).collect();
    per_round(|round| {
        let _ = cache.invalidate(&ids[round as usize], InvalidationCause::Write);
    })
}

fn objects(n: u32) -> MetadataIndex {
    let index = MetadataIndex::new(n + ROUNDS);
    (0..n).for_each(|n| index.insert(LARGE, n));
    (0..ROUNDS).for_each(|bucket| index.insert(bucket, n + bucket));
    index
}

fn end_bucket(n: u32) -> Duration {
    let index = objects(n);
    per_round(|bucket| assert_eq!(index.end_bucket(bucket), 1))
}

fn end_bucket_by_scan(n: u32) -> Duration {
    let index = objects(n);
    let started = cpu_time();
    (0..3).for_each(|bucket| assert_eq!(index.end_bucket_by_scan(bucket), 1));
    cpu_time().saturating_sub(started) / 3
}

fn end_large_bucket(n: u32) -> Duration {
    let index = objects(n);
    let started = cpu_time();
    assert_eq!(index.end_bucket(LARGE), u64::from(n));
    cpu_time().saturating_sub(started) / n
}

/// Returns the mean time of lookups by another thread, in real time, while `write` ends buckets.
fn look_up_while(index: &MetadataIndex, write: impl FnOnce() + Send) -> Duration {
    let ended = AtomicBool::new(false);
    thread::scope(|scope| {
        let lookups = scope.spawn(|| {
            let (started, mut count) = (Instant::now(), 0);
            while !ended.load(Ordering::Acquire) || count == 0 {
                black_box(index.knows(count));
                count += 1;
            }
            started.elapsed() / count
        });
        write();
        ended.store(true, Ordering::Release);
        lookups.join().expect("it does not panic")
    })
}

fn look_up_while_buckets_end(n: u32) -> Duration {
    let index = objects(n);
    look_up_while(&index, || {
        (0..ROUNDS).for_each(|bucket| assert_eq!(index.end_bucket(bucket), 1));
    })
}

fn look_up_while_a_bucket_ends(n: u32) -> Duration {
    let index = objects(n);
    look_up_while(&index, || assert_eq!(index.end_bucket(LARGE), u64::from(n)))
}

fn reclaim(n: u32) -> Duration {
    let path = std::env::temp_dir().join(format!("hotset-growth-{}", std::process::id()));
    let mut index = BlockIndex::new(&path, n, BLOCKS).expect("the path can be written");
    let started = cpu_time();
    assert_eq!(index.reclaim(), BLOCKS as usize);
    let took = cpu_time().saturating_sub(started);
    std::fs::remove_dir_all(path).expect("it was just made");
    took
}

fn per_round(mut operation: impl FnMut(u32)) -> Duration {
    let started = cpu_time();
    (0..ROUNDS).for_each(&mut operation);
    cpu_time().saturating_sub(started) / ROUNDS
}

fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(
        time.tv_sec.try_into().expect("not negative"),
        time.tv_nsec.try_into().expect("below a second"),
    )
}
