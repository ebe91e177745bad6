//! hotset: a caching S3 endpoint. Applications change their endpoint and nothing else; hotset serves their hot
//! working set from memory, asks the origin for each byte once, and forgets a byte when it changes.
//!
//! # The life of a request
//!
//! ```text
//!            proxy::server     accepts, bounds and drains connections
//!  request ─ proxy::Gateway    pingora's hooks, each a few lines
//!            s3::operation     what is asked: a read that the cache may answer (an allow-list), or something else
//!            auth::Access      who asks, and may it be done? (in `transparent` mode S3 says so, below)
//!              │
//!   read ──────┤ cache::open     the version: known and fresh, or one HEAD, or the first ranged GET
//!              │ proxy::transparent   may this caller read it? S3's answer to the caller's own request
//!              │ s3              conditions, then the range: 304, 412, 416, 206, 200
//!              │ cache::reader   block by block: memory, what is in flight, or a new fetch; reads ahead
//!              │ cache::fetch    one task an origin range, detached from its readers
//!              │ origin          a ranged GET pinned to the version, compared, resumed where it breaks
//!              │
//!   list ──────┤ proxy::lists    where a rule says so, from memory for a moment; else it streams through
//!   else ──────┘ proxy::pass_through   streams to the origin, re-signed or as signed; a write invalidates before and after
//! ```
//!
//! An event comes in by `events`, is read by `s3::event`, and makes `cache` forget or doubt an object before it is
//! acknowledged.
//!
//! By hand, `admin` has `cache` forget, and `warm` read ahead of all readers and behind them; `warm` is told by `events`
//! what was created, too.
//!
//! Replicas with `cluster.peers` tell each other what is written, purged and received, before any of that goes on.
//!
//! # What may not happen
//!
//! - **Wrong bytes.** Blocks are keyed by version; every range after the first is pinned to it and compared; an
//!   answer that cannot be completed is broken visibly, never ended as if it were whole.
//! - **Old bytes after a write.** An invalidation raises the key's generation: what began before it answers only
//!   readers that had arrived, and is not admitted.
//! - **A byte fetched twice** while one fetch of it is under way, by however many readers.
//! - **Memory without bound.** What is cached is weighed; what is in flight is paid for from a budget.
//!
//! The rules behind these are numbered R1 to R40; tests name the rule that they show.
//!
//! # Who knows whom
//!
//! `s3` is pure vocabulary, `yaml` reads files, `sys` has all unsafe code. `cache` knows no HTTP, `origin` no caching, `proxy` joins them to pingora, and `app`
//! wires everything. `tests/it/architecture.rs` holds the table and fails on an import that it does not allow.

#![deny(unsafe_code)]

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
pub mod metrics;
pub mod origin;
pub mod proxy;
pub mod s3;
#[allow(unsafe_code, reason = "the one module that needs it")]
mod sys;
pub mod tls;
pub mod warm;
pub mod yaml;
