//! Decoder of `aws-chunked` bodies, which is strict: a proxy that re-frames uploads must frame them well.
//!
//! Checked: the form of every line, signatures present exactly when the payload kind is a signed one, chunks of at
//! least 8 KiB but for the last (S3 refuses smaller signed ones), the declared decoded length, the declared trailers,
//! and that nothing follows. Not checked: the signatures.

use super::Seen;
use bytes::{Bytes, BytesMut};

/// The decoded bytes, and the trailers with names in lower case.
pub(super) type Decoded = (Bytes, Vec<(String, String)>);

const SMALLEST_CHUNK: usize = 8 * 1024;

/// Whether the request's body is framed as aws-chunked.
pub(super) fn is_declared(seen: &Seen) -> bool {
    seen.header("x-amz-content-sha256").starts_with("STREAMING-")
        || encodings(seen).any(|encoding| encoding == "aws-chunked")
}

/// Returns the object's own content encodings, without `aws-chunked`.
pub(super) fn encodings(seen: &Seen) -> impl Iterator<Item = &str> {
    seen.header("content-encoding").split(',').map(str::trim).filter(|text| !text.is_empty())
}

/// Decodes the body, or returns the reason that it is invalid.
pub(super) fn decode(seen: &Seen, raw: &Bytes) -> Result<Decoded, String> {
    let kind = seen.header("x-amz-content-sha256");
    let signed = kind.starts_with("STREAMING-AWS4-");
    let mut lines = Lines(raw);
    let mut body = BytesMut::new();
    let mut short = false;
    loop {
        let size = chunk_size(lines.next()?, signed)?;
        if size == 0 {
            break;
        }
        if short {
            return Err("a signed chunk below 8 KiB that is not the last".into());
        }
        short = signed && size < SMALLEST_CHUNK;
        body.extend_from_slice(lines.data(size)?);
    }
    let trailers = read_trailers(&mut lines)?;
    if !lines.0.is_empty() {
        return Err(format!("{} bytes after the last chunk", lines.0.len()));
    }
    check_trailers(seen, &trailers, signed)?;
    let declared = seen.header("x-amz-decoded-content-length");
    if declared.parse() != Ok(body.len()) {
        return Err(format!("x-amz-decoded-content-length '{declared}' for {} bytes", body.len()));
    }
    Ok((body.freeze(), trailers))
}

fn chunk_size(line: &str, signed: bool) -> Result<usize, String> {
    let (size, signature) = match line.split_once(";chunk-signature=") {
        Some((size, signature)) => (size, Some(signature)),
        None => (line, None),
    };
    if signature.is_some() != signed {
        return Err(format!("the chunk line '{line}' where signed is {signed}"));
    }
    if signature.is_some_and(|signature| !is_signature(signature)) {
        return Err(format!("no signature in '{line}'"));
    }
    usize::from_str_radix(size, 16).map_err(|_| format!("no chunk size in '{line}'"))
}

fn is_signature(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn read_trailers(lines: &mut Lines<'_>) -> Result<Vec<(String, String)>, String> {
    let mut trailers = Vec::new();
    loop {
        let line = lines.next()?;
        if line.is_empty() {
            return Ok(trailers);
        }
        let (name, value) = line.split_once(':').ok_or(format!("no trailer in '{line}'"))?;
        trailers.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
    }
}

/// Checks that the trailers are those that `x-amz-trailer` names, with their signature when signed.
fn check_trailers(seen: &Seen, trailers: &[(String, String)], signed: bool) -> Result<(), String> {
    let declared = seen.header("x-amz-trailer").to_ascii_lowercase();
    let mut declared: Vec<&str> = declared.split(',').map(str::trim).collect();
    declared.retain(|name| !name.is_empty());
    if signed && !declared.is_empty() {
        declared.push("x-amz-trailer-signature");
    }
    let mut sent: Vec<&str> = trailers.iter().map(|(name, _)| name.as_str()).collect();
    declared.sort_unstable();
    sent.sort_unstable();
    if sent != declared {
        return Err(format!("the trailers {sent:?} where {declared:?} were declared"));
    }
    let kind = seen.header("x-amz-content-sha256");
    if kind.starts_with("STREAMING-") && kind.ends_with("-TRAILER") == declared.is_empty() {
        return Err(format!("the trailers {sent:?} with {kind}"));
    }
    Ok(())
}

/// The rest of the body, read line by line and chunk by chunk.
struct Lines<'a>(&'a [u8]);

impl<'a> Lines<'a> {
    fn next(&mut self) -> Result<&'a str, String> {
        let end = self.0.windows(2).position(|pair| pair == b"\r\n");
        let end = end.ok_or("the body ends within a line")?;
        let line = std::str::from_utf8(&self.0[..end]).map_err(|_| "a line that is not text")?;
        self.0 = &self.0[end + 2..];
        Ok(line)
    }

    fn data(&mut self, size: usize) -> Result<&'a [u8], String> {
        if self.0.len() < size + 2 {
            return Err(format!("the body ends within a chunk of {size} bytes"));
        }
        let (data, rest) = self.0.split_at(size);
        self.0 = rest.strip_prefix(b"\r\n").ok_or("no line end after a chunk")?;
        Ok(data)
    }
}
