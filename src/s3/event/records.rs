//! An element of `Records`: an S3 event, or a Lambda event that contains another message.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::json::Scalar;
use super::key::Encoding;
use super::notification::{BadRecord, Change, Format, ObjectEvent};
use super::object::{Bucket, Object, Told};

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Record<'a> {
    #[serde(borrow)]
    event_version: Scalar<'a>,
    // Lambda's records of SNS have a capital.
    #[serde(borrow, alias = "EventSource")]
    event_source: Scalar<'a>,
    #[serde(borrow)]
    event_name: Scalar<'a>,
    #[serde(borrow)]
    event_time: Scalar<'a>,
    #[serde(borrow)]
    s3: Option<S3<'a>>,
    #[serde(borrow, rename = "Sns")]
    sns: Option<Sns<'a>>,
    #[serde(borrow)]
    body: Scalar<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct S3<'a> {
    #[serde(borrow)]
    bucket: Bucket<'a>,
    #[serde(borrow)]
    object: Object<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Sns<'a> {
    #[serde(borrow, rename = "Message")]
    message: Scalar<'a>,
}

/// Kind of a record.
pub(super) enum Read<'a> {
    Event(Format, Option<ObjectEvent>),
    /// A message nested in a Lambda event.
    Message(Cow<'a, str>),
}

/// Decodes one record.
pub(super) fn read(raw: &RawValue) -> Result<Read<'_>, BadRecord> {
    let mut record: Record<'_> =
        serde_json::from_str(raw.get()).map_err(|_| BadRecord::Malformed)?;
    let inside = match record.event_source.text() {
        Some("aws:sns") => record.sns.take().and_then(|sns| sns.message.0),
        Some("aws:sqs") => record.body.0.take(),
        _ => None,
    };
    if let Some(message) = inside {
        return Ok(Read::Message(message));
    }
    // Another major version may mean another thing by the same words (S3 User Guide, "Event message structure").
    if let Some(version) = record.event_version.short()
        && version.split('.').next() != Some("2")
    {
        return Err(BadRecord::Version(version));
    }
    let (format, encoding) = match record.event_source.text() {
        Some("aws:s3") => (Format::S3, Encoding::Form),
        Some("minio:s3") => (Format::MinIo, Encoding::Form),
        Some("ceph:s3") => (Format::Ceph, Encoding::Plain),
        _ => (Format::S3, Encoding::Plain),
    };
    let s3 = record.s3.as_ref().ok_or(BadRecord::Malformed)?;
    let told = Told {
        name: &record.event_name,
        time: &record.event_time,
        bucket: &s3.bucket.name,
        object: &s3.object,
        encoding,
        unknown: Change::Nothing,
    };
    Ok(Read::Event(format, told.event()?))
}
