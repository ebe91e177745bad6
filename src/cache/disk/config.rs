//! Configuration of a disk tier directory, an item of `cache.disk`.

use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::config::units::ByteSize;

/// A directory of the disk tier, an item of `cache.disk`. Several directories share the load.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct DiskConfig {
    /// Absolute path of a directory that nothing else writes to; it is created if missing.
    pub path: PathBuf,
    /// Maximum total size of the files in it, at least 128MiB. Required.
    pub capacity: ByteSize,
    /// Maximum write rate in bytes per second; `None`: no limit.
    pub write_rate: Option<ByteSize>,
    /// Whether reads bypass the page cache (`O_DIRECT`).
    pub direct: bool,
}

pub(in crate::cache::disk) const MIB: u64 = 1 << 20;
/// Number of segments per path, so that reclaiming one evicts little.
const SEGMENTS: u64 = 32;
const SEGMENT_MIN: u64 = 20 * MIB;
const SEGMENT_MAX: u64 = 256 * MIB;
/// Files of metadata: segments with one to spare, the lock, and a mark.
const METADATA_FILES: u64 = 12;

impl DiskConfig {
    /// Minimum capacity.
    pub const CAPACITY_MIN: ByteSize = ByteSize::mib(128);
    /// Maximum number of files that it may have open: its segments with some to spare, those of metadata, and marks.
    pub fn descriptors_max(&self) -> u64 {
        let segments = self.capacity.0 / segment_size(self.capacity.0) + 3;
        // A file that is read with direct I/O is opened a second time.
        let opened = if self.direct { 2 } else { 1 };
        (segments + METADATA_FILES) * opened
    }

    /// Maximum number of paths.
    pub const PATHS_MAX: usize = 64;
}

/// Returns the bytes of a segment on a path of `capacity` bytes: room for a few of the largest blocks.
pub(in crate::cache::disk) const fn segment_size(capacity: u64) -> u64 {
    let size = capacity / SEGMENTS;
    match size {
        ..SEGMENT_MIN => SEGMENT_MIN,
        SEGMENT_MAX.. => SEGMENT_MAX,
        _ => size,
    }
}

/// A part of every path's capacity, in whole per cent, such as `20%`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share(u8);

impl Share {
    /// Makes a share of `percent`, at most 100.
    pub const fn percent(percent: u8) -> Self {
        Self(if percent > 100 { 100 } else { percent })
    }

    /// Returns this share of `bytes`.
    pub const fn of(self, bytes: u64) -> u64 {
        bytes / 100 * self.0 as u64
    }
}

impl FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let percent = text.strip_suffix('%').and_then(|digits| digits.trim().parse().ok());
        let legal = percent.filter(|percent| (1..=100).contains(percent));
        legal.map(Self).ok_or_else(|| format!("`{text}` is not a share from 1% to 100%"))
    }
}

impl Serialize for Share {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{}%", self.0))
    }
}

impl<'de> Deserialize<'de> for Share {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl Default for DiskConfig {
    fn default() -> Self {
        Self { path: PathBuf::new(), capacity: ByteSize(0), write_rate: None, direct: false }
    }
}

const _: () = assert!(segment_size(128 * MIB) * 6 <= 128 * MIB);
