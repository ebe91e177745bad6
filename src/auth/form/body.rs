//! The file of a form, streamed to the origin; the rest of the client's form is dropped.
//!
//! The origin receives a length before the file's own is known, since fields may follow the file. They are dropped, and
//! their place is filled after the end of the outgoing form, where every parser ignores the bytes (RFC 2046, section
//! 5.1.1).

use bytes::{Bytes, BytesMut};
use memchr::memmem;

use super::{Boundary, MAX_HEAD, Outgoing, SizeRange, refusal};
use crate::s3::S3Error;

/// Maximum bytes after the file.
const MAX_TAIL: usize = MAX_HEAD;

/// Refuses a file that cannot have the allowed size, given that it and its tail have `at_most` bytes.
pub(super) fn check_size(size: Option<SizeRange>, at_most: u64) -> Result<(), S3Error> {
    let Some(SizeRange { min, max }) = size else { return Ok(()) };
    if at_most < min {
        return Err(refusal::too_small(min));
    }
    match at_most.saturating_sub(MAX_TAIL as u64) > max {
        true => Err(refusal::too_large(max)),
        false => Ok(()),
    }
}

/// Passes the file between the head and the end of the outgoing form.
#[derive(Debug)]
pub struct FormBody {
    finder: memmem::Finder<'static>,
    close: Vec<u8>,
    size: Option<SizeRange>,
    /// Bytes of the file that may be the start of its delimiter; later everything after the file.
    held: BytesMut,
    passed: u64,
    ended: bool,
    out: Outgoing,
    began: bool,
}

impl FormBody {
    /// Creates the body for a file that begins with `rest`, and a client's `boundary`.
    pub fn new(boundary: &Boundary, rest: &[u8], size: Option<SizeRange>, out: Outgoing) -> Self {
        Self {
            finder: memmem::Finder::new(boundary.delimiter()).into_owned(),
            close: boundary.close(),
            size,
            held: BytesMut::from(rest),
            passed: 0,
            ended: false,
            out,
            began: false,
        }
    }

    /// Processes the next bytes of the client's body, with `end` at the last of them, and returns the bytes to send.
    ///
    /// # Errors
    /// `EntityTooLarge`, `EntityTooSmall`, `MalformedPOSTRequest`; the transfer must then be aborted.
    pub fn push(&mut self, piece: &[u8], end: bool) -> Result<Bytes, S3Error> {
        let mut sent = Vec::new();
        if !self.began {
            self.began = true;
            sent.extend_from_slice(&self.out.head);
        }
        self.held.extend_from_slice(piece);
        if !self.ended {
            let file = match self.finder.find(&self.held) {
                Some(at) => {
                    self.ended = true;
                    self.held.split_to(at)
                }
                None => {
                    let kept = self.finder.needle().len() - 1;
                    self.held.split_to(self.held.len().saturating_sub(kept))
                }
            };
            self.count(file.len())?;
            if sent.is_empty() && !end {
                return Ok(file.freeze());
            }
            sent.extend_from_slice(&file);
        }
        if self.ended && self.held.len() > self.close.len() + MAX_TAIL {
            return Err(refusal::malformed());
        }
        if end {
            self.finish(&mut sent)?;
        }
        Ok(sent.into())
    }

    fn count(&mut self, length: usize) -> Result<(), S3Error> {
        self.passed += length as u64;
        match self.size {
            Some(SizeRange { max, .. }) if self.passed > max => Err(refusal::too_large(max)),
            _ => Ok(()),
        }
    }

    /// Ends the form: its end is padded to the length of the client's tail.
    fn finish(&mut self, sent: &mut Vec<u8>) -> Result<(), S3Error> {
        let tail = &*self.held;
        // The first delimiter ends the file; a later one may close the form.
        let is_closed = self.ended && memmem::find(tail, &self.close).is_some();
        let after = tail.get(self.finder.needle().len()..).unwrap_or_default();
        if !is_closed || !ends_line(after) {
            return Err(refusal::malformed());
        }
        if let Some(SizeRange { min, .. }) = self.size
            && self.passed < min
        {
            let error = refusal::too_small(min);
            return Err(error.with_detail("ProposedSize", self.passed.to_string()));
        }
        sent.extend_from_slice(&self.out.close);
        let filled = sent.len() + tail.len() - self.close.len();
        if filled >= sent.len() + 2 {
            sent.extend_from_slice(b"\r\n");
        }
        sent.resize(filled, b' ');
        Ok(())
    }
}

/// Whether the bytes after a delimiter complete it: two hyphens, or the end of its line.
fn ends_line(after: &[u8]) -> bool {
    let padding = after.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    after.starts_with(b"--") || after[padding..].starts_with(b"\r\n")
}
