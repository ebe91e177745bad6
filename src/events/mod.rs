//! Invalidation by S3 event notifications: receivers, and the application of events.
//!
//! ```text
//!  receivers ── a message's bytes ──> intake ── s3::event ──> cache: invalidate, or validate before the next hit
//!                                       │
//!                                       └── proof that events come (R26) ──> cache::Rules
//! ```
//! A receiver acknowledges a message only after its events were applied and would survive a power cut (R11): events
//! arrive at least once, late, in any order and twice, and all of that is harmless. The effect of a lost event is
//! bounded by the freshness of the rules. Formats of events are handled in `s3::event`.

mod amqp;
#[cfg(any(
    feature = "sqs",
    feature = "nats",
    feature = "amqp",
    feature = "kafka",
    feature = "redis"
))]
mod backoff;
mod canary;
pub mod config;
mod intake;
mod kafka;
mod nats;
mod receiver_status;
mod receivers;
mod recent;
#[cfg(any(feature = "nats", feature = "amqp", feature = "kafka", feature = "redis"))]
mod reconnect;
mod redis;
#[cfg(any(feature = "nats", feature = "amqp", feature = "kafka"))]
mod replica;
mod sqs;
pub mod webhook;

pub use canary::CanaryConfig;
pub use config::EventsConfig;
pub use intake::{Applied, Intake};
pub use receiver_status::ReceiverStatus;
pub use receivers::{NewReceivers, ReceiverSettings, Receivers, ReceiversError};
#[cfg(feature = "sqs")]
pub use sqs::queue_depth;
pub use webhook::Webhook;

pub use crate::metrics::events::Source;
