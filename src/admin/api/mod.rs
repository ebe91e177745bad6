//! The admin API: JSON requests and responses.
//!
//! ```text
//!  POST   /api/v1/purge        invalidate keys, a prefix, a bucket or everything; erase them on request
//!  POST   /api/v1/warm         warm keys or a prefix; an equal request joins the running job
//!  GET    /api/v1/warm         running jobs and the last completed ones
//!  GET    /api/v1/warm/{id}    progress of a job
//!  DELETE /api/v1/warm/{id}    cancel a job
//!  GET    /api/v1/stats        counters, gauges, recent errors
//!  GET    /api/v1/top          the hottest objects, prefixes, identities or addresses
//!  GET    /api/v1/requests     completed requests as a stream
//!  GET    /api/v1/config       the effective configuration, without secrets
//!  POST   /api/v1/reload       reload the configuration
//!  GET    /api/v1/log-level    the minimum level of log messages; POST sets it
//!  GET    /api/v1/explain      the state of an object, or the predicted outcome of a request
//! ```
//! A request is parsed completely before any of it is executed; an error is one line in `error`.

mod answer;
mod body;
mod explain;
mod guard;
mod log_level;
mod peers;
mod purge;
mod reload;
mod routes;
mod state;
mod top;
mod warm;
mod watch;

pub use purge::ERASING;
pub(super) use watch::LineStream;

pub use state::{Api, Reload, Reloaded};
