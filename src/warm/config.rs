//! Configuration of warming, the key `warm`.

use serde::{Deserialize, Serialize};

/// Limits of warming and prefetching.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct WarmConfig {
    /// Maximum concurrent reads of warming and prefetching, at most 64.
    pub reads: usize,
    /// Requests of clients in flight above which no read is started.
    pub requests: usize,
}

impl WarmConfig {
    /// Maximum of `reads`: each may take a fetch's memory.
    pub const READS_MAX: usize = 64;
}

impl Default for WarmConfig {
    fn default() -> Self {
        Self { reads: 4, requests: 256 }
    }
}
