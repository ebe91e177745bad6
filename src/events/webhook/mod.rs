//! HTTP listener for event notifications of SNS, `EventBridge`, MinIO, Ceph, and relays that sign.
//!
//! ```text
//! server      a listener of its own: TLS, connections, heads, bodies: all bounded
//! receiver    one request: who sends it (authentication), what it says (the intake), what is answered
//! ```
//!
//! The invariant: 2xx is answered only to a sender that is believed, and only after what it said was applied and
//! would survive a power cut (R11). Whatever else happens the sender hears of, and a good one sends again. Who is
//! refused learns why in a few words and costs a bounded share of everything. Knows nothing of formats and caches.

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
