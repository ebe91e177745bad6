//! A control group (v1 or v2) with a memory limit, and the kernel's counters of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Result;

/// Control group of one limit; removed when dropped, after the processes in it have ended.
pub struct MemoryLimit {
    folder: PathBuf,
    is_v1: bool,
}

impl MemoryLimit {
    /// Makes a group with a limit of `bytes`.
    ///
    /// # Errors
    /// When no group can be made on this machine.
    pub fn new(bytes: u64) -> Result<Self> {
        let v1 = Path::new("/sys/fs/cgroup/memory");
        let (mount, is_v1) = match v1.is_dir() {
            true => (v1, true),
            false => (Path::new("/sys/fs/cgroup"), false),
        };
        let folder = mount.join(format!("hotset-soak-{}", std::process::id()));
        let group = Self { folder, is_v1 };
        let failed = |error| format!("no memory limit at {}: {error}", group.folder.display());
        fs::create_dir(&group.folder).map_err(failed)?;
        let limit = if is_v1 { "memory.limit_in_bytes" } else { "memory.max" };
        fs::write(group.folder.join(limit), bytes.to_string()).map_err(failed)?;
        if is_v1 {
            // Socket buffers are counted only where there is a limit, which must not be reached.
            let counted = group.folder.join("memory.kmem.tcp.limit_in_bytes");
            fs::write(counted, (1_u64 << 40).to_string()).map_err(failed)?;
        }
        Ok(group)
    }

    /// Returns a command that runs `command` in the group.
    pub fn enter(&self, command: &Command) -> Command {
        let mut entering = Command::new("sh");
        entering.args(["-c", "echo 0 > \"$0\" && exec \"$@\""]);
        entering.arg(self.folder.join("cgroup.procs"));
        entering.arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => entering.env(name, value),
                None => entering.env_remove(name),
            };
        }
        entering
    }

    /// Returns the bytes of process memory, and those of the page cache counted with it.
    ///
    /// # Errors
    /// When the kernel's counters cannot be read.
    pub fn used(&self) -> Result<(u64, u64)> {
        let (usage, file) = match self.is_v1 {
            true => ("memory.usage_in_bytes", ["total_active_file", "total_inactive_file"]),
            false => ("memory.current", ["active_file", "inactive_file"]),
        };
        let usage = self.number(usage)?;
        let file = self.field("memory.stat", file[0])? + self.field("memory.stat", file[1])?;
        Ok((usage.saturating_sub(file), file))
    }

    /// Returns the highest number of bytes that the kernel counted in the group at a time, page cache included.
    ///
    /// # Errors
    /// When the kernel's counters cannot be read.
    pub fn peak(&self) -> Result<u64> {
        self.number(if self.is_v1 { "memory.max_usage_in_bytes" } else { "memory.peak" })
    }

    /// Returns the bytes of socket buffers: outside the limit in v1, within it in v2.
    ///
    /// # Errors
    /// When the kernel's counters cannot be read.
    pub fn sockets(&self) -> Result<u64> {
        match self.is_v1 {
            true => self.number("memory.kmem.tcp.usage_in_bytes"),
            false => self.field("memory.stat", "sock"),
        }
    }

    /// Returns the number of processes that were killed for lack of memory.
    ///
    /// # Errors
    /// When the kernel's counters cannot be read.
    pub fn kills(&self) -> Result<u64> {
        let file = if self.is_v1 { "memory.oom_control" } else { "memory.events" };
        self.field(file, "oom_kill")
    }

    fn number(&self, file: &str) -> Result<u64> {
        Ok(fs::read_to_string(self.folder.join(file))?.trim().parse()?)
    }

    fn field(&self, file: &str, name: &str) -> Result<u64> {
        let text = fs::read_to_string(self.folder.join(file))?;
        let mut values = text.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        Ok(values.next().ok_or_else(|| format!("{file} has no {name}"))?.trim().parse()?)
    }
}

impl Drop for MemoryLimit {
    fn drop(&mut self) {
        // A group that is still in use stays, which does no harm.
        let _ = fs::remove_dir(&self.folder);
    }
}
