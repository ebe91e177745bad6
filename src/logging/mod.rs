//! Logs: where lines go, how text from outside is made safe in them, and the two logs that are not the access log.
//!
//! Lines of requests are written by threads of their own, in batches, and bounded: a slow reader costs lines, which are
//! counted, and stops nobody.

pub mod audit;
pub mod config;
pub mod operator;
pub(crate) mod output;
pub(crate) mod sink;
pub(crate) mod syslog;
pub(crate) mod text;
