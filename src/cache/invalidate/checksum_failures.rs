//! Bytes that are not what the origin says of them: they are dropped, and fetched again.

use std::sync::Arc;

use http::HeaderValue;

use super::generation::Generation;
use super::purge::Purges;
use crate::cache::fetch::integrity::{Integrity, Mismatch};
use crate::cache::metadata::admission::MetadataAdmission;
use crate::cache::tiers::objects::ObjectTiers;
use crate::origin::OriginError;
use crate::s3::ObjectId;

/// Drops objects whose bytes do not match the checksum that the origin announces.
pub(in crate::cache) struct ChecksumFailures {
    objects: Arc<ObjectTiers>,
    admission: Arc<MetadataAdmission>,
    purges: Arc<Purges>,
    integrity: Arc<Integrity>,
}

impl ChecksumFailures {
    pub(in crate::cache) fn new(
        objects: Arc<ObjectTiers>,
        admission: Arc<MetadataAdmission>,
        purges: Arc<Purges>,
        integrity: Arc<Integrity>,
    ) -> Self {
        Self { objects, admission, purges, integrity }
    }

    /// The bytes that were fetched of an object, or a part of it, do not match its checksum. Nothing of it stays cached.
    /// When the same happened to this version before, the checksum may be what is wrong: the object is streamed through
    /// for a while, to clients that may compare it themselves. Returns what its readers are told.
    pub(in crate::cache) fn mismatch(
        &self,
        id: &ObjectId,
        generation: Generation,
        mismatch: &Mismatch,
    ) -> OriginError {
        let Mismatch { target, computed } = mismatch;
        let is_known = self.integrity.failed(&target.version);
        let then = if is_known { "it is not cached for an hour" } else { "it is fetched again" };
        log::error!(
            "origin: the bytes {}-{} of {}/{} (ETag {}, version {}) have {} {:016x}, and {:016x} is announced: they are \
             dropped, and {then}",
            target.range.start,
            target.range.end - 1,
            id.bucket(),
            id.key(),
            text(target.version.etag().as_header()),
            target.version.version_id().map_or("none", text),
            target.announced.algorithm.name(),
            computed,
            target.announced.value,
        );
        if self.objects.generations.is_current(id, generation) {
            self.purges.drop_blocks(id);
        }
        match is_known {
            false => OriginError::Corrupt,
            true => {
                self.admission.admit_uncacheable(id, self.objects.generations.current(id));
                OriginError::Uncacheable("its bytes do not match its checksum".to_owned())
            }
        }
    }
}

fn text(value: &HeaderValue) -> &str {
    value.to_str().unwrap_or("not in ASCII")
}
