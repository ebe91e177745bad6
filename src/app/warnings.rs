//! Warnings about valid but probably unintended configurations, by `hotset check` and at every
//! start.

use rustix::fs::{StatFs, statfs};
use rustix::system::sysinfo;

use crate::cache::DiskConfig;
use crate::cache::config::RuleConfig;
use crate::config::Config;
use crate::config::units::ByteSize;
use crate::glob::{Glob, Text};

/// `f_type` of file systems in memory: `TMPFS_MAGIC` and `RAMFS_MAGIC` of `linux/magic.h`.
const IN_MEMORY: [i64; 2] = [0x0102_1994, 0x8584_58f6];

/// Returns the warnings, one line each, which begins with the key.
pub fn warnings(config: &Config) -> Vec<String> {
    let mut found = Vec::new();
    found.extend(more_than_the_machine(config, memory_of_machine()));
    for (index, disk) in config.cache.disk.iter().enumerate() {
        found.extend(of_disk(index, disk));
    }
    found.extend(rules_without_use(&config.rules));
    found.extend(rules_with_inner_stars(&config.rules));
    found.extend(super::origin_warnings::of(config));
    found
}

/// Returns the bytes of memory of this machine.
fn memory_of_machine() -> u64 {
    let info = sysinfo();
    info.totalram.saturating_mul(u64::from(info.mem_unit.max(1)))
}

fn more_than_the_machine(config: &Config, machine: u64) -> Option<String> {
    let (memory, in_flight) = (config.cache.memory(), config.cache.in_flight());
    let sum = memory.saturating_add(in_flight);
    (sum > machine).then(|| {
        format!(
            "cache.memory: {} and cache.in_flight: {} are more than the machine's memory, {}: the process would be \
             killed when the cache is full",
            ByteSize(memory),
            ByteSize(in_flight),
            rounded(machine)
        )
    })
}

fn of_disk(index: usize, disk: &DiskConfig) -> Option<String> {
    // The directory may not exist yet.
    let existing = disk.path.ancestors().find(|path| path.exists())?;
    let system = statfs(existing).ok()?;
    let path = disk.path.display();
    if IN_MEMORY.contains(&system.f_type) {
        return Some(format!(
            "cache.disk[{index}].path: {path} is on a file system in memory (tmpfs): use cache.memory instead"
        ));
    }
    let size = size(&system);
    // File systems of the kernel (/proc) have no size.
    (size > 0 && disk.capacity.bytes() > size).then(|| {
        format!(
            "cache.disk[{index}].capacity: {} is more than the file system of {path} has, {}: writes will fail when \
             it is full",
            disk.capacity,
            rounded(size)
        )
    })
}

/// Returns the bytes of a file system, including used ones.
fn size(system: &StatFs) -> u64 {
    u64::try_from(system.f_bsize).unwrap_or(0).saturating_mul(system.f_blocks)
}

/// Rounds to whole GiB, or to MiB if there are few, for messages.
fn rounded(bytes: u64) -> ByteSize {
    if bytes >> 30 < 10 { ByteSize::mib(bytes >> 20) } else { ByteSize::gib(bytes >> 30) }
}

/// Returns warnings about rules that match no object, because an earlier one covers them.
fn rules_without_use(rules: &[RuleConfig]) -> Vec<String> {
    let scopes: Vec<_> = rules.iter().map(RuleScope::new).collect();
    let covered = rules.iter().enumerate().filter_map(|(later, rule)| {
        let earlier = scopes[..later].iter().position(|earlier| earlier.covers(&scopes[later]))?;
        Some(format!(
            "rules[{later}].match: `{}` is never met: rules[{earlier}] (`{}`) has all of it, and the first match wins",
            rule.pattern, rules[earlier].pattern
        ))
    });
    covered.collect()
}

/// Returns warnings about rules whose `**` did not match `/` before version 0.2.
fn rules_with_inner_stars(rules: &[RuleConfig]) -> impl Iterator<Item = String> + '_ {
    let has_inner_stars = |rule: &RuleConfig| rule.glob().is_ok_and(|glob| glob.has_inner_stars());
    let rules = rules.iter().enumerate().filter(move |(_, rule)| has_inner_stars(rule));
    rules.map(|(index, rule)| {
        format!(
            "rules[{index}].match: `{}`: a `**` beside other characters matches `/`, too, which it did not before \
             version 0.2; for one segment write `*`",
            rule.pattern
        )
    })
}

/// A rule's pattern, parsed once for the comparison with each other rule.
struct RuleScope<'a> {
    pattern: &'a str,
    glob: Option<Glob>,
    /// Text before the first wildcard; the whole pattern without one.
    prefix: &'a str,
    /// The `a/` of `a/**`, if the pattern has this form.
    folder: Option<&'a str>,
}

impl<'a> RuleScope<'a> {
    fn new(rule: &'a RuleConfig) -> Self {
        let pattern = rule.pattern.as_str();
        let first = pattern.find(['*', '?', '[', '{', '\\']).unwrap_or(pattern.len());
        let folder = pattern.strip_suffix("**").filter(|folder| folder.len() == first);
        Self { pattern, glob: rule.glob().ok(), prefix: &pattern[..first], folder }
    }

    /// Whether this pattern is known to match everything that `later` matches.
    fn covers(&self, later: &Self) -> bool {
        if later.prefix.len() == later.pattern.len() {
            return self.glob.as_ref().is_some_and(|glob| glob.matches(Text::new(later.pattern)));
        }
        // `a/**` requires something after the slash.
        self.folder.is_some_and(|folder| {
            later.prefix.starts_with(folder) && later.pattern.len() > folder.len()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(patterns: &[&str]) -> Vec<RuleConfig> {
        let rule =
            |pattern: &&str| RuleConfig { pattern: (*pattern).to_owned(), ..RuleConfig::default() };
        patterns.iter().map(rule).collect()
    }

    #[test]
    fn a_rule_whose_stars_mean_more_than_before_is_told() {
        let told = |patterns: &[&str]| rules_with_inner_stars(&rules(patterns)).collect::<Vec<_>>();
        assert_eq!(
            told(&["b/**.png", "b/**/*.png", "**"]),
            [
                "rules[0].match: `b/**.png`: a `**` beside other characters matches `/`, too, which it did not before version 0.2; for one segment write `*`"
            ]
        );
    }

    #[test]
    fn a_rule_that_an_earlier_one_covers_is_told() {
        let told = |patterns: &[&str]| rules_without_use(&rules(patterns));
        assert_eq!(
            told(&["a/**", "a/b/**", "**"]),
            [
                "rules[1].match: `a/b/**` is never met: rules[0] (`a/**`) has all of it, and the first match wins"
            ]
        );
        for hidden in ["a/key", "a/*.csv", "a/x?y", "a/b/{c,d}/**"] {
            assert_eq!(told(&["a/**", hidden, "**"]).len(), 1, "{hidden}");
        }
        assert_eq!(told(&["*/key", "a/key", "**"]).len(), 1);
        for met in ["ab/**", "b/**", "*/x", "**/x", "a", "?/k"] {
            assert!(told(&["a/**", met, "**"]).is_empty(), "{met}");
        }
        assert!(told(&["a/*.csv", "a/**", "**"]).is_empty());
    }

    #[test]
    fn what_is_larger_than_the_machine_is_told() {
        let mut config = Config::default();
        config.cache.memory = Some(ByteSize::gib(10 << 10));
        let told = warnings(&config);
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(
            told[0].starts_with("cache.memory: 10TiB and cache.in_flight: 512MiB are more than"),
            "{told:?}"
        );
        assert_eq!(more_than_the_machine(&Config::default(), 2 << 30), None);
    }

    #[test]
    fn a_disk_in_memory_and_one_larger_than_its_file_system_are_told() {
        let told = |path: &str, capacity| {
            let disk = DiskConfig { path: path.into(), capacity, ..DiskConfig::default() };
            of_disk(3, &disk).unwrap_or_default()
        };
        let tmpfs = told("/dev/shm/none/such", ByteSize::mib(200));
        assert!(
            tmpfs.starts_with("cache.disk[3].path: /dev/shm/none/such is on a file system in"),
            "{tmpfs}"
        );
        let large = told("/etc/none/such", ByteSize::gib(10 << 20));
        assert!(
            large.starts_with("cache.disk[3].capacity: 10PiB is more than the file system"),
            "{large}"
        );
        assert_eq!(told("/etc/none/such", ByteSize::mib(200)), "");
    }
}
