//! Keys that a server may take for other keys: with empty, `.` or `..` segments, or with backslashes.
//!
//! S3 compares keys byte by byte, so these are ordinary keys there. Servers that keep objects as files, and proxies
//! before them, clean paths: `//k` becomes `k`, and `a/../b` becomes `b`. Which of them does what is not known here, so
//! all that one of them might do is assumed: every object that a key may mean must be allowed (R21) and is invalidated by
//! a write (R8), and what is read by such a key is confirmed on every read.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use super::name::{BucketName, ObjectKey};

/// How often a server, and what is before it, may decode a key that was decoded already.
const DECODINGS: usize = 3;

/// Another object, or a whole bucket, that a server may take a key for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Alias {
    /// One of its objects.
    Object(BucketName, ObjectKey),
    /// Nothing is left of the key.
    Bucket(BucketName),
}

/// Whether a server may take the key for another one, or for none.
#[must_use]
pub fn is_ambiguous(key: &str) -> bool {
    let mut segments = key.split('/').peekable();
    while let Some(segment) = segments.next() {
        let is_inner = segments.peek().is_some();
        if matches!(segment, "." | "..") || segment.is_empty() && is_inner {
            return true;
        }
    }
    key.contains('\\')
}

/// Whether a key, or the start of one, may lead out of its bucket, in any encoding.
///
/// S3 refuses these itself (S3 User Guide, "Naming Amazon S3 objects": read from the left, there may never be more
/// `..` segments than others).
#[must_use]
pub fn climbs(key: &str) -> bool {
    let mut text = Cow::Borrowed(key);
    for _ in 0..DECODINGS {
        if climbs_as_it_is(&text) {
            return true;
        }
        if !text.contains('%') {
            return false;
        }
        text = Cow::Owned(percent_decode_str(&text).decode_utf8_lossy().into_owned());
    }
    climbs_as_it_is(&text)
}

fn climbs_as_it_is(key: &str) -> bool {
    if !key.contains("..") {
        return false;
    }
    let mut depth = 0_u32;
    for segment in key.split(['/', '\\']) {
        // Servers written in Java cut parameters off, and file systems spaces.
        match segment.split(';').next().unwrap_or_default().trim() {
            "" | "." => {}
            ".." if depth == 0 => return true,
            ".." => depth -= 1,
            _ => depth += 1,
        }
    }
    false
}

/// Returns what else a server may take a key for, each once, without the key itself; nothing unless it
/// [is ambiguous](is_ambiguous).
#[must_use]
pub fn aliases(bucket: &BucketName, key: &ObjectKey) -> Vec<Alias> {
    let mut found = Vec::new();
    if !is_ambiguous(key.as_str()) {
        return found;
    }
    let slashed = key.as_str().replace('\\', "/");
    for text in [key.as_str(), &slashed] {
        for merges_first in [true, false] {
            for alias in meanings(&cleaned(bucket.as_str(), text, merges_first), text) {
                let is_itself = matches!(&alias, Alias::Object(b, k) if (b, k) == (bucket, key));
                if !is_itself && !found.contains(&alias) {
                    found.push(alias);
                }
            }
        }
    }
    found
}

/// The segments of `bucket/key` without dots and empty ones. As paths are cleaned, empty segments go first; as URLs are
/// (RFC 3986, section 5.2.4), a `..` may take one back.
fn cleaned<'a>(bucket: &'a str, key: &'a str, merges_first: bool) -> Vec<&'a str> {
    let mut kept = vec![bucket];
    for segment in key.split('/') {
        match segment {
            "." => {}
            "" if merges_first => {}
            ".." => drop(kept.pop()),
            segment => kept.push(segment),
        }
    }
    kept.retain(|segment| !segment.is_empty());
    kept
}

/// What these segments name; where `key` may name a folder, with and without a slash at the end.
fn meanings(segments: &[&str], key: &str) -> Vec<Alias> {
    let Some((bucket, rest)) = segments.split_first() else { return Vec::new() };
    let Ok(bucket) = BucketName::new(bucket) else { return Vec::new() };
    if rest.is_empty() {
        return vec![Alias::Bucket(bucket)];
    }
    let path = rest.join("/");
    let last = key.rsplit('/').next().unwrap_or_default();
    let folder = matches!(last, "" | "." | "..").then(|| format!("{path}/"));
    let keys = [Some(path), folder].into_iter().flatten();
    let objects = keys.filter_map(|text| ObjectKey::new(&text).ok());
    objects.map(|key| Alias::Object(bucket.clone(), key)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known_as(key: &str) -> Vec<String> {
        let (bucket, key) = (BucketName::new("bkt").unwrap(), ObjectKey::new(key).unwrap());
        let aliases = aliases(&bucket, &key).into_iter().map(|alias| match alias {
            Alias::Object(bucket, key) => format!("{bucket}/{key}"),
            Alias::Bucket(bucket) => bucket.to_string(),
        });
        aliases.collect()
    }

    #[test]
    fn r8_an_ambiguous_key_may_be_each_of_its_cleaned_forms() {
        for (key, expected) in [
            ("/k", &["bkt/k"][..]),
            ("//a///b", &["bkt/a/b"]),
            ("./k", &["bkt/k"]),
            ("a/./b", &["bkt/a/b"]),
            ("a/../b", &["bkt/b"]),
            ("a//../b", &["bkt/b", "bkt/a/b"]),
            ("a/..", &["bkt"]),
            ("a/.", &["bkt/a", "bkt/a/"]),
            ("a//", &["bkt/a", "bkt/a/"]),
            ("/", &["bkt"]),
            (".", &["bkt"]),
            ("a\\b", &["bkt/a/b"]),
            ("a\\..\\b", &["bkt/b"]),
            ("../other/k", &["other/k"]),
            ("../other", &["other"]),
            ("..", &[]),
            ("../../../x", &[]),
        ] {
            assert!(is_ambiguous(key), "{key}");
            assert_eq!(known_as(key), expected, "{key}");
        }
        for key in ["k", "a/b/", "a.b/..c/d..", "...", "a%2F%2Fb", ".hidden/.x"] {
            assert!(!is_ambiguous(key), "{key}");
            assert_eq!(known_as(key), [] as [&str; 0], "{key}");
        }
    }

    #[test]
    fn r21_a_key_that_climbs_is_known_in_every_spelling() {
        for key in [
            "..",
            "../k",
            "/../k",
            "//../k",
            "a/../../k",
            "a//../../k",
            "./../k",
            "a/b/../../../k",
            "..\\k",
            "a\\..\\..\\k",
            "a/..\\../k",
            "%2e%2e/k",
            "%2E./k",
            "..%2fk",
            "..%5Ck",
            "%252e%252e%252fk",
            "a/%2e%2e/%2e%2e/k",
            "..;/k",
            "..;a=b/k",
            ".. /k",
        ] {
            assert!(climbs(key), "{key}");
        }
        for key in [
            "a/..",
            "a/../b",
            "a/b/../../c",
            "..a/k",
            "a..",
            "...",
            "a/.../b",
            "%2e",
            "50%",
            "%zz..",
        ] {
            assert!(!climbs(key), "{key}");
        }
    }
}
