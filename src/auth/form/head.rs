//! Parsing of the fields of a form before its file, incrementally.
//!
//! Strict where parsers differ: lines end in CRLF, every delimiter is followed by CRLF or `--`, each part has one
//! Content-Disposition with a plain name, and only an empty line may precede the first part.

use bytes::{Bytes, BytesMut};
use memchr::memmem;

use super::part::Part;
use super::refusal::{self, MAX_HEAD};
use super::{Boundary, Field, Fields, FilePart};
use crate::s3::S3Error;

const FILE: &str = "file";
const LINE: &[u8] = b"\r\n";
const HEAD_END: &[u8] = b"\r\n\r\n";

/// A form up to the first byte of its file.
#[derive(Debug)]
pub struct FormHead {
    pub fields: Fields,
    pub file: FilePart,
    /// Bytes on the wire before the file.
    pub length: usize,
    /// Bytes received beyond the head.
    pub rest: Bytes,
}

impl FormHead {
    /// Returns the maximum bytes of the file in a body of `length`; `None` if there is no room for its end.
    pub fn file_at_most(&self, boundary: &Boundary, length: u64) -> Option<u64> {
        length.checked_sub((self.length + boundary.close().len()) as u64)
    }
}

/// Parses a [`FormHead`] from pieces of any size; each byte is read once or twice.
#[derive(Debug)]
pub struct HeadReader {
    delimiter: Vec<u8>,
    /// Received bytes, after a CRLF that stands for the line before the first delimiter.
    seen: BytesMut,
    /// Offset up to which everything is parsed.
    at: usize,
    /// Offset before which the searched text does not begin.
    searched: usize,
    next: Next,
    fields: Vec<Field>,
}

#[derive(Debug)]
enum Next {
    FirstDelimiter,
    LineEnd,
    Head,
    Value(String),
}

/// More bytes are needed.
struct Short;

impl HeadReader {
    pub fn new(boundary: &Boundary) -> Self {
        Self {
            delimiter: boundary.delimiter().to_vec(),
            seen: BytesMut::from(LINE),
            at: 0,
            searched: 0,
            next: Next::FirstDelimiter,
            fields: Vec::new(),
        }
    }

    /// Parses the next bytes; `None`: more are needed.
    ///
    /// # Errors
    /// `MalformedPOSTRequest`, `MaxPostPreDataLengthExceeded`, `InvalidArgument`: see [`Fields`].
    pub fn push(&mut self, piece: &[u8]) -> Result<Option<FormHead>, S3Error> {
        self.seen.extend_from_slice(piece);
        let file = loop {
            match self.step() {
                Ok(Ok(Some(file))) => break file,
                Ok(Ok(None)) => {}
                Ok(Err(error)) => return Err(error),
                Err(Short) if self.seen.len() - LINE.len() > MAX_HEAD => {
                    return Err(refusal::head_too_long());
                }
                Err(Short) => return Ok(None),
            }
        };
        let length = self.at - LINE.len();
        if length > MAX_HEAD {
            return Err(refusal::head_too_long());
        }
        let fields = Fields::new(std::mem::take(&mut self.fields), &file)?;
        let rest = self.seen.split_off(self.at).freeze();
        Ok(Some(FormHead { fields, file, length, rest }))
    }

    /// Returns the error for a form that ends before its file.
    pub fn ended() -> S3Error {
        refusal::malformed()
    }

    /// Parses the next element; returns the file's part if its content is next.
    fn step(&mut self) -> Result<Result<Option<FilePart>, S3Error>, Short> {
        let malformed = Ok(Err(refusal::malformed()));
        let here = &self.seen[self.at..];
        match &mut self.next {
            Next::FirstDelimiter => {
                // An empty line may stand before it.
                let skipped = if here.starts_with(HEAD_END) { LINE.len() } else { 0 };
                let here = &here[skipped..];
                let known = here.len().min(self.delimiter.len());
                let maybe_skipped = here.len() <= HEAD_END.len() && HEAD_END.starts_with(here);
                if here[..known] != self.delimiter[..known] && !maybe_skipped {
                    return malformed;
                }
                if known < self.delimiter.len() {
                    return Err(Short);
                }
                self.go_on(skipped + self.delimiter.len(), Next::LineEnd);
            }
            Next::LineEnd => {
                let padding = here.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
                match &here[padding..] {
                    [] | [b'\r' | b'-'] => return Err(Short),
                    [b'\r', b'\n', ..] => self.go_on(padding + LINE.len(), Next::Head),
                    [b'-', b'-', ..] if padding == 0 => return Ok(Err(refusal::no_file())),
                    _ => return malformed,
                }
            }
            Next::Head => {
                let end = self.find(HEAD_END)?;
                let Some(part) = Part::parse(&self.seen[self.at..end + LINE.len()]) else {
                    return malformed;
                };
                let length = end + HEAD_END.len() - self.at;
                self.go_on(length, Next::Value(part.name));
                if let Next::Value(name) = &self.next
                    && name.eq_ignore_ascii_case(FILE)
                {
                    return Ok(Ok(Some(part.file)));
                }
            }
            Next::Value(name) => {
                let name = std::mem::take(name);
                let Ok(end) = self.find(&self.delimiter.clone()) else {
                    self.next = Next::Value(name);
                    return Err(Short);
                };
                let Ok(value) = std::str::from_utf8(&self.seen[self.at..end]) else {
                    return malformed;
                };
                self.fields.push(Field::new(name, value.to_owned()));
                self.go_on(end + self.delimiter.len() - self.at, Next::LineEnd);
            }
        }
        Ok(Ok(None))
    }

    fn go_on(&mut self, length: usize, next: Next) {
        self.at += length;
        self.searched = self.at;
        self.next = next;
    }

    /// Returns the offset of `what`.
    fn find(&mut self, what: &[u8]) -> Result<usize, Short> {
        match memmem::find(&self.seen[self.searched..], what) {
            Some(found) => Ok(self.searched + found),
            None => {
                self.searched = self.at.max((self.seen.len() + 1).saturating_sub(what.len()));
                Err(Short)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &[u8], piece: usize) -> Result<Option<FormHead>, String> {
        let mut reader = HeadReader::new(&Boundary::new("b").unwrap());
        for piece in body.chunks(piece) {
            match reader.push(piece) {
                Ok(None) => {}
                Ok(head) => return Ok(head),
                Err(error) => return Err(error.code.into_owned()),
            }
        }
        Ok(None)
    }

    /// Returns `name=value` of each field, the file's name, the head's length and the number of remaining bytes.
    fn shown(head: &FormHead) -> (Vec<String>, Option<&str>, usize) {
        let fields = head.fields.iter().map(|field| format!("{}={}", field.name, field.value));
        (fields.collect(), head.file.name.as_deref(), head.length)
    }

    fn field(name: &str, value: &str) -> String {
        format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
    }

    const FILE_HEAD: &str =
        "--b\r\nContent-Disposition: form-data; name=\"File\"; filename=\"f\"\r\n\r\n";

    #[test]
    fn the_fields_before_the_file_are_read_wherever_the_body_is_cut() {
        let fields = field("key", "a/${filename}") + &field("x-amz-meta-t", "line\r\n--c\r\n");
        for start in ["", "\r\n"] {
            let head = format!("{start}{fields}{FILE_HEAD}");
            let body = format!("{head}content\r\n--b--\r\n");
            for piece in [1, 2, 3, 7, 50, 5000] {
                let read = read(body.as_bytes(), piece).unwrap().unwrap();
                let expected =
                    vec!["key=a/f".to_owned(), "x-amz-meta-t=line\r\n--c\r\n".to_owned()];
                assert_eq!(shown(&read), (expected, Some("f"), head.len()), "{piece}");
                assert!(body.as_bytes()[head.len()..].starts_with(&read.rest));
            }
            for cut in 0..head.len() {
                assert!(read(&body.as_bytes()[..cut], 5000).unwrap().is_none(), "{cut}");
            }
        }
    }

    #[test]
    fn delimiters_may_be_padded() {
        let body = format!("{}--b \t{}", field("key", "k"), &FILE_HEAD[3..]);
        assert!(read(body.as_bytes(), 1).unwrap().is_some());
    }

    #[test]
    fn what_is_no_form_or_has_no_file_is_refused() {
        let key = field("key", "k");
        for (body, code) in [
            ("x".to_owned(), "MalformedPOSTRequest"),
            ("preamble\r\n--b\r\n".to_owned(), "MalformedPOSTRequest"),
            ("\r\n\r\n--b\r\n".to_owned(), "MalformedPOSTRequest"),
            ("\r\n--c\r\n".to_owned(), "MalformedPOSTRequest"),
            ("--c\r\n".to_owned(), "MalformedPOSTRequest"),
            ("--bb\r\n".to_owned(), "MalformedPOSTRequest"),
            ("--b\n".to_owned(), "MalformedPOSTRequest"),
            ("--b--".to_owned(), "InvalidArgument"),
            ("--b --".to_owned(), "MalformedPOSTRequest"),
            ("--b\r\n\r\n\r\n\r\n".to_owned(), "MalformedPOSTRequest"),
            (format!("{key}--b--\r\n"), "InvalidArgument"),
            (format!("{key}--bc\r\n"), "MalformedPOSTRequest"),
            (format!("{key}{key}{FILE_HEAD}"), "InvalidArgument"),
            (
                format!("--b\r\nContent-Type: text/plain\r\n\r\nx\r\n{FILE_HEAD}"),
                "MalformedPOSTRequest",
            ),
        ] {
            for piece in [1, 5000] {
                let refused = read(body.as_bytes(), piece).map(|head| head.is_some());
                assert_eq!(refused, Err(code.to_owned()), "{body:?} {piece}");
            }
        }
        let binary =
            [field("key", "?").replace('?', "\u{1}").as_bytes(), FILE_HEAD.as_bytes()].concat();
        assert!(read(&binary, 5000).unwrap().is_some());
        let mut other = binary.clone();
        let at = other.iter().position(|byte| *byte == 1).unwrap();
        other[at] = 0xff;
        assert_eq!(read(&other, 5000).map(|_| ()), Err("MalformedPOSTRequest".to_owned()));
    }

    #[test]
    fn the_head_has_20_kib() {
        let with = |length: usize| {
            let head = |value: &str| field("key", "k") + &field("x", value) + FILE_HEAD;
            head(&"v".repeat(length - head("").len()))
        };
        for piece in [100, 50_000] {
            let longest = read(with(MAX_HEAD).as_bytes(), piece).unwrap().unwrap();
            assert_eq!(longest.length, MAX_HEAD);
            let longer = read(with(MAX_HEAD + 1).as_bytes(), piece).map(|_| ());
            assert_eq!(longer, Err("MaxPostPreDataLengthExceeded".to_owned()));
        }
        let endless = field("x", &"v".repeat(100_000));
        assert_eq!(
            read(endless.as_bytes(), 1000).map(|_| ()),
            Err("MaxPostPreDataLengthExceeded".to_owned())
        );
    }
}
