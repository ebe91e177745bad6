//! The resources of a policy: globs over `bucket/key`, as in `rules[].match`.
//!
//! `*` and `?` stay within one segment, `**` does not. Beside "does it match this key" a list asks "does it
//! match every key that begins so", and `HeadBucket` "does it match any key in there"; all three are answered
//! without joining bucket and key. What would be read in two ways (classes, alternatives, escapes) is refused.

use crate::s3::{BucketName, Resource};

/// Why a text is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum InvalidPattern {
    /// Nothing between bucket and key.
    #[error("names no keys: write bucket/** for all of a bucket, and \"**\" for everything")]
    NoKeys,
    /// A character that means something in other globs.
    #[error("has a `{0}`: only *, ** and ? are supported here")]
    Character(char),
    /// Keys do not begin with a slash, and buckets are never empty.
    #[error("begins with a slash: write bucket/prefix/**")]
    LeadingSlash,
    /// An ARN or a URL; the glob that is meant.
    #[error("is not bucket/key: write `{0}`")]
    Address(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Byte(u8),
    /// `?`: one character but `/`.
    One,
    /// `*`: any characters but `/`.
    Segment,
    /// `**`: any characters.
    Any,
}

/// The glob that an ARN, where `*` matches `/` too, or an `s3://` URL stands for; `None` for what is neither.
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
pub(super) struct Pattern(Box<[Token]>);

impl Pattern {
    /// Reads `bucket/prefix/**`.
    ///
    /// # Errors
    /// [`InvalidPattern`]: why it would not do what it seems to say.
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
        let mut tokens = Vec::with_capacity(text.len());
        let mut rest = text.as_bytes();
        while let [first, left @ ..] = rest {
            rest = left;
            tokens.push(match first {
                b'*' if left.starts_with(b"*") => {
                    let stars = left.iter().take_while(|b| **b == b'*').count();
                    rest = &left[stars..];
                    Token::Any
                }
                b'*' => Token::Segment,
                b'?' => Token::One,
                byte => Token::Byte(*byte),
            });
        }
        let parts = text.split_once('/');
        if parts.is_none_or(|(_, key)| key.is_empty()) && !tokens.contains(&Token::Any) {
            return Err(InvalidPattern::NoKeys);
        }
        Ok(Self(tokens.into()))
    }

    /// Whether all of `resource` lies inside.
    ///
    /// A key with a `.` or `..` segment lies only in what covers its whole bucket: a server that resolves such
    /// segments would find another object than the one that was allowed (R21).
    #[must_use]
    pub(super) fn covers(&self, resource: &Resource) -> bool {
        match resource {
            Resource::Everything => *self.0 == [Token::Any],
            Resource::BucketName(bucket) => self.matches(&Text::new(bucket, ""), Until::TextEnds),
            Resource::Prefix(bucket, prefix) => self.is_open() && self.matches_key(bucket, prefix),
            Resource::Object(bucket, key) => self.matches_key(bucket, key.as_str()),
        }
    }

    /// Whether whatever follows a match matches too.
    fn is_open(&self) -> bool {
        self.0.last() == Some(&Token::Any)
    }

    fn matches_key(&self, bucket: &BucketName, key: &str) -> bool {
        self.matches(&Text::new(bucket, key), Until::BothEnd)
            && (!has_dot_segment(key)
                || self.is_open() && self.matches(&Text::new(bucket, ""), Until::BothEnd))
    }

    /// Goes back only to the last `*` and the last `**`: what stands before either was matched as early as it
    /// can be, which leaves the most for what comes after.
    fn matches(&self, text: &Text<'_>, until: Until) -> bool {
        let tokens = &self.0;
        let (mut token, mut at) = (0, 0);
        let mut segment: Option<(usize, usize)> = None;
        let mut any: Option<(usize, usize)> = None;
        loop {
            let next = text.byte(at);
            if next.is_none() && (until == Until::TextEnds || token == tokens.len()) {
                return true;
            }
            let step = match (tokens.get(token), next) {
                (Some(Token::Any), _) => {
                    any = Some((token + 1, at));
                    segment = None;
                    Some(0)
                }
                (Some(Token::Segment), _) => {
                    segment = Some((token + 1, at));
                    Some(0)
                }
                (Some(Token::One), Some(byte)) if byte != b'/' => Some(text.char_len(at)),
                (Some(Token::Byte(expected)), Some(byte)) if *expected == byte => Some(1),
                _ => None,
            };
            if let Some(step) = step {
                token += 1;
                at += step;
            } else if let Some((after, from)) =
                segment.filter(|(_, from)| text.is_in_segment(*from))
            {
                segment = Some((after, from + 1));
                (token, at) = (after, from + 1);
            } else if let Some((after, from)) = any.filter(|(_, from)| text.byte(*from).is_some()) {
                any = Some((after, from + 1));
                segment = None;
                (token, at) = (after, from + 1);
            } else {
                return false;
            }
        }
    }
}

/// Where a match is complete.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Until {
    BothEnd,
    /// Something could follow that completes it.
    TextEnds,
}

/// `bucket/key` in its two parts.
struct Text<'a> {
    bucket: &'a [u8],
    key: &'a [u8],
}

impl<'a> Text<'a> {
    fn new(bucket: &'a BucketName, key: &'a str) -> Self {
        Self { bucket: bucket.as_str().as_bytes(), key: key.as_bytes() }
    }

    fn byte(&self, at: usize) -> Option<u8> {
        match at.checked_sub(self.bucket.len()) {
            None => Some(self.bucket[at]),
            Some(0) => Some(b'/'),
            Some(past) => self.key.get(past - 1).copied(),
        }
    }

    fn is_in_segment(&self, at: usize) -> bool {
        self.byte(at).is_some_and(|byte| byte != b'/')
    }

    /// Of the character that begins at `at`, in bytes.
    fn char_len(&self, at: usize) -> usize {
        let is_more = |byte: u8| byte & 0xC0 == 0x80;
        1 + (1..4).take_while(|n| self.byte(at + n).is_some_and(is_more)).count()
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
    fn a_key_is_matched_as_the_rules_match_it() {
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
