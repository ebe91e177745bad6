//! State of warming.

use std::sync::Arc;

use super::config::WarmConfig;
use super::job::{Job, Jobs};
use super::pace::{Demand, Pace};
use super::queue::Queue;
use crate::cache::{Cache, Rules};
use crate::origin::Origins;

/// Warms objects, one per process.
pub struct Warmer {
    pub(super) cache: Arc<Cache>,
    pub(super) origin: Origins,
    pub(super) rules: Arc<Rules>,
    pub(super) pace: Pace,
    pub(super) jobs: Jobs,
    pub(super) created: Queue,
    /// Maximum bytes of a job without `max_bytes`.
    pub(super) capacity: u64,
}

impl Warmer {
    /// Creates a warmer. `capacity`: the bytes of objects that memory and disk hold; a job that warms more would evict
    /// the objects that it warmed first.
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

    /// Sets the limits, from the next read on.
    pub fn set_limits(&self, config: &WarmConfig) {
        self.pace.set_limits(config);
    }

    /// Returns the maximum bytes that a job warms.
    pub(super) fn most(&self, job: &Job) -> u64 {
        job.order().max_bytes.unwrap_or(self.capacity)
    }
}
