//! A glob over the keys of one bucket, in the dialect of rules.

use std::fmt;
use std::sync::Arc;

use crate::glob::{Glob, InvalidGlob, Text};
use crate::s3::{BucketName, ObjectKey};

/// A glob over the keys of one bucket.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyGlob {
    bucket: BucketName,
    /// The glob over keys. A bucket's name has no special character, so that it matches as `bucket/glob` would.
    glob: Arc<Glob>,
}

impl KeyGlob {
    /// Compiles a glob over keys.
    ///
    /// # Errors
    /// [`InvalidGlob`].
    pub fn new(bucket: BucketName, glob: &str) -> Result<Self, InvalidGlob> {
        Ok(Self { bucket, glob: Arc::new(Glob::new(glob)?) })
    }

    /// The bucket.
    pub fn bucket(&self) -> &BucketName {
        &self.bucket
    }

    /// The glob as it was written, without the bucket.
    pub fn as_str(&self) -> &str {
        self.glob.as_str()
    }

    /// Returns the literal prefix of every matching key.
    pub(in crate::cache) fn prefix(&self) -> &str {
        self.glob.literal()
    }

    /// Whether a key of a bucket matches.
    pub(in crate::cache) fn covers(&self, bucket: &BucketName, key: &ObjectKey) -> bool {
        *bucket == self.bucket && self.glob.matches(Text::new(key.as_str()))
    }
}

impl fmt::Debug for KeyGlob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyGlob({}/{})", self.bucket, self.as_str())
    }
}

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
