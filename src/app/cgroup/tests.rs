use std::sync::atomic::{AtomicU32, Ordering};

use super::*;

const MIB: u64 = 1 << 20;
const V2: &str = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
const V1: &str = "31 30 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                  32 30 0:28 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct\n";
const NO_LIMIT: &str = "9223372036854771712\n";

/// A directory in place of `/`, with `proc/self` in it.
struct Tree(PathBuf);

impl Tree {
    fn new(group: &str, mounts: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("hotset-cgroup-{}-{number}", std::process::id());
        let tree = Self(std::env::temp_dir().join(name));
        tree.file("proc/self/cgroup", group).file("proc/self/mountinfo", mounts)
    }

    fn file(self, path: &str, text: &str) -> Self {
        let path = self.0.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
        self
    }

    /// Returns the smallest memory limit, and the CPUs.
    fn read(&self) -> (Option<u64>, Option<usize>) {
        let cgroup = Cgroup::read(&self.0);
        (cgroup.tightest().map(|group| group.limit), cgroup.cpus)
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn reads_the_limits_of_v2() {
    let tree = Tree::new("0::/app\n", V2)
        .file("sys/fs/cgroup/app/memory.max", "536870912\n")
        .file("sys/fs/cgroup/app/memory.high", "max\n")
        .file("sys/fs/cgroup/app/cpu.max", "150000 100000\n");
    assert_eq!(tree.read(), (Some(512 * MIB), Some(2)));
}

#[test]
fn a_parents_smaller_limit_counts_in_v2() {
    let tree = Tree::new("0::/pod.slice/app.scope\n", V2)
        .file("sys/fs/cgroup/pod.slice/app.scope/memory.max", "max\n")
        .file("sys/fs/cgroup/pod.slice/app.scope/cpu.max", "400000 100000\n")
        .file("sys/fs/cgroup/pod.slice/memory.max", "268435456\n")
        .file("sys/fs/cgroup/pod.slice/cpu.max", "50000 100000\n");
    assert_eq!(tree.read(), (Some(256 * MIB), Some(1)));
    let source = Cgroup::read(&tree.0).tightest().unwrap().source.clone();
    assert!(source.ends_with("pod.slice/memory.max"), "{}", source.display());
}

#[test]
fn memory_high_counts_where_it_is_less_than_max() {
    let tree = Tree::new("0::/\n", V2)
        .file("sys/fs/cgroup/memory.max", "536870912\n")
        .file("sys/fs/cgroup/memory.high", "268435456\n");
    assert_eq!(tree.read(), (Some(256 * MIB), None));
}

#[test]
fn reads_the_limits_of_v1_with_those_of_parents() {
    let groups = "9:cpu,cpuacct:/a/b\n8:memory:/a/b\n";
    let tree = Tree::new(groups, V1)
        .file("sys/fs/cgroup/memory/a/b/memory.limit_in_bytes", NO_LIMIT)
        .file("sys/fs/cgroup/memory/a/memory.limit_in_bytes", "268435456\n")
        .file("sys/fs/cgroup/memory/memory.limit_in_bytes", NO_LIMIT)
        .file("sys/fs/cgroup/cpu,cpuacct/a/b/cpu.cfs_quota_us", "-1\n")
        .file("sys/fs/cgroup/cpu,cpuacct/a/b/cpu.cfs_period_us", "100000\n")
        .file("sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_quota_us", "250000\n")
        .file("sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_period_us", "100000\n");
    assert_eq!(tree.read(), (Some(256 * MIB), Some(3)));
}

#[test]
fn v1_tells_the_limit_of_a_parent_that_is_not_mounted() {
    let mounts = V1.replace("/ /sys/fs/cgroup/memory", "/docker/abc /sys/fs/cgroup/memory");
    let tree = Tree::new("8:memory:/docker/abc\n", &mounts)
        .file("sys/fs/cgroup/memory/memory.limit_in_bytes", "536870912\n")
        .file("sys/fs/cgroup/memory/memory.stat", "hierarchical_memory_limit 134217728\n");
    assert_eq!(tree.read(), (Some(128 * MIB), None));
}

#[test]
fn a_hybrid_host_is_read_where_its_controllers_are() {
    let mounts = format!("{V1}{}", V2.replace("/sys/fs/cgroup ", "/sys/fs/cgroup/unified "));
    let tree = Tree::new("8:memory:/app\n0::/app\n", &mounts)
        .file("sys/fs/cgroup/memory/app/memory.limit_in_bytes", "268435456\n")
        .file("sys/fs/cgroup/unified/app/cpu.max", "100000 100000\n");
    assert_eq!(tree.read(), (Some(256 * MIB), Some(1)));
}

#[test]
fn a_group_of_another_namespace_is_the_root_of_the_mount() {
    for group in ["0::/\n", "0::/../..\n", "0::/kubepods/pod1/abc\n"] {
        let tree = Tree::new(group, V2).file("sys/fs/cgroup/memory.max", "268435456\n");
        assert_eq!(tree.read(), (Some(256 * MIB), None), "{group}");
    }
}

#[test]
fn without_limits_or_files_nothing_is_limited() {
    let unlimited = Tree::new("0::/app\n", V2)
        .file("sys/fs/cgroup/app/memory.max", "max\n")
        .file("sys/fs/cgroup/app/cpu.max", "max 100000\n");
    let unlimited_v1 = Tree::new("8:memory:/\n", V1)
        .file("sys/fs/cgroup/memory/memory.limit_in_bytes", NO_LIMIT)
        .file(
            "sys/fs/cgroup/memory/memory.stat",
            "hierarchical_memory_limit 9223372036854771712\n",
        );
    let broken = Tree::new("0:\nnonsense\n\n", "also nonsense - \n1 2 3\n");
    for tree in [unlimited, unlimited_v1, broken, Tree::new("", "")] {
        assert_eq!(tree.read(), (None, None));
    }
    assert_eq!(Cgroup::read(Path::new("/nowhere")), Cgroup::default());
}

#[test]
fn the_page_cache_does_not_count_as_used() {
    let stat = "anon 100\ninactive_file 30\nactive_file 20\nslab_reclaimable 10\n";
    let v2 = Tree::new("0::/app\n", V2)
        .file("sys/fs/cgroup/app/memory.max", "536870912\n")
        .file("sys/fs/cgroup/app/memory.current", "400\n")
        .file("sys/fs/cgroup/app/memory.stat", stat);
    let stat = "inactive_file 1\ntotal_inactive_file 30\ntotal_active_file 20\n";
    let v1 = Tree::new("8:memory:/\n", V1)
        .file("sys/fs/cgroup/memory/memory.limit_in_bytes", "536870912\n")
        .file("sys/fs/cgroup/memory/memory.usage_in_bytes", "400\n")
        .file("sys/fs/cgroup/memory/memory.stat", stat);
    for (tree, used) in [(v2, 340), (v1, 350)] {
        assert_eq!(Cgroup::read(&tree.0).tightest().unwrap().used(), Some(used));
    }
}

#[test]
fn counts_the_cpus_that_the_process_may_run_on() {
    for (list, count) in [("0", Some(1)), ("0-3", Some(4)), ("0-1,4,8-9", Some(5)), ("x", None)] {
        let status = format!("Name:\thotset\nCpus_allowed:\tff\nCpus_allowed_list:\t{list}\n");
        let tree = Tree::new("", "").file("proc/self/status", &status);
        assert_eq!(allowed_cpus(&tree.0), count, "{list}");
    }
}
