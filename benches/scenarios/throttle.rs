//! Throttles a process's reads of one device: a group of cgroup v1's `blkio`, made by root.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::Result;

const ROOT: &str = "/sys/fs/cgroup/blkio";
const RATE: &str = "blkio.throttle.read_bps_device";

/// A `blkio` group. When it is dropped it is removed, and its processes go back to the root group.
pub struct Throttle {
    group: PathBuf,
    /// Device number, as the kernel writes it.
    device: String,
}

impl Throttle {
    /// Makes a group for the device below `folder`. Only reads past the page cache can be throttled.
    ///
    /// # Errors
    /// When there is no `blkio`, the caller may not make groups, or the folder is on no device.
    pub fn new(folder: &Path) -> Result<Self> {
        let group = Path::new(ROOT).join(format!("hotset-scenarios-{}", std::process::id()));
        fs::create_dir(&group)
            .map_err(|error| format!("no throttled device here: {}: {error}", group.display()))?;
        let device = device(folder);
        let this = Self { group, device: device? };
        Ok(this)
    }

    /// Moves a process into the group, with all its threads.
    ///
    /// # Errors
    /// When it has exited.
    pub fn take(&self, id: u32) -> Result<()> {
        Ok(fs::write(self.group.join("cgroup.procs"), id.to_string())?)
    }

    /// Sets the maximum read rate, in bytes a second; `None`: unlimited.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn set_rate(&self, rate: Option<u64>) -> Result<()> {
        let line = format!("{} {}", self.device, rate.unwrap_or(0));
        fs::write(self.group.join(RATE), &line)
            .map_err(|error| format!("{RATE} does not take {line:?}: {error}").into())
    }
}

impl Drop for Throttle {
    fn drop(&mut self) {
        let tasks = fs::read_to_string(self.group.join("cgroup.procs")).unwrap_or_default();
        for id in tasks.lines() {
            // It may have exited meanwhile.
            let _ = fs::write(Path::new(ROOT).join("cgroup.procs"), id);
        }
        // An empty group that stays does no harm.
        let _ = fs::remove_dir(&self.group);
    }
}

/// Returns the number of the whole device that a folder's file system is on: a partition has no rate of its own.
fn device(folder: &Path) -> io::Result<String> {
    let number = fs::metadata(folder)?.dev();
    let number = format!("{}:{}", rustix::fs::major(number), rustix::fs::minor(number));
    let entry = Path::new("/sys/dev/block").join(&number).canonicalize()?;
    let whole = match (entry.join("partition").exists(), entry.parent()) {
        (true, Some(whole)) => whole,
        _ => &entry,
    };
    Ok(fs::read_to_string(whole.join("dev"))?.trim().to_owned())
}
