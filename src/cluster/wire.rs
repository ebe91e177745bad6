//! Messages between replicas: JSON over the admin port, under its token.
//!
//! ```text
//!  POST /cluster/v1/lease    may I go on with what I know?
//!  POST /cluster/v1/push     messages in order; the answer says up to which all are applied
//!  POST /cluster/v1/settle   have the purges that were applied survive a power cut
//!  POST /cluster/v1/erase    erase what was purged
//! ```
//! Unknown JSON members are ignored, so that the replicas of two releases understand each other.

use serde::{Deserialize, Serialize};

use super::outbox::Session;
use crate::cache::{KeyGlob, RemoteEnd, Scope};
use crate::glob::InvalidGlob;
use crate::s3::{BucketName, InvalidName, ObjectKey};

pub(super) const LEASE: &str = "/cluster/v1/lease";
pub(super) const PUSH: &str = "/cluster/v1/push";
pub(super) const SETTLE: &str = "/cluster/v1/settle";
pub(super) const ERASE: &str = "/cluster/v1/erase";

/// A lease request: asks whether the sender has applied all invalidations.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct LeaseQuestion {
    pub session: Session,
    /// Port of the requester's admin address.
    pub port: u16,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct LeaseAnswer {
    /// Session of the process that answers.
    pub session: Session,
    pub granted: Option<Granted>,
    /// Whether the requester is not considered gone, for at least a while.
    #[serde(default)]
    pub promised: bool,
}

/// A granted lease: the requester has applied all messages of the stream.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Granted {
    pub stream: u64,
    /// Whether the stream holds all invalidations ever made there.
    pub complete: bool,
}

/// Messages from one replica to another; written by [`push_text`].
#[derive(Debug, Deserialize)]
pub(super) struct Push {
    pub session: Session,
    pub stream: u64,
    /// The number of the stream's first message.
    pub base: u64,
    /// The number of the first message of this push.
    pub first: u64,
    pub messages: Vec<Message>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct PushAnswer {
    /// Session of the process that answers.
    pub session: Session,
    /// Number of the message of the stream up to which all are applied.
    pub applied: u64,
}

/// A request to erase purged data.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct EraseRequest {
    pub scopes: Vec<ScopeText>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct EraseAnswer {
    pub memory_bytes: u64,
    pub disk_bytes: u64,
    pub files_removed: u64,
    pub files_rewritten: u64,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Message {
    /// A write of these is about to be sent to the origin.
    Begin {
        write: u64,
        objects: Vec<(String, String)>,
        buckets: Vec<String>,
    },
    End {
        write: u64,
        end: End,
    },
    Purge {
        scopes: Vec<ScopeText>,
    },
    /// An event, as received.
    Event {
        source: String,
        body: String,
    },
    /// Earlier messages were dropped.
    Missed,
    /// The sender shuts down, and invalidates nothing any more.
    Leave,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum End {
    Done,
    Refused,
    Unknown,
}

impl From<RemoteEnd> for End {
    fn from(end: RemoteEnd) -> Self {
        match end {
            RemoteEnd::Done => Self::Done,
            RemoteEnd::Refused => Self::Refused,
            RemoteEnd::Unknown => Self::Unknown,
        }
    }
}

impl From<End> for RemoteEnd {
    fn from(end: End) -> Self {
        match end {
            End::Done => Self::Done,
            End::Refused => Self::Refused,
            End::Unknown => Self::Unknown,
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ScopeText {
    Object(String, String),
    Prefix(String, String),
    Bucket(String),
    /// A bucket, and a glob over its keys.
    Glob(String, String),
    Everything,
}

/// The reason for which a purge of another replica cannot be applied here.
#[derive(Debug, thiserror::Error)]
pub(super) enum InvalidScope {
    #[error(transparent)]
    Name(#[from] InvalidName),
    #[error(transparent)]
    Glob(#[from] InvalidGlob),
}

impl From<&Scope> for ScopeText {
    fn from(scope: &Scope) -> Self {
        match scope {
            Scope::Object(bucket, key) => Self::Object(bucket.to_string(), key.to_string()),
            Scope::Prefix(bucket, prefix) => Self::Prefix(bucket.to_string(), prefix.clone()),
            Scope::Bucket(bucket) => Self::Bucket(bucket.to_string()),
            Scope::Glob(glob) => Self::Glob(glob.bucket().to_string(), glob.as_str().to_owned()),
            Scope::Everything => Self::Everything,
        }
    }
}

impl TryFrom<ScopeText> for Scope {
    type Error = InvalidScope;

    fn try_from(text: ScopeText) -> Result<Self, InvalidScope> {
        Ok(match text {
            ScopeText::Object(bucket, key) => {
                Self::Object(BucketName::new(&bucket)?, ObjectKey::new(&key)?)
            }
            ScopeText::Prefix(bucket, prefix) => Self::Prefix(BucketName::new(&bucket)?, prefix),
            ScopeText::Bucket(bucket) => Self::Bucket(BucketName::new(&bucket)?),
            ScopeText::Glob(bucket, glob) => {
                Self::Glob(KeyGlob::new(BucketName::new(&bucket)?, &glob)?)
            }
            ScopeText::Everything => Self::Everything,
        })
    }
}

/// # Errors
/// A name is invalid.
pub(super) fn objects(
    names: &[(String, String)],
) -> Result<Vec<(BucketName, ObjectKey)>, InvalidName> {
    let name =
        |(bucket, key): &(String, String)| Ok((BucketName::new(bucket)?, ObjectKey::new(key)?));
    names.iter().map(name).collect()
}

/// # Errors
/// A name is invalid.
pub(super) fn buckets(names: &[String]) -> Result<Vec<BucketName>, InvalidName> {
    names.iter().map(|name| BucketName::new(name)).collect()
}

/// Serializes a message or a body as JSON.
///
/// # Panics
/// Never: no map in it has keys other than text.
pub(super) fn text(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("JSON has a form for all of it")
}

/// Serializes a [`Push`] of messages that are text already, each of which may go to many peers.
pub(super) fn push_text(session: Session, batch: &super::outbox::Batch) -> String {
    let super::outbox::Batch { stream, base, first, texts } = batch;
    let length: usize = texts.iter().map(|text| text.len() + 1).sum();
    let mut out = format!(
        r#"{{"session":{session},"stream":{stream},"base":{base},"first":{first},"messages":["#
    );
    out.reserve(length + 2);
    for (index, text) in texts.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        out.push_str(text);
    }
    out.push_str("]}");
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::outbox::Outbox;

    #[test]
    fn a_push_is_read_as_it_was_written() {
        let object = ("bucket".to_owned(), "k\"\u{1F980}".to_owned());
        let scopes = vec![ScopeText::Everything, ScopeText::Prefix("b".into(), String::new())];
        let messages = [
            Message::Begin { write: 1, objects: vec![object.clone()], buckets: vec!["b".into()] },
            Message::End { write: 1, end: End::Done },
            Message::Purge { scopes },
            Message::Missed,
            Message::Event { source: "sqs".into(), body: "{}".into() },
        ];
        let mut outbox = Outbox::new(u64::MAX, true);
        let _ = outbox.met(1, 2);
        for message in &messages {
            outbox.push(text(message).into(), std::time::Duration::ZERO);
        }
        let written = push_text(3, &outbox.batch().unwrap());
        let push: Push = serde_json::from_str(&written).unwrap();
        assert_eq!((push.session, push.stream, push.base, push.first), (3, u64::MAX, 1, 1));
        assert_eq!(format!("{:?}", push.messages), format!("{messages:?}"));
        assert_eq!(objects(&[object]).unwrap()[0].1.as_str(), "k\"\u{1F980}");
    }
}
