//! State of warming.

use std::sync::Arc;

use super::config::WarmConfig;
use super::job::{Job, Jobs};
use super::pace::{Demand, Pace};
use super::queue::Queue;
use crate::cache::{Cache, Rules};
use crate::origin::Origins;

/// Warms objects: one a process.
pub struct Warmer {
    pub(super) cache: Arc<Cache>,
    pub(super) origin: Origins,
    pub(super) rules: Arc<Rules>,
    pub(super) pace: Pace,
    pub(super) jobs: Jobs,
    pub(super) created: Queue,
    /// Bytes that a job may warm when it does not say how many.
    pub(super) capacity: u64,
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

    /// The most bytes that a job warms.
    pub(super) fn most(&self, job: &Job) -> u64 {
        job.order().max_bytes.unwrap_or(self.capacity)
    }
}
