//! Request for a warm job: objects, byte ranges of each, and limits.

use super::span::Span;
use crate::glob::{Glob, Text};
use crate::s3::{BucketName, ObjectKey};

/// Request for a warm job. Equal requests share one job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    pub target: Target,
    pub patterns: Patterns,
    pub span: Span,
    /// Maximum bytes to warm, including those cached before; `None`: the capacity of the cache. The first object that
    /// does not fit ends the job.
    pub max_bytes: Option<u64>,
    /// Maximum number of objects.
    pub max_objects: Option<u64>,
    /// Average bytes per second from the origin.
    pub rate: Option<u64>,
    /// Whether to find the objects only, and read nothing.
    pub dry_run: bool,
}

/// Objects to warm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    Objects(Vec<(BucketName, ObjectKey)>),
    /// Every key with this prefix; empty: the whole bucket.
    Prefix(BucketName, String),
}

/// Filter of keys: globs over `bucket/key`, as in rules.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Patterns {
    include: Vec<Glob>,
    exclude: Vec<Glob>,
}

/// A pattern that is not a glob.
#[derive(Debug, thiserror::Error)]
#[error("`{pattern}`: {why}")]
pub struct InvalidPattern {
    pattern: String,
    why: String,
}

impl Patterns {
    /// Creates a filter of keys that match one of `include` (all, if it is empty) and none of `exclude`.
    ///
    /// # Errors
    /// The first pattern that is not a valid glob.
    pub fn new(include: Vec<String>, exclude: Vec<String>) -> Result<Self, InvalidPattern> {
        let compile = |pattern: String| {
            Glob::new(&pattern).map_err(|why| InvalidPattern { pattern, why: why.to_string() })
        };
        Ok(Self {
            include: include.into_iter().map(compile).collect::<Result<_, _>>()?,
            exclude: exclude.into_iter().map(compile).collect::<Result<_, _>>()?,
        })
    }

    pub(super) fn admit(&self, bucket: &BucketName, key: &ObjectKey) -> bool {
        if self.include.is_empty() && self.exclude.is_empty() {
            return true;
        }
        let text = Text::path(bucket.as_str(), key.as_str());
        let matches = |globs: &[Glob]| globs.iter().any(|glob| glob.matches(text));
        (self.include.is_empty() || matches(&self.include)) && !matches(&self.exclude)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_rules_do() {
        let texts = |texts: &[&str]| texts.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>();
        let admit = |include: &[&str], exclude: &[&str], key: &str| {
            let patterns = Patterns::new(texts(include), texts(exclude)).unwrap();
            patterns.admit(&BucketName::new("data").unwrap(), &ObjectKey::new(key).unwrap())
        };
        assert!(admit(&[], &[], "a/b"));
        assert!(admit(&["data/*"], &[], "a"));
        assert!(!admit(&["data/*"], &[], "a/b"));
        assert!(admit(&["x", "data/**/*.bin"], &[], "a/b/c.bin"));
        assert!(!admit(&["data/**"], &["**/*.tmp"], "a/b.tmp"));
        assert!(admit(&[], &["**/*.tmp"], "a/b"));
        let wrong = Patterns::new(texts(&["a[b"]), Vec::new()).unwrap_err().to_string();
        assert!(wrong.starts_with("`a[b`: "), "{wrong}");
    }
}
