//! Delivery of this replica's invalidations to all others, with a bounded wait.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::Instant;

use super::Cluster;
use super::lease::{UNPROMISED_WAIT, WRITE_WAIT};
use super::members::Numbers;
use super::peer::Peer;
use super::wire::{self, EraseAnswer, EraseRequest, Message, ScopeText};
use crate::cache::{RemoteEnd, Scope};
use crate::metrics::cluster::{self as metrics, Delivered};
use crate::s3::{BucketName, ObjectId};

/// Maximum wait of a purge or an event for a live replica.
const WAIT: Duration = Duration::from_secs(5);
/// Maximum wait of a purge for durability on a replica.
const DURABLE: Duration = Duration::from_secs(10);
/// Maximum number of scopes in a message.
const SCOPES: usize = 500;

/// An invalidation on its way to the other replicas.
#[derive(Debug)]
#[must_use = "what follows an invalidation waits until it is applied everywhere"]
pub struct Delivery {
    since: Instant,
    to: Vec<(Waited, u64)>,
}

/// A peer, without its state in `Debug`.
struct Waited(Arc<Peer>);

impl std::fmt::Debug for Waited {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0.address)
    }
}

/// Replicas that did not apply an invalidation.
#[derive(Debug, Default)]
struct Missed {
    /// Replicas that are gone; they revalidate cached metadata before they use it.
    unreachable: Vec<SocketAddr>,
    late: Vec<SocketAddr>,
}

impl Delivery {
    fn new(numbers: Numbers) -> Self {
        let to = numbers.into_iter().map(|(peer, number)| (Waited(peer), number)).collect();
        Self { since: Instant::now(), to }
    }

    /// Waits until the invalidation is applied, for at most `wait`. `more`: additional wait for replicas that answer,
    /// and may consider this one gone.
    async fn settled(&self, wait: Duration, more: Duration) -> Missed {
        let deadline = self.since + wait;
        let waits = self.to.iter().map(|(peer, number)| peer.0.settled(*number, deadline, more));
        let results = join_all(waits).await;
        let mut missed = Missed::default();
        for ((peer, _), result) in self.to.iter().zip(results) {
            metrics::delivered(result);
            match result {
                Delivered::Applied => {}
                Delivered::Unreachable => missed.unreachable.push(peer.0.address),
                Delivered::Late => missed.late.push(peer.0.address),
            }
        }
        if !self.to.is_empty() {
            metrics::took(self.since.elapsed());
        }
        missed
    }

    /// Waits until each live replica has applied an event. `false`: one of them did not in time.
    pub async fn event_settled(self) -> bool {
        self.settled(WAIT, Duration::ZERO).await.late.is_empty()
    }
}

/// A write that passes through this replica. On drop, its outcome is sent to the other replicas.
#[must_use = "the write has ended for the other replicas when this is dropped"]
pub struct PeerWrite {
    cluster: Arc<Cluster>,
    write: u64,
    end: RemoteEnd,
}

impl PeerWrite {
    /// Sets the outcome that is reported on drop; without a call it is unknown.
    pub fn ends(&mut self, end: RemoteEnd) {
        self.end = end;
    }
}

impl Drop for PeerWrite {
    fn drop(&mut self) {
        let text = wire::text(&Message::End { write: self.write, end: self.end.into() });
        // Not awaited: until the message arrives, the others revalidate.
        let _ = self.cluster.members.announce(&text.into(), |open| {
            open.remove(&self.write);
        });
    }
}

/// Outcome of a purge at the other replicas.
#[derive(Debug, Default)]
pub struct PeerPurge {
    /// Replicas that were gone: they may still hold purged data.
    pub unreachable: Vec<SocketAddr>,
    /// Live replicas on which the purge is not applied and durable.
    pub failed: Vec<SocketAddr>,
    /// Replicas on which the purge is applied and durable.
    applied: Vec<SocketAddr>,
}

/// Counts of what was erased at the other replicas.
#[derive(Debug, Default, Clone, Copy)]
pub struct PeerErased {
    pub memory_bytes: u64,
    pub disk_bytes: u64,
    pub files_removed: u64,
    pub files_rewritten: u64,
}

impl Cluster {
    /// Announces that a write of these is about to be sent to the origin. From its return until the end of the write,
    /// every read of them through another replica is revalidated. It waits at most 500 ms, by which the lease of a
    /// replica that did not apply it has expired; 2 s for one that is reachable, and may consider this replica gone.
    pub async fn write_begins(
        self: &Arc<Self>,
        objects: &[ObjectId],
        buckets: &[BucketName],
    ) -> PeerWrite {
        // Realms are local to each replica.
        let mut names: Vec<_> = objects.iter().map(|id| (id.bucket(), id.key())).collect();
        names.sort_unstable_by_key(|(bucket, key)| (bucket.as_str(), key.as_str()));
        names.dedup();
        let write = self.writes.fetch_add(1, Ordering::Relaxed);
        let text: Arc<str> = wire::text(&Message::Begin {
            write,
            objects: names.iter().map(|(b, k)| (b.to_string(), k.to_string())).collect(),
            buckets: buckets.iter().map(ToString::to_string).collect(),
        })
        .into();
        let begin = text.clone();
        let numbers = self.members.announce(&text, move |open| drop(open.insert(write, begin)));
        let told = PeerWrite { cluster: self.clone(), write, end: RemoteEnd::Unknown };
        let missed = Delivery::new(numbers).settled(WRITE_WAIT, UNPROMISED_WAIT).await;
        self.say(&missed, "a write");
        told
    }

    /// Forwards a received event, unchanged.
    pub fn event(&self, source: &str, body: &[u8]) -> Delivery {
        let Ok(body) = std::str::from_utf8(body) else {
            // Not expected, since the event was parsed before. The others are told that they missed a message.
            return Delivery::new(self.members.announce(&missed(), |_| {}));
        };
        let message = Message::Event { source: source.to_owned(), body: body.to_owned() };
        Delivery::new(self.members.announce(&wire::text(&message).into(), |_| {}))
    }

    /// Purges on the other replicas, and waits until that is durable.
    pub async fn purge(&self, scopes: &[Scope]) -> PeerPurge {
        let mut numbers = Vec::new();
        for scopes in scopes.chunks(SCOPES) {
            let scopes = scopes.iter().map(ScopeText::from).collect();
            let text = wire::text(&Message::Purge { scopes });
            // The last message is confirmed after all others.
            numbers = self.members.announce(&text.into(), |_| {});
        }
        let delivery = Delivery::new(numbers);
        let missed = delivery.settled(WAIT, Duration::ZERO).await;
        self.say(&missed, "a purge");
        let Missed { unreachable, late: mut failed } = missed;
        let peers = delivery.to.iter().map(|(peer, _)| peer.0.clone());
        let peers = peers.filter(|peer| peer.state().is_replica());
        let peers =
            peers.filter(|p| ![&unreachable, &failed].iter().any(|m| m.contains(&p.address)));
        let peers: Vec<_> = peers.collect();
        let settled = peers.iter().map(|peer| self.ask(peer, wire::SETTLE, "{}".into(), DURABLE));
        let mut applied = Vec::new();
        for (peer, settled) in peers.iter().zip(join_all(settled).await) {
            match settled {
                Ok(_) => applied.push(peer.address),
                Err(why) => {
                    log::error!("cluster: a purge is not durable on {}: {why}", peer.address);
                    failed.push(peer.address);
                }
            }
        }
        PeerPurge { unreachable, failed, applied }
    }

    /// Erases the scopes on the replicas that purged them.
    ///
    /// # Errors
    /// A description of the replica that failed, and the reason.
    pub async fn erase(
        &self,
        purge: &PeerPurge,
        scopes: &[Scope],
        limit: Duration,
    ) -> Result<PeerErased, String> {
        let scopes = scopes.iter().map(ScopeText::from).collect();
        let body = wire::text(&EraseRequest { scopes });
        let peers = self.members.all().into_iter();
        let peers: Vec<_> = peers.filter(|peer| purge.applied.contains(&peer.address)).collect();
        let erasing = peers.iter().map(|peer| self.ask(peer, wire::ERASE, body.clone(), limit));
        let mut sum = PeerErased::default();
        for (peer, answer) in peers.iter().zip(join_all(erasing).await) {
            let answer = answer.and_then(|bytes| {
                serde_json::from_slice::<EraseAnswer>(&bytes).map_err(|error| error.to_string())
            });
            let erased = answer.map_err(|why| format!("replica {}: {why}", peer.address))?;
            sum.memory_bytes += erased.memory_bytes;
            sum.disk_bytes += erased.disk_bytes;
            sum.files_removed += erased.files_removed;
            sum.files_rewritten += erased.files_rewritten;
        }
        Ok(sum)
    }

    /// Announces that this replica shuts down and sends no more invalidations, and waits briefly until the others know.
    pub async fn leave(&self) {
        self.leaving.store(true, Ordering::Release);
        let text = wire::text(&Message::Leave);
        let delivery = Delivery::new(self.members.announce(&text.into(), |_| {}));
        let _ = delivery.settled(WRITE_WAIT, Duration::ZERO).await;
    }

    /// Logs the replicas that did not apply a message, with a rate limit.
    fn say(&self, missed: &Missed, what: &str) {
        let Missed { unreachable, late } = missed;
        if (!late.is_empty() || !unreachable.is_empty()) && self.warned.lock().allow() {
            let addresses = |of: &[SocketAddr]| {
                let texts: Vec<String> = of.iter().map(ToString::to_string).collect();
                if texts.is_empty() { "none".to_owned() } else { texts.join(", ") }
            };
            let (unreachable, late) = (addresses(unreachable), addresses(late));
            log::warn!(
                "cluster: {what} went on without replicas (unreachable: {unreachable}; too slow: {late}); \
                 they confirm what they know with the origin before they use it"
            );
        }
    }
}

fn missed() -> Arc<str> {
    wire::text(&Message::Missed).into()
}
