//! Objects whose parts the origin does not tell apart.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::origin::OriginError;
use crate::s3::{ObjectId, PartNumber};

const STRIPES: usize = 1 << 12;
/// For so long parts of an object are passed through.
const REMEMBERED: Duration = Duration::from_mins(1);

/// Objects of which the origin lately answered with the whole for a part that cannot be that, or as if a part were an
/// object of its own. By the hash of the
/// id, so that it never grows: of two ids that share a place one is passed through for a while.
pub(in crate::cache) struct PartlessObjects {
    /// Milliseconds since `started` at which it is over; 0: never seen.
    until: Box<[AtomicU64]>,
    started: Instant,
}

impl PartlessObjects {
    pub(in crate::cache) fn new() -> Self {
        let until = (0..STRIPES).map(|_| AtomicU64::new(0)).collect();
        Self { until, started: Instant::now() }
    }

    /// Takes in why a part was not had.
    pub(in crate::cache) fn note(&self, id: &ObjectId, part: PartNumber, error: &OriginError) {
        // The first part may be all there is: of an empty object even S3 says 200.
        if matches!(error, OriginError::NotAPart) && part.get() > 1 {
            self.remember(id);
        }
    }

    /// For a while its parts are passed through.
    pub(super) fn remember(&self, id: &ObjectId) {
        let until = (self.started.elapsed() + REMEMBERED).as_millis();
        let until = u64::try_from(until).unwrap_or(u64::MAX);
        self.place(id).store(until, Ordering::Relaxed);
    }

    /// Then asking for parts would cost a request more each time.
    pub(super) fn is_remembered(&self, id: &ObjectId) -> bool {
        let until = self.place(id).load(Ordering::Relaxed);
        until != 0 && self.started.elapsed().as_millis() < u128::from(until)
    }

    fn place(&self, id: &ObjectId) -> &AtomicU64 {
        let at = id.hash64() % STRIPES as u64;
        &self.until[usize::try_from(at).expect("below the number of stripes")]
    }
}
