//! Invalidation of cached metadata and blocks, and the counters that decide its races with fills.

mod absences;
pub(in crate::cache) mod certainty;
pub(in crate::cache) mod checksum_failures;
pub(in crate::cache) mod departures;
pub(in crate::cache) mod disk_evidence;
pub(in crate::cache) mod erase;
pub(in crate::cache) mod evidence;
pub(in crate::cache) mod generation;
pub(in crate::cache) mod invalidation;
pub(in crate::cache) mod listed_pages;
pub(in crate::cache) mod page_evidence;
pub(in crate::cache) mod purge;
pub(in crate::cache) mod purge_epochs;
pub(in crate::cache) mod purge_preview;
pub(in crate::cache) mod recent_writes;
pub(in crate::cache) mod replicas;
pub(in crate::cache) mod scope;
mod seen_pages;
pub(in crate::cache) mod sync;
