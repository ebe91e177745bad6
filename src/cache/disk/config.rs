//! What can be set about one path: an item of `cache.disk`.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{MIB, segment_size};
use crate::config::units::ByteSize;

/// A path of the disk tier, an item of `cache.disk`. Several spread the load.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DiskConfig {
    /// A folder, made if it is missing, which nothing else writes to.
    pub path: PathBuf,
    /// Bytes that all files in it may take.
    pub capacity: ByteSize,
    /// The most bytes a second that are written; `None`: as fast as it goes.
    pub write_rate: Option<ByteSize>,
    /// Whether reads go past the page cache.
    pub direct: bool,
}

impl DiskConfig {
    /// The smallest capacity.
    pub const CAPACITY_MIN: ByteSize = ByteSize::mib(128);
    /// The most paths.
    pub const PATHS_MAX: usize = 64;
}

impl Default for DiskConfig {
    fn default() -> Self {
        Self { path: PathBuf::new(), capacity: ByteSize::gib(10), write_rate: None, direct: false }
    }
}

const _: () = assert!(segment_size(128 * MIB) * 6 <= 128 * MIB);
