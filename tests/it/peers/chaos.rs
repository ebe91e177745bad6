//! Pairs of a write through one replica and a read through another, while replicas are killed, frozen and started anew.
//!
//! The property: no read that begins after a write was answered returns anything older, under `immutable`, through
//! whichever replica. `HOTSET_PEERS_SECONDS` says for how long.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::time::{Instant, timeout};

use super::IMMUTABLE;
use super::replicas::Replicas;
use crate::support::{Client, lock};

const REPLICAS: usize = 3;
const WORKERS: u64 = 6;
const KEYS: usize = 4;
/// A frozen replica answers when it goes on.
const PATIENCE: Duration = Duration::from_secs(15);

/// What the workers share.
struct Shared {
    /// Of the replicas that run, frozen ones too.
    clients: Mutex<Vec<Option<Client>>>,
    stop: AtomicBool,
    pairs: AtomicU64,
    hits: AtomicU64,
}

impl Shared {
    fn any(&self, random: &mut StdRng) -> Client {
        let clients = lock(&self.clients);
        let running: Vec<_> = clients.iter().flatten().collect();
        running[random.gen_range(0..running.len())].clone()
    }
}

fn seconds() -> u64 {
    let text = std::env::var("HOTSET_PEERS_SECONDS").ok();
    text.and_then(|text| text.parse().ok()).unwrap_or(12)
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
        let path = format!("/data/worker-{worker}/{key}");
        let floor = &mut floors[key];
        let put = shared.any(&mut random).put(&path).body(version.to_string()).try_send();
        // Without a limit: what was not answered may happen later.
        let answered = put.await.is_ok_and(|answer| answer.status == 200);
        if answered {
            *floor = version;
        }
        for _ in 0..random.gen_range(1..4) {
            let get = shared.any(&mut random).get(&path).try_send();
            let Ok(Ok(read)) = timeout(PATIENCE, get).await else { continue };
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
    let mut replicas = Replicas::start(REPLICAS, IMMUTABLE).await;
    let clients = (0..REPLICAS).map(|index| Some(replicas.client(index))).collect();
    let shared = Arc::new(Shared {
        clients: Mutex::new(clients),
        stop: AtomicBool::new(false),
        pairs: AtomicU64::new(0),
        hits: AtomicU64::new(0),
    });
    let workers = (0..WORKERS).map(|worker| tokio::spawn(work(shared.clone(), worker)));
    let workers: Vec<_> = workers.collect();
    let end = Instant::now() + Duration::from_secs(seconds());
    let mut random = StdRng::seed_from_u64(7);
    let (mut frozen, mut killed) = (0, 0);
    while Instant::now() < end && workers.iter().all(|worker| !worker.is_finished()) {
        let index = random.gen_range(0..REPLICAS);
        if random.gen_bool(0.6) {
            frozen += 1;
            replicas.at(index).freeze();
            // Not an event that could be waited for: how long it stands still is what is tried.
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
            lock(&shared.clients)[index] = Some(replicas.client(index));
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
    assert!(pairs > 100 && hits > 10, "{pairs} pairs, {hits} hits");
}
