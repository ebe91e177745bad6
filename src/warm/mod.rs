//! Warming: reading objects into the cache on request of an operator, and prefetching of created
//! objects.
//!
//! ```text
//!  a job (keys, or a prefix that is listed page by page) ──┐
//!  Created events ── a queue of objects ───────────────────┴─> pace: a turn ──> cache: open, what is missing, read
//! ```
//! It reads as a client would, through the cache, so that one fetch serves both; what is cached already costs nothing.
//! Invariants: readers come first (few reads at a time, none begins while readers need the memory or are many); what
//! is listed, queued and remembered is bounded. It knows nothing of HTTP, and asks by hotset's own keys.

mod bounded_tasks;
pub mod config;
mod counters;
mod job;
mod list;
mod object;
mod pace;
mod queue;
mod span;
mod walk;

use std::sync::Arc;

use tokio::sync::watch;

pub use config::WarmConfig;
pub use job::{Busy, Job, Progress, State};
pub use list::{InvalidPattern, Patterns, Target};
pub use pace::Demand;
pub use span::Span;
pub use walk::Order;

use job::Jobs;
use pace::Pace;
use queue::Queue;

use crate::cache::{Cache, Rules};
use crate::origin::Origins;

/// Warms objects: one a process.
pub struct Warmer {
    cache: Arc<Cache>,
    origin: Origins,
    rules: Arc<Rules>,
    pace: Pace,
    jobs: Jobs,
    created: Queue,
    /// Bytes that a job may warm when it does not say how many.
    capacity: u64,
}

impl Warmer {
    /// `capacity`: the bytes of objects that memory and disk hold; a job that warms more than it would evict what it
    /// warmed first.
    pub fn new(
        config: &WarmConfig,
        cache: Arc<Cache>,
        origin: Origins,
        rules: Arc<Rules>,
        demand: Demand,
        capacity: u64,
    ) -> Arc<Self> {
        let pace = Pace::new(config, cache.clone(), demand);
        let (jobs, created) = (Jobs::default(), Queue::default());
        Arc::new(Self { cache, origin, rules, pace, jobs, created, capacity })
    }

    /// Keeps to other limits, from the next read on.
    pub fn set_limits(&self, config: &WarmConfig) {
        self.pace.set_limits(config);
    }

    /// Warms what events say was created, until `shutdown` turns true; then every job ends, too.
    pub async fn run(self: Arc<Self>, mut shutdown: watch::Receiver<bool>) {
        tokio::select! {
            biased;
            _ = shutdown.wait_for(|stop| *stop) => {}
            () = self.warm_created() => {}
        }
        self.jobs.cancel_all();
    }
}
