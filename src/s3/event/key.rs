//! Decoding of object keys in events.
//!
//! AWS, MinIO, moto and LocalStack form-encode keys in S3's records (`+` is a space, `%2B` a plus; `/` is encoded by
//! some). Ceph does not encode. The encoding of EventBridge and the others is not documented, and both were seen. An
//! uncertain key is read in every way: invalidating one object too many costs a revalidation, and missing one serves
//! stale bytes.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use super::super::name::ObjectKey;

/// Encoding of object keys by a sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    /// Form encoding.
    Form,
    /// No encoding, probably.
    Plain,
}

/// Returns every key that the text may stand for, the likeliest first; empty if there is none.
pub(super) fn readings(sent: &str, encoding: Encoding) -> Vec<ObjectKey> {
    if !sent.bytes().any(|byte| matches!(byte, b'%' | b'+')) {
        return ObjectKey::new(sent).into_iter().collect();
    }
    let plain = Some(Cow::Borrowed(sent));
    let form = decoded(&sent.replace('+', " "));
    let readings = match encoding {
        Encoding::Form if is_form(sent) => [form, None, None],
        Encoding::Form => [form, plain, decoded(sent)],
        Encoding::Plain => [plain, form, decoded(sent)],
    };
    let mut keys = Vec::with_capacity(readings.len());
    for key in readings.into_iter().flatten().filter_map(|text| ObjectKey::new(&text).ok()) {
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    keys
}

/// Decodes once; `None` if the result is not UTF-8.
fn decoded(text: &str) -> Option<Cow<'static, str>> {
    let decoded = percent_decode_str(text).decode_utf8().ok()?;
    Some(Cow::Owned(decoded.into_owned()))
}

/// Whether a text looks form-encoded: it has no characters that encoding replaces, and each `%` has two digits.
fn is_form(sent: &str) -> bool {
    let bytes = sent.as_bytes();
    let digits = |at: usize| {
        bytes.get(at + 1..at + 3).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit))
    };
    let fits = |(at, byte): (usize, &u8)| byte.is_ascii_graphic() && (*byte != b'%' || digits(at));
    bytes.iter().enumerate().all(fits) && decoded(sent).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(sent: &str, encoding: Encoding) -> Vec<String> {
        readings(sent, encoding).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn one_key_as_three_senders_write_it_is_one_key() {
        for sent in ["a+b%2F%C3%BC%2Bx.txt", "a%20b/%C3%BC%2Bx.txt", "a%20b%2f%c3%bc%2bx.txt"] {
            assert_eq!(read(sent, Encoding::Form), ["a b/ü+x.txt"], "{sent}");
        }
    }

    #[test]
    fn a_form_is_decoded_once_and_read_in_no_other_way() {
        assert_eq!(read("a%2520b", Encoding::Form), ["a%20b"]);
        assert_eq!(read("100%25", Encoding::Form), ["100%"]);
        assert_eq!(read("a//../%2E", Encoding::Form), ["a//../."]);
    }

    #[test]
    fn where_it_is_in_doubt_every_reading_is_kept_once_and_the_likeliest_is_first() {
        assert_eq!(read("a b/ü+x.txt", Encoding::Plain), ["a b/ü+x.txt", "a b/ü x.txt"]);
        assert_eq!(read("a+%2B", Encoding::Plain), ["a+%2B", "a +", "a++"]);
        assert_eq!(read("100%", Encoding::Plain), ["100%"]);
        assert_eq!(read("a/b", Encoding::Plain), ["a/b"]);
        // Texts that cannot be form-encoded, despite the declared encoding.
        assert_eq!(read("a b+c", Encoding::Form), ["a b c", "a b+c"]);
        assert_eq!(read("100%+x", Encoding::Form), ["100% x", "100%+x"]);
        assert_eq!(read("%FF", Encoding::Form), ["%FF"]);
    }

    #[test]
    fn what_no_key_can_be_is_no_reading() {
        assert!(read("", Encoding::Form).is_empty());
        assert!(read(&"a".repeat(1025), Encoding::Plain).is_empty());
        // 1024 bytes of a key, 3072 of its encoding.
        assert_eq!(read(&"%41".repeat(1024), Encoding::Form), ["A".repeat(1024)]);
        assert_eq!(read(&"%41".repeat(1024), Encoding::Plain), ["A".repeat(1024)]);
    }
}
