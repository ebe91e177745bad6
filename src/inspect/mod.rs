//! Requests of a running server as operators ask for them: the hottest names among them, and those that pass a filter.
//!
//! Both are bounded in memory, and in the time that they take a request, whatever clients send.

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

/// What operators ask of the requests of one server.
#[derive(Default)]
pub struct Inspect {
    pub hottest: Hottest,
    pub watchers: Arc<Watchers>,
}
