//! One segment: a file of records, read by many while one thread appends to it.

use std::io::{self, IoSlice, IoSliceMut};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;

use crate::cache::disk::device::files::File;
use crate::cache::disk::format::record::{
    CHUNK, Chunks, Contents, Damaged, ENTRY, FRAME, FooterReader, KEY_MAX, RECORD_HEAD, Record,
    SEGMENT_HEAD, TAIL, Tail, footer, frame, parse_segment_head, segment_head, verify_chunk,
};
use crate::sys::async_reads::AsyncReads;
use crate::sys::source::Source;

/// Reason why a record could not be read.
#[derive(Debug, thiserror::Error)]
pub(in crate::cache::disk) enum ReadError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Damaged(#[from] Damaged),
}

/// Whether a read may wait for the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cache::disk) enum Wait {
    /// Reads only from the page cache.
    No,
    Yes,
}

#[derive(Debug)]
pub(in crate::cache::disk) struct Segment {
    pub number: u32,
    pub contents: Contents,
    file: Arc<dyn File>,
    /// Bytes that the segment takes on the device, or will once it is full.
    size: AtomicU64,
    /// Length of the file until it is sealed, in bytes; 0: the file grows.
    length: u64,
}

impl Segment {
    /// Writes the head of a new segment, which will grow to `size` bytes. A segment of object records has that length
    /// from the beginning, so that a lost end is noticed.
    pub(in crate::cache::disk) fn create(
        file: Arc<dyn File>,
        contents: Contents,
        number: u32,
        size: u64,
    ) -> io::Result<Self> {
        let length = if contents == Contents::Objects { size } else { 0 };
        if length > 0 {
            file.truncate(length)?;
        }
        file.write(&mut [IoSlice::new(&segment_head(contents, number, length))], 0)?;
        file.sync()?;
        Ok(Self { number, contents, file, size: size.into(), length })
    }

    /// Opens a file that must be the segment of this number.
    pub(in crate::cache::disk) fn open(
        file: Arc<dyn File>,
        number: u32,
    ) -> Result<Self, ReadError> {
        let mut head = [0; SEGMENT_HEAD];
        file.read(&mut [IoSliceMut::new(&mut head)], 0)?;
        let (contents, length) = parse_segment_head(&head, number)?;
        let size = file.len()?.into();
        Ok(Self { number, contents, file, size, length })
    }

    /// Checks that the segment holds records of objects (`objects`), or of blocks.
    pub(in crate::cache::disk) fn must_hold(self, objects: bool) -> Result<Self, ReadError> {
        match (self.contents == Contents::Objects) == objects {
            true => Ok(self),
            false => Err(Damaged::Magic.into()),
        }
    }

    pub(in crate::cache::disk) fn size(&self) -> u64 {
        self.size.load(Ordering::Relaxed)
    }

    /// Returns the length of its file in bytes.
    pub(in crate::cache::disk) fn length(&self) -> io::Result<u64> {
        self.file.len()
    }

    /// Returns the time since the last write; zero if that is not known.
    pub(in crate::cache::disk) fn age(&self) -> Duration {
        let written = self.file.modified().ok();
        written.and_then(|written| written.elapsed().ok()).unwrap_or_default()
    }

    /// Reads the end of its footer.
    pub(in crate::cache::disk) fn tail(&self) -> Result<Tail, ReadError> {
        let length = self.file.len()?;
        let at = length.checked_sub(TAIL as u64).ok_or(Damaged::Length)?;
        let mut tail = [0; TAIL];
        self.file.read(&mut [IoSliceMut::new(&mut tail)], at)?;
        Ok(Tail::parse(&tail, length)?)
    }

    /// Reads its footer and verifies the checksum.
    pub(in crate::cache::disk) fn footer(&self) -> Result<Footer<'_>, ReadError> {
        let footer = Footer { segment: self, tail: self.tail()? };
        footer.each(|_, _| ())?;
        Ok(footer)
    }

    /// Reads and verifies the head and key of the record at `offset`.
    pub(in crate::cache::disk) fn record_at(
        &self,
        offset: u64,
    ) -> Result<(Record, Vec<u8>), ReadError> {
        let left = self.file.len()?.saturating_sub(offset);
        // Most keys are short: one read brings both.
        let guess = usize::try_from(left).unwrap_or(usize::MAX).min(RECORD_HEAD + 512);
        let mut buffer = vec![0; guess];
        self.file.read(&mut [IoSliceMut::new(&mut buffer)], offset)?;
        let head = *buffer.first_chunk::<RECORD_HEAD>().ok_or(Damaged::Length)?;
        let record = Record::parse(&head)?;
        if record.len() > left {
            return Err(Damaged::Length.into());
        }
        let key_end = RECORD_HEAD + record.key_len as usize;
        if key_end > guess {
            debug_assert!(key_end <= RECORD_HEAD + KEY_MAX);
            buffer.resize(key_end, 0);
            let rest = &mut buffer[guess..];
            self.file.read(&mut [IoSliceMut::new(rest)], offset + guess as u64)?;
        }
        let key = buffer[RECORD_HEAD..key_end].to_vec();
        record.verify(&head, &key)?;
        Ok((record, key))
    }

    /// Whether the records may end at `offset`: the file ends there, or it has its initial length and only zeros
    /// follow.
    pub(in crate::cache::disk) fn ends_at(&self, offset: u64) -> io::Result<bool> {
        let end = self.file.len()?;
        if self.length == 0 || end != self.length {
            return Ok(self.length == 0 && end == offset);
        }
        let mut rest = vec![0; usize::try_from(end - offset).unwrap_or(usize::MAX)];
        self.file.read(&mut [IoSliceMut::new(&mut rest)], offset)?;
        Ok(rest.iter().all(|byte| *byte == 0))
    }

    /// Returns the place of the chunks that hold `wanted` of a record's data.
    pub(in crate::cache::disk) fn stretch(
        offset: u32,
        record: &Record,
        wanted: &Range<usize>,
    ) -> Stretch {
        let chunks = record.chunks(wanted);
        let length = chunks.data.len() + chunks.count * FRAME;
        Stretch { record: *record, at: u64::from(offset) + chunks.offset, length, chunks }
    }

    /// Reads the chunks that hold `wanted` of a record's data, and verifies each by its frame. Returns them, and the
    /// offset of the first in the data; `None` if the read would block.
    pub(in crate::cache::disk) fn data(
        &self,
        offset: u32,
        record: &Record,
        wanted: &Range<usize>,
        wait: Wait,
    ) -> Result<Option<(Bytes, usize)>, ReadError> {
        let stretch = Self::stretch(offset, record, wanted);
        let bytes = match wait {
            Wait::Yes => self.file.fetch(stretch.at, stretch.length)?,
            Wait::No => match self.file.fetch_cached(stretch.at, stretch.length)? {
                Some(bytes) => bytes,
                None => return Ok(None),
            },
        };
        Ok(Some(stretch.check(&bytes)?))
    }

    /// As [`Segment::data`], but asynchronously.
    pub(in crate::cache::disk) async fn data_unwaited(
        &self,
        reads: &AsyncReads,
        source: &Source,
        stretch: Stretch,
    ) -> Result<(Bytes, usize), ReadError> {
        let bytes = reads.read(source, stretch.at, stretch.length).await?;
        Ok(stretch.check(&bytes)?)
    }

    /// Returns the source for asynchronous reads; `None` if there is none.
    pub(in crate::cache::disk) fn source(&self) -> Option<&Source> {
        self.file.source()
    }

    /// Whether [`Segment::prefetch`] has an effect.
    pub(in crate::cache::disk) fn may_prefetch(&self) -> bool {
        self.file.may_prefetch()
    }

    /// Drops a record from the page cache, so that the next read goes to the device.
    pub(in crate::cache::disk) fn drop_cached(&self, offset: u32, record: &Record) {
        self.file.drop_cached(offset.into(), record.len());
    }

    /// Hints that the record's data from `from` on will be read soon.
    pub(in crate::cache::disk) fn prefetch(&self, offset: u32, record: &Record, from: usize) {
        let from = record.chunks(&(from..from + 1)).offset;
        self.file.prefetch(u64::from(offset) + from, record.len().saturating_sub(from));
    }

    /// Writes a record at `offset`; returns the offset of its end.
    pub(in crate::cache::disk) fn write(
        &self,
        offset: u64,
        record: &Record,
        key: &[u8],
        data: &[u8],
    ) -> io::Result<u64> {
        let head = record.head(key);
        let frames: Vec<_> = data
            .chunks(CHUNK)
            .enumerate()
            .map(|(index, chunk)| frame(&record.digest, record.place(index), chunk))
            .collect();
        let mut parts = vec![IoSlice::new(&head), IoSlice::new(key)];
        for (chunk, frame) in data.chunks(CHUNK).zip(&frames) {
            parts.extend([IoSlice::new(chunk), IoSlice::new(frame)]);
        }
        self.file.write(&mut parts, offset)?;
        Ok(offset + record.len())
    }

    /// Seals the segment durably: cuts the file off at `end`, where the records end, and writes the footer there.
    pub(in crate::cache::disk) fn seal(
        &self,
        records: &[(u32, Record)],
        end: u64,
    ) -> io::Result<()> {
        let offset = u32::try_from(end).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let footer = footer(records, offset);
        self.file.truncate(end)?;
        self.file.write(&mut [IoSlice::new(&footer)], end)?;
        self.size.store(end + footer.len() as u64, Ordering::Relaxed);
        self.file.sync()
    }

    pub(in crate::cache::disk) fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }
}

/// Footer of a segment: the list of its records, at its end.
pub(in crate::cache::disk) struct Footer<'a> {
    segment: &'a Segment,
    tail: Tail,
}

impl Footer<'_> {
    /// Returns the offset at which the records end.
    pub(in crate::cache::disk) fn offset(&self) -> u64 {
        self.tail.offset.into()
    }

    /// Calls `told` with each record and its offset, in order.
    pub(in crate::cache::disk) fn each(
        &self,
        mut told: impl FnMut(u32, Record),
    ) -> Result<(), ReadError> {
        const PIECE: usize = 16 * 1024;
        let mut reader = FooterReader::new(&self.tail);
        let (mut at, mut left) = (self.offset(), self.tail.entries as usize);
        let mut buffer = vec![0; left.min(PIECE) * ENTRY];
        while left > 0 {
            let piece = &mut buffer[..left.min(PIECE) * ENTRY];
            self.segment.file.read(&mut [IoSliceMut::new(piece)], at)?;
            for entry in reader.read(piece) {
                let (offset, record) = entry?;
                told(offset, record);
            }
            at += piece.len() as u64;
            left -= piece.len() / ENTRY;
        }
        Ok(reader.finish()?)
    }
}

/// Adjacent chunks of a record in its segment, with their frames.
#[derive(Debug)]
pub(in crate::cache::disk) struct Stretch {
    record: Record,
    at: u64,
    /// Length in bytes, with frames.
    length: usize,
    chunks: Chunks,
}

impl Stretch {
    /// Verifies each chunk by its frame. Returns the data without the frames, and its offset in the record's data.
    fn check(self, bytes: &Bytes) -> Result<(Bytes, usize), Damaged> {
        let mut parts = Vec::with_capacity(self.chunks.count);
        for (index, chunk) in (self.chunks.first..).zip(bytes.chunks(CHUNK + FRAME)) {
            let (data, frame) =
                chunk.split_at_checked(chunk.len() - FRAME).ok_or(Damaged::Length)?;
            verify_chunk(frame, &self.record.digest, self.record.place(index), data)?;
            parts.push(data);
        }
        let data = match &*parts {
            [one] => bytes.slice_ref(one),
            more => more.concat().into(),
        };
        Ok((data, self.chunks.data.start))
    }
}
