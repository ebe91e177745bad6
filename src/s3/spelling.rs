//! Ambiguous keys: with empty, `.` or `..` segments, or backslashes, which a server may take for
//! other keys.
//!
//! S3 compares keys byte by byte, so these are ordinary keys there. Servers that store objects as files, and proxies
//! before them, clean paths: `//k` becomes `k`, and `a/../b` becomes `b`. Since the rules of the origin are not known,
//! all of them are assumed: every object that a key may mean must be allowed (R21) and is invalidated by a write (R8),
//! and a read by such a key is validated each time.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use super::name::{BucketName, ObjectKey};

/// Maximum further decodings by a server and its proxies of a key that was decoded already.
const DECODINGS: usize = 3;
/// Separators of segments; the first is one everywhere.
const SEPARATORS: [char; 2] = ['/', '\\'];

/// An alias: another object, or a whole bucket, that a server may take a key for.
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
pub fn has_dot_segments(key: &str) -> bool {
    let is_plain = !key.contains("..") && !key.contains('%');
    if is_plain || !decodings(key).any(|text| text.contains("..")) {
        return false;
    }
    let mut depth = 0;
    key.split('/').any(|segment| {
        let (lowest, end) = steps(segment);
        let is_outside = depth + lowest < 0;
        depth += end;
        is_outside
    })
}

/// Whether `is_it` holds for a segment of a key in any encoding; dot segments are skipped.
pub fn any_segment(key: &str, is_it: impl Fn(&str) -> bool) -> bool {
    decodings(key).any(|text| {
        let mut names = text.split(SEPARATORS).map(bare);
        names.any(|name| !matches!(name, "" | "." | "..") && is_it(name))
    })
}

/// Returns the text, and the results of decoding it repeatedly.
fn decodings(text: &str) -> impl Iterator<Item = Cow<'_, str>> {
    let decode = |text: &Cow<'_, str>| {
        let decoded = percent_decode_str(text).decode_utf8_lossy();
        (decoded != *text).then(|| Cow::Owned(decoded.into_owned()))
    };
    std::iter::successors(Some(Cow::Borrowed(text)), decode).take(DECODINGS + 1)
}

/// Returns the lowest and the final depth that a segment leads to, each the minimum over all readings: a server may
/// decode the segment into several.
fn steps(segment: &str) -> (i32, i32) {
    if !segment.contains(['%', '\\']) {
        return walk(std::iter::once(segment));
    }
    let readings = decodings(segment).flat_map(|text| {
        [SEPARATORS.as_slice(), &SEPARATORS[..1]].map(|separators| walk(text.split(separators)))
    });
    readings.fold((0, 1), |least, reading| (least.0.min(reading.0), least.1.min(reading.1)))
}

/// Returns the lowest and the final depth that names lead to.
fn walk<'a>(names: impl Iterator<Item = &'a str>) -> (i32, i32) {
    names.fold((0, 0), |(lowest, depth): (i32, i32), name| {
        let depth = match bare(name) {
            "" | "." => depth,
            ".." => depth - 1,
            _ => depth + 1,
        };
        (lowest.min(depth), depth)
    })
}

/// Removes parameters, as servers written in Java do, and spaces, as file systems do.
fn bare(segment: &str) -> &str {
    let is_cut = |character: char| character.is_whitespace() || character.is_control();
    segment.split(';').next().unwrap_or_default().trim_matches(is_cut)
}

/// Returns the other names that a server may take a key for, each once, without the key itself; empty unless it [is
/// ambiguous](is_ambiguous).
#[must_use]
pub fn aliases(bucket: &BucketName, key: &ObjectKey) -> Vec<Alias> {
    let mut found = Vec::new();
    if !is_ambiguous(key.as_str()) {
        return found;
    }
    let slashed = key.as_str().contains('\\').then(|| key.as_str().replace('\\', "/"));
    for text in [Some(key.as_str()), slashed.as_deref()].into_iter().flatten() {
        // Without `..` they are all the same.
        let rules =
            if text.contains("..") { Cleaning::ALL.as_slice() } else { &Cleaning::ALL[..1] };
        for rule in rules {
            for alias in meanings(&cleaned(bucket.as_str(), text, *rule), text) {
                let is_itself = matches!(&alias, Alias::Object(b, k) if (b, k) == (bucket, key));
                if !is_itself && !found.contains(&alias) {
                    found.push(alias);
                }
            }
        }
    }
    found
}

/// Interpretation of `..` segments.
#[derive(Clone, Copy)]
struct Cleaning {
    /// Whether empty segments are removed first, as in paths. In URLs (RFC 3986, section 5.2.4), a `..` may remove one.
    merges_first: bool,
    /// Whether `..` never removes the bucket, because the key alone is cleaned.
    stays_in_bucket: bool,
}

impl Cleaning {
    const ALL: [Self; 4] = [
        Self { merges_first: true, stays_in_bucket: false },
        Self { merges_first: false, stays_in_bucket: false },
        Self { merges_first: true, stays_in_bucket: true },
        Self { merges_first: false, stays_in_bucket: true },
    ];
}

/// Returns the segments of `bucket/key` without dots and empty ones.
fn cleaned<'a>(bucket: &'a str, key: &'a str, rule: Cleaning) -> Vec<&'a str> {
    let mut kept = vec![bucket];
    for segment in key.split('/') {
        match segment {
            "." => {}
            "" if rule.merges_first => {}
            ".." => kept.truncate(kept.len().saturating_sub(1).max(rule.stays_in_bucket.into())),
            segment => kept.push(segment),
        }
    }
    kept.retain(|segment| !segment.is_empty());
    kept
}

/// Returns the names of these segments; where `key` may name a folder, with and without a slash at the end.
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
            ("../other/k", &["other/k", "bkt/other/k"]),
            ("../other", &["other", "bkt/other"]),
            ("a/../../other/k", &["other/k", "bkt/other/k"]),
            ("..", &["bkt"]),
            ("../../../x", &["bkt/x"]),
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
            "..\0/k",
            // Only where a backslash is a character like any.
            "a\\b/../../k",
            "a%5Cb/../../k",
            // For servers that decode and clean repeatedly.
            "a%2Fb/../%2e%2e/k",
        ] {
            assert!(has_dot_segments(key), "{key}");
        }
        for key in [
            "a/..",
            "a/../b",
            "a/b/../../c",
            "..a/k",
            "a..",
            "...",
            "a/.../b",
            "a\\..\\b",
            "a\\b/..",
            "%2e",
            "50%",
            "%zz..",
        ] {
            assert!(!has_dot_segments(key), "{key}");
        }
    }

    #[test]
    fn the_segments_of_a_key_are_looked_at_in_every_encoding() {
        for key in ["../minio/x", "..\\minio\\x", "a/%2e%2e%2fminio", "%256dinio", "minio;a/b"] {
            assert!(any_segment(key, |name| name == "minio"), "{key}");
        }
        assert!(
            !any_segment(".././/minio2/aminio", |name| name.starts_with('.') || name == "minio")
        );
    }
}
