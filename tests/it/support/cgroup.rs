//! Control groups for tests, where this machine allows them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use super::hotset;

/// A control group with a limit, and one below it without, for the process. Both are removed when it is dropped,
/// after the processes in it have ended.
#[derive(Debug)]
pub struct LimitedGroup(PathBuf);

impl LimitedGroup {
    /// Makes a group with a memory limit in bytes. `None`: not possible here, for the reason that is printed.
    #[must_use]
    pub fn memory(limit: u64) -> Option<Self> {
        Self::with("memory", "memory.limit_in_bytes", "memory.max", &limit.to_string())
    }

    /// Makes a group with a CPU quota, in microseconds per 100 ms.
    #[must_use]
    pub fn cpu(quota: u64) -> Option<Self> {
        if Path::new("/sys/fs/cgroup/cpu").is_dir() {
            return Self::with("cpu", "cpu.cfs_quota_us", "", &quota.to_string());
        }
        Self::with("cpu", "", "cpu.max", &format!("{quota} 100000"))
    }

    fn with(controller: &str, v1: &str, v2: &str, limit: &str) -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let mount = Path::new("/sys/fs/cgroup").join(controller);
        let (mount, file) = match mount.is_dir() {
            true => (mount, v1),
            false => (PathBuf::from("/sys/fs/cgroup"), v2),
        };
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let group = Self(mount.join(format!("hotset-test-{}-{number}", std::process::id())));
        let made = fs::create_dir_all(group.process()).and_then(|()| {
            fs::write(group.0.join(file), limit)?;
            // Tests whether a process can be put there.
            let mut put = group.enter(&Command::new("true"));
            let done = put.status()?.success();
            done.then_some(()).ok_or_else(|| std::io::Error::other("no process may enter it"))
        });
        match made {
            Ok(()) => Some(group),
            Err(error) => {
                println!("skipped: no {controller} cgroup at {}: {error}", mount.display());
                None
            }
        }
    }

    fn process(&self) -> PathBuf {
        self.0.join("process")
    }

    /// Returns the command for the binary with these arguments, in the inner group.
    #[must_use]
    pub fn hotset(&self, arguments: &[&str]) -> Command {
        let mut command = self.enter(&hotset(arguments));
        command.env_clear();
        command.env("AWS_ACCESS_KEY_ID", "AKTEST").env("AWS_SECRET_ACCESS_KEY", "sktest");
        command
    }

    /// Starts processes in the group that hold this many bytes until the child's stdin is closed.
    ///
    /// # Panics
    /// When there is no shell.
    #[must_use]
    pub fn hold(&self, bytes: u64) -> Child {
        let mut shell = Command::new("/bin/sh");
        let script = format!("(head -c {bytes} /dev/zero; cat) | tail -c {bytes}");
        shell.args(["-c", &script]);
        let mut command = self.enter(&shell);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap()
    }

    fn enter(&self, program: &Command) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "echo 0 > \"$0\" && exec \"$@\""]);
        command.arg(self.process().join("cgroup.procs"));
        command.arg(program.get_program()).args(program.get_args());
        command
    }
}

impl Drop for LimitedGroup {
    fn drop(&mut self) {
        for folder in [self.process(), self.0.clone()] {
            // The last process to end may still be exiting.
            let mut tries = 0..100_000;
            while tries.next().is_some() && fs::remove_dir(&folder).is_err() {
                std::thread::yield_now();
            }
        }
    }
}
