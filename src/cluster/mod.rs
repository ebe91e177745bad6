//! Replicas that send each other their invalidations (`cluster.peers`).
//!
//! ```text
//!  a write, a purge, an event ── members::announce ── outbox of each peer ── link ──> inbox of the peer ── its cache
//!                │                                                                        │
//!                └── waits until each peer has applied it, or is gone and its lease too <─┘
//!  lease: every 100 ms "do I know all?"; without a yes the cache asks the origin before each read
//! ```
//! A message goes to every peer and is not forwarded. Before a write is sent to the origin, each peer knows its keys,
//! and revalidates them on every read until it learns the outcome of the write (R8, R40). A peer that does not apply
//! the message in time has no lease any more when the write proceeds, and so revalidates every read. Nothing has to be
//! written to disk: a replica with peers revalidates its records on disk once after each start. Purges are durable
//! (R38).
//!
//! `lease` and `outbox` are state machines without a clock or a socket; `model` runs them against each other.

pub mod config;
mod deliver;
mod inbox;
mod lease;
mod link;
mod members;
#[cfg(test)]
mod model;
mod outbox;
mod peer;
mod resolve;
mod serve;
mod wire;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use rustls::pki_types::ServerName;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;

use crate::cache::{Cache, Rules};
use crate::config::units::Secret;
use crate::pacing::RateLimit;

pub use config::ClusterConfig;
pub use deliver::{Delivery, PeerErased, PeerPurge, PeerWrite};
pub use inbox::EventSink;
pub use serve::REQUEST_MAX;

use link::Connection;
use members::Members;
use peer::Peer;

/// Reads the token of the admin port, which all replicas share; blocking.
pub type TokenSource = Arc<dyn Fn() -> io::Result<Option<Secret>> + Send + Sync>;

/// Minimum interval between log lines about operations that proceeded without a replica.
const WARN_EVERY: Duration = Duration::from_secs(10);

/// TLS towards the other replicas, and the name in their certificates.
#[derive(Clone)]
pub struct ReplicaTls {
    pub connector: TlsConnector,
    pub name: ServerName<'static>,
}

/// The connections to all other replicas, one per process with `cluster.peers`.
pub struct Cluster {
    members: Members,
    cache: Arc<Cache>,
    /// The peers as configured.
    peers: Vec<String>,
    /// Port of the admin address.
    port: u16,
    token: TokenSource,
    tls: Option<ReplicaTls>,
    /// The number of the next write.
    writes: AtomicU64,
    warned: Mutex<RateLimit>,
    /// Whether this process shuts down, and grants no leases.
    leaving: AtomicBool,
    /// New peers, on their way to [`Cluster::run`].
    new: mpsc::UnboundedSender<Arc<Peer>>,
    to_run: Mutex<Option<mpsc::UnboundedReceiver<Arc<Peer>>>>,
}

impl Cluster {
    /// Resolves the peers. Records on disk may have been invalidated by others meanwhile: they are revalidated once.
    /// `port`: that of the admin address.
    pub async fn start(
        peers: &[String],
        cache: Arc<Cache>,
        rules: Arc<Rules>,
        (token, tls): (TokenSource, Option<ReplicaTls>),
        port: u16,
    ) -> Arc<Self> {
        // Bounded by `members`, which adds no more than 64.
        let (new, to_run) = mpsc::unbounded_channel();
        let cluster = Arc::new(Self {
            members: Members::new(cache.clone(), rules),
            cache,
            peers: peers.to_vec(),
            port,
            token,
            tls,
            writes: AtomicU64::new(1),
            warned: Mutex::new(RateLimit::new(WARN_EVERY)),
            leaving: AtomicBool::new(false),
            new,
            to_run: Mutex::new(Some(to_run)),
        });
        cluster.cache.confirm_all_once();
        if peers.iter().any(|peer| resolve::is_name(peer)) {
            cluster.members.looks_for_others();
        }
        cluster.resolve().await;
        cluster.members.serve();
        cluster
    }

    /// Sets the sink for events; call it once, before [`Cluster::run`].
    pub fn on_event(&self, sink: EventSink) {
        self.members.inbox.on_event(sink);
    }

    /// Runs the links to all peers until `shutdown` turns true.
    pub async fn run(self: Arc<Self>, mut shutdown: watch::Receiver<bool>) {
        let Some(mut new) = self.to_run.lock().take() else { return };
        let mut links = JoinSet::new();
        let cluster = self.clone();
        links.spawn(async move { cluster.look_up_again().await });
        let cluster = self.clone();
        links.spawn(async move { cluster.stay_awake().await });
        loop {
            tokio::select! {
                _ = shutdown.wait_for(|stop| *stop) => return,
                Some(peer) = new.recv() => drop(links.spawn(link::run(self.clone(), peer))),
                Some(_) = links.join_next() => {}
            }
        }
    }

    /// Resolves the peers periodically. Cancel-safe.
    async fn look_up_again(&self) {
        loop {
            let looking = self.members.is_looking();
            sleep(if looking { resolve::LOOKING_EVERY } else { resolve::EVERY }).await;
            self.resolve().await;
            self.members.forget_silent();
        }
    }

    /// Detects pauses of this process. Cancel-safe.
    async fn stay_awake(&self) {
        loop {
            self.members.is_awake();
            sleep(lease::EVERY).await;
        }
    }

    /// Sends one request to a peer, over a connection of its own.
    async fn ask(
        &self,
        peer: &Arc<Peer>,
        path: &str,
        body: String,
        limit: Duration,
    ) -> Result<Bytes, String> {
        let mut connection = Connection::new(peer, self);
        match timeout(limit, connection.ask(path, body.into())).await {
            Ok(answer) => answer.map_err(|error| error.why),
            Err(_) => Err(format!("it did not answer within {} s", limit.as_secs())),
        }
    }
}
