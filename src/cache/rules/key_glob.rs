//! A glob over the keys of one bucket, in the dialect of rules.

use std::fmt;
use std::sync::Arc;

use globset::GlobMatcher;

use crate::cache::config::matcher;
use crate::s3::{BucketName, ObjectKey};

/// Bytes of the longest glob.
const MOST_BYTES: usize = 4096;

/// A glob over the keys of a bucket: `*` and `?` do not match `/`, `**` does.
#[derive(Clone)]
pub struct KeyGlob {
    bucket: BucketName,
    /// After `bucket/`.
    glob: Arc<str>,
    /// Over keys: a bucket's name has no special character, so that it matches as `bucket/glob` would.
    matcher: GlobMatcher,
}

/// Why a text is no glob.
#[derive(Debug, thiserror::Error)]
pub enum InvalidGlob {
    #[error("the glob is longer than {MOST_BYTES} bytes")]
    TooLong,
    #[error(transparent)]
    Syntax(#[from] globset::Error),
}

impl KeyGlob {
    /// Compiles a glob over keys.
    ///
    /// # Errors
    /// [`InvalidGlob`].
    pub fn new(bucket: BucketName, glob: &str) -> Result<Self, InvalidGlob> {
        if glob.len() > MOST_BYTES {
            return Err(InvalidGlob::TooLong);
        }
        let matcher = matcher(glob)?;
        Ok(Self { bucket, glob: glob.into(), matcher })
    }

    /// Whether a text has a wildcard, and is meant as a glob. One with nothing but an escape is a key.
    pub fn has_wildcard(text: &str) -> bool {
        text.contains(['*', '?', '[', '{'])
    }

    /// The bucket.
    pub fn bucket(&self) -> &BucketName {
        &self.bucket
    }

    /// The glob as it was written, without the bucket.
    pub fn as_str(&self) -> &str {
        &self.glob
    }

    /// The longest literal prefix: every key that matches begins with it.
    pub(in crate::cache) fn prefix(&self) -> &str {
        &self.glob[..self.glob.find(is_special).unwrap_or(self.glob.len())]
    }

    /// Whether a key of a bucket matches.
    pub(in crate::cache) fn covers(&self, bucket: &BucketName, key: &ObjectKey) -> bool {
        *bucket == self.bucket
            && key.as_str().starts_with(self.prefix())
            && self.matcher.is_match(key.as_str())
    }
}

fn is_special(character: char) -> bool {
    matches!(character, '*' | '?' | '[' | '{' | '\\')
}

impl fmt::Debug for KeyGlob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyGlob({}/{})", self.bucket, self.glob)
    }
}

impl PartialEq for KeyGlob {
    fn eq(&self, other: &Self) -> bool {
        self.bucket == other.bucket && self.glob == other.glob
    }
}

impl Eq for KeyGlob {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_matches_as_it_would_match_a_rule() {
        let bucket = BucketName::new("data").unwrap();
        let covers = |glob: &str, key: &str| {
            let glob = KeyGlob::new(bucket.clone(), glob).unwrap();
            glob.covers(&bucket, &ObjectKey::new(key).unwrap())
        };
        for (glob, key, matches) in [
            ("d/*.csv", "d/a.csv", true),
            ("d/*.csv", "d/e/a.csv", false),
            ("d/**/*.csv", "d/e/f/a.csv", true),
            ("**/*.csv", "a.csv", true),
            ("d/{a,b}?.csv", "d/b1.csv", true),
            ("d/[0-9].csv", "d/x.csv", false),
            ("d/\\*.csv", "d/*.csv", true),
            ("d/\\*.csv", "d/a.csv", false),
        ] {
            assert_eq!(covers(glob, key), matches, "{glob} {key}");
        }
        let glob = KeyGlob::new(bucket, "d/*.csv").unwrap();
        let other = BucketName::new("other").unwrap();
        assert!(!glob.covers(&other, &ObjectKey::new("d/a.csv").unwrap()));
        assert_eq!(glob.prefix(), "d/");
        assert!(KeyGlob::new(other, "a[").is_err());
    }
}
