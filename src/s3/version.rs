//! The id of one version of an object, as a request names it.
//!
//! S3's ids are opaque. The one guarantee: an id is never given to other bytes, so that the bytes under one never
//! change (the version may be deleted). The exception is `null`, which names whatever was last written while versioning
//! was off.

use std::fmt;
use std::sync::Arc;

/// Longest version id in bytes (S3 User Guide, "Version IDs").
const MAX_VERSION_ID: usize = 1024;

/// A version's id: 1 to 1024 visible ASCII characters. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct VersionId(Arc<str>);

impl VersionId {
    /// Returns the id, if it may be sent to an origin on a client's behalf.
    #[must_use]
    pub fn new(id: &str) -> Option<Self> {
        let fits = (1..=MAX_VERSION_ID).contains(&id.len());
        (fits && id.bytes().all(|b| b.is_ascii_graphic())).then(|| VersionId(id.into()))
    }

    /// Returns the text, decoded.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the id is `null`, whose bytes a write may replace.
    #[must_use]
    pub fn is_null(&self) -> bool {
        &*self.0 == "null"
    }
}

impl fmt::Debug for VersionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VersionId({:?})", &*self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_visible_ascii_of_a_bounded_length() {
        for id in ["null", "3/L4kqtJlcpXroDTDmJ+rmSpXd3dIbrHY", "a", &"v".repeat(1024)] {
            assert_eq!(VersionId::new(id).unwrap().as_str(), id);
        }
        for id in ["", "a b", "a\n", "ü", &"v".repeat(1025)] {
            assert_eq!(VersionId::new(id), None, "{id:?}");
        }
    }

    #[test]
    fn only_null_is_mutable() {
        assert!(VersionId::new("null").unwrap().is_null());
        assert!(!VersionId::new("nulls").unwrap().is_null());
    }
}
