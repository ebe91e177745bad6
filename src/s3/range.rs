//! Byte ranges: `Range` of requests and `Content-Range` of responses.
//!
//! S3 answers exactly one range, and *ignores* an invalid header (malformed, several ranges, last before first): the
//! response is the whole object with 200. Only a well-formed range that lies outside the object is an error, 416.
//! Positions are bytes; a resolved range is half open. Independent of blocks and of the way bytes are found.

use std::fmt;
use std::ops::Range;

/// The one range in a `Range` header, not yet resolved against an object's size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ByteRange {
    /// `bytes=first-last`, both inclusive, `first <= last`.
    Bounded {
        /// First byte.
        first: u64,
        /// Last byte; beyond the end it means the end.
        last: u64,
    },
    /// `bytes=first-`: from this byte to the end.
    From(u64),
    /// `bytes=-n`: the last n bytes.
    Suffix(u64),
}

/// The range lies outside the object: 416 `InvalidRange`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the requested range is not satisfiable")]
pub struct Unsatisfiable;

impl ByteRange {
    /// Parses a `Range` header's value.
    ///
    /// `None` means that the header is to be ignored, as S3 does with another unit, a malformed
    /// value, several ranges and `last < first`. A number too large for 64 bits counts as the
    /// largest: it lies past the end of every object.
    #[must_use]
    pub fn parse(value: &str) -> Option<Self> {
        let (unit, spec) = value.trim_matches([' ', '\t']).split_once('=')?;
        // RFC 9110 section 14.1: unit names are case-insensitive.
        if !unit.eq_ignore_ascii_case("bytes") {
            return None;
        }
        let (first, last) = spec.trim_matches([' ', '\t']).split_once('-')?;
        match (first, last) {
            ("", last) => Some(ByteRange::Suffix(position(last)?)),
            (first, "") => Some(ByteRange::From(position(first)?)),
            (first, last) => {
                let (first, last) = (position(first)?, position(last)?);
                (first <= last).then_some(ByteRange::Bounded { first, last })
            }
        }
    }

    /// Whether this is a suffix of an empty object: S3 answers with the whole, empty object and 200
    /// (arrow-rs-object-store#846; RFC 9110, section 14.1.2: such a range can be satisfied).
    #[must_use]
    pub fn is_suffix_of_nothing(self, size: u64) -> bool {
        size == 0 && matches!(self, ByteRange::Suffix(length) if length > 0)
    }

    /// Returns the bytes of an object of `size` bytes that the range selects: never empty, never past the end.
    ///
    /// # Errors
    /// When no byte of the object is selected: a start at or past the end, any range of an empty object, and `bytes=-0`
    /// (R18).
    pub fn resolve(self, size: u64) -> Result<Range<u64>, Unsatisfiable> {
        let range = match self {
            ByteRange::Bounded { first, last } if first <= last => {
                first..last.saturating_add(1).min(size)
            }
            ByteRange::Bounded { .. } => return Err(Unsatisfiable),
            ByteRange::From(first) => first..size,
            ByteRange::Suffix(length) => size.saturating_sub(length)..size,
        };
        if range.start < range.end { Ok(range) } else { Err(Unsatisfiable) }
    }
}

/// Writes the header's value: `bytes=0-99`.
impl fmt::Display for ByteRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ByteRange::Bounded { first, last } => write!(f, "bytes={first}-{last}"),
            ByteRange::From(first) => write!(f, "bytes={first}-"),
            ByteRange::Suffix(length) => write!(f, "bytes=-{length}"),
        }
    }
}

/// A 206's `Content-Range`: the range of the body, and the size of the object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContentRange {
    /// The bytes of the body: not empty, and within `size`.
    pub range: Range<u64>,
    /// The whole object's size in bytes; `None` for `*`.
    pub size: Option<u64>,
}

impl ContentRange {
    /// Parses `bytes first-last/size` or `bytes first-last/*`; `None` if it contradicts itself.
    #[must_use]
    pub fn parse(value: &str) -> Option<Self> {
        let (range, size) = split(value)?;
        let (first, last) = range.split_once('-')?;
        let (first, last) = (exact(first)?, exact(last)?);
        let size = if size == "*" { None } else { Some(exact(size)?) };
        let end = last.checked_add(1)?;
        if first >= end || size.is_some_and(|size| end > size) {
            return None;
        }
        Some(ContentRange { range: first..end, size })
    }

    /// Returns the size in a 416's `bytes */size`.
    #[must_use]
    pub fn parse_unsatisfied(value: &str) -> Option<u64> {
        match split(value)? {
            ("*", size) => exact(size),
            _ => None,
        }
    }
}

/// Writes the header's value: `bytes 0-99/1000`.
impl fmt::Display for ContentRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "bytes {}-{}/", self.range.start, self.range.end.saturating_sub(1))?;
        match self.size {
            Some(size) => write!(f, "{size}"),
            None => f.write_str("*"),
        }
    }
}

/// Splits `bytes range/size` in two.
fn split(value: &str) -> Option<(&str, &str)> {
    let (unit, rest) = value.trim().split_once(' ')?;
    if !unit.eq_ignore_ascii_case("bytes") {
        return None;
    }
    let (range, size) = rest.trim().split_once('/')?;
    Some((range.trim(), size.trim()))
}

fn is_number(digits: &str) -> bool {
    !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())
}

/// Parses a position in a request: digits only, of any magnitude.
fn position(digits: &str) -> Option<u64> {
    is_number(digits).then(|| digits.parse().unwrap_or(u64::MAX))
}

/// Parses a number in a response: digits only, and it must fit, since bytes are placed by it.
pub(super) fn exact(digits: &str) -> Option<u64> {
    if is_number(digits) { digits.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounded(first: u64, last: u64) -> ByteRange {
        ByteRange::Bounded { first, last }
    }

    #[test]
    fn the_three_forms_are_read() {
        assert_eq!(ByteRange::parse("bytes=0-0"), Some(bounded(0, 0)));
        assert_eq!(ByteRange::parse("bytes=10-99"), Some(bounded(10, 99)));
        assert_eq!(ByteRange::parse("bytes=5-"), Some(ByteRange::From(5)));
        assert_eq!(ByteRange::parse("bytes=-7"), Some(ByteRange::Suffix(7)));
        assert_eq!(ByteRange::parse("Bytes= 1-2 "), Some(bounded(1, 2)));
    }

    #[test]
    fn what_s3_cannot_read_is_ignored_and_not_an_error() {
        for value in [
            "",
            "bytes",
            "bytes=",
            "bytes=-",
            "bytes=abc",
            "bytes=1-0",
            "bytes=0-1,5-6",
            "bytes=0-1,",
            "items=0-1",
            "bytes 0-1",
            "bytes =0-1",
            "bytes=+1-2",
            "bytes=1-+2",
            "bytes=0x1-2",
            "bytes=--1",
            "bytes=1--2",
            "bytes=1 - 2",
            "bytes=1-2-3",
            "0-1",
            "bytes=-1-2",
            "bytes=٣-٤",
        ] {
            assert_eq!(ByteRange::parse(value), None, "{value:?}");
        }
    }

    #[test]
    fn numbers_past_64_bits_lie_past_every_end() {
        let huge = "99999999999999999999999";
        let read = |value: String| ByteRange::parse(&value).unwrap();
        assert_eq!(read(format!("bytes=2-{huge}")).resolve(10), Ok(2..10));
        assert_eq!(read(format!("bytes=-{huge}")).resolve(10), Ok(0..10));
        assert_eq!(read(format!("bytes={huge}-")).resolve(10), Err(Unsatisfiable));
        assert_eq!(read(format!("bytes={huge}-{huge}")).resolve(10), Err(Unsatisfiable));
        assert_eq!(bounded(0, u64::MAX).resolve(u64::MAX), Ok(0..u64::MAX));
    }

    #[test]
    fn a_range_is_clamped_to_the_object() {
        assert_eq!(bounded(0, 0).resolve(10), Ok(0..1));
        assert_eq!(bounded(2, 4).resolve(10), Ok(2..5));
        assert_eq!(bounded(9, 99).resolve(10), Ok(9..10));
        assert_eq!(ByteRange::From(9).resolve(10), Ok(9..10));
        assert_eq!(ByteRange::Suffix(3).resolve(10), Ok(7..10));
        assert_eq!(ByteRange::Suffix(10).resolve(10), Ok(0..10));
    }

    #[test]
    fn a_suffix_longer_than_the_object_is_the_whole_object() {
        assert_eq!(ByteRange::Suffix(11).resolve(10), Ok(0..10));
    }

    #[test]
    fn a_start_at_or_past_the_end_is_unsatisfiable() {
        for range in [bounded(10, 10), bounded(11, 20), ByteRange::From(10), ByteRange::From(11)] {
            assert_eq!(range.resolve(10), Err(Unsatisfiable), "{range}");
        }
        assert_eq!(bounded(3, 1).resolve(10), Err(Unsatisfiable));
    }

    #[test]
    fn r18_bytes_minus_zero_is_416() {
        assert_eq!(ByteRange::parse("bytes=-0"), Some(ByteRange::Suffix(0)));
        assert_eq!(ByteRange::Suffix(0).resolve(10), Err(Unsatisfiable));
    }

    #[test]
    fn r17_every_range_of_an_empty_object_is_unsatisfiable() {
        for range in [bounded(0, 0), ByteRange::From(0), ByteRange::Suffix(1), ByteRange::Suffix(0)]
        {
            assert_eq!(range.resolve(0), Err(Unsatisfiable), "{range}");
        }
    }

    #[test]
    fn a_range_displays_as_it_is_sent() {
        for value in ["bytes=1-2", "bytes=7-", "bytes=-3"] {
            assert_eq!(ByteRange::parse(value).unwrap().to_string(), value);
        }
    }

    #[test]
    fn content_range_is_read_and_written() {
        for (text, range, size) in [
            ("bytes 0-0/1", 0..1, Some(1)),
            ("bytes 5-9/10", 5..10, Some(10)),
            ("bytes 0-4/*", 0..5, None),
        ] {
            let read = ContentRange::parse(text).unwrap();
            assert_eq!(read, ContentRange { range, size });
            assert_eq!(read.to_string(), text);
        }
    }

    #[test]
    fn a_content_range_that_contradicts_itself_is_refused() {
        for value in [
            "",
            "bytes",
            "bytes */10",
            "bytes 5-4/10",
            "bytes 0-10/10",
            "bytes 0-4",
            "bytes 0-4/",
            "bytes=0-4/10",
            "items 0-4/10",
            "bytes 0-4/+10",
            "bytes -4/10",
            "bytes 0-/10",
            "bytes 0-18446744073709551615/*",
            "bytes 0-4/99999999999999999999",
        ] {
            assert_eq!(ContentRange::parse(value), None, "{value:?}");
        }
    }

    #[test]
    fn the_size_of_a_416_is_read() {
        assert_eq!(ContentRange::parse_unsatisfied("bytes */1000"), Some(1000));
        assert_eq!(ContentRange::parse_unsatisfied("bytes 0-1/1000"), None);
        assert_eq!(ContentRange::parse_unsatisfied("bytes */*"), None);
    }
}
