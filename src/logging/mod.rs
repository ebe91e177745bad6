//! Logs: destinations of lines, escaping of untrusted text, and the audit and operator's logs.
//!
//! Lines for requests are written by threads of their own, in batches and bounded: a slow reader costs lines, which are
//! counted, and never blocks a request.

pub mod audit;
pub mod config;
pub mod operator;
pub(crate) mod output;
pub(crate) mod sink;
pub(crate) mod syslog;
pub(crate) mod text;
