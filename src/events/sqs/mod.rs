//! Events from Amazon SQS.
//!
//! Each queue has a receiver: it polls, passes each body to the intake, and deletes a message only after its events
//! were applied durably (R11); until then the message stays invisible to others. An undecodable body is not deleted:
//! the queue's own dead-letter policy handles it. Formats of events are handled elsewhere.

pub(super) mod config;
#[cfg(feature = "sqs")]
mod keys;
#[cfg(feature = "sqs")]
mod queue;
#[cfg(feature = "sqs")]
mod receiver;

#[cfg(feature = "sqs")]
pub(super) use receiver::Sqs;

/// Returns the approximate number of messages in a queue, without receiving any.
///
/// # Errors
/// One line: the reason for which the queue cannot be reached.
#[cfg(feature = "sqs")]
pub async fn queue_depth(
    config: &config::SqsConfig,
    origins: &crate::origin::Origins,
) -> Result<u64, String> {
    queue::Queue::connect(config, origins).await.depth().await
}
