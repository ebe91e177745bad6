//! Warming: reading objects into the cache on request of an operator, and prefetching of created
//! objects.
//!
//! ```text
//!  a job (keys, or a prefix that is listed page by page) ──┐
//!  Created events ── a queue of objects ───────────────────┴─> pace: a turn ──> cache: open, what is missing, read
//! ```
//! It reads as a client would, through the cache, so that one fetch serves both; bytes cached already cost nothing.
//! Invariants: readers have priority (few reads at a time, none begins while readers need the memory or are many);
//! listed, queued and remembered objects are bounded. It knows nothing of HTTP, and uses hotset's own keys.

mod bounded_tasks;
pub mod config;
mod counters;
mod job;
mod list;
mod object;
mod order;
mod pace;
mod prefetch;
mod queue;
mod span;
mod walk;
mod warmer;

pub use config::WarmConfig;
pub use job::{Busy, Job, Progress, State};
pub use order::{InvalidPattern, Order, Patterns, Target};
pub use pace::Demand;
pub use span::Span;
pub use warmer::Warmer;
