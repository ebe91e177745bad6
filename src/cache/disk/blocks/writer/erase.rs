//! Erasing the blocks of one path, see [`crate::cache::disk::tier::erase`].

use std::io;
use std::sync::Arc;

use super::Writer;
use crate::cache::disk::format::digest::Digest;
use crate::cache::disk::log::erasure::{Done, ErasedFiles};
use crate::cache::disk::log::index::Entry;
use crate::cache::disk::log::segment::{ReadError, Segment};

/// An erasure in progress.
pub(super) struct Erasing {
    /// Numbers of the segments that are still to be examined, the next one last.
    left: Vec<u32>,
    erased: ErasedFiles,
    done: Done,
}

impl Writer {
    pub(super) fn begin_erasing(&mut self, done: Done) {
        let left = self.log.segments().iter().rev().map(|segment| segment.number).collect();
        self.erasing = Some(Erasing { left, erased: ErasedFiles::default(), done });
    }

    /// Examines one segment, or completes when all were examined. Returns whether there is more to do.
    pub(super) fn erase_next(&mut self) -> bool {
        let Some(mut erasing) = self.erasing.take() else { return false };
        match erasing.left.pop() {
            Some(number) => {
                if let Some(segment) = self.log.segment(number).filter(|s| self.holds_ended(s))
                    && let Err(error) = self.erase(&segment, &mut erasing.erased)
                {
                    self.health.failed(&error, false);
                    let _ = erasing.done.send(Err(error));
                    return false;
                }
                self.erasing = Some(erasing);
                true
            }
            None => {
                // The requester may have stopped waiting.
                let _ = erasing.done.send(self.log.sweep().map(|()| erasing.erased));
                false
            }
        }
    }

    /// Whether a segment holds an invalidated block, live or dead. A record that cannot be read counts as one.
    fn holds_ended(&self, segment: &Segment) -> bool {
        let Ok(offsets) = self.offsets(segment) else { return true };
        offsets.iter().any(|offset| match segment.record_at((*offset).into()) {
            Ok((_, key)) => self.is_ended(&key),
            Err(_) => true,
        })
    }

    /// Returns the offsets of the records of a segment.
    fn offsets(&self, segment: &Segment) -> Result<Vec<u32>, ReadError> {
        if let Some(open) = self.blocks.offsets(segment).or_else(|| self.pinned.offsets(segment)) {
            return Ok(open);
        }
        let mut offsets = Vec::new();
        segment.footer()?.each(|offset, _| offsets.push(offset))?;
        Ok(offsets)
    }

    fn erase(&mut self, segment: &Arc<Segment>, erased: &mut ErasedFiles) -> io::Result<()> {
        for appender in [&mut self.blocks, &mut self.pinned] {
            if appender.is_open(segment) {
                appender.leave();
            }
        }
        let length = segment.length().unwrap_or(0);
        // Copies count for their rule's share again.
        self.shares.forget(segment.number);
        let live = self.index.entries_in(segment, self.number);
        let kept = self.keep_others(segment, &live);
        self.forget(segment, &live);
        // If the file cannot be removed, the erasure ends, so that no more copies are written beside it.
        self.log.erase(segment).or_else(|_| self.log.sweep())?;
        erased.count(length, kept);
        Ok(())
    }

    /// Copies the other live blocks of a segment, durably, as far as the capacity allows. Returns the bytes written.
    fn keep_others(&mut self, segment: &Arc<Segment>, live: &[(Digest, Entry)]) -> u64 {
        let mut kept = 0;
        let mut copy = || {
            for (digest, entry) in live {
                kept += self.copy_within_capacity(segment, digest, entry)?;
            }
            self.blocks.sync().and(self.pinned.sync())
        };
        if let Err(error) = copy() {
            self.health.failed(&error, false);
        }
        kept
    }
}
