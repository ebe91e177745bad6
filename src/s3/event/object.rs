//! The object in an event: the part that all formats share, with field names in any case.

use http::HeaderValue;
use serde::Deserialize;

use super::super::etag::ETag;
use super::super::name::BucketName;
use super::super::version::VersionId;
use super::change::change;
use super::json::Scalar;
use super::key::{Encoding, readings};
use super::notification::{BadRecord, Change, ObjectEvent};

/// `object` of S3's records, EventBridge's details and R2's messages.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Object<'a> {
    #[serde(borrow)]
    key: Scalar<'a>,
    #[serde(borrow)]
    size: Scalar<'a>,
    #[serde(borrow, rename = "eTag", alias = "etag", alias = "ETag")]
    etag: Scalar<'a>,
    #[serde(borrow, rename = "versionId", alias = "version-id")]
    version: Scalar<'a>,
    #[serde(borrow)]
    sequencer: Scalar<'a>,
}

impl<'a> Object<'a> {
    /// Creates one from a key and a version alone.
    pub(super) fn of(key: Scalar<'a>, version: Scalar<'a>) -> Self {
        Self { key, version, ..Self::default() }
    }
}

/// The field `bucket` in formats where it is a JSON object.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Bucket<'a> {
    #[serde(borrow)]
    pub name: Scalar<'a>,
}

/// Fields of a record, before it is known whether it concerns an object.
pub(super) struct Told<'a> {
    pub name: &'a Scalar<'a>,
    pub time: &'a Scalar<'a>,
    pub bucket: &'a Scalar<'a>,
    pub object: &'a Object<'a>,
    pub encoding: Encoding,
    /// Effect of an unknown event name that does not itself concern an object.
    pub unknown: Change,
}

impl Told<'_> {
    /// Returns the event; `None`: it concerns no object.
    pub(super) fn event(self) -> Result<Option<ObjectEvent>, BadRecord> {
        let name = self.name.short().ok_or(BadRecord::NoName)?;
        let name = name.strip_prefix("s3:").map(str::to_owned).unwrap_or(name);
        let change = change(&name).unwrap_or(self.unknown);
        let key = self.object.key.text();
        if change == Change::Nothing && key.is_none() {
            return Ok(None);
        }
        let bucket = self.bucket.text().unwrap_or_default();
        let bucket = BucketName::new(bucket).map_err(|_| BadRecord::Bucket)?;
        let keys = readings(key.unwrap_or_default(), self.encoding);
        if keys.is_empty() {
            return Err(BadRecord::Key);
        }
        Ok(Some(ObjectEvent {
            bucket,
            keys,
            version: self.object.version.text().and_then(VersionId::new),
            change,
            name,
            time: self.time.time(),
            etag: self.object.etag.text().and_then(strong),
            size: self.object.size.number(),
            sequencer: self.object.sequencer.short(),
        }))
    }
}

/// Returns a sent tag as a strong `ETag`; senders leave out the quotes.
fn strong(sent: &str) -> Option<ETag> {
    let inner = sent.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(sent);
    let etag = ETag::new(HeaderValue::try_from(format!("\"{inner}\"")).ok()?);
    etag.is_strong_quoted().then_some(etag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r2_an_etag_is_strong_and_quoted_or_none() {
        let read = |sent| strong(sent).map(|etag| etag.as_header().to_str().unwrap().to_owned());
        assert_eq!(read("5d41-2").unwrap(), "\"5d41-2\"");
        assert_eq!(read("\"5d41\"").unwrap(), "\"5d41\"");
        for sent in ["W/\"5d41\"", "a b", "\"", "\"\"", "a\nb", "\"a"] {
            assert_eq!(read(sent), None, "{sent:?}");
        }
    }
}
