//! What can be set about warming, the key `warm`.

use serde::{Deserialize, Serialize};

/// How far warming steps aside for readers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct WarmConfig {
    /// Objects, or pieces of objects, that are read at the same time.
    pub reads: usize,
    /// While more requests of readers than this are under way, none is begun.
    pub requests: usize,
}

impl WarmConfig {
    /// The most reads: each may take a fetch's memory.
    pub const READS_MAX: usize = 64;
}

impl Default for WarmConfig {
    fn default() -> Self {
        Self { reads: 4, requests: 256 }
    }
}
