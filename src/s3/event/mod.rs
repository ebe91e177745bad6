//! S3 event notifications of all supported senders, decoded into one type.
//!
//! [`decode`] detects the format from the body: S3's records as AWS, MinIO, Ceph, moto and LocalStack write them, plain
//! or inside SNS, SQS, EventBridge, CloudEvents or a Lambda event; R2; GCS. Two invariants hold. A change is never
//! overlooked because of its form: a key that can be read in two ways is read in both, and an unknown event of an
//! object counts as new bytes. And a message costs time and memory in proportion to its length only: depth, nesting and
//! the number of records are bounded before they are read.
//!
//! Sequencers are kept for the log; they never decide (R25). Transport, signatures and the cache are handled elsewhere.

mod change;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod json;
mod key;
mod message;
mod notification;
mod object;
mod records;
pub mod sns;

pub use notification::{
    BadRecord, Change, EventError, Format, MAX_RECORDS, Notification, ObjectEvent,
};

/// Decodes a message of any format.
///
/// The caller bounds its length, on which alone time and memory depend.
///
/// # Errors
/// [`EventError`]: nothing in it can be decoded.
pub fn decode(body: &[u8]) -> Result<Notification, EventError> {
    message::decode(body)
}

#[cfg(test)]
mod tests;
