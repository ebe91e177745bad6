//! Memory by the process's control groups, and the size of the cache under memory pressure.

use metrics::{Gauge, Unit, describe_gauge, gauge};

use super::recorder::Registered;

const LIMIT: &str = "hotset_memory_limit_bytes";
const USED: &str = "hotset_memory_used_bytes";
const CACHE_CAPACITY: &str = "hotset_cache_capacity_bytes";

struct Handles {
    limit: Gauge,
    used: Gauge,
    cache_capacity: Gauge,
}

static HANDLES: Registered<Handles> = Registered::none();

impl Handles {
    fn new() -> Self {
        Self { limit: gauge!(LIMIT), used: gauge!(USED), cache_capacity: gauge!(CACHE_CAPACITY) }
    }
}

/// Describes and registers these metrics with the recorder in scope.
pub(super) fn register() {
    describe();
    HANDLES.keep(Handles::new());
}

#[rustfmt::skip] // A table: one line a metric.
fn describe() {
    describe_gauge!(LIMIT, Unit::Bytes, "Memory limit of the process's cgroups; 0: no limit");
    describe_gauge!(USED, Unit::Bytes, "Memory used in that cgroup, reclaimable memory excluded");
    describe_gauge!(CACHE_CAPACITY, Unit::Bytes, "Current limit on bytes of blocks in memory; it is lowered under memory pressure");
}

/// Sets the memory limit in force.
pub fn set_limit(bytes: u64) {
    HANDLES.set(|handles| &handles.limit, bytes);
}

/// Sets the used part of the limit.
pub fn set_used(bytes: u64) {
    HANDLES.set(|handles| &handles.used, bytes);
}

/// Sets the current maximum bytes of blocks in memory.
pub fn set_cache_capacity(bytes: u64) {
    HANDLES.set(|handles| &handles.cache_capacity, bytes);
}
