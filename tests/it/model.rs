//! Random operations against a model: every version that each key ever had.
//!
//! The property: a complete response has exactly one version's bytes, under that version's `ETag`. It is no version
//! older than the last write that went through the proxy and was answered before the read began; for a reader with
//! `no-cache`, no version older than the last write of any kind. A truncated response is a prefix of one version.
//! Once hotset got an event for a version, or was purged, no read that begins then returns an older one; this holds
//! under each rule, for events in any order and repeated, and after a restart on the same disk. Faults may cost a
//! response, but never make it wrong. A read by version id returns that version's bytes, or 404 if it was deleted;
//! always 404 once its delete went through the proxy.
//!
//! `HOTSET_MODEL_ROUNDS` sets the number of rounds, `HOTSET_MODEL_SEED` the first seed; a failure prints its own.

mod told;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hotset::cache::{DiskConfig, EventsFreshness, Freshness, Scope};
use hotset::config::units::{ByteSize, HumanDuration};
use hotset::events::Source;
use hotset::s3::{BucketName, ObjectKey};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use self::told::{Server, event};
use crate::support::{
    Client, FakeS3, Fault, History, Matcher, Object, Response, Scratch, TestProxy, Times, is_of,
    lock, test_config,
};

const KEYS: usize = 4;
const WORKERS: usize = 6;
const OPERATIONS: usize = 60;

struct Key {
    name: String,
    history: Mutex<History>,
    /// Versions that were put with an id.
    named: Mutex<Vec<Named>>,
    /// Allows one writer at a time: the order of two writes that overlap is unknown.
    writing: tokio::sync::Mutex<()>,
}

/// A version with an id.
#[derive(Clone)]
struct Named {
    id: String,
    object: Object,
    /// Whether its delete has begun.
    going: bool,
    /// Whether its delete was answered.
    gone: bool,
}

struct World {
    seed: u64,
    s3: FakeS3,
    /// The current hotset, and a client of it.
    running: Mutex<Option<(Arc<TestProxy>, Client)>>,
    keys: Vec<Key>,
    /// Whether every read must return the current version.
    revalidates: bool,
    versioned: bool,
    faults: bool,
    contents: AtomicU64,
    /// Numbers of reads that were sent, and that got a whole response: a proxy that never answers is never wrong.
    asked: AtomicU64,
    answered: AtomicU64,
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_answer_is_one_versions_bytes_and_none_is_older_than_a_finished_write() {
    let first = setting("HOTSET_MODEL_SEED", 1);
    for seed in first..first + setting("HOTSET_MODEL_ROUNDS", 12) {
        round(seed).await;
    }
}

async fn round(seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let s3 = FakeS3::start().await;
    let revalidates = random.gen_bool(0.3);
    let block = [64, 128, 256, 1024][random.gen_range(0..4)];
    let memory = [8, 64][random.gen_range(0..2)];
    let ttl = [Duration::ZERO, Duration::from_millis(20), Duration::from_mins(1)];
    let ttl = HumanDuration(ttl[random.gen_range(0..3)]);
    let backstop = HumanDuration::secs(3600);
    let freshness = match random.gen_range(0..4) {
        _ if revalidates => Freshness::Revalidate,
        0 => Freshness::Immutable,
        1 => Freshness::Events(EventsFreshness { ttl, backstop, proof: backstop }),
        _ => Freshness::Ttl(ttl),
    };
    let scratch = random.gen_bool(0.4).then(Scratch::new);
    let mut config = test_config(&s3);
    config.cache.block = ByteSize::kib(block);
    config.cache.fetch = ByteSize::kib(block * 2);
    config.cache.memory = Some(ByteSize::mib(memory));
    config.origin.idle_timeout.0 = Duration::from_millis(200);
    config.origin.first_byte_timeout.0 = Duration::from_secs(2);
    config.rules[0].freshness = freshness;
    if let Some(scratch) = &scratch {
        let (path, capacity) = (scratch.path("disk").into(), ByteSize::mib(256));
        config.cache.disk = vec![DiskConfig { path, capacity, ..DiskConfig::default() }];
    }
    let key = |n| Key {
        name: format!("key-{n}"),
        history: Mutex::default(),
        named: Mutex::default(),
        writing: tokio::sync::Mutex::default(),
    };
    let world = Arc::new(World {
        seed,
        running: Mutex::default(),
        s3,
        keys: (0..KEYS).map(key).collect(),
        revalidates,
        versioned: random.gen_bool(0.4),
        faults: random.gen_bool(0.7),
        contents: AtomicU64::new(seed << 20),
        asked: AtomicU64::default(),
        answered: AtomicU64::default(),
    });
    let lives = if scratch.is_some() { 3 } else { 1 };
    for life in 1..=lives {
        let server = Server::start(&config).await;
        *lock(&world.running) = Some((server.proxy.clone(), server.proxy.client()));
        let workers = (0..WORKERS).map(|_| {
            let (world, random) = (world.clone(), StdRng::seed_from_u64(random.r#gen()));
            tokio::spawn(world.work(random, OPERATIONS / lives))
        });
        for worker in workers.collect::<Vec<_>>() {
            let ended = worker.await;
            assert!(ended.is_ok(), "HOTSET_MODEL_SEED={seed} fails");
        }
        if life == lives {
            world.settle().await;
        }
        lock(&world.running).take();
        server.end().await;
    }
}

impl World {
    async fn work(self: Arc<Self>, mut random: StdRng, operations: usize) {
        for _ in 0..operations {
            let key = &self.keys[random.gen_range(0..KEYS)];
            if self.faults && random.gen_bool(0.3) {
                self.spoil(key, &mut random);
            }
            match random.gen_range(0..24) {
                20..=22 => self.tell(key, &mut random).await,
                23 => self.purge(key, &mut random).await,
                0 => self.put(key, &mut random).await,
                1 => self.delete(key).await,
                2 | 3 => self.write_directly(key, &mut random).await,
                4..=6 => self.head(key, &mut random).await,
                7 | 8 if self.versioned => self.get_version(key, &mut random).await,
                9 if self.versioned => self.delete_version(key, &mut random).await,
                _ => self.get(key, &mut random).await,
            }
        }
    }

    fn client(&self) -> Client {
        lock(&self.running).as_ref().expect("it runs").1.clone()
    }

    fn proxy(&self) -> Arc<TestProxy> {
        lock(&self.running).as_ref().expect("it runs").0.clone()
    }

    /// Asserts that every key is as the model says, when read without faults and with `no-cache`.
    async fn settle(&self) {
        let (asked, answered) = (&self.asked, &self.answered);
        let (asked, answered) = (asked.load(Ordering::Relaxed), answered.load(Ordering::Relaxed));
        assert!(answered * 10 >= asked * 8, "seed {}: {answered} of {asked} answered", self.seed);
        self.s3.clear_faults();
        for key in &self.keys {
            let answer = self.client().get(&key.path()).header("Cache-Control", "no-cache");
            let answer = answer.send().await;
            let last = lock(&key.history).last().cloned();
            match last {
                None => assert_eq!(answer.status, 404, "{}", self.where_is(key)),
                Some(object) => {
                    assert_eq!(answer.status, 200, "{}", self.where_is(key));
                    assert!(
                        answer.complete && answer.body == object.all(),
                        "{}",
                        self.where_is(key)
                    );
                }
            }
        }
    }

    fn where_is(&self, key: &Key) -> String {
        format!("HOTSET_MODEL_SEED={}, {}", self.seed, key.name)
    }

    /// Returns an object unlike any other of this round.
    fn object(&self, random: &mut StdRng) -> Object {
        let content = self.contents.fetch_add(1, Ordering::Relaxed);
        let size = match random.gen_range(0..10) {
            0 => 16,
            1 => 65_536,
            2 => 131_072,
            3..=5 => random.gen_range(16..5000),
            _ => random.gen_range(16..700_000),
        };
        Object::random(size, content)
    }

    fn spoil(&self, key: &Key, random: &mut StdRng) {
        let at = random.gen_range(0..300_000);
        let fault = match random.gen_range(0..14) {
            0 => Fault::Status(500, "InternalError"),
            1 => Fault::Status(503, "SlowDown"),
            2 => Fault::ResetBeforeAnswer,
            3 => Fault::CloseBeforeAnswer,
            4 => Fault::ResetAfter(at),
            5 => Fault::StallAfter(at),
            6 => Fault::LongContentLength,
            7 => Fault::ShortContentLength,
            8 => Fault::TooManyBytes,
            9 => Fault::IgnoreRange,
            10 => Fault::IgnoreIfMatch,
            11 => Fault::CloseAfterAnswer,
            _ => Fault::CutAfter(at),
        };
        let matcher = match random.gen_range(0..6) {
            // A wrong size in a HEAD cannot be told from the true one.
            0 if !matches!(fault, Fault::LongContentLength | Fault::ShortContentLength) => {
                Matcher::head(&key.name)
            }
            1 => {
                let write = [Fault::Status(500, "InternalError"), Fault::ResetBeforeAnswer];
                let write = write[random.gen_range(0..2)].clone();
                return self.s3.fault(Matcher::put(&key.name), Times(1), write);
            }
            _ => Matcher::get(&key.name),
        };
        self.s3.fault(matcher, Times(random.gen_range(1..3)), fault);
    }

    async fn put(&self, key: &Key, random: &mut StdRng) {
        let _one = key.writing.lock().await;
        let body = self.object(random).all();
        let object = Object::bytes(body.clone());
        key.begin(Some(object.clone()));
        let answer = self.client().put(&key.path()).body(body).send().await;
        let stored = self.s3.object("data", &key.name);
        let applied = stored.is_some_and(|o| o.etag_value() == object.etag_value());
        assert!(applied || answer.status != 200, "{}", self.where_is(key));
        key.end(applied, true);
    }

    async fn delete(&self, key: &Key) {
        let _one = key.writing.lock().await;
        key.begin(None);
        let answer = self.client().delete(&key.path()).send().await;
        assert_eq!(answer.status, 204, "{}", self.where_is(key));
        key.end(true, true);
    }

    async fn write_directly(&self, key: &Key, random: &mut StdRng) {
        let _one = key.writing.lock().await;
        if random.gen_bool(0.2) {
            key.begin(None);
            self.s3.delete("data", &key.name);
        } else {
            let mut object = self.object(random);
            if self.versioned {
                let id = format!("v{}", random.r#gen::<u64>());
                object = object.version_id(&id);
                let named = Named { id, object: object.clone(), going: false, gone: false };
                lock(&key.named).push(named);
            }
            key.begin(Some(object.clone()));
            self.s3.put("data", &key.name, object);
        }
        key.end(true, false);
    }

    /// Sends an event of an existing version: the last one, or an older one, late or repeated.
    async fn tell(&self, key: &Key, random: &mut StdRng) {
        let (index, body) = {
            let history = lock(&key.history);
            let (index, version) = history.any(random);
            (index, event(&key.name, version.and_then(Object::etag_value), index))
        };
        let proxy = self.proxy();
        let applied = proxy.intake.apply(Source::Nats, body.as_bytes());
        proxy.intake.durable(applied.expect("a right message")).await;
        lock(&key.history).told(index);
    }

    /// Purges a key, or all of them: reads that begin now return the current version, or a newer one.
    async fn purge(&self, key: &Key, random: &mut StdRng) {
        let bucket = BucketName::new("data").unwrap();
        let (scope, keys) = match random.gen_range(0..4) {
            0 => (Scope::Prefix(bucket, "key-".to_owned()), &self.keys[..]),
            1 => (Scope::Bucket(bucket), &self.keys[..]),
            2 => (Scope::Everything, &self.keys[..]),
            _ => {
                let name = ObjectKey::new(&key.name).unwrap();
                (Scope::Object(bucket, name), std::slice::from_ref(key))
            }
        };
        let before: Vec<usize> = keys.iter().map(|key| key.floor(true)).collect();
        let proxy = self.proxy();
        let purged = proxy.cache.purge(&[scope]);
        proxy.cache.purged(purged).await;
        for (key, index) in keys.iter().zip(before) {
            lock(&key.history).told(index);
        }
    }

    async fn get_version(&self, key: &Key, random: &mut StdRng) {
        let Some(named) = key.any_named(random) else { return };
        let range = range(random);
        let mut request = self.client().get(&format!("{}?versionId={}", key.path(), named.id));
        if let Some(range) = &range {
            request = request.range(range);
        }
        let Ok(answer) = request.try_send().await else { return };
        let going = lock(&key.named).iter().any(|v| v.id == named.id && v.going);
        let right = match answer.status.as_u16() {
            200 | 206 => {
                let id = answer.header("x-amz-version-id");
                !named.gone && id == named.id && is_of(&named.object, &answer)
            }
            404 => going,
            416 => answer.header("content-range") == format!("bytes */{}", named.object.len()),
            503 => true,
            status => status >= 500 && self.faults,
        };
        let (at, s3) = (self.where_is(key), self.s3.describe());
        assert!(right, "{at}: {} {range:?} -> {answer:?}\n{s3}", named.id);
    }

    /// Deletes a version other than the current one; deleting that would restore the one before.
    async fn delete_version(&self, key: &Key, random: &mut StdRng) {
        let _one = key.writing.lock().await;
        let Some(named) = key.any_named(random).filter(|named| !named.going) else { return };
        let current = self.s3.object("data", &key.name);
        if current.is_some_and(|object| object.etag_value() == named.object.etag_value()) {
            return;
        }
        key.mark(&named.id, |named| named.going = true);
        let path = format!("{}?versionId={}", key.path(), named.id);
        if random.gen_bool(0.2) {
            // Deleted without telling the proxy, which may serve a version that it has.
            self.s3.delete_version("data", &key.name, &named.id);
            return;
        }
        assert_eq!(self.client().delete(&path).send().await.status, 204, "{}", self.where_is(key));
        key.mark(&named.id, |named| named.gone = true);
    }

    async fn get(&self, key: &Key, random: &mut StdRng) {
        let demands = random.gen_bool(0.2);
        let mut range = range(random);
        let mut path = key.path();
        if random.gen_bool(0.1) {
            // An object that was not uploaded in parts is its own part 1.
            (path, range) = (path + "?partNumber=1", None);
        }
        let mut request = self.client().get(&path);
        if demands {
            request = request.header("Cache-Control", "no-cache");
        }
        if let Some(range) = &range {
            request = request.range(range);
        }
        let floor = key.floor(demands || self.revalidates);
        if random.gen_bool(0.1) {
            // A reader that disconnects.
            if let Ok(mut reader) = request.try_open().await {
                reader.read(random.gen_range(0..100_000)).await;
            }
            return;
        }
        self.asked.fetch_add(1, Ordering::Relaxed);
        // A transfer may break off before its head has left the proxy's buffer.
        let Ok(answer) = request.try_send().await else { return };
        self.check(key, floor, &answer, range.as_deref());
        if answer.complete && answer.status.as_u16() < 500 {
            self.answered.fetch_add(1, Ordering::Relaxed);
        }
    }

    async fn head(&self, key: &Key, random: &mut StdRng) {
        let demands = random.gen_bool(0.2);
        let mut request = self.client().head(&key.path());
        if demands {
            request = request.header("Cache-Control", "no-cache");
        }
        let floor = key.floor(demands || self.revalidates);
        let answer = request.send().await;
        let history = lock(&key.history);
        let failed = answer.status.is_server_error() && self.faults;
        let right = failed || history.allows_head(floor, &answer);
        let (at, etags) = (self.where_is(key), history.etags());
        assert!(right, "{at}: HEAD {answer:?}, floor {floor}\n{etags:?}\n{}", self.s3.describe());
    }

    fn check(&self, key: &Key, floor: usize, answer: &Response, range: Option<&str>) {
        let history = lock(&key.history);
        // An object may also change under a reader more often than it starts again.
        let failed = answer.status == 503 || answer.status.is_server_error() && self.faults;
        let right = failed || history.allows(floor, answer);
        let (status, headers, got) = (answer.status, &answer.headers, answer.body.len());
        assert!(
            right,
            "{}: GET {range:?} -> {status} {headers:?}, {got} bytes, floor {floor}\n{:?}\n{}",
            self.where_is(key),
            history.etags(),
            self.s3.describe(),
        );
    }
}

impl Key {
    fn path(&self) -> String {
        format!("/data/{}", self.name)
    }

    fn any_named(&self, random: &mut StdRng) -> Option<Named> {
        let named = lock(&self.named);
        let last = named.len().checked_sub(1)?;
        Some(named[random.gen_range(0..=last)].clone())
    }

    fn mark(&self, id: &str, mark: impl Fn(&mut Named)) {
        lock(&self.named).iter_mut().filter(|named| named.id == id).for_each(mark);
    }

    fn begin(&self, version: Option<Object>) {
        lock(&self.history).begin(version);
    }

    fn end(&self, applied: bool, through_the_proxy: bool) {
        lock(&self.history).end(applied, through_the_proxy);
    }

    fn floor(&self, strict: bool) -> usize {
        lock(&self.history).floor(strict)
    }
}

fn range(random: &mut StdRng) -> Option<String> {
    let first = random.gen_range(0..700_000);
    match random.gen_range(0..6) {
        0 | 1 => None,
        2 => Some(format!("bytes={first}-")),
        3 => Some(format!("bytes=-{}", random.gen_range(1..200_000))),
        4 => Some(format!("bytes={first}-{}", first + random.gen_range(0..5000))),
        _ => Some(format!("bytes={}-{}", first / 4, first + random.gen_range(0..200_000))),
    }
}
