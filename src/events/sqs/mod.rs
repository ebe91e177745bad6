//! Events from Amazon SQS.
//!
//! One receiver a queue: it polls, hands each body to the intake, and deletes a message only when what it said was
//! applied and is durable (R11); until then the message stays invisible to others. A body that cannot be read is
//! not deleted: the queue's own dead-letter policy says what becomes of it. Knows no format of events.

pub(super) mod config;
#[cfg(feature = "sqs")]
mod queue;
#[cfg(feature = "sqs")]
mod receiver;

#[cfg(feature = "sqs")]
pub(super) use receiver::Sqs;

/// About how many messages wait in a queue; nothing is received.
///
/// # Errors
/// One line: why it cannot be asked.
#[cfg(feature = "sqs")]
pub async fn queue_depth(
    config: &config::SqsConfig,
    origin: &crate::origin::Origin,
) -> Result<u64, String> {
    queue::Queue::connect(config, origin).await.depth().await
}
