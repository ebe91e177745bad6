//! A control group (v1 or v2) of our own that limits memory, and what the kernel counts in it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Result;

/// Removed when dropped, after the processes in it have ended.
pub struct MemoryLimit {
    folder: PathBuf,
    is_v1: bool,
}

impl MemoryLimit {
    /// A group that may use so many bytes.
    ///
    /// # Errors
    /// When no group can be made here.
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
            // Counted only where there is a limit, which is not to be reached.
            let counted = group.folder.join("memory.kmem.tcp.limit_in_bytes");
            fs::write(counted, (1_u64 << 40).to_string()).map_err(failed)?;
        }
        Ok(group)
    }

    /// Lets `command` run in the group.
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

    /// Bytes of process memory and of the page cache that went with it.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn used(&self) -> Result<(u64, u64)> {
        let (usage, file) = match self.is_v1 {
            true => ("memory.usage_in_bytes", ["total_active_file", "total_inactive_file"]),
            false => ("memory.current", ["active_file", "inactive_file"]),
        };
        let usage = self.number(usage)?;
        let file = self.field("memory.stat", file[0])? + self.field("memory.stat", file[1])?;
        Ok((usage.saturating_sub(file), file))
    }

    /// The most bytes that the kernel counted in the group at a time, page cache included.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn peak(&self) -> Result<u64> {
        self.number(if self.is_v1 { "memory.max_usage_in_bytes" } else { "memory.peak" })
    }

    /// Bytes of socket buffers: in v1 beside the limit, in v2 within it.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn sockets(&self) -> Result<u64> {
        match self.is_v1 {
            true => self.number("memory.kmem.tcp.usage_in_bytes"),
            false => self.field("memory.stat", "sock"),
        }
    }

    /// The number of processes that were killed for want of memory.
    ///
    /// # Errors
    /// When the kernel does not say.
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
        // A group that is still in use stays, empty of meaning.
        let _ = fs::remove_dir(&self.folder);
    }
}
