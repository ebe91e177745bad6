//! An append-only log in a folder of segments, oldest first, with one place where records are appended.
//!
//! No place is written twice: a removed segment is unlinked, and readers that still hold it read on. So a reader never
//! finds other bytes where its own were.
//!
//! Segments of object records hold tombstones, so that no loss may go unnoticed, at the end of the log in particular.
//! They have their full length from the beginning, with zeros behind their records, until they are sealed; the next one
//! is created before that. So something is lost if a segment is shorter, if the last one is sealed, or if a number is
//! missing.
//!
//! A segment that cannot be opened or read is not damaged: it may be whole, and readable at the next start. Its file
//! stays, counts as used space, and is reported (R35, R38).

use std::collections::BTreeMap;
use std::fmt::Display;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use parking_lot::{Mutex, RwLock};
use rustix::io::Errno;

use super::segment::{ReadError, Segment};
use super::unusable::Unusable;
use crate::cache::disk::device::files::Folder;
use crate::cache::disk::format::record::{Contents, Damaged, Record, SEGMENT_HEAD};

const SUFFIX: &str = ".seg";
/// The number of the first segment.
const FIRST: u32 = 1;
/// A number above that of every segment.
pub(in crate::cache::disk) const ALL: u64 = 1 << 32;

/// Kind of records that a log holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cache::disk) enum LogKind {
    Blocks,
    /// Records in segments below `unconfirmed_below` are confirmed with the origin before they are used: a missing
    /// tombstone does no harm there.
    Objects {
        unconfirmed_below: u32,
    },
}

/// An item found when a log is opened, in the order in which it was written.
pub(in crate::cache::disk) enum Found<'a> {
    /// Approximate number of records that follow.
    Total(usize),
    Record {
        segment: &'a Segment,
        offset: u32,
        record: &'a Record,
    },
    /// A segment, or the rest of one, is lost. `upto`: records in segments below may be invalid.
    Damage {
        file: &'a str,
        why: &'a dyn Display,
        upto: u32,
    },
    /// A segment of another release of hotset: whole, as far as is known, but unusable here. `upto`: as with damage.
    OtherFormat {
        file: &'a str,
        upto: u32,
    },
    /// A segment, or the rest of one, cannot be read now. Its file stays.
    Unreadable {
        file: &'a str,
        why: &'a io::Error,
    },
}

#[derive(Debug)]
pub(in crate::cache::disk) struct Log {
    folder: Box<dyn Folder>,
    segment_size: u64,
    segments: RwLock<BTreeMap<u32, Arc<Segment>>>,
    /// Number of the next segment; none is used twice.
    next: AtomicU32,
    turned: AtomicBool,
    /// Bytes of the segments that could not be opened, by number.
    unreadable: Mutex<BTreeMap<u32, u64>>,
    /// Files of block segments that are damaged, or of another format, until they are removed.
    unusable: Mutex<Unusable>,
}

impl Log {
    /// Opens the log in `folder` and calls `found` with every record. Nothing is removed: see [`Log::remove_unusable`].
    /// Also returns the segment of object records that was not sealed, to be continued.
    ///
    /// # Errors
    /// The folder cannot be read, or file descriptors have run out.
    pub(in crate::cache::disk) fn open(
        folder: Box<dyn Folder>,
        segment_size: u64,
        kind: LogKind,
        mut found: impl FnMut(Found<'_>),
    ) -> io::Result<(Self, Option<Open>)> {
        let unconfirmed_below = match kind {
            LogKind::Objects { unconfirmed_below } => Some(unconfirmed_below),
            LogKind::Blocks => None,
        };
        let is_objects = unconfirmed_below.is_some();
        let names = numbered(&*folder)?;
        let next = names.last().map_or(FIRST, |(last, _)| last.saturating_add(1));
        found(Found::Total(listed(&*folder, &names)));
        let mut expected = names.first().map_or(0, |(first, _)| *first);
        let (mut segments, mut open) = (BTreeMap::new(), None);
        let (mut unreadable, mut unusable) = (BTreeMap::new(), Unusable::default());
        for (number, name) in names {
            // Segments of blocks are not removed in order of age: pinned ones stay.
            if number != expected && unconfirmed_below.is_some_and(|below| number > below) {
                found(Found::Damage { file: &name, why: &"one before is missing", upto: number });
            }
            expected = number.saturating_add(1);
            let opened = folder.open(&name).map_err(ReadError::from);
            let opened = opened.and_then(|file| Segment::open(file, number));
            let opened = opened.and_then(|segment| segment.must_hold(is_objects));
            let is_open = opened.is_ok();
            let replayed = opened.and_then(|segment| {
                let replayed = replay(&segment, expected == next, &mut found);
                segments.insert(number, Arc::new(segment));
                replayed
            });
            match replayed {
                Ok(left) => open = left,
                Err(ReadError::Io(why)) if has_run_out(&why) => return Err(why),
                Err(ReadError::Io(why)) if why.kind() != io::ErrorKind::UnexpectedEof => {
                    if !is_open {
                        let length = folder.length(&name).unwrap_or(segment_size);
                        unreadable.insert(number, length);
                    }
                    found(Found::Unreadable { file: &name, why: &why });
                }
                Err(why) => {
                    let of_other_format =
                        !is_open && matches!(why, ReadError::Damaged(Damaged::Version));
                    found(match of_other_format {
                        true => Found::OtherFormat { file: &name, upto: expected },
                        false => Found::Damage { file: &name, why: &why, upto: expected },
                    });
                    if !is_open && !is_objects {
                        unusable.add(name, of_other_format);
                    }
                }
            }
        }
        let open = open.and_then(|(records, at): (Records, u64)| {
            let segment: Arc<Segment> = segments.values().next_back()?.clone();
            Some(Open { segment, at, records })
        });
        let turned = segments.keys().next().is_some_and(|oldest| *oldest > FIRST).into();
        let log = Self {
            folder,
            segment_size,
            segments: RwLock::new(segments),
            next: next.into(),
            turned,
            unreadable: Mutex::new(unreadable),
            unusable: Mutex::new(unusable),
        };
        Ok((log, open))
    }

    /// Removes the block segments that are damaged or of another format, which every start would find again. One that
    /// cannot be removed only takes space. Returns the number of damaged ones.
    pub(in crate::cache::disk) fn remove_unusable(&self) -> usize {
        std::mem::take(&mut *self.unusable.lock()).remove_from(&*self.folder)
    }

    /// Returns the bytes of segments that could not be opened.
    pub(in crate::cache::disk) fn unreadable(&self) -> u64 {
        self.unreadable.lock().values().sum()
    }

    /// Returns the number of the next segment.
    pub(in crate::cache::disk) fn next(&self) -> u32 {
        self.next.load(Ordering::Relaxed)
    }

    /// Creates an empty file beside the segments, durably.
    pub(in crate::cache::disk) fn put_mark(&self, name: &str) -> io::Result<()> {
        match self.folder.create(name, 0) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => self.folder.sync(),
        }
    }

    /// Removes a file that [`Log::put_mark`] created, durably.
    pub(in crate::cache::disk) fn take_mark(&self, name: &str) -> io::Result<()> {
        match self.folder.remove(name) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => self.folder.sync(),
        }
    }

    /// Whether a segment was ever removed to make room: until then, appending evicts nothing.
    pub(in crate::cache::disk) fn has_turned(&self) -> bool {
        self.turned.load(Ordering::Relaxed)
    }

    pub(in crate::cache::disk) fn segment(&self, number: u32) -> Option<Arc<Segment>> {
        self.segments.read().get(&number).cloned()
    }

    pub(in crate::cache::disk) fn segments(&self) -> Vec<Arc<Segment>> {
        self.segments.read().values().cloned().collect()
    }

    pub(in crate::cache::disk) fn segment_size(&self) -> u64 {
        self.segment_size
    }

    /// Returns the bytes that all segments take on the device, including those that could not be opened.
    pub(in crate::cache::disk) fn size(&self) -> u64 {
        self.segments.read().values().map(|s| s.size()).sum::<u64>() + self.unreadable()
    }

    /// Removes a segment to make room; its readers may go on.
    pub(in crate::cache::disk) fn remove(&self, segment: &Segment) -> io::Result<()> {
        self.turned.store(true, Ordering::Relaxed);
        self.take_out(segment)
    }

    fn take_out(&self, segment: &Segment) -> io::Result<()> {
        self.segments.write().remove(&segment.number);
        self.folder.remove(&name(segment.number))
    }

    /// As [`Log::remove`], but durably, because of what is in the segment.
    pub(in crate::cache::disk) fn erase(&self, segment: &Segment) -> io::Result<()> {
        self.take_out(segment)?;
        self.folder.sync()
    }

    /// Removes, durably, the files of segments that could not be removed when they were taken out, and those that could
    /// not be opened. Only for erasing, as these may hold what is to be erased.
    pub(in crate::cache::disk) fn sweep(&self) -> io::Result<()> {
        for (number, name) in numbered(&*self.folder)? {
            if self.segment(number).is_none() {
                self.folder.remove(&name)?;
                self.unreadable.lock().remove(&number);
            }
        }
        self.folder.sync()
    }

    /// Removes the segments below `number`, see [`remove_below`]; those that could not be opened stay.
    pub(in crate::cache::disk) fn remove_below(&self, number: u64) -> io::Result<()> {
        self.segments.write().retain(|there, _| u64::from(*there) >= number);
        let unreadable = self.unreadable.lock().clone();
        remove_below(&*self.folder, number, |there| !unreadable.contains_key(&there))
    }

    fn create(&self, contents: Contents) -> io::Result<Arc<Segment>> {
        let number = self.next.load(Ordering::Relaxed);
        let made = self.folder.create(&name(number), self.segment_size).and_then(|file| {
            let segment = Segment::create(file, contents, number, self.segment_size)?;
            self.folder.sync()?;
            Ok(Arc::new(segment))
        });
        match &made {
            Ok(segment) => {
                self.segments.write().insert(number, segment.clone());
                self.next.store(number.saturating_add(1), Ordering::Relaxed);
            }
            // The file is not ours.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                self.next.store(number.saturating_add(1), Ordering::Relaxed);
            }
            Err(_) => match self.folder.remove(&name(number)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    // What is there is in the way.
                    self.next.store(number.saturating_add(1), Ordering::Relaxed);
                }
                _ => {}
            },
        }
        made
    }
}

/// Removes, durably, the segments below `number` that `goes` selects. If the power fails meanwhile, a log of object
/// records has a gap or lacks its end, unless all that counts is left.
pub(in crate::cache::disk) fn remove_below(
    folder: &dyn Folder,
    number: u64,
    goes: impl Fn(u32) -> bool,
) -> io::Result<()> {
    let mut names = numbered(folder)?;
    names.retain(|(there, _)| u64::from(*there) < number && goes(*there));
    names.iter().try_for_each(|(_, name)| folder.remove(name))?;
    folder.sync()
}

/// Whether this process, or the machine, can open no more files: this says nothing about the file.
fn has_run_out(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE))
}

/// Records with their offsets.
type Records = Vec<(u32, Record)>;

/// Calls `found` with the records of a segment: those that its footer lists, or all up to the first damaged one. A
/// segment that was left open is sealed, except for the last one of object records: its records and their end are
/// returned.
fn replay(
    segment: &Segment,
    is_last: bool,
    found: &mut impl FnMut(Found<'_>),
) -> Result<Option<(Records, u64)>, ReadError> {
    let is_objects = segment.contents == Contents::Objects;
    match segment.footer() {
        Ok(footer) => {
            footer
                .each(|offset, record| found(Found::Record { segment, offset, record: &record }))?;
            // The next segment is created before this one is sealed.
            return if is_objects && is_last { Err(Damaged::Next.into()) } else { Ok(None) };
        }
        Err(ReadError::Io(error)) if error.kind() != io::ErrorKind::UnexpectedEof => {
            return Err(error.into());
        }
        Err(_) => {}
    }
    let mut records = Vec::new();
    let mut at = SEGMENT_HEAD as u64;
    let intact = loop {
        match segment.record_at(at) {
            Ok((record, _)) => {
                let offset = u32::try_from(at).map_err(|_| Damaged::Length)?;
                found(Found::Record { segment, offset, record: &record });
                records.push((offset, record));
                at += record.len();
            }
            Err(_) if segment.ends_at(at)? => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    if is_objects {
        intact?;
        // A process that was killed may have left the records in the page cache only.
        segment.sync()?;
        if is_last {
            return Ok(Some((records, at)));
        }
        segment.seal(&records, at)?;
        return Ok(None);
    }
    // A read that failed may succeed another time: the segment is not sealed then.
    if !matches!(intact, Err(ReadError::Io(_)))
        && let Err(error) = segment.seal(&records, at)
    {
        log::debug!("sealing a segment that was left open: {error}");
    }
    intact.map(|()| None)
}

/// Returns the number of records that the footers list.
fn listed(folder: &dyn Folder, names: &[(u32, String)]) -> usize {
    let entries = |(number, name): &(u32, String)| {
        let file = folder.open(name).ok()?;
        Some(Segment::open(file, *number).ok()?.tail().ok()?.entries as usize)
    };
    names.iter().filter_map(entries).sum()
}

/// Returns the segments of a folder, oldest first.
fn numbered(folder: &dyn Folder) -> io::Result<Vec<(u32, String)>> {
    let names = folder.list()?;
    let mut names: Vec<_> =
        names.into_iter().filter_map(|n| Some((segment_number(&n)?, n))).collect();
    names.sort_unstable();
    Ok(names)
}

fn name(number: u32) -> String {
    format!("{number:010}{SUFFIX}")
}

/// Returns the number of the segment in the file `name`; `None` if that is not a segment's.
pub(in crate::cache::disk) fn segment_number(name: &str) -> Option<u32> {
    let digits = name.strip_suffix(SUFFIX)?;
    digits.parse().ok().filter(|n| self::name(*n) == name)
}

/// The end of a log, where one thread appends records.
pub(in crate::cache::disk) struct Appender {
    log: Arc<Log>,
    contents: Contents,
    open: Option<Open>,
}

/// The segment to which records are appended.
pub(in crate::cache::disk) struct Open {
    pub segment: Arc<Segment>,
    at: u64,
    records: Records,
}

impl Appender {
    /// Creates an appender. `open`: a segment to continue.
    pub(in crate::cache::disk) fn new(
        log: &Arc<Log>,
        contents: Contents,
        open: Option<Open>,
    ) -> Self {
        Self { log: log.clone(), contents, open }
    }

    /// Whether a record of `length` bytes needs a new segment.
    pub(in crate::cache::disk) fn is_full(&self, length: u64) -> bool {
        self.open.as_ref().is_none_or(|open| open.end_with(length) > open.segment.size())
    }

    /// Appends a record; returns its segment and offset. The caller made room before.
    pub(in crate::cache::disk) fn append(
        &mut self,
        record: &Record,
        key: &[u8],
        data: &[u8],
    ) -> io::Result<(u32, u32)> {
        if self.is_full(record.len()) {
            self.renew()?;
        }
        let open = self.open.as_mut().expect("made above");
        let offset = u32::try_from(open.at).map_err(|_| io::ErrorKind::FileTooLarge)?;
        match open.segment.write(open.at, record, key, data) {
            Ok(end) => open.at = end,
            Err(error) => {
                // What is there now is not known: nothing more is appended behind it.
                self.open = None;
                return Err(error);
            }
        }
        open.records.push((offset, *record));
        Ok((open.segment.number, offset))
    }

    /// Creates the next segment, and seals the one before.
    fn renew(&mut self) -> io::Result<()> {
        let segment = self.log.create(self.contents)?;
        let next = Open { segment, at: SEGMENT_HEAD as u64, records: Vec::new() };
        match self.open.replace(next) {
            Some(full) => full.segment.seal(&full.records, full.at),
            None => Ok(()),
        }
    }

    /// Starts a new segment if none is open.
    pub(in crate::cache::disk) fn open_if_none(&mut self) -> io::Result<()> {
        if self.open.is_none() { self.renew() } else { Ok(()) }
    }

    /// Starts a new segment if one is open. Returns the number of the one before; `None` if there was none.
    pub(in crate::cache::disk) fn renew_if_open(&mut self) -> io::Result<Option<u32>> {
        let number = self.open.as_ref().map(|open| open.segment.number);
        if number.is_some() {
            self.renew()?;
        }
        Ok(number)
    }

    /// Returns the offsets of the segment's records if it is the open one.
    pub(in crate::cache::disk) fn offsets(&self, segment: &Segment) -> Option<Vec<u32>> {
        let open = self.open.as_ref().filter(|open| open.segment.number == segment.number)?;
        Some(open.records.iter().map(|(offset, _)| *offset).collect())
    }

    /// Makes appended records durable (they survive a power cut).
    pub(in crate::cache::disk) fn sync(&mut self) -> io::Result<()> {
        self.open.as_ref().map_or(Ok(()), |open| open.segment.sync())
    }

    /// Seals the open segment.
    pub(in crate::cache::disk) fn seal(&mut self) -> io::Result<()> {
        match self.open.take() {
            Some(open) => open.segment.seal(&open.records, open.at),
            None => Ok(()),
        }
    }

    /// Leaves the open segment without sealing it.
    pub(in crate::cache::disk) fn leave(&mut self) {
        self.open = None;
    }

    pub(in crate::cache::disk) fn is_open(&self, segment: &Segment) -> bool {
        self.open.as_ref().is_some_and(|open| open.segment.number == segment.number)
    }
}

impl Open {
    /// Returns the end of the segment with one more record of `length` bytes and its footer.
    fn end_with(&self, length: u64) -> u64 {
        use crate::cache::disk::format::record::{ENTRY, TAIL};
        self.at + length + ((self.records.len() + 1) * ENTRY + TAIL) as u64
    }
}
