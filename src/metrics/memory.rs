//! Memory as the control groups of the process count it, and the size that the cache has under its pressure.

use metrics::{Gauge, Unit, describe_gauge, gauge};

const LIMIT: &str = "hotset_memory_limit_bytes";
const USED: &str = "hotset_memory_used_bytes";
const CACHE_CAPACITY: &str = "hotset_cache_capacity_bytes";

pub(super) struct Handles {
    limit: Gauge,
    used: Gauge,
    cache_capacity: Gauge,
}

impl Handles {
    pub(super) fn register() -> Self {
        Self { limit: gauge!(LIMIT), used: gauge!(USED), cache_capacity: gauge!(CACHE_CAPACITY) }
    }
}

#[rustfmt::skip] // A table: one line a metric.
pub(super) fn describe() {
    describe_gauge!(LIMIT, Unit::Bytes, "Memory limit of the process's cgroups; 0: no limit");
    describe_gauge!(USED, Unit::Bytes, "Memory used in that cgroup, reclaimable memory excluded");
    describe_gauge!(CACHE_CAPACITY, Unit::Bytes, "Current limit on bytes of blocks in memory; it is lowered under memory pressure");
}

/// Sets the memory limit that holds.
pub fn set_limit(bytes: u64) {
    super::set(|handles| &handles.memory.limit, bytes);
}

/// Sets the memory used of it.
pub fn set_used(bytes: u64) {
    super::set(|handles| &handles.memory.used, bytes);
}

/// Sets the most bytes of blocks that memory may hold now.
pub fn set_cache_capacity(bytes: u64) {
    super::set(|handles| &handles.memory.cache_capacity, bytes);
}
