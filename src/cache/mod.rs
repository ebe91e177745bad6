//! The block cache: tiers of memory and disk, freshness, coalesced fetches, invalidation. It knows S3's vocabulary and the
//! origin, and no HTTP.
//!
//! ```text
//!  open ── known and fresh ───────────────────────────────┐
//!       ── known, not fresh ── one HEAD, shared ──────────┤
//!       ── unknown ── opening: the first ranged GET ──────┴─> Found { meta, version }
//!  read ── memory ── disk ── in flight ── a new fetch, pinned to the version ──> slices, in order
//! ```
//! Invariants: blocks are keyed by version and never mixed; nothing read before an invalidation is admitted
//! after it; each byte is fetched by one fetch at a time; bytes held for readers are charged to a budget.

mod assembly;
pub mod config;
pub mod disk;
mod facade;
mod fetch;
mod invalidate;
mod key;
mod lists;
mod lookup;
mod memory;
mod metadata;
mod rules;
#[cfg(test)]
mod tests;
mod tiers;

pub use assembly::Usage;
pub use config::{CacheConfig, EventsFreshness, Freshness, PrefetchConfig, RuleConfig};
pub use disk::{DiskConfig, DiskError, DiskUsage, ErasedFiles, Ticket, foreign};
pub use facade::Cache;
pub use fetch::reader::{BlockReader, Piece, PieceSource};
pub use fetch::yield_budget::YieldBudget;
pub use invalidate::erase::{EraseError, Erased};
pub use invalidate::generation::InFlight;
pub use invalidate::invalidation::Writing;
pub use invalidate::page_evidence::PageEvidence;
pub use invalidate::purge::Purged;
pub use invalidate::purge_preview::PurgePreview;
pub use invalidate::replicas::{RemoteEnd, RemoteWrite};
pub use invalidate::scope::Scope;
pub use lists::store::{ListAnswer, ListFill, ListKey};
pub use lookup::error::CacheError;
pub use lookup::explain::Explanation;
pub use lookup::found::{Found, Source};
pub use lookup::local_hit::LocalHit;
pub use lookup::open::OpenRequest;
pub use metadata::clock::{Sent, boot_time};
pub use rules::failover::{Failover, FailoverConfig};
pub use rules::key_glob::KeyGlob;
pub use rules::matching::{MatchedRule, Rules};
pub use rules::policy::Policy;
