//! Sizes that the configuration leaves open, from the limits of the process's control groups.

use std::path::Path;

use super::cgroup::{Cgroup, allowed_cpus};
use crate::config::Config;
use crate::config::units::ByteSize;

/// Sets `threads` where it is not set: one for each CPU of the quota, rounded up, and at most one for each CPU that the
/// process may run on.
pub(super) fn set_threads(config: &mut Config, cgroup: &Cgroup) {
    if config.threads.is_none() {
        config.threads = threads(cgroup.cpus, allowed_cpus(Path::new("/")));
    }
}

/// Logs the limits that were found.
pub(super) fn log_limits(cgroup: &Cgroup) {
    if let Some(group) = cgroup.tightest() {
        let limit = ByteSize(group.limit);
        let used = ByteSize(group.used().unwrap_or(0));
        log::info!("memory is limited to {limit} by {}, {used} are used", group.source.display());
    }
    if let Some(cpus) = cgroup.cpus {
        log::info!("the CPU quota is worth {cpus} CPUs");
    }
}

/// `None`: nothing limits them, the runtime decides.
fn threads(quota: Option<usize>, allowed: Option<usize>) -> Option<usize> {
    [quota, allowed].into_iter().flatten().min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_follow_the_quota_up_to_the_cpus_there_are() {
        assert_eq!(threads(Some(2), Some(8)), Some(2));
        assert_eq!(threads(Some(16), Some(8)), Some(8));
        assert_eq!(threads(None, Some(8)), Some(8));
        assert_eq!(threads(None, None), None);
    }
}
