//! Version and byte range of a request to the origin.

use std::ops::Range;
use std::sync::Arc;

use http::HeaderValue;

use crate::s3::{ObjectMeta, PartNumber};

/// Requested bytes of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// The whole object with its checksums, requested without a range. Up to twice this many bytes are read to the end;
    /// of a larger object, only this many from its start.
    Whole(u64),
    /// Half-open, in bytes; may reach past the end of an object whose size is not known yet.
    Range(Range<u64>),
    /// The last `n` bytes.
    Suffix(u64),
    /// The bytes of a part, with its checksums; the response tells their range.
    Part(PartNumber),
}

impl Asked {
    pub(super) fn to_header(&self) -> Option<HeaderValue> {
        let text = match self {
            Self::Range(r) => format!("bytes={}-{}", r.start, r.end.saturating_sub(1)),
            Self::Suffix(n) => format!("bytes=-{n}"),
            Self::Whole(_) | Self::Part(_) => return None,
        };
        Some(HeaderValue::from_str(&text).expect("digits are legal in a header"))
    }

    /// Returns the range, if this is one.
    pub fn range(&self) -> Option<&Range<u64>> {
        match self {
            Self::Range(range) => Some(range),
            Self::Whole(_) | Self::Suffix(_) | Self::Part(_) => None,
        }
    }

    /// Returns the part number, if this is one.
    pub fn part(&self) -> Option<PartNumber> {
        match self {
            Self::Part(number) => Some(*number),
            Self::Whole(_) | Self::Range(_) | Self::Suffix(_) => None,
        }
    }

    /// Returns the bytes in the response for an object of `size` bytes; `None`: only the response tells the range of a
    /// part.
    pub fn span(&self, size: u64) -> Option<Range<u64>> {
        match self {
            Self::Whole(most) if size > most.saturating_mul(2) => Some(0..*most),
            Self::Whole(_) => Some(0..size),
            Self::Range(range) => Some(range.start..range.end.min(size)),
            Self::Suffix(n) => Some(size.saturating_sub(*n)..size),
            Self::Part(_) => None,
        }
    }
}

/// Version to which a ranged GET is pinned (R3).
#[derive(Debug, Clone)]
pub enum Pin {
    /// The current version: the first request for an object that is not cached.
    Current,
    /// The current version, if it has this `ETag`.
    Matching(HeaderValue),
    /// This version: by version id if it has one, else by `If-Match`. The response is compared with it in both cases.
    Version(Arc<ObjectMeta>),
}
