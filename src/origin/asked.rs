//! Version and byte range of a request to the origin.

use std::ops::Range;
use std::sync::Arc;

use http::HeaderValue;

use crate::s3::{ObjectMeta, PartNumber};

/// The bytes asked of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// The whole object, with its checksums, asked without a range. It is read to its end if it has at most twice so many
    /// bytes; of a larger one so many are read from its start.
    Whole(u64),
    /// Half-open, in bytes; may reach past the end of an object whose size is not known yet.
    Range(Range<u64>),
    /// The last `n` bytes.
    Suffix(u64),
    /// Those of a part, with its checksums; the answer says which they are.
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

    /// The range, if it is one.
    pub fn range(&self) -> Option<&Range<u64>> {
        match self {
            Self::Range(range) => Some(range),
            Self::Whole(_) | Self::Suffix(_) | Self::Part(_) => None,
        }
    }

    /// The part, if it is one.
    pub fn part(&self) -> Option<PartNumber> {
        match self {
            Self::Part(number) => Some(*number),
            Self::Whole(_) | Self::Range(_) | Self::Suffix(_) => None,
        }
    }

    /// The bytes that an answer brings of an object of `size` bytes; `None`: only the answer says where a part lies.
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
    /// Whatever is current: the first request for an object that is not known.
    Current,
    /// The current one, if it has this `ETag`.
    Matching(HeaderValue),
    /// That version: by version id, else by `If-Match`; compared with the answer either way.
    Version(Arc<ObjectMeta>),
}
