//! Reads of one path: from the page cache without blocking, else from the device while it answers in time, else a miss.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;
use tokio::time::{self, timeout, timeout_at};

use super::{AT_ONCE, Volume};
use crate::cache::disk::device::read_limit::{Pace, ReadSlot, TIMEOUT};
use crate::cache::disk::format::digest::Digest;
use crate::cache::disk::format::record::{Kind, Record};
use crate::cache::disk::log::index::Entry;
use crate::cache::disk::log::segment::{ReadError, Segment, Wait};
use crate::metrics::disk::Failure;

/// Reason for bypassing a slow device, for the log.
const TOO_LONG: &str = "a read takes too long";

/// A part of a record's data that is to be read.
struct Part {
    segment: Arc<Segment>,
    offset: u32,
    record: Record,
    wanted: Range<usize>,
}

/// Result of a read (data, and its offset in the record's data), and the time that the device took.
type Timed = (Result<(Bytes, usize), ReadError>, Duration);

impl Volume {
    /// Whether reads are served now: a device that failed or is slow is bypassed for a while.
    pub(in crate::cache::disk) fn is_readable(&self) -> bool {
        self.reading.is_well()
    }

    /// Records the origin's time to first byte, which decides how long a read may take.
    pub(in crate::cache::disk) fn origin_answered(&self, took: Duration) {
        self.limit.origin_answered(took);
    }

    /// Reads the bytes `wanted` of a record's data; any error is a miss. `ahead`: the bytes behind them will be read
    /// next.
    pub(in crate::cache::disk) async fn read(
        &self,
        digest: &Digest,
        entry: &Entry,
        wanted: Range<usize>,
        ahead: bool,
    ) -> Result<Bytes, Failure> {
        let part = self.part(digest, entry, wanted).ok_or(Failure::Gone)?;
        let short = part.wanted.len() <= AT_ONCE;
        if short && let Some(read) = part.read(Wait::No).transpose() {
            // A page cache hit says nothing about the device.
            return self.outcome(read, &part.wanted);
        }
        if !self.reading.is_well() {
            return Err(Failure::PassedBy);
        }
        let slot = self.limit.enter().ok_or(Failure::Busy)?;
        let slot = match !ahead && short {
            true => match self.read_unwaited(&part, slot).await {
                Ok(read) => return read,
                Err(slot) => slot,
            },
            false => slot,
        };
        self.read_waiting(part, slot, ahead).await
    }

    /// Probes a device that was bypassed long enough: reads the beginning of a record, and uses the device again if
    /// that arrives in time. Runs in the background, one probe at a time.
    pub(in crate::cache::disk) fn probe(&self, digest: &Digest, entry: &Entry) {
        let Ok(runtime) = Handle::try_current() else { return };
        let wanted = 0..(entry.data_len() as usize).min(AT_ONCE);
        let Some(part) = self.part(digest, entry, wanted) else { return };
        if !self.reading.may_probe() {
            return;
        }
        let Ok(permit) = self.readers.clone().try_acquire_owned() else {
            return self.reading.failed(&"reads that hang keep all threads", false);
        };
        let (health, limit) = (self.reading.clone(), self.limit.clone());
        runtime.spawn(async move {
            let read = spawn_blocking(move || {
                part.segment.drop_cached(part.offset, &part.record);
                let read = part.timed();
                drop(permit);
                read
            });
            match timeout(TIMEOUT, read).await {
                Ok(Ok((Err(ReadError::Io(error)), _))) => health.failed(&error, false),
                // Damage is found by the next reader of the record: the device answered in time.
                Ok(Ok((_, took))) if limit.is_in_time(took) => {
                    limit.restart();
                    health.succeeded();
                }
                _ => health.failed(&TOO_LONG, false),
            }
        });
    }

    /// Prefetches a record that will be read soon, in the background, unless the device is overloaded or bypassed.
    pub(in crate::cache::disk) fn prefetch(&self, digest: &Digest, entry: &Entry) {
        let Some(part) = self.part(digest, entry, 0..0) else { return };
        let may = part.segment.may_prefetch() && self.reading.is_well() && self.limit.is_open();
        let Ok(permit) = self.readers.clone().try_acquire_owned() else { return };
        if may {
            // The call may block on the device's queue.
            spawn_blocking(move || {
                part.segment.prefetch(part.offset, &part.record, 0);
                drop(permit);
            });
        }
    }

    fn part(&self, digest: &Digest, entry: &Entry, wanted: Range<usize>) -> Option<Part> {
        let segment = self.log.segment(entry.segment)?;
        let record = entry.record(Kind::Block, *digest);
        Some(Part { segment, offset: entry.offset, record, wanted })
    }

    /// Reads asynchronously; gives the slot back if a blocking thread must read.
    async fn read_unwaited(
        &self,
        part: &Part,
        slot: ReadSlot,
    ) -> Result<Result<Bytes, Failure>, ReadSlot> {
        let slot = Arc::new(slot);
        for reads in &self.async_reads {
            let (reads, segment) = (reads.clone(), part.segment.clone());
            let stretch = Segment::stretch(part.offset, &part.record, &part.wanted);
            let read = Box::pin(async move {
                let source =
                    segment.source().ok_or_else(|| io::Error::from(io::ErrorKind::WouldBlock))?;
                segment.data_unwaited(&reads, source, stretch).await
            });
            let started = Instant::now();
            match self.while_in_time(read, &slot).await {
                Some(Err(ReadError::Io(error))) if error.kind() == io::ErrorKind::WouldBlock => {}
                Some(done) => {
                    return Ok(self.waited((done, started.elapsed()), &slot, &part.wanted));
                }
                None => return Ok(Err(Failure::Slow)),
            }
        }
        Err(Arc::into_inner(slot).expect("no read has begun"))
    }

    /// Reads on a blocking thread.
    async fn read_waiting(
        &self,
        part: Part,
        slot: ReadSlot,
        ahead: bool,
    ) -> Result<Bytes, Failure> {
        let (readers, wanted, slot) = (self.readers.clone(), part.wanted.clone(), Arc::new(slot));
        let place = slot.clone();
        let read = Box::pin(async move {
            let permit = readers.acquire_owned().await.ok()?;
            let read = move || {
                let read = part.timed();
                if ahead && read.0.is_ok() {
                    part.segment.prefetch(part.offset, &part.record, part.wanted.end);
                }
                drop((permit, place));
                read
            };
            spawn_blocking(read).await.ok()
        });
        match self.while_in_time(read, &slot).await {
            Some(Some(read)) => self.waited(read, &slot, &wanted),
            Some(None) => Err(Failure::Gone),
            None => Err(Failure::Slow),
        }
    }

    /// Waits for a read up to [`ReadLimit::read_timeout`]. A read that is given up keeps its slot until the device has
    /// completed it, and one that hangs counts as a failure of the device.
    async fn while_in_time<R>(&self, mut read: R, slot: &Arc<ReadSlot>) -> Option<R::Output>
    where
        R: Future<Output: Send> + Send + Unpin + 'static,
    {
        let (read_timeout, hangs_at) = (self.limit.read_timeout(), time::Instant::now() + TIMEOUT);
        if let Ok(done) = timeout(read_timeout, &mut read).await {
            return Some(done);
        }
        let (speed, hangs) = (slot.late(), read_timeout >= TIMEOUT);
        if hangs || speed == Pace::Slow {
            self.reading.failed(&TOO_LONG, false);
        }
        let (reading, place) = (self.reading.clone(), slot.clone());
        tokio::spawn(async move {
            let ended = !hangs && timeout_at(hangs_at, &mut read).await.is_ok();
            if !hangs && !ended {
                reading.failed(&TOO_LONG, false);
            }
            if !ended {
                read.await;
            }
            drop(place);
        });
        None
    }

    /// Evaluates a read that the device completed: its duration decides on the read limit and on the device's health.
    fn waited(
        &self,
        (read, took): Timed,
        slot: &ReadSlot,
        wanted: &Range<usize>,
    ) -> Result<Bytes, Failure> {
        if read.is_ok() {
            match slot.took(took) {
                Pace::InTime if self.limit.is_steady() => self.reading.succeeded_before(),
                Pace::InTime | Pace::Overloaded => {}
                Pace::Slow => self.reading.failed(&TOO_LONG, false),
            }
        }
        self.outcome(read, wanted)
    }

    fn outcome(
        &self,
        read: Result<(Bytes, usize), ReadError>,
        wanted: &Range<usize>,
    ) -> Result<Bytes, Failure> {
        match read {
            Ok((data, from)) => Ok(data.slice(wanted.start - from..wanted.end - from)),
            Err(ReadError::Damaged(why)) => {
                log::debug!("a damaged record: {why}");
                Err(Failure::Damaged)
            }
            Err(ReadError::Io(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                log::debug!("a record that ends early");
                Err(Failure::Damaged)
            }
            Err(ReadError::Io(error)) => {
                self.reading.failed(&error, false);
                Err(Failure::Read)
            }
        }
    }
}

impl Part {
    fn read(&self, wait: Wait) -> Result<Option<(Bytes, usize)>, ReadError> {
        self.segment.data(self.offset, &self.record, &self.wanted, wait)
    }

    /// Reads from the device, which blocks, and measures the time.
    fn timed(&self) -> Timed {
        let started = Instant::now();
        let read = self.read(Wait::Yes);
        let read = read.map(|data| data.expect("a read that may wait brings bytes"));
        (read, started.elapsed())
    }
}
