//! Erasing metadata, see [`crate::cache::disk::tier::erase`].

use std::io;
use std::sync::Arc;

use super::Writer;
use crate::cache::disk::format::digest::object_in;
use crate::cache::disk::log::erasure::{Done, ErasedFiles};
use crate::cache::disk::log::segment::Segment;
use crate::cache::invalidate::scope::Covered;

/// An order to erase metadata.
pub(in crate::cache::disk) struct Erase {
    pub covered: Arc<Covered>,
    pub done: Done,
}

/// An erasure in progress.
pub(super) struct Erasing {
    covered: Arc<Covered>,
    /// Number of the last segment that was there when the erasure began.
    upto: u32,
    erased: ErasedFiles,
    done: Done,
}

impl Erasing {
    /// Whether the record with this full key is to be erased, and not copied.
    pub(super) fn covers(&self, full_key: &[u8]) -> bool {
        object_in(full_key).is_none_or(|(bucket, key)| self.covered.covers(&bucket, &key))
    }
}

impl Writer {
    pub(super) fn begin_erasing(&mut self, Erase { covered, done }: Erase) {
        let renewed = self.unmark().and_then(|()| self.appender.renew_if_open());
        let upto = renewed.unwrap_or_else(|error| {
            self.abandon(&error);
            None
        });
        // Without an open segment, all segments that there are.
        let upto = upto.unwrap_or_else(|| self.log.next().saturating_sub(1));
        self.erasing = Some(Erasing { covered, upto, erased: ErasedFiles::default(), done });
    }

    /// Rewrites the oldest segment, or completes when all are newer than the erasure. Returns whether there is more to
    /// do.
    pub(super) fn erase_next(&mut self) -> bool {
        let Some(upto) = self.erasing.as_ref().map(|erasing| erasing.upto) else {
            return false;
        };
        let oldest = self.log.segments().into_iter().next();
        if let Some(segment) = oldest.filter(|segment| segment.number <= upto) {
            if let Err(error) = self.rewrite(&segment) {
                // Then all metadata is discarded.
                self.abandon(&error);
            }
            return true;
        }
        if let Some(Erasing { erased, done, .. }) = self.erasing.take() {
            // The requester may have stopped waiting.
            let _ = done.send(self.end_erasing().map(|()| erased));
        }
        false
    }

    fn rewrite(&mut self, segment: &Arc<Segment>) -> io::Result<()> {
        let length = segment.length()?;
        let mut kept = 0;
        let live = self.index.entries_in(segment, 0);
        for (digest, entry) in &live {
            kept += self.copy(segment, *digest, entry)?;
        }
        self.appender.sync()?;
        self.let_go(segment, &live)?;
        if let Some(erasing) = &mut self.erasing {
            erasing.erased.count(length, kept);
        }
        Ok(())
    }

    fn end_erasing(&mut self) -> io::Result<()> {
        self.remove_void()?;
        self.log.sweep()
    }
}
