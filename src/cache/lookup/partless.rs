//! Objects for which the origin does not support `partNumber`.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::origin::OriginError;
use crate::s3::{ObjectId, PartNumber};

const STRIPES: usize = 1 << 12;
/// Time for which parts of an object are streamed through.
const REMEMBERED: Duration = Duration::from_mins(1);

/// Objects for which the origin recently answered a request for a part with the whole object, or with an `ETag` of the
/// part's own. Indexed by the hash of the id, so that it never grows; an id that shares a slot is streamed through for
/// a while, too.
pub(in crate::cache) struct PartlessObjects {
    /// End of that time, in milliseconds since `started`; 0: never seen.
    until: Box<[AtomicU64]>,
    started: Instant,
}

impl PartlessObjects {
    pub(in crate::cache) fn new() -> Self {
        let until = (0..STRIPES).map(|_| AtomicU64::new(0)).collect();
        Self { until, started: Instant::now() }
    }

    /// Notes the failure of a request for a part.
    pub(in crate::cache) fn note(&self, id: &ObjectId, part: PartNumber, error: &OriginError) {
        // The first part may be the whole object: for an empty object, even S3 answers 200.
        if matches!(error, OriginError::NotAPart) && part.get() > 1 {
            self.remember(id);
        }
    }

    /// Streams parts of the object through for a while.
    pub(super) fn remember(&self, id: &ObjectId) {
        let until = (self.started.elapsed() + REMEMBERED).as_millis();
        let until = u64::try_from(until).unwrap_or(u64::MAX);
        self.place(id).store(until, Ordering::Relaxed);
    }

    /// Whether parts of the object are streamed through, since a request for a part would fail and cost one more each
    /// time.
    pub(super) fn is_remembered(&self, id: &ObjectId) -> bool {
        let until = self.place(id).load(Ordering::Relaxed);
        until != 0 && self.started.elapsed().as_millis() < u128::from(until)
    }

    fn place(&self, id: &ObjectId) -> &AtomicU64 {
        let at = id.hash64() % STRIPES as u64;
        &self.until[usize::try_from(at).expect("below the number of stripes")]
    }
}
