//! Which bytes of which version a request to the origin is for.

use std::ops::Range;
use std::sync::Arc;

use http::HeaderValue;

use crate::s3::{ObjectMeta, PartNumber};

/// The bytes asked of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
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
            Self::Part(_) => return None,
        };
        Some(HeaderValue::from_str(&text).expect("digits are legal in a header"))
    }

    /// The part, if it is one.
    pub fn part(&self) -> Option<PartNumber> {
        match self {
            Self::Part(number) => Some(*number),
            Self::Range(_) | Self::Suffix(_) => None,
        }
    }
}

/// Which version a ranged GET must answer from (R3).
#[derive(Debug, Clone)]
pub enum Pin {
    /// Whatever is current: the first request for an object that is not known.
    Current,
    /// That version: by version id, else by `If-Match`; compared with the answer either way.
    Version(Arc<ObjectMeta>),
}
