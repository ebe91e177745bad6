//! Listings answered from the cache, and kept for later ones.

use std::sync::Arc;
use std::time::Duration;

use super::store::{ListAnswer, ListFill, ListKey};
use crate::cache::assembly::Cache;
use crate::s3::{BucketName, Listing, Realm};

impl Cache {
    /// The answer to a list that was asked for less than `ttl` ago, when nothing changed it since.
    pub fn list(&self, key: &ListKey, ttl: Duration) -> Option<Arc<ListAnswer>> {
        if self.is_certain() { self.lists.get(key, ttl) } else { None }
    }

    /// A list is about to be asked for.
    pub fn list_begins(&self, key: ListKey, listing: Listing, ttl: Duration) -> ListFill {
        self.lists.begin(key, listing, ttl)
    }

    /// Keeps a list that has come, unless something changed in its bucket meanwhile.
    pub fn admit_list(&self, fill: ListFill, answer: ListAnswer) {
        self.lists.admit(fill, answer);
    }

    /// The outcome of a write in this bucket is unknown: for a minute none of its lists is kept.
    pub fn suspect_lists(&self, realm: &Realm, bucket: &BucketName) {
        self.lists.suspect(realm, bucket);
    }
}
