//! The response to a list, copied as it streams by.

use bytes::{Bytes, BytesMut};
use http::{HeaderName, HeaderValue};

use crate::cache::{Cache, ListAnswer, ListFill};

/// A response in transit that may be cached.
pub(in crate::proxy) struct Keeping {
    pub(super) fill: ListFill,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) body: BytesMut,
}

impl Keeping {
    /// Admits the complete response to the cache.
    pub(super) fn finish(self, cache: &Cache) {
        let Self { fill, headers, body } = self;
        // Copied at its exact length: a buffer that grew has spare capacity.
        cache.admit_list(fill, ListAnswer { headers, body: Bytes::copy_from_slice(&body) });
    }
}
