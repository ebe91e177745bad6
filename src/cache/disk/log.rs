//! A folder of segments: what was appended, oldest first, and the one place where more is appended.
//!
//! Nothing is ever written twice at one place: a segment that goes is unlinked, and readers that still hold it
//! read on. So a reader never finds other bytes where its own were.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use parking_lot::RwLock;

use super::files::Folder;
use super::format::{Contents, Damaged, Record, SEGMENT_HEAD};
use super::segment::{ReadError, Segment};

const SUFFIX: &str = ".seg";

/// What is found when a log is opened, in the order in which it was written.
pub(super) enum Found<'a> {
    Record {
        segment: &'a Segment,
        offset: u32,
        record: &'a Record,
    },
    /// Something was lost here: a segment, or the rest of one.
    Damage(&'a str, &'a dyn std::fmt::Display),
}

/// What damage in one segment says of the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OnDamage {
    /// Nothing: records stand for themselves.
    KeepRest,
    /// What was lost may have voided any record before it: they go, so that no later start believes them.
    VoidBefore,
}

#[derive(Debug)]
pub(super) struct Log {
    folder: Box<dyn Folder>,
    segment_size: u64,
    segments: RwLock<BTreeMap<u32, Arc<Segment>>>,
}

impl Log {
    /// Opens what is in `folder` and tells `found` every record. Segments that cannot be used are removed.
    ///
    /// # Errors
    /// The folder cannot be read, or what is void not be removed.
    pub(super) fn open(
        folder: Box<dyn Folder>,
        segment_size: u64,
        on_damage: OnDamage,
        mut found: impl FnMut(Found<'_>),
    ) -> io::Result<Self> {
        let mut names: Vec<_> =
            folder.list()?.into_iter().filter_map(|n| Some((number(&n)?, n))).collect();
        names.sort_unstable();
        let mut segments = BTreeMap::new();
        let mut expected = names.first().map_or(0, |(first, _)| *first);
        for (number, file) in names {
            let is_missing = number != expected;
            expected = number.saturating_add(1);
            // Segments of blocks go in another order than they came: those that are pinned stay.
            if is_missing && on_damage == OnDamage::VoidBefore {
                found(Found::Damage(&file, &"a segment before it is missing"));
                void(&*folder, &mut segments)?;
            }
            let opened = folder.open(&file).map_err(ReadError::from);
            let opened = opened.and_then(|file| Segment::open(file, number));
            let replayed = match &opened {
                Ok(segment) => replay(segment, on_damage, &mut found),
                Err(_) => Ok(()),
            };
            let Some(damage) = opened.as_ref().err().or(replayed.as_ref().err()) else {
                segments.insert(number, Arc::new(opened.expect("no error")));
                continue;
            };
            found(Found::Damage(&file, damage));
            match (opened, on_damage) {
                (Ok(segment), OnDamage::KeepRest) => {
                    segments.insert(number, Arc::new(segment));
                }
                // It would be met again at every start. Where it cannot go, it takes space and nothing else.
                (Err(_), OnDamage::KeepRest) => drop(folder.remove(&file)),
                (_, OnDamage::VoidBefore) => {
                    // It goes last: as long as it is there, the next start finds it damaged, too.
                    void(&*folder, &mut segments)?;
                    folder.remove(&file)?;
                }
            }
        }
        Ok(Self { folder, segment_size, segments: RwLock::new(segments) })
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

    /// Takes a segment out; those who read it may go on.
    pub(super) fn remove(&self, segment: &Segment) -> io::Result<()> {
        self.segments.write().remove(&segment.number);
        self.folder.remove(&name(segment.number))
    }

    /// Removes everything.
    pub(super) fn clear(&self) -> io::Result<()> {
        self.segments().iter().try_for_each(|segment| self.remove(segment))?;
        self.folder.sync()
    }

    fn create(&self, contents: Contents) -> io::Result<Arc<Segment>> {
        let number = self.segments.read().keys().next_back().map_or(1, |last| last + 1);
        let file = self.folder.create(&name(number), self.segment_size)?;
        let segment = Arc::new(Segment::create(file, contents, number, self.segment_size)?);
        self.folder.sync()?;
        self.segments.write().insert(number, segment.clone());
        Ok(segment)
    }
}

/// Removes the segments so far, oldest first: what is left of them if this is cut off voids nothing less.
fn void(folder: &dyn Folder, segments: &mut BTreeMap<u32, Arc<Segment>>) -> io::Result<()> {
    while let Some((number, _)) = segments.pop_first() {
        folder.remove(&name(number))?;
    }
    folder.sync()
}

/// Tells the records of a segment: those that its footer lists, or all up to the first that is damaged, and then
/// the segment is sealed, unless it is to go. The error says what was damaged.
fn replay(
    segment: &Segment,
    on_damage: OnDamage,
    found: &mut impl FnMut(Found<'_>),
) -> Result<(), ReadError> {
    if let Ok((records, _)) = segment.footer() {
        for (offset, record) in &records {
            found(Found::Record { segment, offset: *offset, record });
        }
        return Ok(());
    }
    let mut records = Vec::new();
    let mut at = SEGMENT_HEAD as u64;
    let intact = loop {
        let Ok(offset) = u32::try_from(at) else { break Err(Damaged::Length.into()) };
        match segment.record_at(at) {
            Ok(Some((record, _))) => {
                found(Found::Record { segment, offset, record: &record });
                records.push((offset, record));
                at += record.len();
            }
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    if (intact.is_ok() || on_damage == OnDamage::KeepRest)
        && let Err(error) = segment.seal(&records, at)
    {
        // It will be scanned again.
        log::debug!("sealing a segment that was left open: {error}");
    }
    intact
}

fn name(number: u32) -> String {
    format!("{number:010}{SUFFIX}")
}

fn number(name: &str) -> Option<u32> {
    let digits = name.strip_suffix(SUFFIX)?;
    digits.parse().ok().filter(|n| self::name(*n) == name)
}

/// The end of a log, where records are appended. One thread has it.
pub(super) struct Appender {
    log: Arc<Log>,
    contents: Contents,
    open: Option<Open>,
}

struct Open {
    segment: Arc<Segment>,
    at: u64,
    records: Vec<(u32, Record)>,
}

impl Appender {
    pub(super) fn new(log: &Arc<Log>, contents: Contents) -> Self {
        Self { log: log.clone(), contents, open: None }
    }

    /// Whether a record of `length` bytes needs a new segment.
    pub(super) fn is_full(&self, length: u64) -> bool {
        let size = self.log.segment_size;
        self.open.as_ref().is_none_or(|open| open.end_with(length) > size)
    }

    /// Appends a record; where it lies: segment and offset. The caller made room before.
    pub(super) fn append(
        &mut self,
        record: &Record,
        key: &[u8],
        data: &[u8],
    ) -> io::Result<(u32, u32)> {
        if self.is_full(record.len()) {
            self.seal()?;
            let segment = self.log.create(self.contents)?;
            self.open = Some(Open { segment, at: SEGMENT_HEAD as u64, records: Vec::new() });
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
