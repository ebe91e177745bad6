//! A folder of segments: what was appended, oldest first, and the one place where more is appended.
//!
//! Nothing is ever written twice at one place: a segment that goes is unlinked, and readers that still hold it
//! read on. So a reader never finds other bytes where its own were.
//!
//! Segments of object records hold tombstones, so that none may be lost unseen, with the end of the log in
//! particular. They are as long as they will be from the beginning, blank behind their records, until they are
//! sealed; the next one is made before that. So a segment that is shorter has lost something, and so has a log
//! whose last segment is sealed, or where a number is missing.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use parking_lot::RwLock;

use super::files::Folder;
use super::format::{Contents, Damaged, Record, SEGMENT_HEAD};
use super::segment::{ReadError, Segment};

const SUFFIX: &str = ".seg";
/// The number of the first segment.
const FIRST: u32 = 1;
/// Above the number of every segment.
pub(super) const ALL: u64 = 1 << 32;

/// What is found when a log is opened, in the order in which it was written.
pub(super) enum Found<'a> {
    /// About so many records follow.
    Total(usize),
    Record {
        segment: &'a Segment,
        offset: u32,
        record: &'a Record,
    },
    /// Something was lost here: a segment, or the rest of one. `upto`: what lies in segments below may be void.
    Damage {
        file: &'a str,
        why: &'a dyn Display,
        upto: u32,
    },
}

#[derive(Debug)]
pub(super) struct Log {
    folder: Box<dyn Folder>,
    segment_size: u64,
    segments: RwLock<BTreeMap<u32, Arc<Segment>>>,
    /// The number of the next segment: none is used twice.
    next: AtomicU32,
    turned: AtomicBool,
}

impl Log {
    /// Opens what is in `folder` and tells `found` every record. Segments of blocks that cannot be used are removed.
    /// Also returns the segment of object records that was not sealed, to go on with.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub(super) fn open(
        folder: Box<dyn Folder>,
        segment_size: u64,
        is_objects: bool,
        mut found: impl FnMut(Found<'_>),
    ) -> io::Result<(Self, Option<Open>)> {
        let names = numbered(&*folder)?;
        let next = names.last().map_or(FIRST, |(last, _)| last.saturating_add(1));
        found(Found::Total(listed(&*folder, &names)));
        let mut expected = names.first().map_or(0, |(first, _)| *first);
        let (mut segments, mut open) = (BTreeMap::new(), None);
        for (number, name) in names {
            // Blocks go in another order than they came: those that are pinned stay.
            if is_objects && number != expected {
                found(Found::Damage { file: &name, why: &"one before is missing", upto: number });
            }
            expected = number.saturating_add(1);
            let opened = folder.open(&name).map_err(ReadError::from);
            let opened = opened.and_then(|file| Segment::open(file, number));
            let opened = opened.and_then(|segment| segment.must_hold(is_objects));
            let outcome = match opened {
                Ok(segment) => {
                    let replayed = replay(&segment, expected == next, &mut found);
                    segments.insert(number, Arc::new(segment));
                    replayed.map(|left| open = left)
                }
                Err(error) => {
                    if !is_objects {
                        // It would be met again at every start. Where it cannot go, it only takes space.
                        let _ = folder.remove(&name);
                    }
                    Err(error)
                }
            };
            if let Err(why) = outcome {
                found(Found::Damage { file: &name, why: &why, upto: expected });
            }
        }
        let open = open.and_then(|(records, at): (Records, u64)| {
            let segment: Arc<Segment> = segments.values().next_back()?.clone();
            Some(Open { segment, at, records })
        });
        let turned = segments.keys().next().is_some_and(|oldest| *oldest > FIRST).into();
        let segments = RwLock::new(segments);
        Ok((Self { folder, segment_size, segments, next: next.into(), turned }, open))
    }

    /// Whether segments had to go already: until then what is appended displaces nothing.
    pub(super) fn has_turned(&self) -> bool {
        self.turned.load(Ordering::Relaxed)
    }

    pub(super) fn segment(&self, number: u32) -> Option<Arc<Segment>> {
        self.segments.read().get(&number).cloned()
    }

    pub(super) fn segments(&self) -> Vec<Arc<Segment>> {
        self.segments.read().values().cloned().collect()
    }

    pub(super) fn segment_size(&self) -> u64 {
        self.segment_size
    }

    /// Bytes that all segments take of the device.
    pub(super) fn size(&self) -> u64 {
        self.segments.read().values().map(|s| s.size()).sum()
    }

    /// Takes a segment out to make room; those who read it may go on.
    pub(super) fn remove(&self, segment: &Segment) -> io::Result<()> {
        self.turned.store(true, Ordering::Relaxed);
        self.take_out(segment)
    }

    fn take_out(&self, segment: &Segment) -> io::Result<()> {
        self.segments.write().remove(&segment.number);
        self.folder.remove(&name(segment.number))
    }

    /// As [`Log::remove`], for certain, and for what is in the segment.
    pub(super) fn erase(&self, segment: &Segment) -> io::Result<()> {
        self.take_out(segment)?;
        self.folder.sync()
    }

    /// Removes, for certain, the files of segments that were taken out and could not be removed then.
    pub(super) fn sweep(&self) -> io::Result<()> {
        for (number, name) in numbered(&*self.folder)? {
            if self.segment(number).is_none() {
                self.folder.remove(&name)?;
            }
        }
        self.folder.sync()
    }

    /// Removes the segments below `number`, see [`remove_below`].
    pub(super) fn remove_below(&self, number: u64) -> io::Result<()> {
        self.segments.write().retain(|there, _| u64::from(*there) >= number);
        remove_below(&*self.folder, number)
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
            Err(_) => match self.folder.remove(&name(number)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    // What is there stands in the way.
                    self.next.store(number.saturating_add(1), Ordering::Relaxed);
                }
                _ => {}
            },
        }
        made
    }
}

/// Removes the segments below `number`, for certain. Of object records, what is left when the power goes meanwhile
/// has a gap or lacks its end, unless it is all that counts.
pub(super) fn remove_below(folder: &dyn Folder, number: u64) -> io::Result<()> {
    let mut names = numbered(folder)?;
    names.retain(|(there, _)| u64::from(*there) < number);
    names.iter().try_for_each(|(_, name)| folder.remove(name))?;
    folder.sync()
}

/// Records with their offsets.
type Records = Vec<(u32, Record)>;

/// Tells the records of a segment: those that its footer lists, or all up to the first that is damaged. A segment
/// that was left open is sealed; the last one of object records is not, and is returned with where it ends.
fn replay(
    segment: &Segment,
    is_last: bool,
    found: &mut impl FnMut(Found<'_>),
) -> Result<Option<(Records, u64)>, ReadError> {
    let is_objects = segment.contents == Contents::Objects;
    if let Ok(footer) = segment.footer() {
        footer.each(|offset, record| found(Found::Record { segment, offset, record: &record }))?;
        // The next one is made before this one is sealed.
        return if is_objects && is_last { Err(Damaged::Next.into()) } else { Ok(None) };
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
        // A process that was killed may have left it to the page cache.
        segment.sync()?;
        if is_last {
            return Ok(Some((records, at)));
        }
        segment.seal(&records, at)?;
        return Ok(None);
    }
    // A read that failed may work another time.
    if !matches!(intact, Err(ReadError::Io(_)))
        && let Err(error) = segment.seal(&records, at)
    {
        log::debug!("sealing a segment that was left open: {error}");
    }
    intact.map(|()| None)
}

/// How many records the footers list.
fn listed(folder: &dyn Folder, names: &[(u32, String)]) -> usize {
    let entries = |(number, name): &(u32, String)| {
        let file = folder.open(name).ok()?;
        Some(Segment::open(file, *number).ok()?.tail().ok()?.entries as usize)
    };
    names.iter().filter_map(entries).sum()
}

/// The segments of a folder, oldest first.
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

/// The number of the segment that lies in the file `name`; `None` when it is no segment's.
pub(super) fn segment_number(name: &str) -> Option<u32> {
    let digits = name.strip_suffix(SUFFIX)?;
    digits.parse().ok().filter(|n| self::name(*n) == name)
}

/// The end of a log, where records are appended. One thread has it.
pub(super) struct Appender {
    log: Arc<Log>,
    contents: Contents,
    open: Option<Open>,
}

/// A segment that is appended to.
pub(super) struct Open {
    pub segment: Arc<Segment>,
    at: u64,
    records: Records,
}

impl Appender {
    /// `open`: a segment to go on with.
    pub(super) fn new(log: &Arc<Log>, contents: Contents, open: Option<Open>) -> Self {
        Self { log: log.clone(), contents, open }
    }

    /// Whether a record of `length` bytes needs a new segment.
    pub(super) fn is_full(&self, length: u64) -> bool {
        self.open.as_ref().is_none_or(|open| open.end_with(length) > open.segment.size())
    }

    /// Appends a record; where it lies: segment and offset. The caller made room before.
    pub(super) fn append(
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
                // What lies there now is not known: nothing more is appended behind it.
                self.open = None;
                return Err(error);
            }
        }
        open.records.push((offset, *record));
        Ok((open.segment.number, offset))
    }

    /// Makes the next segment, and seals the one before.
    fn renew(&mut self) -> io::Result<()> {
        let segment = self.log.create(self.contents)?;
        let next = Open { segment, at: SEGMENT_HEAD as u64, records: Vec::new() };
        match self.open.replace(next) {
            Some(full) => full.segment.seal(&full.records, full.at),
            None => Ok(()),
        }
    }

    /// Goes on in a new segment. Returns the number of the one before; `None`: there was none.
    pub(super) fn renew_if_open(&mut self) -> io::Result<Option<u32>> {
        let number = self.open.as_ref().map(|open| open.segment.number);
        if number.is_some() {
            self.renew()?;
        }
        Ok(number)
    }

    /// Where the records of the segment lie, if it is the open one.
    pub(super) fn offsets(&self, segment: &Segment) -> Option<Vec<u32>> {
        let open = self.open.as_ref().filter(|open| open.segment.number == segment.number)?;
        Some(open.records.iter().map(|(offset, _)| *offset).collect())
    }

    /// Makes what was appended survive a power cut.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        self.open.as_ref().map_or(Ok(()), |open| open.segment.sync())
    }

    /// Ends the open segment.
    pub(super) fn seal(&mut self) -> io::Result<()> {
        match self.open.take() {
            Some(open) => open.segment.seal(&open.records, open.at),
            None => Ok(()),
        }
    }

    /// Leaves the open segment as it is.
    pub(super) fn leave(&mut self) {
        self.open = None;
    }

    pub(super) fn is_open(&self, segment: &Segment) -> bool {
        self.open.as_ref().is_some_and(|open| open.segment.number == segment.number)
    }
}

impl Open {
    /// Where the segment would end with one more record of `length` bytes and its footer.
    fn end_with(&self, length: u64) -> u64 {
        use super::format::{ENTRY, TAIL};
        self.at + length + ((self.records.len() + 1) * ENTRY + TAIL) as u64
    }
}
