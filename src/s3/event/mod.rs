//! S3 event notifications of all supported senders, decoded into one type.
//!
//! [`decode`] finds the format out from the body: S3's records as AWS, MinIO, Ceph, moto and LocalStack write them,
//! plain or inside SNS, SQS, EventBridge, CloudEvents or what Lambda hands on; R2; GCS. Two invariants. A change is
//! never overlooked for the way in which it is told: a key that can be read in two ways is read in both, and an
//! event of an object whose name nobody knows counts as new bytes. And nothing that a sender says takes more than
//! its length in time and memory: depth, wrapping and the number of records are bounded before they are looked at.
//!
//! Sequencers are carried to be logged; they never decide (R25). Knows nothing of how a message came, of
//! signatures, or of what is cached.

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

/// Reads a message of any format.
///
/// The caller bounds its length: time and memory grow with it, and with nothing else.
///
/// # Errors
/// [`EventError`]: nothing in it can be read.
pub fn decode(body: &[u8]) -> Result<Notification, EventError> {
    message::decode(body)
}

#[cfg(test)]
mod tests;
