//! The admin API: JSON requests and responses.
//!
//! ```text
//!  POST   /api/v1/purge        forget keys, a prefix, a bucket or everything, and erase it where that is asked
//!  POST   /api/v1/warm         begin to warm keys or a prefix; the same again joins the job that runs
//!  GET    /api/v1/warm         the jobs that run and the last that ended
//!  GET    /api/v1/warm/{id}    how far one is
//!  DELETE /api/v1/warm/{id}    end it
//!  GET    /api/v1/stats        counters, gauges, recent errors
//!  GET    /api/v1/top          the hottest objects, prefixes, identities or addresses
//!  GET    /api/v1/requests     requests as they end, for as long as the client reads
//!  GET    /api/v1/config       the effective configuration, without secrets
//!  POST   /api/v1/reload       read the configuration again, and put it into force
//!  GET    /api/v1/log-level    the minimum level of log messages; POST sets it
//!  GET    /api/v1/explain      the state of an object, or what would become of a request
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
