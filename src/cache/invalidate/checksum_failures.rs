//! Handling of bytes that do not match their checksum: they are dropped, and fetched again.

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

    /// Drops all that is cached of an object after its fetched bytes, or those of a part, did not match the checksum.
    /// After a second mismatch of the same version, the checksum itself may be wrong: the object is uncacheable for a
    /// while, and streamed to clients, which may verify it themselves. Returns the error for its readers.
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
