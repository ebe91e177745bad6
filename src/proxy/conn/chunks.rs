//! Finds the end of a chunked body, and refuses a body whose end two readers may find in different places (RFC 9112,
//! section 7.1).
//!
//! It is strict where readers differ: sizes are hexadecimal digits without sign, prefix or space; lines end in CRLF;
//! chunk data ends where its size says. It inspects bytes and changes none.

use crate::proxy::response::refusal::Refusal;

/// Maximum length of a chunk size line with its extensions.
const LINE_MAX: usize = 1024;

/// Parser of a chunked body, at some byte of it.
#[derive(Debug, Clone, Copy)]
pub(in crate::proxy) struct Chunks {
    at: At,
    /// Bytes of the size line, or of the trailers, so far.
    line: usize,
    trailers_max: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Size {
        digits: u8,
        size: u64,
    },
    Extension {
        size: u64,
    },
    SizeEnd {
        size: u64,
    },
    Data {
        left: u64,
    },
    DataReturn,
    DataEnd,
    /// The first byte of a trailer, or of the empty line at the end.
    TrailerStart,
    Trailer,
    TrailerEnd,
    LastEnd,
    Done,
}

impl Chunks {
    /// Starts a parser at the first byte of a body; `trailers_max` bounds its trailers, in bytes.
    pub(in crate::proxy) fn new(trailers_max: usize) -> Self {
        Self { at: At::Size { digits: 0, size: 0 }, line: 0, trailers_max }
    }

    /// Whether the end of the body is reached.
    pub(in crate::proxy) fn done(&self) -> bool {
        self.at == At::Done
    }

    /// Returns the number of data bytes left in the current chunk.
    pub(in crate::proxy) fn data_left(&self) -> u64 {
        if let At::Data { left } = self.at { left } else { 0 }
    }

    /// Inspects bytes of the body, and returns how many belong to it: fewer than all only at its end.
    pub(in crate::proxy) fn pass(&mut self, bytes: &[u8]) -> Result<usize, Refusal> {
        let mut passed = 0;
        while passed < bytes.len() && !self.done() {
            if let At::Data { left } = &mut self.at {
                let here = usize::try_from(*left).map_or(usize::MAX, |left| left);
                let here = here.min(bytes.len() - passed);
                *left -= here as u64;
                passed += here;
                if *left == 0 {
                    self.at = At::DataReturn;
                }
            } else {
                self.at = self.step(bytes[passed]).ok_or(Refusal::Chunk)?;
                passed += 1;
            }
        }
        Ok(passed)
    }

    /// Returns the state after one byte of framing; `None`: the byte is not allowed there.
    fn step(&mut self, byte: u8) -> Option<At> {
        self.line += 1;
        let text = byte == b'\t' || (byte >= b' ' && byte != 0x7f);
        match (self.at, byte) {
            (At::Size { digits, size }, _) if byte.is_ascii_hexdigit() && digits < 15 => {
                let digit = char::from(byte).to_digit(16).expect("a hexadecimal digit");
                Some(At::Size { digits: digits + 1, size: size << 4 | u64::from(digit) })
            }
            (At::Size { digits: 1.., size }, b';') => Some(At::Extension { size }),
            (At::Size { digits: 1.., size } | At::Extension { size }, b'\r') => {
                Some(At::SizeEnd { size })
            }
            (At::Extension { .. }, _) if text && self.line < LINE_MAX => Some(self.at),
            (At::SizeEnd { size }, b'\n') => {
                self.line = 0;
                Some(if size == 0 { At::TrailerStart } else { At::Data { left: size } })
            }
            (At::DataReturn, b'\r') => Some(At::DataEnd),
            (At::DataEnd, b'\n') => {
                self.line = 0;
                Some(At::Size { digits: 0, size: 0 })
            }
            (At::TrailerStart, b'\r') => Some(At::LastEnd),
            (At::LastEnd, b'\n') => Some(At::Done),
            // A folded trailer is refused as a folded field is.
            (At::TrailerStart, b' ' | b'\t') => None,
            (At::Trailer, b'\r') => Some(At::TrailerEnd),
            (At::TrailerStart | At::Trailer, _) if text && self.line < self.trailers_max => {
                Some(At::Trailer)
            }
            (At::TrailerEnd, b'\n') => Some(At::TrailerStart),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r29_a_chunked_body_ends_after_its_trailers_wherever_it_is_cut() {
        for body in [
            "0\r\n\r\n",
            "5\r\nabcde\r\n0\r\n\r\n",
            "00A;x=\"y\";z\r\n0123456789\r\n1;\r\n\n\r\n0\r\na: b\r\nc: d\r\n\r\n",
        ] {
            let more = format!("{body}GET / HTTP/1.1\r\n");
            for cut in 0..=more.len() {
                let mut chunks = Chunks::new(64);
                let first = chunks.pass(&more.as_bytes()[..cut]).unwrap();
                let second = chunks.pass(&more.as_bytes()[first..]).unwrap();
                assert_eq!((first + second, chunks.done()), (body.len(), true), "{body} {cut}");
            }
        }
    }

    #[test]
    fn r29_a_chunk_that_readers_read_differently_is_refused() {
        for body in [
            "\r\n",
            "x\r\n",
            "+5\r\n",
            "-5\r\n",
            "0x5\r\n",
            " 5\r\n",
            "5 \r\n",
            "5\n",
            "5;x\n",
            "5;\0\r\n",
            "1000000000000000\r\n",
            "fffffffffffffffff\r\n",
            "5\r\rabcde",
            "5\r\nabcdef",
            "5\r\nabcde\n",
            "5\r\nabcde\rx",
            "0\r\n\n",
            "0\r\n\rx",
            "0\r\na: b\n",
            "0\r\n a: b\r\n",
            "0\r\na\0b\r\n",
        ] {
            assert_eq!(Chunks::new(64).pass(body.as_bytes()), Err(Refusal::Chunk), "{body:?}");
        }
        let long = |n: usize| format!("5;{}", "x".repeat(n));
        assert!(Chunks::new(64).pass(long(1000).as_bytes()).is_ok());
        assert!(Chunks::new(64).pass(long(2000).as_bytes()).is_err());
        assert!(Chunks::new(64).pass(format!("0\r\n{}", "x".repeat(64)).as_bytes()).is_err());
    }
}
