//! Inspection of the requests of a running server: the hottest names, and the requests that pass a filter.
//!
//! Both are bounded in memory and in time per request, whatever clients send.

mod filter;
mod hottest;
mod names;
mod request;
mod space_saving;
mod watchers;

use std::sync::Arc;

pub use filter::{Filter, FilterError};
pub use hottest::{By, Counted, HALF_LIFE, Hottest, Kind, Top, TopEntry};
pub use request::Seen;
pub use watchers::{WATCHERS_MAX, Watch, Watchers};

/// Inspection of the requests of one server.
#[derive(Default)]
pub struct Inspect {
    pub hottest: Hottest,
    pub watchers: Arc<Watchers>,
}
