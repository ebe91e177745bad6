//! The resources of a policy: globs over `bucket/key` that grant access.
//!
//! A pattern answers not only "does it match this key", but for a list "does it match every key with this prefix", and
//! for `HeadBucket` "does it match any key in there". Syntax of rules that would be ambiguous here (classes,
//! alternatives, escapes) is refused, and `a/**/b` does not match `a/b`, see [`Glob::for_access`]. These are not the
//! wildcards of IAM, whose `*` matches `/`: an ARN is refused, with the equivalent glob in the error.

use crate::glob::{Glob, InvalidGlob, Text};
use crate::s3::{BucketName, Resource};

/// Reason for which a text is not a pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum InvalidPattern {
    /// No slash between bucket and key.
    #[error("names no keys: write bucket/** for all of a bucket, and \"**\" for everything")]
    NoKeys,
    /// A character with a meaning in other globs.
    #[error("has a `{0}`: only *, ** and ? are supported here")]
    Character(char),
    /// Keys do not begin with a slash, and buckets are never empty.
    #[error("begins with a slash: write bucket/prefix/**")]
    LeadingSlash,
    /// An ARN or a URL, with the equivalent glob.
    #[error("is not bucket/key: write `{0}`")]
    Address(String),
    /// Not a glob.
    #[error(transparent)]
    Glob(#[from] InvalidGlob),
}

/// Returns the glob equivalent to an ARN, where `*` matches `/` too, or to an `s3://` URL; `None` for neither.
fn meant_by_address(text: &str) -> Option<String> {
    let name = match text.strip_prefix("s3://") {
        Some(name) => name.to_owned(),
        None => text.strip_prefix("arn:")?.splitn(5, ':').nth(4)?.replace('*', "**"),
    };
    Some(match name.contains('/') || name == "**" {
        true => name,
        false => format!("{name}/**"),
    })
}

/// A compiled pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pattern(Glob);

impl Pattern {
    /// Parses `bucket/prefix/**`.
    ///
    /// # Errors
    /// [`InvalidPattern`]: the reason for which it would not do what it seems to say.
    pub(super) fn new(text: &str) -> Result<Self, InvalidPattern> {
        if let Some(bad) = text.chars().find(|c| "[]{}\\".contains(*c) || c.is_control()) {
            return Err(InvalidPattern::Character(bad));
        }
        if let Some(meant) = meant_by_address(text) {
            return Err(InvalidPattern::Address(meant));
        }
        if text.starts_with('/') {
            return Err(InvalidPattern::LeadingSlash);
        }
        let names_keys = text.split_once('/').is_some_and(|(_, key)| !key.is_empty());
        if !names_keys && !text.contains("**") {
            return Err(InvalidPattern::NoKeys);
        }
        Ok(Self(Glob::for_access(text)?))
    }

    /// Whether the pattern contains all of `resource`.
    ///
    /// A key with a `.` or `..` segment is contained only in a pattern that covers its whole bucket: a server that
    /// resolves such segments would find another object than the allowed one (R21).
    #[must_use]
    pub(super) fn covers(&self, resource: &Resource) -> bool {
        match resource {
            Resource::Everything => self.0.is_everything(),
            Resource::BucketName(bucket) => self.0.may_begin_with(Text::path(bucket.as_str(), "")),
            Resource::Prefix(bucket, prefix) => {
                self.0.is_open() && self.matches_key(bucket, prefix)
            }
            Resource::Object(bucket, key) => self.matches_key(bucket, key.as_str()),
        }
    }

    fn matches_key(&self, bucket: &BucketName, key: &str) -> bool {
        let matches = |key| self.0.matches(Text::path(bucket.as_str(), key));
        matches(key) && (!has_dot_segment(key) || self.0.is_open() && matches(""))
    }
}

fn has_dot_segment(key: &str) -> bool {
    key.contains('.') && key.split(['/', '\\']).any(|segment| matches!(segment, "." | ".."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::s3::ObjectKey;

    fn pattern(text: &str) -> Pattern {
        Pattern::new(text).unwrap()
    }

    fn bucket(name: &str) -> BucketName {
        BucketName::new(name).unwrap()
    }

    fn key(pattern_text: &str, path: &str) -> bool {
        let (name, key) = path.split_once('/').unwrap();
        let object = Resource::Object(bucket(name), ObjectKey::new(key).unwrap());
        pattern(pattern_text).covers(&object)
    }

    fn list(pattern_text: &str, path: &str) -> bool {
        let (name, prefix) = path.split_once('/').unwrap();
        pattern(pattern_text).covers(&Resource::Prefix(bucket(name), prefix.to_owned()))
    }

    #[test]
    fn a_key_is_matched_as_the_dialect_says() {
        for (glob, path, expected) in [
            ("bkt/k", "bkt/k", true),
            ("bkt/k", "bkt/kk", false),
            ("bkt/k", "bkt2/k", false),
            ("bkt/**", "bkt/a/b", true),
            ("bkt/**", "bkt2/a", false),
            ("**", "bkt/a/b", true),
            ("bkt/a/*", "bkt/a/b", true),
            ("bkt/a/*", "bkt/a/b/c", false),
            ("bkt/*.png", "bkt/a.png", true),
            ("bkt/*.png", "bkt/a.png.exe", false),
            ("bkt/**.png", "bkt/a/b.png", true),
            ("bkt/?", "bkt/ü", true),
            ("bkt/?", "bkt//", false),
            ("bkt/??", "bkt/ü", false),
            ("log*/**", "logs/a", true),
            ("log*/**", "lag/a", false),
            ("*/k", "bkt/k", true),
            ("*/k", "bkt/a/k", false),
            ("bkt/**/k", "bkt/a/b/k", true),
            ("bkt/**/k", "bkt/k", false),
            ("bkt/a*b*c/d", "bkt/abxbxc/d", true),
            ("bkt/a*b*c/d", "bkt/abxbx/c/d", false),
            ("bkt/*a/*b/**c", "bkt/aa/bb/x/cc", true),
            ("bkt/**a*/b", "bkt/a/xax/b", true),
            ("bkt/**a*/b", "bkt/a/x/b", false),
            ("***", "bkt/k", true),
        ] {
            assert_eq!(key(glob, path), expected, "{glob} {path}");
        }
    }

    #[test]
    fn r21_a_list_is_inside_only_when_every_key_that_begins_so_is() {
        for (glob, prefix, expected) in [
            ("bkt/a/**", "bkt/a/", true),
            ("bkt/a/**", "bkt/a/b", true),
            ("bkt/a/**", "bkt/a", false),
            ("bkt/a/**", "bkt/", false),
            ("bkt/a/**", "bkt/b/", false),
            ("bkt/a/**", "bkt/ab/", false),
            ("bkt/a**", "bkt/a", true),
            ("bkt/a/*", "bkt/a/", false),
            ("bkt/a/b", "bkt/a/b", false),
            ("bkt/**", "bkt/", true),
            ("bkt/**/b", "bkt/", false),
            ("bkt/**/b", "bkt/a/b", false),
            ("bkt/*/x/**", "bkt/a/x/", true),
            ("bkt/*/x/**", "bkt/a/b/x/", false),
            ("**", "bkt/", true),
            ("bkt/a/**", "bkt/a/../", false),
            ("bkt/a/**", "bkt/a/..", false),
            ("bkt/**", "bkt/a/..", true),
        ] {
            assert_eq!(list(glob, prefix), expected, "{glob} {prefix}");
        }
    }

    #[test]
    fn r21_keys_with_dot_segments_lie_only_in_whole_buckets() {
        for path in ["bkt/a/../b", "bkt/a/./b", "bkt/a/..", "bkt/a/..\\b"] {
            assert!(!key("bkt/a/**", path), "{path}");
            assert!(!key("bkt/a/*/b", path), "{path}");
            assert!(key("bkt/**", path) && key("**", path) && key("b*/**", path), "{path}");
        }
        assert!(key("bkt/a/**", "bkt/a/..b/c..d/.e") && key("bkt/a/**", "bkt/a/..."));
        assert!(!key("bkt/..", "bkt/.."), "named in full, and still another object elsewhere");
    }

    #[test]
    fn a_bucket_is_seen_by_whom_anything_in_it_is_allowed() {
        let sees = |glob: &str| pattern(glob).covers(&Resource::BucketName(bucket("bkt")));
        for glob in ["bkt/a/b", "bkt/**", "**", "b*/x", "*t/x/**", "b??/x", "**/x"] {
            assert!(sees(glob), "{glob}");
        }
        for glob in ["bk/a", "bktt/a", "bkt2/**", "b?/x", "a*/**"] {
            assert!(!sees(glob), "{glob}");
        }
    }

    #[test]
    fn only_two_stars_are_everything() {
        assert!(pattern("**").covers(&Resource::Everything));
        for glob in ["*/**", "bkt/**", "**/a", "a**"] {
            assert!(!pattern(glob).covers(&Resource::Everything), "{glob}");
        }
    }

    #[test]
    fn what_would_not_do_what_it_seems_to_say_is_refused() {
        for text in ["bkt", "bkt/", "*", "", "b?t"] {
            assert_eq!(Pattern::new(text), Err(InvalidPattern::NoKeys), "{text}");
        }
        assert_eq!(Pattern::new("b/{a,b}/**"), Err(InvalidPattern::Character('{')));
        assert_eq!(Pattern::new("b/[ab]"), Err(InvalidPattern::Character('[')));
        assert_eq!(Pattern::new("b\\/**"), Err(InvalidPattern::Character('\\')));
        assert_eq!(Pattern::new("/b/**"), Err(InvalidPattern::LeadingSlash));
        for (address, meant) in [
            ("arn:aws:s3:::bkt/logs/*", "bkt/logs/**"),
            ("arn:aws:s3:::bkt", "bkt/**"),
            ("arn:aws-cn:s3:::*", "**"),
            ("s3://bkt/logs/*", "bkt/logs/*"),
            ("s3://bkt", "bkt/**"),
        ] {
            let error = Pattern::new(address).unwrap_err();
            assert_eq!(error, InvalidPattern::Address(meant.to_owned()), "{address}");
            assert!(Pattern::new(meant).is_ok());
        }
        assert!(Pattern::new("arn/**").is_ok() && Pattern::new("s3/**").is_ok());
    }

    #[test]
    fn a_pattern_that_must_go_back_often_ends_soon() {
        let long = format!("bkt/{}", "a".repeat(1000));
        assert!(!key("bkt/**a**a**a**a*a*a*a*a**b", &long));
    }
}
