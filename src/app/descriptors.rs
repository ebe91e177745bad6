//! The limit of open files: raised to the hard limit, and compared with the needs of the configuration.
//!
//! Each segment of the disk tier is an open file, and so is each connection. Segments are needed from the start on: if
//! they do not fit, the server would fail at once, so it refuses to start. Limits on connections may never be reached,
//! and the defaults must work on small machines: if these do not fit, a warning tells how many do.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::cache::DiskConfig;
use crate::config::Config;
use crate::origin::BucketConfig;

/// Further files: libraries, logs, event queues, certificates, short-lived ones.
const RESERVE: u64 = 96;

/// The configuration needs more open files than this process may have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "cache.disk: {segments} files of the disk and {RESERVE} others are more than the {limit} that may be open: raise \
     the hard limit (`ulimit -Hn`, LimitNOFILE=), or lower cache.disk[].capacity; nothing was removed"
)]
pub struct TooFewDescriptors {
    segments: u64,
    limit: u64,
}

/// The largest number of file descriptors that a configuration may have open at the same time, by use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Need {
    segments: u64,
    connections: u64,
    origin: u64,
    events: u64,
}

/// Returns the maximum connections to all origins; a bucket with a region or credentials of its own may have its own.
fn origin_connections(config: &Config) -> u64 {
    let of = |name: Option<&String>| {
        let named = name.and_then(|name| config.origins.get(name));
        named.unwrap_or(&config.origin).connections as u64
    };
    let is_own =
        |b: &&BucketConfig| b.region.is_some() || b.credentials.is_some() || b.bucket.is_some();
    let buckets = config.buckets.values().filter(is_own).map(|b| of(b.origin.as_ref()));
    let named = config.origins.values().map(|origin| origin.connections as u64);
    of(None) + named.chain(buckets).sum::<u64>()
}

impl Need {
    fn of(config: &Config) -> Self {
        let disks = &config.cache.disk;
        let count = |connections: usize| connections as u64;
        Self {
            segments: disks.iter().map(DiskConfig::descriptors_max).sum(),
            connections: count(config.limits.connections),
            origin: origin_connections(config),
            events: config.events.webhook.as_ref().map_or(0, |webhook| count(webhook.connections)),
        }
    }

    fn total(&self) -> u64 {
        [self.segments, self.connections, self.origin, self.events, RESERVE].iter().sum()
    }

    fn check(&self, limit: u64) -> Result<(), TooFewDescriptors> {
        let Self { segments, connections, origin, events } = *self;
        if segments > 0 && segments + RESERVE > limit {
            return Err(TooFewDescriptors { segments, limit });
        }
        let total = self.total();
        if total > limit {
            log::warn!(
                "{limit} files may be open, and {total} may be needed: {segments} for cache.disk, {connections} for \
                 limits.connections, {origin} for origin.connections, {events} for events.webhook.connections and \
                 {RESERVE} others: connections are refused when they have run out; raise the hard limit (`ulimit -Hn`, \
                 LimitNOFILE=) or lower limits.connections"
            );
        }
        Ok(())
    }
}

/// Raises the soft limit of open files to the hard one, and compares it with the needs of the configuration.
///
/// # Errors
/// [`TooFewDescriptors`]: the disk tier alone needs more.
pub(super) fn prepare(config: &Config) -> Result<(), TooFewDescriptors> {
    Need::of(config).check(raise())
}

/// Raises the soft limit, and returns the limit in force.
fn raise() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return current.unwrap_or(u64::MAX);
    }
    match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => {
            log::debug!("the limit of open files is raised from {current:?} to {maximum:?}");
            maximum.unwrap_or(u64::MAX)
        }
        Err(error) => {
            log::warn!("cannot raise the limit of open files (LimitNOFILE=, ulimit -n): {error}");
            current.unwrap_or(u64::MAX)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r38_files_of_the_disk_must_fit_and_connections_need_not() {
        let need = Need { segments: 50, connections: 1000, origin: 100, events: 10 };
        assert_eq!(need.total(), 1160 + RESERVE);
        assert_eq!(need.check(50 + RESERVE), Ok(()));
        let refused = need.check(49 + RESERVE).unwrap_err().to_string();
        assert!(
            refused.contains("50 files of the disk and 96 others are more than the 145"),
            "{refused}"
        );
        assert_eq!(Need { segments: 0, ..need }.check(10), Ok(()));
    }

    #[test]
    fn r38_the_soft_limit_of_open_files_becomes_the_hard_one() {
        let limit = raise();
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        assert_eq!((current, current.unwrap_or(u64::MAX)), (maximum, limit));
    }
}
