//! Validation of the head of an HTTP/1 request before anything acts on it (R29).
//!
//! Anything that two servers in a row may read differently is refused: line ends that are not CRLF, folded fields,
//! space before a colon, control bytes, lengths that are given twice or beside an encoding, more than one host. A
//! head that passes means the same to every reader, and this module says where its body ends. It does no I/O.

use memchr::memchr;

use crate::proxy::response::refusal::Refusal;
use crate::s3::field::{is_token, is_token_byte};

/// Size limits of the parts of a head.
#[derive(Debug, Clone, Copy)]
pub(in crate::proxy) struct HeadLimits {
    /// Maximum bytes of the request target.
    pub uri: usize,
    /// Maximum bytes of all fields, with their line ends.
    pub fields: usize,
    /// Maximum number of fields.
    pub count: usize,
}

/// Framing of a request body (RFC 9112, section 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::proxy) enum Framing {
    /// The body has this many bytes.
    Length(u64),
    /// The body ends with its last chunk.
    Chunked,
}

/// Result of validating the bytes that have arrived.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::proxy) enum Checked {
    /// No error yet; more bytes are needed.
    Partial,
    /// A complete head of this many bytes, including the empty line after it.
    Complete(usize, Framing),
    Refused(Refusal),
}

/// Incremental parser of a request head. It inspects each byte once, so the cost of a head is linear in its length,
/// however it is cut.
#[derive(Debug, Default)]
pub(in crate::proxy) struct HeadReader {
    head: Head,
    /// Offset of the first line that is not read yet.
    at: usize,
    /// Offset up to which no line end was found after `at`.
    searched: usize,
    /// Offset of the first field; `None`: the request line is not read yet.
    fields: Option<usize>,
    count: usize,
}

impl HeadReader {
    /// Validates the bytes that have arrived so far: all bytes of the head, to which each call adds more.
    pub(in crate::proxy) fn read(&mut self, bytes: &[u8], limits: &HeadLimits) -> Checked {
        self.advance(bytes, limits).unwrap_or_else(Checked::Refused)
    }

    fn advance(&mut self, bytes: &[u8], limits: &HeadLimits) -> Result<Checked, Refusal> {
        let start = match self.fields {
            Some(start) => start,
            None => {
                // RFC 9112, section 2.2: an empty line before a request is ignored.
                if self.at == 0 && bytes.starts_with(b"\r\n") {
                    self.at = 2;
                }
                let Some(line) = self.next_line(bytes)? else {
                    // The method and the version are short: S3's longest methods fit.
                    let too_long = bytes.len() > limits.uri + 32;
                    return if too_long { Err(Refusal::UriTooLong) } else { Ok(Checked::Partial) };
                };
                self.head.request_line(line, limits)?;
                *self.fields.insert(self.at)
            }
        };
        loop {
            let line = self.next_line(bytes)?;
            let end = if line.is_some() { self.at } else { bytes.len() };
            // The empty line at the end is not counted.
            if end - start > limits.fields + 2 {
                return Err(Refusal::HeaderTooLarge);
            }
            let Some(line) = line else { return Ok(Checked::Partial) };
            if line.is_empty() {
                break;
            }
            self.count += 1;
            if self.count > limits.count {
                return Err(Refusal::TooManyHeaders);
            }
            self.head.field(line)?;
        }
        if has_control_bytes(&bytes[..self.at]) {
            return Err(Refusal::ControlByte);
        }
        self.head.end().map(|framing| Checked::Complete(self.at, framing))
    }

    /// Returns the next line without its line end; `None` until that has arrived.
    fn next_line<'a>(&mut self, bytes: &'a [u8]) -> Result<Option<&'a [u8]>, Refusal> {
        let from = self.at.max(self.searched);
        let Some(end) = memchr(b'\n', &bytes[from..]) else {
            self.searched = bytes.len();
            return Ok(None);
        };
        let line = bytes[self.at..from + end].strip_suffix(b"\r").ok_or(Refusal::LineEnd)?;
        self.at = from + end + 1;
        if memchr(b'\r', line).is_some() { Err(Refusal::ControlByte) } else { Ok(Some(line)) }
    }
}

/// Facts gathered from the fields so far.
#[derive(Debug, Default)]
struct Head {
    is_1_0: bool,
    hosts: usize,
    length: Option<u64>,
    chunked: bool,
}

impl Head {
    /// Parses the request line, such as `GET /bucket/key HTTP/1.1`.
    fn request_line(&mut self, line: &[u8], limits: &HeadLimits) -> Result<(), Refusal> {
        let (rest, is_1_0) = match line.strip_suffix(b" HTTP/1.1") {
            Some(rest) => (rest, false),
            None => (line.strip_suffix(b" HTTP/1.0").ok_or(Refusal::RequestLine)?, true),
        };
        self.is_1_0 = is_1_0;
        let space = memchr(b' ', rest).ok_or(Refusal::RequestLine)?;
        let (method, target) = (&rest[..space], &rest[space + 1..]);
        if target.is_empty() || !is_token(method) {
            return Err(Refusal::RequestLine);
        }
        if target.len() > limits.uri {
            return Err(Refusal::UriTooLong);
        }
        if memchr(b' ', target).is_some() || memchr(b'\t', target).is_some() {
            return Err(Refusal::RequestLine);
        }
        if method == b"CONNECT" { Err(Refusal::Connect) } else { Ok(()) }
    }

    fn field(&mut self, line: &[u8]) -> Result<(), Refusal> {
        let end = line.iter().position(|b| !is_token_byte(*b));
        let end = end.ok_or(Refusal::FieldName)?;
        match line[end] {
            b':' if end > 0 => {}
            b' ' | b'\t' if end == 0 => return Err(Refusal::FoldedField),
            _ => return Err(Refusal::FieldName),
        }
        let (name, value) = (&line[..end], &line[end + 1..]);
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") => self.hosts += 1,
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                let length = length(value.trim_ascii()).ok_or(Refusal::Length)?;
                if self.length.replace(length).is_some() {
                    return Err(Refusal::TwoLengths);
                }
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                // A second "chunked" is not the same as one.
                if self.chunked || !value.trim_ascii().eq_ignore_ascii_case(b"chunked") {
                    return Err(Refusal::Encoding);
                }
                self.chunked = true;
            }
            _ => {}
        }
        Ok(())
    }

    fn end(&self) -> Result<Framing, Refusal> {
        match self.hosts {
            0 if !self.is_1_0 => return Err(Refusal::NoHost),
            0 | 1 => {}
            _ => return Err(Refusal::TwoHosts),
        }
        match (self.chunked, self.length) {
            (true, Some(_)) => Err(Refusal::LengthAndEncoding),
            (true, None) if self.is_1_0 => Err(Refusal::Encoding),
            (true, None) => Ok(Framing::Chunked),
            (false, length) => Ok(Framing::Length(length.unwrap_or(0))),
        }
    }
}

/// Whether a head has control bytes other than tabs and line ends.
fn has_control_bytes(head: &[u8]) -> bool {
    // One lane per byte and no branch, so that the compiler vectorizes it.
    let mut lanes = [0_u8; 32];
    let mut chunks = head.chunks_exact(lanes.len());
    for chunk in &mut chunks {
        for (lane, byte) in lanes.iter_mut().zip(chunk) {
            *lane |= control(*byte);
        }
    }
    let rest = chunks.remainder().iter().fold(0, |found, byte| found | control(*byte));
    lanes.iter().fold(rest, |found, lane| found | lane) != 0
}

/// Returns a value other than 0 for a control byte that must not be in a head.
fn control(byte: u8) -> u8 {
    let end = u8::from(byte == b'\t') | u8::from(byte == b'\r') | u8::from(byte == b'\n');
    (u8::from(byte < 0x20) & !end) | u8::from(byte == 0x7f)
}

/// Parses a length of digits only: no sign, no list, nothing that another reader would take for another number.
fn length(digits: &[u8]) -> Option<u64> {
    let fits = (1..=18).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
    fits.then(|| digits.iter().fold(0, |number, digit| number * 10 + u64::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: HeadLimits = HeadLimits { uri: 64, fields: 256, count: 8 };

    fn check(bytes: &[u8], limits: &HeadLimits) -> Checked {
        HeadReader::default().read(bytes, limits)
    }

    /// Validates bytes that arrive in pieces of `size`.
    fn check_by_pieces(bytes: &[u8], limits: &HeadLimits, size: usize) -> Checked {
        let mut reader = HeadReader::default();
        let ends = (1..bytes.len()).filter(|end| end % size == 0).chain([bytes.len()]);
        let mut read = ends.map(|end| reader.read(&bytes[..end], limits));
        read.find(|read| *read != Checked::Partial).unwrap_or(Checked::Partial)
    }

    fn complete(head: &str, framing: Framing) {
        assert_eq!(
            check(head.as_bytes(), &LIMITS),
            Checked::Complete(head.len(), framing),
            "{head}"
        );
        for end in 0..head.len() {
            assert_eq!(check(&head.as_bytes()[..end], &LIMITS), Checked::Partial, "{head} {end}");
        }
        let more = format!("{head}GET / HTTP/1.1\n");
        assert_eq!(check(more.as_bytes(), &LIMITS), Checked::Complete(head.len(), framing));
    }

    #[test]
    fn r29_a_head_ends_at_its_empty_line_and_says_where_its_body_ends() {
        complete("GET / HTTP/1.1\r\nHost: h\r\n\r\n", Framing::Length(0));
        complete("\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", Framing::Length(0));
        complete("GET / HTTP/1.0\r\n\r\n", Framing::Length(0));
        complete(
            "PUT /b/k HTTP/1.1\r\nHOST:h\r\ncontent-LENGTH:\t 007 \r\n\r\n",
            Framing::Length(7),
        );
        complete(
            "PUT /b/\u{fc} HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: Chunked\r\nx: \u{fc}\r\n\r\n",
            Framing::Chunked,
        );
    }

    #[test]
    fn limits_are_kept_whether_the_end_has_come_or_not() {
        let fields =
            |size: usize, end: &str| format!("GET / HTTP/1.0\r\na: {}{end}", "x".repeat(size));
        assert!(matches!(
            check(fields(251, "\r\n\r\n").as_bytes(), &LIMITS),
            Checked::Complete(..)
        ));
        let too_large = Checked::Refused(Refusal::HeaderTooLarge);
        assert_eq!(check(fields(252, "\r\n\r\n").as_bytes(), &LIMITS), too_large);
        assert_eq!(check(fields(300, "").as_bytes(), &LIMITS), too_large);
        let many = format!("GET / HTTP/1.0\r\n{}\r\n", "a:\r\n".repeat(9));
        assert_eq!(check(many.as_bytes(), &LIMITS), Checked::Refused(Refusal::TooManyHeaders));
        let uri = |size: usize, end: &str| format!("GET /{}{end}", "x".repeat(size));
        let end = " HTTP/1.0\r\n\r\n";
        assert!(matches!(check(uri(63, end).as_bytes(), &LIMITS), Checked::Complete(..)));
        let too_long = Checked::Refused(Refusal::UriTooLong);
        assert_eq!(check(uri(64, end).as_bytes(), &LIMITS), too_long);
        assert_eq!(check(uri(99, "").as_bytes(), &LIMITS), too_long);
    }

    /// Damages a head in a few places, with bytes that parsers stumble over.
    fn damage(head: &[u8], random: &mut impl rand::Rng) -> Vec<u8> {
        const BYTES: &[u8] = b"\r\n\t :,;\0\x7f\xff0159+-xXcCtTgG/HP.1\"";
        let mut head = head.to_vec();
        for _ in 0..random.gen_range(1..4) {
            let at = random.gen_range(0..head.len());
            let byte = BYTES[random.gen_range(0..BYTES.len())];
            match random.gen_range(0..4) {
                0 => head[at] = byte,
                1 => head.insert(at, byte),
                2 => drop(head.remove(at)),
                _ => {
                    let end = random.gen_range(at..head.len());
                    let again = head[at..end].to_vec();
                    head.splice(at..at, again);
                }
            }
        }
        head
    }

    #[test]
    fn r29_whatever_passes_is_read_alike_by_another_parser() {
        use rand::SeedableRng as _;
        let mut random = rand::rngs::StdRng::seed_from_u64(29);
        let limits = HeadLimits { uri: 1000, fields: 1000, count: 32 };
        let heads = [
            "GET /b/k?x=y HTTP/1.1\r\nHost: h\r\nRange: bytes=0-9\r\n\r\n",
            "PUT /b/k HTTP/1.1\r\nHost: h\r\nContent-Length: 15\r\nx-a: b\r\n\r\n",
            "PUT /b/k HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n",
            "GET /b/k HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
        ];
        let mut passed = 0;
        for round in 0..200_000 {
            let head = damage(heads[round % heads.len()].as_bytes(), &mut random);
            if round % 16 == 0 {
                let whole = check(&head, &limits);
                assert_eq!(check_by_pieces(&head, &limits, 1 + round % 5), whole, "{head:?}");
            }
            let Checked::Complete(length, framing) = check(&head, &limits) else { continue };
            passed += 1;
            let what = String::from_utf8_lossy(&head);
            let mut fields = [httparse::EMPTY_HEADER; 64];
            let mut request = httparse::Request::new(&mut fields);
            let result = request.parse(&head);
            // httparse accepts fewer targets; pingora escapes them before it parses again.
            if matches!(result, Err(httparse::Error::Token | httparse::Error::Version)) {
                continue;
            }
            assert_eq!(result, Ok(httparse::Status::Complete(length)), "{what:?}");
            let named = |name: &str| {
                let fields = request.headers.iter().filter(|f| f.name.eq_ignore_ascii_case(name));
                fields.map(|field| String::from_utf8_lossy(field.value).into_owned()).collect()
            };
            let lengths: Vec<String> = named("content-length");
            let encodings: Vec<String> = named("transfer-encoding");
            let hosts: Vec<String> = named("host");
            assert!(lengths.len() + encodings.len() <= 1 && hosts.len() <= 1, "{what:?}");
            let expected = match (lengths.first(), encodings.first()) {
                (Some(length), _) => Framing::Length(length.parse().unwrap()),
                (None, Some(_)) => Framing::Chunked,
                (None, None) => Framing::Length(0),
            };
            assert_eq!(framing, expected, "{what:?}");
        }
        assert!(passed > 1000, "{passed} of them passed");
    }

    /// Regression: a head that came byte by byte was once parsed from its start for each byte.
    #[test]
    fn each_line_of_a_head_that_comes_in_pieces_is_read_once() {
        let limits = HeadLimits { uri: 64, fields: 1 << 20, count: 1 << 20 };
        let fields = "a: b\r\n".repeat(1000);
        let head = format!("GET / HTTP/1.1\r\nHost: h\r\n{fields}\r\n");
        let mut reader = HeadReader::default();
        for end in 1..head.len() {
            // Bytes that were read before are overwritten: only new ones are inspected, and the line that they end.
            let mut bytes = vec![b'\n'; reader.at];
            bytes.extend_from_slice(&head.as_bytes()[reader.at..end]);
            assert_eq!(reader.read(&bytes, &limits), Checked::Partial);
            assert_eq!(reader.searched.max(reader.at), end);
        }
        assert_eq!(reader.count, 1001);
        let whole = reader.read(head.as_bytes(), &limits);
        assert_eq!(whole, Checked::Complete(head.len(), Framing::Length(0)));
    }
}
