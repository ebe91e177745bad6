//! The real process, killed at random moments under load and started again on the same disk, over and over.
//!
//! The property: every response, before a kill and after it, has the bytes of one version under that version's
//! `ETag`. That version is not older than the last write through hotset that was answered, or that reached the origin
//! before a kill cut it off (R8, R11); not even under `immutable`, where only the tombstone on disk knows.
//!
//! `HOTSET_CRASHES` sets the number of kills, `HOTSET_CRASH_SEED` the first seed; a failure prints its own. The
//! operations follow from the seed; their timing, and so their progress at the kill, does not.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::{MutexGuard, Notify};

use crate::support::{Broken, Client, FakeS3, History, Object, Process, Response, Scratch, lock};

/// Number of origins, each with a disk and one process at a time.
const HOUSES: u64 = 3;
const KEYS: usize = 30;
const WORKERS: usize = 5;
/// Maximum number of requests before a kill.
const REQUESTS: usize = 100;
/// Number of keys that are read as a whole after each start.
const SAMPLE: usize = 6;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r11_after_a_kill_at_any_moment_reads_are_exact_and_nothing_that_was_replaced_comes_back() {
    let (kills, first) = (setting("HOTSET_CRASHES", 201), setting("HOTSET_CRASH_SEED", 1));
    let houses = (first..first + HOUSES)
        .map(|seed| (seed, tokio::spawn(live_and_die(seed, kills.div_ceil(HOUSES)))));
    let mut survived = 0;
    for (seed, house) in houses.collect::<Vec<_>>() {
        let ended = house.await;
        assert!(ended.is_ok(), "HOTSET_CRASH_SEED={seed} fails");
        survived += ended.unwrap_or(0);
    }
    // Otherwise the test may have run on an empty disk.
    assert!(survived > kills, "{survived} answers from disk after {kills} kills");
}

/// Runs lives of processes that end by a kill; returns the number of hits on data that a killed process had left.
async fn live_and_die(seed: u64, kills: u64) -> u64 {
    let mut random = StdRng::seed_from_u64(seed);
    let house = House::new(seed).await;
    for life in 0..kills {
        let process = house.start().await;
        let client = process.client();
        for _ in 0..SAMPLE {
            let key = random.gen_range(0..KEYS);
            let answer = house.get(&client, &house.keys[key], None).await.expect("it lives");
            let from_disk = answer.header("cache-status").contains("detail=disk");
            house.survived.fetch_add(u64::from(from_disk), Ordering::Relaxed);
        }
        let workers = (0..WORKERS).map(|_| {
            let (house, client, random) =
                (house.clone(), client.clone(), StdRng::seed_from_u64(random.r#gen()));
            tokio::spawn(async move { house.work(&client, random).await })
        });
        let workers: Vec<_> = workers.collect();
        house.moment(&mut random).await;
        process.kill();
        for worker in workers {
            assert!(worker.await.is_ok(), "seed {seed}, life {life}");
        }
        house.settle().await;
    }
    house.survived.load(Ordering::Relaxed)
}

struct Key {
    path: String,
    name: String,
    history: Mutex<History>,
    /// Allows one writer at a time: the order of two writes that overlap is unknown.
    writing: tokio::sync::Mutex<()>,
}

struct House {
    seed: u64,
    s3: FakeS3,
    scratch: Scratch,
    keys: Vec<Key>,
    contents: AtomicU64,
    /// Number of requests that were answered.
    done: AtomicUsize,
    answered: Notify,
    survived: AtomicU64,
}

impl House {
    async fn new(seed: u64) -> Arc<House> {
        let key = |n: usize| {
            let name = format!("{}/{n}", if n.is_multiple_of(2) { "immutable" } else { "ttl" });
            let (history, writing) = (Mutex::default(), tokio::sync::Mutex::default());
            Key { path: format!("/data/{name}"), name, history, writing }
        };
        Arc::new(House {
            seed,
            s3: FakeS3::start().await,
            scratch: Scratch::new(),
            keys: (0..KEYS).map(key).collect(),
            contents: AtomicU64::new(seed << 32),
            done: AtomicUsize::new(0),
            answered: Notify::new(),
            survived: AtomicU64::new(0),
        })
    }

    async fn start(&self) -> Process {
        let config = format!(
            "listen: [{{ address: 127.0.0.1:0 }}]\nadmin: {{ address: 127.0.0.1:0 }}\nthreads: 2\n\
             log: {{ access: off }}\norigin: {{ endpoint: '{}', attempts: 1 }}\n\
             cache: {{ memory: 1MiB, block: 64KiB, fetch: 128KiB, in_flight: 8MiB, read_ahead: 1MiB, \
             admission: first-touch, disk: [{{ path: '{}', capacity: 128MiB }}] }}\n\
             rules:\n  - {{ match: 'data/immutable/*', freshness: immutable }}\n\
             \x20 - {{ match: '**', freshness: {{ ttl: 1h }} }}\n",
            self.s3.endpoint(),
            self.scratch.path("cache"),
        );
        Process::serve(&self.scratch.file("hotset.yaml", &config)).await
    }

    /// Waits for a random moment to kill the process: after some responses, or after a short time.
    async fn moment(&self, random: &mut StdRng) {
        if random.gen_bool(0.3) {
            let micros = random.gen_range(0..100_000);
            return tokio::time::sleep(Duration::from_micros(micros)).await;
        }
        let enough = self.done.load(Ordering::Relaxed) + random.gen_range(0..REQUESTS);
        while self.done.load(Ordering::Relaxed) < enough {
            let answered = self.answered.notified();
            tokio::select! {
                () = answered => {}
                // The last response may have come before this began to wait.
                () = tokio::time::sleep(Duration::from_millis(10)) => {}
            }
        }
    }

    /// Sends random requests until the server no longer answers.
    async fn work(&self, client: &Client, mut random: StdRng) {
        loop {
            let key = &self.keys[random.gen_range(0..KEYS)];
            let done = match random.gen_range(0..40) {
                0..4 => self.put(client, key, &mut random).await,
                4 => self.delete(client, key).await,
                5 | 6 => self.head(client, key).await,
                _ => {
                    let range = range(&mut random);
                    self.get(client, key, range.as_deref()).await.map(drop)
                }
            };
            if done.is_err() {
                return;
            }
            self.done.fetch_add(1, Ordering::Relaxed);
            self.answered.notify_one();
        }
    }

    /// Waits until no other write of the key is in progress.
    async fn turn<'k>(&self, key: &'k Key) -> Result<MutexGuard<'k, ()>, Broken> {
        let turn = key.writing.lock().await;
        match lock(&key.history).is_open() {
            false => Ok(turn),
            // The last write had no response: the process is gone.
            true => Err(Broken { received: 0, reason: "a write before broke off".to_owned() }),
        }
    }

    async fn put(&self, client: &Client, key: &Key, random: &mut StdRng) -> Result<(), Broken> {
        let _one = self.turn(key).await?;
        let size = match random.gen_range(0..4) {
            0 => random.gen_range(1..5000),
            _ => random.gen_range(50_000..500_000),
        };
        let content = self.contents.fetch_add(1, Ordering::Relaxed);
        let body = Object::random(size, content).all();
        lock(&key.history).begin(Some(Object::bytes(body.clone())));
        let answer = client.put(&key.path).body(body).try_send().await?;
        assert_eq!(answer.status, 200, "{}", self.place(key));
        lock(&key.history).end(true, true);
        Ok(())
    }

    async fn delete(&self, client: &Client, key: &Key) -> Result<(), Broken> {
        let _one = self.turn(key).await?;
        lock(&key.history).begin(None);
        let answer = client.delete(&key.path).try_send().await?;
        assert_eq!(answer.status, 204, "{}", self.place(key));
        lock(&key.history).end(true, true);
        Ok(())
    }

    async fn head(&self, client: &Client, key: &Key) -> Result<(), Broken> {
        let floor = lock(&key.history).floor(false);
        let answer = client.head(&key.path).try_send().await?;
        let right = lock(&key.history).allows_head(floor, &answer);
        assert!(right, "HEAD {}", self.wrong(key, floor, &answer));
        Ok(())
    }

    async fn get(
        &self,
        client: &Client,
        key: &Key,
        range: Option<&str>,
    ) -> Result<Response, Broken> {
        let floor = lock(&key.history).floor(false);
        let mut request = client.get(&key.path);
        if let Some(range) = range {
            request = request.range(range);
        }
        let answer = request.try_send().await?;
        // An object may change under a reader more often than it starts again.
        let right = lock(&key.history).allows(floor, &answer) || answer.status == 503;
        assert!(right, "GET {range:?} {}", self.wrong(key, floor, &answer));
        Ok(answer)
    }

    /// Settles the history after a kill: the process's last writes reached the origin, or never will.
    async fn settle(&self) {
        self.s3.wait_disconnected().await;
        for key in &self.keys {
            let mut history = lock(&key.history);
            if history.is_open() {
                let stored = self.s3.object("data", &key.name);
                let etag = |object: Option<&Object>| object?.etag_value().map(str::to_owned);
                let applied = etag(stored.as_ref()) == etag(history.last());
                history.end(applied, true);
            }
        }
        self.s3.forget_requests();
    }

    fn place(&self, key: &Key) -> String {
        format!("{}, HOTSET_CRASH_SEED={}\n{}", key.path, self.seed, self.s3.describe())
    }

    fn wrong(&self, key: &Key, floor: usize, answer: &Response) -> String {
        let Response { status, headers, body, complete } = answer;
        let etags = format!("{:?}", lock(&key.history).etags());
        format!(
            "{status} {headers:?}, {} bytes, complete: {complete}; floor {floor} of\n{etags}\n{}",
            body.len(),
            self.place(key)
        )
    }
}

fn range(random: &mut StdRng) -> Option<String> {
    let first = random.gen_range(0..500_000);
    match random.gen_range(0..4) {
        0 => None,
        1 => Some(format!("bytes=-{}", random.gen_range(1..200_000))),
        2 => Some(format!("bytes={}-", first / 4)),
        _ => Some(format!("bytes={}-{}", first / 2, first + random.gen_range(0..100_000))),
    }
}
