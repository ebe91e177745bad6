//! HTTP listener for event notifications of SNS, `EventBridge`, MinIO, Ceph, and relays that sign.
//!
//! ```text
//! server      listener with limits on TLS, connections, heads and bodies
//! receiver    one request: authentication, application by the intake, response
//! ```
//!
//! The invariant: 2xx is answered only to an authenticated sender, and only after its events were applied and would
//! survive a power cut (R11). A sender gets an error in all other cases, upon which most send again. A refused sender
//! learns the reason in a few words and costs a bounded share of resources. Formats and the cache are handled
//! elsewhere.

mod authentication;
pub mod config;
mod error;
mod receiver;
mod recent;
mod server;
mod signed;
mod sns;

pub use error::WebhookError;
pub use server::{NewWebhook, Webhook, WebhookSettings};
