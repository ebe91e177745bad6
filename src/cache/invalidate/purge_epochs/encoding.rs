//! Encoding of purge epochs: a magic, and frames of changes, each of which is complete or absent.
//!
//! The first frame holds all epochs when the file was begun, later ones the changes since. At most the last frame may
//! not have reached the device, and then its purges were not reported as durable: a file may end in the middle of it.
//! Any other difference from what was written is damage.

use twox_hash::XxHash3_64;

use super::keys::{NameHash, STRIPES};
use crate::cache::rules::key_glob::KeyGlob;
use crate::s3::BucketName;

const MAGIC: &[u8; 8] = b"hsFloor2";
/// Magic of the first format: all purge epochs after one purge.
const MAGIC_1: &[u8; 8] = b"hsFloor1";
/// Bytes of the length and checksum of a frame.
const FRAME_HEAD: usize = 12;

/// A change that raises an epoch to at least the given number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change {
    /// The number of the last purge.
    Last(u32),
    /// The epoch of an object purged by name.
    Key(NameHash, u32),
    /// The epoch of a prefix, see [`super::in_bucket`]; empty: everything.
    Prefix(Vec<u8>, u32),
    /// The epoch of the matching keys of a bucket.
    Glob(KeyGlob, u32),
    /// The epoch of all objects with the same 16-bit hash, from the first format.
    Stripe(u16, u32),
}

impl Change {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Last(number) => {
                out.push(0);
                out.extend_from_slice(&number.to_le_bytes());
            }
            Self::Key(NameHash(hash), number) => {
                out.push(1);
                out.extend_from_slice(&number.to_le_bytes());
                out.extend_from_slice(&hash.to_le_bytes());
            }
            Self::Prefix(prefix, number) => {
                out.push(2);
                out.extend_from_slice(&number.to_le_bytes());
                let length = u16::try_from(prefix.len()).expect("a bucket and a key are short");
                out.extend_from_slice(&length.to_le_bytes());
                out.extend_from_slice(prefix);
            }
            Self::Stripe(stripe, number) => {
                out.push(3);
                out.extend_from_slice(&number.to_le_bytes());
                out.extend_from_slice(&stripe.to_le_bytes());
            }
            Self::Glob(glob, number) => {
                out.push(4);
                out.extend_from_slice(&number.to_le_bytes());
                for text in [glob.bucket().as_str(), glob.as_str()] {
                    let length = u16::try_from(text.len()).expect("a bucket and a glob are short");
                    out.extend_from_slice(&length.to_le_bytes());
                    out.extend_from_slice(text.as_bytes());
                }
            }
        }
    }

    fn decode(from: &mut Reader<'_>) -> Option<Self> {
        let ([kind], number) = (from.array()?, u32::from_le_bytes(from.array()?));
        Some(match kind {
            0 => Self::Last(number),
            1 => Self::Key(NameHash(u64::from_le_bytes(from.array()?)), number),
            2 => {
                let length = u16::from_le_bytes(from.array()?);
                Self::Prefix(from.bytes(length.into())?.to_vec(), number)
            }
            3 => Self::Stripe(u16::from_le_bytes(from.array()?), number),
            4 => {
                let bucket = BucketName::new(from.short_text()?).ok()?;
                Self::Glob(KeyGlob::new(bucket, from.short_text()?).ok()?, number)
            }
            _ => return None,
        })
    }
}

/// Returns the beginning of a file, before its first frame.
pub(super) fn begin() -> Vec<u8> {
    MAGIC.to_vec()
}

/// Appends a frame of changes, encoded one after another.
pub(super) fn frame(out: &mut Vec<u8>, changes: &[u8]) {
    let length = u32::try_from(changes.len()).expect("tables are bounded");
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&check(changes).to_le_bytes());
    out.extend_from_slice(changes);
}

/// Returns the checksum of a frame. It is not zero for an empty frame, so that a hole in a file is not taken for one.
fn check(changes: &[u8]) -> u64 {
    XxHash3_64::oneshot_with_seed(u64::from_le_bytes(*MAGIC), changes)
}

/// Decodes all changes of a file, in order; `None`: it is damaged.
pub(super) fn decode(bytes: &[u8]) -> Option<Vec<Change>> {
    if bytes.starts_with(MAGIC_1) {
        return decode_first_format(bytes);
    }
    let mut rest = bytes.strip_prefix(MAGIC)?;
    let mut changes = Vec::new();
    let mut is_first = true;
    while !rest.is_empty() {
        match split_frame(rest) {
            Some((frame, behind)) => {
                let mut from = Reader(frame);
                while !from.0.is_empty() {
                    changes.push(Change::decode(&mut from)?);
                }
                (rest, is_first) = (behind, false);
            }
            None if !is_first && is_cut_off(rest) => break,
            None => return None,
        }
    }
    (!is_first).then_some(changes)
}

fn split_frame(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    let (claimed, rest) = rest.split_first_chunk()?;
    let (frame, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    (check(frame) == u64::from_le_bytes(*claimed)).then_some((frame, rest))
}

/// Whether invalid bytes are the beginning of the last frame, or zeros that a power cut left in its place.
fn is_cut_off(bytes: &[u8]) -> bool {
    let Some((length, _)) = bytes.split_first_chunk() else { return true };
    let ends = FRAME_HEAD + u32::from_le_bytes(*length) as usize;
    ends >= bytes.len() || bytes.iter().all(|byte| *byte == 0)
}

/// Decodes the first format: the last purge, the last prefix purge, the purge of everything, buckets with their
/// prefixes, a number for each of 65,536 stripes.
fn decode_first_format(bytes: &[u8]) -> Option<Vec<Change>> {
    let (content, claimed) = bytes.split_last_chunk()?;
    if XxHash3_64::oneshot(content) != u64::from_le_bytes(*claimed) {
        return None;
    }
    let mut from = Reader(content.strip_prefix(MAGIC_1)?);
    let (last, _last_wide, all) = (from.number()?, from.number()?, from.number()?);
    let mut changes = vec![Change::Last(last), Change::Prefix(Vec::new(), all)];
    for _ in 0..from.number()? {
        let bucket = BucketName::new(from.text()?).ok()?;
        changes.push(Change::Prefix(super::in_bucket(&bucket, ""), from.number()?));
        for _ in 0..from.number()? {
            let prefix = super::in_bucket(&bucket, from.text()?);
            changes.push(Change::Prefix(prefix, from.number()?));
        }
    }
    for stripe in 0..STRIPES {
        let stripe = u16::try_from(stripe).expect("16 bits");
        changes.push(Change::Stripe(stripe, from.number()?));
    }
    let is_set = |change: &Change| {
        let (Change::Last(number)
        | Change::Key(_, number)
        | Change::Prefix(_, number)
        | Change::Glob(_, number)
        | Change::Stripe(_, number)) = change;
        *number > 0
    };
    changes.retain(is_set);
    from.0.is_empty().then_some(changes)
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*array)
    }

    fn bytes(&mut self, length: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }

    fn number(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.array()?))
    }

    fn short_text(&mut self) -> Option<&'a str> {
        let length = u16::from_le_bytes(self.array()?);
        std::str::from_utf8(self.bytes(length.into())?).ok()
    }

    fn text(&mut self) -> Option<&'a str> {
        let length = self.number()? as usize;
        std::str::from_utf8(self.bytes(length)?).ok()
    }
}
