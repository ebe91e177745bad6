//! Default sizes, derived from the limits of the process's control groups.
//!
//! If memory is limited, half of the limit is for cached objects and a quarter, at most 512 MiB, for bytes in flight;
//! the rest is for the process itself and its connections. A configured size is kept, and the other one then takes no
//! more than the remainder. The Helm chart divides the limit of a pod in the same way.

use std::fmt;
use std::path::{Path, PathBuf};

use super::cgroup::{Cgroup, MemoryGroup, allowed_cpus};
use crate::cache::CacheConfig;
use crate::config::Config;
use crate::config::units::ByteSize;
use crate::sys::allocator;

/// Memory of a process without connections and cached objects, in bytes, its code included; measured: 25 MiB.
const PROCESS: u64 = 32 << 20;

/// Bytes of `cache.memory`, and of a memory limit besides, from which on freed memory is kept for a moment: it is a tenth
/// more under load.
const KEEPS: (u64, u64) = (512 << 20, 256 << 20);

/// The configuration needs more memory than the process may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TooLittleMemory {
    sizes: Sizes,
    limit: u64,
    source: PathBuf,
}

impl fmt::Display for TooLittleMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sizes, limit, source } = self;
        write!(
            f,
            "cache.memory: {sizes} = {}, more than the {} that {} allows: lower cache.memory or cache.in_flight \
             (null: a share of the limit), or raise the limit",
            Rounded(sizes.sum()),
            Rounded(*limit),
            source.display()
        )
    }
}

impl std::error::Error for TooLittleMemory {}

/// Memory by purpose, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sizes {
    memory: u64,
    in_flight: u64,
}

impl Sizes {
    fn of(cache: &CacheConfig, limit: u64) -> Self {
        let left = |taken: u64| limit.saturating_sub(PROCESS + taken);
        // Less than these is refused by the check of the configuration, or by the sum.
        let (memory_min, in_flight_min) = (cache.fetch.0, 4 * cache.fetch.0);
        let in_flight = cache.in_flight.map_or_else(
            || {
                let share = (limit / 4).min(CacheConfig::IN_FLIGHT.0);
                let memory = cache.memory.map_or(memory_min, ByteSize::bytes);
                share.min(left(memory)).max(in_flight_min)
            },
            ByteSize::bytes,
        );
        let memory = cache
            .memory
            .map_or_else(|| (limit / 2).min(left(in_flight)).max(memory_min), ByteSize::bytes);
        Self { memory, in_flight }
    }

    fn sum(&self) -> u64 {
        PROCESS.saturating_add(self.memory).saturating_add(self.in_flight)
    }
}

impl fmt::Display for Sizes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [memory, in_flight, process] = [self.memory, self.in_flight, PROCESS].map(Rounded);
        write!(
            f,
            "{memory} of cache.memory + {in_flight} of cache.in_flight + {process} for the process itself"
        )
    }
}

/// A rounded number of bytes, for messages.
struct Rounded(u64);

impl fmt::Display for Rounded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}MiB", self.0 >> 20)
    }
}

/// Sets `cache.memory`, `cache.in_flight` and `threads` where they are not configured: the first two by the tightest
/// memory limit, `threads` to the CPUs of the quota, rounded up, but at most the number of allowed CPUs.
///
/// # Errors
/// [`TooLittleMemory`]: the configured sizes exceed the limit.
pub(super) fn fit(config: &mut Config, cgroup: &Cgroup) -> Result<(), TooLittleMemory> {
    if config.threads.is_none() {
        config.threads = threads(cgroup.cpus, allowed_cpus(Path::new("/")));
        if let (Some(cpus), Some(threads)) = (cgroup.cpus, config.threads) {
            log::info!("threads: {threads}, by a CPU quota of {cpus} CPUs");
        }
    }
    let group = cgroup.tightest();
    let left = group.map(|group| fit_memory(&mut config.cache, group)).transpose()?;
    avoid_huge_pages();
    let memory = config.cache.memory.map_or(CacheConfig::MEMORY.0, ByteSize::bytes);
    if memory >= KEEPS.0 && left.is_none_or(|left| left >= KEEPS.1) {
        allocator::keep_freed_memory();
    }
    Ok(())
}

/// Disables transparent huge pages. A partly used one counts completely: under load these made up a third. Where freed
/// memory is kept for a moment, cold reads take the same CPU time without them.
fn avoid_huge_pages() {
    if let Err(error) = rustix::thread::disable_transparent_huge_pages(true) {
        log::debug!("huge pages stay in use: {error}");
    }
}

/// Sets the sizes where they are not configured. Returns the bytes that are left for connections.
fn fit_memory(cache: &mut CacheConfig, group: &MemoryGroup) -> Result<u64, TooLittleMemory> {
    let (limit, source) = (group.limit, &group.source);
    let sizes = Sizes::of(cache, limit);
    let Some(left) = limit.checked_sub(sizes.sum()) else {
        return Err(TooLittleMemory { sizes, limit, source: source.clone() });
    };
    log::info!(
        "memory is limited to {} by {}, where {} are in use: {sizes}; {} are left for connections",
        Rounded(limit),
        source.display(),
        Rounded(group.used().unwrap_or(0)),
        Rounded(left)
    );
    cache.memory = Some(ByteSize(sizes.memory));
    cache.in_flight = Some(ByteSize(sizes.in_flight));
    Ok(left)
}

/// Returns the number of threads; `None`: unlimited, the runtime decides.
fn threads(quota: Option<usize>, allowed: Option<usize>) -> Option<usize> {
    [quota, allowed].into_iter().flatten().min()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    /// Returns the sizes in MiB, for a configuration with these sizes in MiB.
    fn sizes(limit: u64, memory: Option<u64>, in_flight: Option<u64>) -> (u64, u64) {
        let [memory, in_flight] = [memory, in_flight].map(|size| size.map(ByteSize::mib));
        let cache = CacheConfig { memory, in_flight, ..CacheConfig::default() };
        let Sizes { memory, in_flight } = Sizes::of(&cache, limit * MIB);
        (memory / MIB, in_flight / MIB)
    }

    #[test]
    fn half_of_the_limit_is_for_objects_and_a_quarter_in_flight() {
        assert_eq!(sizes(512, None, None), (256, 128));
        assert_eq!(sizes(128, None, None), (64, 32));
        assert_eq!(sizes(65_536, None, None), (32_768, 512), "as much as without a limit");
    }

    #[test]
    fn what_is_not_set_takes_no_more_than_is_left() {
        assert_eq!(sizes(512, Some(400), None), (400, 80));
        assert_eq!(sizes(512, None, Some(300)), (180, 300));
        assert_eq!(sizes(512, Some(100), Some(300)), (100, 300));
    }

    #[test]
    fn what_does_not_fit_the_limit_is_refused_with_the_sum() {
        let group = |mib: u64| MemoryGroup::at("/sys/fs/cgroup/memory.max", mib * MIB);
        let mut cache = CacheConfig { memory: Some(ByteSize::gib(1)), ..CacheConfig::default() };
        let refused = fit_memory(&mut cache, &group(512)).unwrap_err().to_string();
        assert_eq!(
            refused,
            "cache.memory: 1024MiB of cache.memory + 32MiB of cache.in_flight + 32MiB for the process itself = 1088MiB, \
             more than the 512MiB that /sys/fs/cgroup/memory.max allows: lower cache.memory or cache.in_flight (null: a \
             share of the limit), or raise the limit"
        );
        assert_eq!(fit_memory(&mut cache, &group(1088)), Ok(0));
        assert!(fit_memory(&mut CacheConfig::default(), &group(71)).is_err());
        assert_eq!(fit_memory(&mut CacheConfig::default(), &group(72)), Ok(0));
    }

    #[test]
    fn threads_follow_the_quota_up_to_the_cpus_there_are() {
        assert_eq!(threads(Some(2), Some(8)), Some(2));
        assert_eq!(threads(Some(16), Some(8)), Some(8));
        assert_eq!(threads(None, Some(8)), Some(8));
        assert_eq!(threads(None, None), None);
    }
}
