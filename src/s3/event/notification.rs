//! What a message says, whatever its format, and why one is not understood.

use std::time::SystemTime;

use super::super::etag::ETag;
use super::super::name::{BucketName, ObjectKey};
use super::super::version::VersionId;

/// The most records that one message may hold; S3 sends a few, a batch of a relay some hundred.
pub const MAX_RECORDS: usize = 10_000;

/// One change of one object, as a notification tells it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ObjectEvent {
    pub bucket: BucketName,
    /// Every reading of the key that its sender's encoding allows, each once; never empty, at most 3, likeliest
    /// first.
    pub keys: Vec<ObjectKey>,
    /// As sent; an empty one is `None`, `null` stays.
    pub version: Option<VersionId>,
    pub change: Change,
    /// As sent, without a leading `s3:`, at most 128 bytes; for logs.
    pub name: String,
    /// When it happened, as the sender's clock says.
    pub time: Option<SystemTime>,
    /// Quoted and strong; `None` where it is not told (deletes) or cannot be such.
    pub etag: Option<ETag>,
    /// Of the object, in bytes.
    pub size: Option<u64>,
    /// Logged, never compared (R25); at most 128 bytes.
    pub sequencer: Option<String>,
}

/// What became of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Change {
    /// There are new bytes under this name, or may be.
    Created,
    /// It, or the named version, is gone, or may not be read any more.
    Removed {
        /// By a delete marker: versions that are named stay.
        marker: bool,
    },
    /// Only what is said of it changed: tags, ACL, retention, storage class, a restore.
    Described,
    /// Nothing that a cache has to do with: it was read, it was replicated.
    Nothing,
}

/// What one message says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notification {
    /// The outermost format that says something; for a batch, that of its first message.
    pub format: Format,
    pub events: Vec<ObjectEvent>,
    /// How many of its records concern no object: test events, events of buckets, confirmations.
    pub others: usize,
    /// Records that could not be read, while others could.
    pub bad: Vec<BadRecord>,
}

/// How a message is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// S3's `Records` (AWS, moto, LocalStack, and senders that nobody knows).
    S3,
    /// S3's `Records` by MinIO, or its log of accesses for Redis.
    MinIo,
    /// S3's `Records` by Ceph's RGW.
    Ceph,
    /// An SNS envelope around another one.
    Sns,
    /// What Lambda hands to a function: records of SNS or SQS around others.
    Lambda,
    EventBridge,
    /// A structured CloudEvent around another one.
    CloudEvents,
    /// Cloudflare R2, as its queue holds it.
    R2,
    /// Google Cloud Storage, as Pub/Sub pushes it.
    Gcs,
    /// `s3:TestEvent`, which S3 sends when a notification is set up.
    Test,
}

impl Format {
    /// A short word for it, to count by.
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

/// Why a message as a whole says nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EventError {
    #[error("not JSON")]
    NotJson,
    /// More levels of brackets, or of envelopes, than any sender writes.
    #[error("nested too deeply")]
    TooDeep,
    #[error("more than {MAX_RECORDS} records")]
    TooManyRecords,
    #[error("unknown format")]
    UnknownFormat,
    /// The first of its records; none could be read.
    #[error("{0}")]
    Bad(BadRecord),
}

impl EventError {
    /// A short word for it, to count by.
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

/// Why one record could not be read.
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
    /// A message inside the message.
    #[error("a message inside: {0}")]
    Inside(Box<EventError>),
}
