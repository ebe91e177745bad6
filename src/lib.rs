//! hotset: a caching S3 endpoint. Applications change only their endpoint; hotset serves their hot
//! objects from memory and local disks, fetches each byte from the origin once, and invalidates what
//! changes.
//!
//! # The life of a request
//!
//! ```text
//!            proxy::conn        accepts, bounds and drains connections, and reads heads under limits
//!  request ─ proxy::fast_path   answers small hits before pingora sees them
//!            proxy::Gateway     pingora's hooks, each a few lines that delegate
//!            s3::operation      what is asked: a read that the cache may answer (an allow-list), or something else
//!            auth::Access       who asks, and may it be done? (in `transparent` mode S3 says so, below)
//!              │
//!   read ──────┤ cache::lookup      the version: known and fresh, or one HEAD, or the first ranged GET
//!              │ proxy::handlers::transparent   may this caller read it? S3's answer to the caller's own request
//!              │ s3                 conditions, then the range: 304, 412, 416, 206, 200
//!              │ cache::fetch::reader   block by block: memory, disk, what is in flight, or a new fetch; reads ahead
//!              │ cache::fetch::flight   one task an origin range, detached from its readers
//!              │ origin             a ranged GET pinned to the version, compared, resumed where it breaks
//!              │
//!   list ──────┤ proxy::handlers::lists   where a rule says so, from memory for a moment; else it streams through
//!   else ──────┘ proxy::handlers::pass_through   streams to the origin, re-signed or as signed; a write invalidates
//!                                                before and after (proxy::handlers::writes)
//! ```
//!
//! `events` receives a notification, `s3::event` decodes it, and `cache` invalidates the object or marks
//! it for confirmation before the notification is acknowledged.
//!
//! `cache::facade` is the cache as the other modules see it. It delegates to types of their own: lookups are in
//! `cache::lookup`, fetches in `cache::fetch`, invalidations in `cache::invalidate`, and `cache::assembly` puts them
//! together.
//!
//! Operators purge and warm objects by `admin`; `warm` also prefetches objects that `events` reports as
//! created.
//!
//! Replicas with `cluster.peers` tell each other of writes, purges and events before these proceed.
//!
//! # Guarantees
//!
//! - **No wrong bytes.** Blocks are keyed by version. Every range after the first is pinned to it and
//!   verified. A response that cannot be completed is aborted visibly.
//! - **No old bytes after a write.** An invalidation raises the key's generation. A fetch from before it
//!   answers only readers that had arrived by then, and is not admitted.
//! - **No byte is fetched twice** at the same time, however many readers want it.
//! - **No unbounded memory.** Cached bytes are weighed; bytes in flight are paid for from a budget.
//!
//! `docs/invariants.md` has the rules behind these, R1 to R40; tests are named after the rule that they
//! prove.
//!
//! # Dependencies between modules
//!
//! `s3` and `glob` are pure vocabulary, `yaml` reads files, `sys` has all unsafe code. `cache` knows no HTTP, `origin`
//! no caching, `proxy` joins them to pingora, and `app` wires everything. Within a module the state that handlers work
//! on is in files of its own below them. `tests/it/architecture.rs` holds the table and fails on an import that it does
//! not allow, and on a circle of imports of more than three files.

#![deny(unsafe_code)]

mod accept;
pub mod admin;
pub mod app;
pub mod auth;
pub mod cache;
pub mod cli;
pub mod cluster;
pub mod config;
#[cfg(feature = "embedded")]
pub mod embedded;
pub mod events;
#[cfg(test)]
mod generated;
pub mod glob;
pub mod inspect;
pub mod logging;
pub mod metrics;
pub mod origin;
mod pacing;
mod permits;
pub mod proxy;
pub mod s3;
#[allow(unsafe_code, reason = "the one module that needs it")]
mod sys;
pub mod tls;
pub mod tracing;
pub mod warm;
pub mod yaml;
