//! The limits of the control groups (v1 and v2) that this process runs in, parents included.
//!
//! A limit of a parent (a slice, a pod) applies to its children, which do not show it: so every group from the
//! process's own up to the root of the mount is read, and the smallest limit counts. In a cgroup namespace the groups
//! above its root are invisible; only v1 reports their limit, by `hierarchical_memory_limit`.
//!
//! Sources: cgroups(7), Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/memory.rst of the kernel.

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

/// Value from which on a "limit" means none: v1 has no word for it.
const UNLIMITED: u64 = 1 << 62;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    V1,
    V2,
}

/// A group whose memory is limited.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct MemoryGroup {
    version: Version,
    folder: PathBuf,
    /// The file that holds the limit.
    pub source: PathBuf,
    /// Limit in bytes.
    pub limit: u64,
}

impl MemoryGroup {
    #[cfg(test)]
    pub(super) fn at(source: &str, limit: u64) -> Self {
        Self { version: Version::V2, folder: PathBuf::new(), source: source.into(), limit }
    }

    /// Returns the bytes that the kernel cannot reclaim without killing: all charged memory except the page cache.
    /// `None`: the files cannot be read.
    pub(super) fn used(&self) -> Option<u64> {
        let (usage, reclaimable): (_, &[&str]) = match self.version {
            Version::V1 => ("memory.usage_in_bytes", &["total_active_file", "total_inactive_file"]),
            Version::V2 => {
                ("memory.current", &["active_file", "inactive_file", "slab_reclaimable"])
            }
        };
        let usage = number(&self.folder.join(usage))?;
        let stat = text(&self.folder.join("memory.stat"))?;
        let reclaimable: u64 = reclaimable.iter().filter_map(|name| field(&stat, name)).sum();
        Some(usage.saturating_sub(reclaimable))
    }
}

/// Limits of the control groups of this process, those of their parents included.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Cgroup {
    /// Every group with a limit, from the process's own upwards.
    pub memory: Vec<MemoryGroup>,
    /// The CPU quota, rounded up to whole CPUs, at least 1; `None`: there is no quota.
    pub cpus: Option<usize>,
}

impl Cgroup {
    /// Reads `proc/self` below `root` and the directories that it names; `root` is `/` except in tests. An unreadable
    /// file counts as no limit.
    pub(super) fn read(root: &Path) -> Self {
        let memory = levels(root, "memory");
        let cpu = levels(root, "cpu");
        Self {
            memory: memory.map_or_else(Vec::new, |(version, levels)| limits(version, &levels)),
            cpus: cpu.and_then(|(version, levels)| {
                levels.iter().filter_map(|folder| quota(version, folder)).min()
            }),
        }
    }

    /// Returns the group with the smallest limit; `None`: memory is not limited.
    pub(super) fn tightest(&self) -> Option<&MemoryGroup> {
        self.memory.iter().min_by_key(|group| group.limit)
    }
}

/// Returns the number of CPUs allowed by affinity and cpuset; `None`: not in `proc/self/status`.
pub(super) fn allowed_cpus(root: &Path) -> Option<usize> {
    let status = text(&root.join("proc/self/status"))?;
    let cpus = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
    let count = |part: &str| -> Option<usize> {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        Some(last.checked_sub(first)? + 1)
    };
    cpus.trim().split(',').map(count).sum()
}

fn limits(version: Version, levels: &[PathBuf]) -> Vec<MemoryGroup> {
    let names: &[&str] = match version {
        Version::V1 => &["memory.limit_in_bytes"],
        // Above `memory.high` a group is throttled until it is unusable.
        Version::V2 => &["memory.max", "memory.high"],
    };
    let group = |folder: &PathBuf, source: PathBuf, limit: u64| {
        (limit < UNLIMITED).then(|| MemoryGroup { version, folder: folder.clone(), source, limit })
    };
    let of_level = |folder: &PathBuf| {
        let files = names.iter().map(|name| folder.join(name));
        let found = files.filter_map(|file| Some((number(&file)?, file)));
        let (limit, source) = found.min()?;
        group(folder, source, limit)
    };
    let mut found: Vec<MemoryGroup> = levels.iter().filter_map(of_level).collect();
    // A limit of a parent that is not mounted here.
    let hidden = levels.first().filter(|_| version == Version::V1).and_then(|own| {
        let source = own.join("memory.stat");
        let limit = field(&text(&source)?, "hierarchical_memory_limit")?;
        group(own, source, limit)
    });
    found.extend(hidden.filter(|hidden| found.iter().all(|group| hidden.limit < group.limit)));
    found
}

/// Returns the CPUs of a group's quota, rounded up.
fn quota(version: Version, folder: &Path) -> Option<usize> {
    let (quota, period) = match version {
        Version::V1 => {
            let file = |name: &str| number(&folder.join(name));
            (file("cpu.cfs_quota_us")?, file("cpu.cfs_period_us")?)
        }
        Version::V2 => {
            let text = text(&folder.join("cpu.max"))?;
            let (quota, period) = text.trim().split_once(' ')?;
            (quota.parse().ok()?, period.parse().ok()?)
        }
    };
    let cpus = (period > 0).then(|| quota.div_ceil(period).max(1))?;
    usize::try_from(cpus).ok()
}

/// Returns the directories of a controller's groups, from the process's own up to the root of the mount.
fn levels(root: &Path, controller: &str) -> Option<(Version, Vec<PathBuf>)> {
    let groups = text(&root.join("proc/self/cgroup"))?;
    let mounts = text(&root.join("proc/self/mountinfo"))?;
    // Hybrid: v2 is mounted beside v1, which then has the controllers.
    let of_v1 = own_group(&groups, |controllers| controllers.split(',').any(|c| c == controller));
    let v1 = of_v1.and_then(|path| {
        let mount = mounts.lines().filter_map(Mount::parse).find(|m| m.is_v1(controller))?;
        Some((Version::V1, mount.levels(root, path)))
    });
    v1.or_else(|| {
        let path = own_group(&groups, str::is_empty)?;
        let mount = mounts.lines().filter_map(Mount::parse).find(|m| m.kind == "cgroup2")?;
        Some((Version::V2, mount.levels(root, path)))
    })
}

/// Returns the path in a line `number:controllers:path` of `proc/self/cgroup`.
fn own_group(groups: &str, has: impl Fn(&str) -> bool) -> Option<&str> {
    groups.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':');
        let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        has(controllers).then_some(path)
    })
}

/// A line of `proc/self/mountinfo`.
struct Mount<'a> {
    /// The mounted directory of the file system.
    root: String,
    at: String,
    kind: &'a str,
    options: &'a str,
}

impl<'a> Mount<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let (own, file_system) = line.split_once(" - ")?;
        let mut own = own.split(' ').skip(3);
        let (root, at) = (unescape(own.next()?), unescape(own.next()?));
        let mut file_system = file_system.split(' ');
        Some(Self { root, at, kind: file_system.next()?, options: file_system.nth(1)? })
    }

    fn is_v1(&self, controller: &str) -> bool {
        self.kind == "cgroup" && self.options.split(',').any(|option| option == controller)
    }

    fn levels(&self, root: &Path, group: &str) -> Vec<PathBuf> {
        let top = root.join(self.at.trim_start_matches('/'));
        // A group that lies outside the mount, as it is seen within a namespace, shows as its root at best.
        let below = Path::new(group).strip_prefix(&self.root).unwrap_or(Path::new(""));
        let is_inside = !below.components().any(|part| part.as_os_str() == "..");
        let own = if is_inside { top.join(below) } else { top.clone() };
        let levels = own.ancestors().take_while(|level| level.starts_with(&top));
        levels.filter(|level| level.is_dir()).map(Path::to_owned).collect()
    }
}

/// Decodes a path of `mountinfo`, in which spaces are `\040`.
fn unescape(text: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

fn text(file: &Path) -> Option<String> {
    std::fs::read_to_string(file).ok()
}

/// Returns the only number in a file; `None`: `max`, `-1`, or no such file.
fn number(file: &Path) -> Option<u64> {
    text(file)?.trim().parse().ok()
}

/// Returns the value of a line `name value`.
fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}
