//! Validation of the response head of a GET against the request (R2, R3).

use std::ops::Range;

use http::HeaderMap;
use http::header::{CONTENT_LENGTH, CONTENT_RANGE};

use super::asked::{Asked, Pin};
use super::error::OriginError;
use crate::s3::ObjectMeta;
use crate::s3::range::ContentRange;

/// A response head that matches the request.
#[derive(Debug)]
pub(super) struct Checked {
    pub(super) meta: ObjectMeta,
    /// The range of the object to deliver.
    pub(super) range: Range<u64>,
    /// Offset of the first byte on the wire: 0 when the origin answered 200 to a range (R2).
    pub(super) wire_start: u64,
}

impl Checked {
    /// Validates a response head against the request.
    pub(super) fn new(
        asked: &Asked,
        pin: &Pin,
        head: &HeaderMap,
        meta: ObjectMeta,
    ) -> Result<Self, OriginError> {
        if let Pin::Version(pinned) = pin
            && !meta.same_version(pinned)
        {
            return Err(OriginError::Changed);
        }
        let is_whole = matches!(asked, Asked::Whole(_));
        if meta.size == 0 && !is_whole {
            // Some servers answer 200 to a range of an empty object.
            return Err(OriginError::RangeNotSatisfiable);
        }
        let part = asked.part().and_then(|number| meta.parts.get(number));
        let wanted = asked.span(meta.size).or(part.map(|part| part.range.clone()));
        let wanted = wanted.ok_or(OriginError::NotAPart)?;
        let text = |name| head.get(name).and_then(|v| v.to_str().ok());
        let carried = match text(CONTENT_RANGE) {
            Some(range) => {
                ContentRange::parse(range)
                    .ok_or_else(|| OriginError::Broken(format!("Content-Range is {range}")))?
                    .range
            }
            None => 0..meta.size,
        };
        let short = || {
            OriginError::Broken(format!("asked for bytes {wanted:?}, the answer has {carried:?}"))
        };
        let is_empty = is_whole && meta.size == 0;
        if carried.start > wanted.start
            || carried.end <= wanted.start && !is_empty
            || carried.end > meta.size
        {
            return Err(short());
        }
        if let Some(length) = text(CONTENT_LENGTH)
            && length.parse() != Ok(carried.end - carried.start)
        {
            return Err(OriginError::Broken(format!(
                "Content-Length is {length} for bytes {carried:?}"
            )));
        }
        Ok(Self { meta, range: wanted, wire_start: carried.start })
    }
}
