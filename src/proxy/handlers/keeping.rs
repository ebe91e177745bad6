//! The answer to a list, kept as it streams by.

use bytes::{Bytes, BytesMut};
use http::{HeaderName, HeaderValue};

use crate::cache::{Cache, ListAnswer, ListFill};

/// An answer on its way that may be kept.
pub(in crate::proxy) struct Keeping {
    pub(super) fill: ListFill,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) body: BytesMut,
}

impl Keeping {
    /// The answer is complete.
    pub(super) fn finish(self, cache: &Cache) {
        let Self { fill, headers, body } = self;
        // A copy of the right length: what grew has room to grow on.
        cache.admit_list(fill, ListAnswer { headers, body: Bytes::copy_from_slice(&body) });
    }
}
