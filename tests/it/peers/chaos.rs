//! Pairs of a write through one replica and a read through another, while replicas are killed, frozen and restarted.
//!
//! The property: no read that begins after a write was answered, or an event was acknowledged, returns an older
//! version, under any rule and through any replica. `HOTSET_PEERS_SECONDS` sets the duration.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use http::Method;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::time::{Instant, timeout};

use super::replicas::Replicas;
use super::{EVENTS, IMMUTABLE, TTL};
use crate::events::record_of;
use crate::support::{Client, FakeS3, Object, lock};

const REPLICAS: usize = 3;
const WORKERS: u64 = 6;
const KEYS: usize = 4;
/// Request timeout: a frozen replica answers only when it is thawed.
const READ_TIMEOUT: Duration = Duration::from_secs(15);

/// State shared by the workers.
struct Shared {
    /// Clients of the running replicas, frozen ones included.
    clients: Mutex<Vec<Option<Ports>>>,
    s3: Arc<FakeS3>,
    stop: AtomicBool,
    pairs: AtomicU64,
    hits: AtomicU64,
}

/// Client and webhook of one replica.
#[derive(Clone)]
struct Ports {
    client: Client,
    /// Client of its webhook, if its rule uses events.
    webhook: Option<Client>,
}

impl Ports {
    fn of(replicas: &Replicas, index: usize) -> Self {
        let events = replicas.receives_events();
        Self { client: replicas.client(index), webhook: events.then(|| replicas.webhook(index)) }
    }
}

impl Shared {
    fn any(&self, random: &mut StdRng) -> Ports {
        let clients = lock(&self.clients);
        let running: Vec<_> = clients.iter().flatten().collect();
        running[random.gen_range(0..running.len())].clone()
    }

    /// Writes directly to the origin, and sends one replica the event. Returns `false` if nobody acknowledged it.
    async fn write_past(&self, random: &mut StdRng, key: &str, version: u64) -> bool {
        let object = Object::bytes(version.to_string());
        let etag = object.etag_value().map(ToOwned::to_owned);
        self.s3.put("data", key, object);
        let now = SystemTime::now();
        let event = record_of("data", "ObjectCreated:Put", key, etag.as_deref(), now);
        for _ in 0..10 {
            let Some(webhook) = self.any(random).webhook else { return false };
            let sent = webhook.request(Method::POST, "/").body(event.clone()).try_send().await;
            if sent.is_ok_and(|answer| answer.status == 200) {
                return true;
            }
        }
        false
    }
}

fn seconds() -> u64 {
    let text = std::env::var("HOTSET_PEERS_SECONDS").ok();
    text.and_then(|text| text.parse().ok()).unwrap_or(6)
}

/// Writes and reads keys of its own, one after the other.
async fn work(shared: Arc<Shared>, worker: u64) {
    let mut random = StdRng::seed_from_u64(worker);
    let mut floors = [0_u64; KEYS];
    for version in 1.. {
        if shared.stop.load(Ordering::Relaxed) {
            return;
        }
        let key = random.gen_range(0..KEYS);
        let name = format!("worker-{worker}/{key}");
        let (path, floor) = (format!("/data/{name}"), &mut floors[key]);
        let to = shared.any(&mut random);
        let answered = if to.webhook.is_some() && random.gen_bool(0.5) {
            shared.write_past(&mut random, &name, version).await
        } else {
            let put = to.client.put(&path).body(version.to_string()).try_send();
            // Without a timeout: a write that was not answered may take effect later.
            put.await.is_ok_and(|answer| answer.status == 200)
        };
        if answered {
            *floor = version;
        }
        for _ in 0..random.gen_range(1..4) {
            let get = shared.any(&mut random).client.get(&path).try_send();
            let Ok(Ok(read)) = timeout(READ_TIMEOUT, get).await else { continue };
            let found: u64 = match read.status.as_u16() {
                200 if read.complete => read.text().parse().expect("a version"),
                404 => 0,
                _ => continue,
            };
            assert!(
                found >= *floor,
                "version {found} of {path} after {floor} was answered: {read:?}"
            );
            let hit = read.header("cache-status") == super::HIT;
            shared.hits.fetch_add(u64::from(hit), Ordering::Relaxed);
            if answered {
                shared.pairs.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r8_no_read_is_older_than_an_answered_write_while_replicas_die_freeze_and_return() {
    chaos(IMMUTABLE, 7).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r8_nor_under_a_long_ttl() {
    chaos(TTL, 8).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r26_nor_is_one_older_than_an_acknowledged_event() {
    chaos(EVENTS, 9).await;
}

async fn chaos(rule: &str, seed: u64) {
    let mut replicas = Replicas::start(REPLICAS, rule).await;
    let clients = (0..REPLICAS).map(|index| Some(Ports::of(&replicas, index))).collect();
    let shared = Arc::new(Shared {
        clients: Mutex::new(clients),
        s3: replicas.s3.clone(),
        stop: AtomicBool::new(false),
        pairs: AtomicU64::new(0),
        hits: AtomicU64::new(0),
    });
    let workers = (0..WORKERS).map(|worker| tokio::spawn(work(shared.clone(), worker)));
    let workers: Vec<_> = workers.collect();
    let end = Instant::now() + Duration::from_secs(seconds());
    let mut random = StdRng::seed_from_u64(seed);
    let (mut frozen, mut killed) = (0, 0);
    while Instant::now() < end && workers.iter().all(|worker| !worker.is_finished()) {
        let index = random.gen_range(0..REPLICAS);
        if random.gen_bool(0.6) {
            frozen += 1;
            replicas.at(index).freeze();
            // There is no event to wait for: the time that it stands still is what is tested.
            tokio::time::sleep(Duration::from_millis(random.gen_range(20..1800))).await;
            replicas.at(index).thaw();
        } else {
            killed += 1;
            lock(&shared.clients)[index] = None;
            let mut process = replicas.take(index);
            match random.gen_bool(0.7) {
                true => process.kill(),
                false => {
                    process.terminate();
                    process.ended().await;
                }
            }
            tokio::time::sleep(Duration::from_millis(random.gen_range(0..800))).await;
            replicas.spawn(index).await;
            lock(&shared.clients)[index] = Some(Ports::of(&replicas, index));
        }
        tokio::time::sleep(Duration::from_millis(random.gen_range(0..700))).await;
    }
    shared.stop.store(true, Ordering::Relaxed);
    for worker in workers {
        worker.await.expect("nothing old was read");
    }
    let (pairs, hits) = (shared.pairs.load(Ordering::Relaxed), shared.hits.load(Ordering::Relaxed));
    println!(
        "{pairs} pairs, {hits} reads were hits, {frozen} times frozen, {killed} killed, 0 old"
    );
    assert!(pairs > 50 && hits > 5, "{pairs} pairs, {hits} hits");
}
