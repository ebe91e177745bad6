//! Content of a decoded message, whatever its format, and the decoding errors.

use std::time::SystemTime;

use super::super::etag::ETag;
use super::super::name::{BucketName, ObjectKey};
use super::super::version::VersionId;

/// Maximum records in one message; S3 sends a few, a relay's batch some hundred.
pub const MAX_RECORDS: usize = 10_000;

/// One change of one object, as reported by a notification.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ObjectEvent {
    pub bucket: BucketName,
    /// Every reading of the key that its sender's encoding allows, each once; never empty, at most 3, likeliest
    /// first.
    pub keys: Vec<ObjectKey>,
    /// Version id as sent; an empty one is `None`, `null` stays.
    pub version: Option<VersionId>,
    pub change: Change,
    /// Event name as sent, without a leading `s3:`, at most 128 bytes; for logs.
    pub name: String,
    /// Time of the event, by the sender's clock.
    pub time: Option<SystemTime>,
    /// Quoted, strong `ETag`; `None` if it is missing (deletes) or cannot be one.
    pub etag: Option<ETag>,
    /// Size of the object in bytes.
    pub size: Option<u64>,
    /// Sequencer, logged and never compared (R25); at most 128 bytes.
    pub sequencer: Option<String>,
}

/// Kind of change of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Change {
    /// The object has new bytes, or may have.
    Created,
    /// The object, or the named version, was deleted or may not be read any more.
    Removed {
        /// Whether a delete marker was created, so that named versions stay.
        marker: bool,
    },
    /// Only metadata changed: tags, ACL, retention, storage class, a restore.
    Described,
    /// Nothing that concerns a cache: the object was read or replicated.
    Nothing,
}

/// Content of one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notification {
    /// The outermost format that carries events; for a batch, that of its first message.
    pub format: Format,
    pub events: Vec<ObjectEvent>,
    /// Number of records that concern no object: test events, bucket events, confirmations.
    pub others: usize,
    /// Records that could not be decoded, while others could.
    pub bad: Vec<BadRecord>,
}

/// Format of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// S3's `Records` (AWS, moto, LocalStack, and unknown senders).
    S3,
    /// S3's `Records` by MinIO, or MinIO's access log for Redis.
    MinIo,
    /// S3's `Records` by Ceph's RGW.
    Ceph,
    /// An SNS envelope around another format.
    Sns,
    /// A Lambda event: records of SNS or SQS around other formats.
    Lambda,
    EventBridge,
    /// A structured CloudEvent around another format.
    CloudEvents,
    /// Cloudflare R2, as delivered to its queue.
    R2,
    /// Google Cloud Storage, as pushed by Pub/Sub.
    Gcs,
    /// `s3:TestEvent`, which S3 sends when a notification is set up.
    Test,
}

impl Format {
    /// Returns the label for metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::S3 => "s3",
            Self::MinIo => "minio",
            Self::Ceph => "ceph",
            Self::Sns => "sns",
            Self::Lambda => "lambda",
            Self::EventBridge => "eventbridge",
            Self::CloudEvents => "cloudevents",
            Self::R2 => "r2",
            Self::Gcs => "gcs",
            Self::Test => "test",
        }
    }
}

/// Reason for which a whole message could not be decoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EventError {
    #[error("not JSON")]
    NotJson,
    /// More levels of brackets or envelopes than any sender writes.
    #[error("nested too deeply")]
    TooDeep,
    #[error("more than {MAX_RECORDS} records")]
    TooManyRecords,
    #[error("unknown format")]
    UnknownFormat,
    /// The error of the first record; none could be decoded.
    #[error("{0}")]
    Bad(BadRecord),
}

impl EventError {
    /// Returns the label for metrics.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::NotJson => "not_json",
            Self::TooDeep => "too_deep",
            Self::TooManyRecords => "too_many_records",
            Self::UnknownFormat => "unknown_format",
            Self::Bad(_) => "bad_records",
        }
    }
}

/// Reason for which one record could not be decoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadRecord {
    #[error("a record has unexpected fields")]
    Malformed,
    #[error("a record has the unknown version {0}")]
    Version(String),
    #[error("a record has no event name")]
    NoName,
    #[error("a record has an invalid bucket name")]
    Bucket,
    #[error("a record has an invalid key")]
    Key,
    /// A nested message.
    #[error("a message inside: {0}")]
    Inside(Box<EventError>),
}
