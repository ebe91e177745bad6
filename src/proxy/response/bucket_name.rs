//! Replaces the origin's name of a bucket by the client's name in listings, errors, and the responses to uploads and
//! copies. Objects are never changed.

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, LOCATION};
use http::{HeaderValue, Method, StatusCode};
use memchr::memchr;
use memchr::memmem::find;
use pingora::Result;
use pingora::http::ResponseHeader;

use crate::s3::{BucketName, Parsed};

/// XML elements that contain a bucket's name.
const NAMES: [&str; 3] = ["Name", "Bucket", "BucketName"];
/// XML elements that contain a path, or a URL, with the bucket in it.
const PATHS: [&str; 2] = ["Location", "Resource"];
/// Maximum length of an element, in bytes; longer ones are left unchanged.
const LONGEST: usize = 16 * 1024;

/// Replaces one bucket name by another in a body as it streams by.
pub(in crate::proxy) struct Renaming {
    from: String,
    to: String,
    held: BytesMut,
}

/// Renames the bucket in a response head, and prepares to do so in its body if that is about the bucket.
///
/// `alias_of`: the origin's name of the bucket, if it has another. `replaced`: the body is our own.
pub(in crate::proxy) fn rename_in_head(
    method: &Method,
    head: &mut ResponseHeader,
    parsed: &Parsed,
    alias_of: Option<&BucketName>,
    replaced: bool,
) -> Result<Option<Renaming>> {
    let (Some(from), Some(to)) = (alias_of, &parsed.bucket) else { return Ok(None) };
    let renaming = Renaming::new(from.as_str(), to.as_str());
    let location = head.headers.get(LOCATION).and_then(|value| value.to_str().ok());
    if let Some(renamed) = location.map(|location| renaming.path(location)) {
        head.insert_header(LOCATION, renamed)?;
    }
    let has_body = *method != Method::HEAD
        && !matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    if !has_body || replaced || !is_about_bucket(method, head, parsed) {
        return Ok(None);
    }
    head.remove_header(&CONTENT_LENGTH);
    Ok(Some(renaming))
}

fn is_about_bucket(method: &Method, head: &ResponseHeader, parsed: &Parsed) -> bool {
    let kind = head.headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    let is_xml = kind.is_none_or(|kind| find(kind, b"xml").is_some());
    let is_plain = head.headers.get(CONTENT_ENCODING).is_none_or(|value| value == "identity");
    let is_object = parsed.key.is_some()
        && head.status.is_success()
        && *method == Method::GET
        && !parsed.query.contains("uploadId");
    is_xml && is_plain && !is_object
}

impl Renaming {
    fn new(from: &str, to: &str) -> Self {
        Self { from: from.to_owned(), to: to.to_owned(), held: BytesMut::new() }
    }

    /// Renames the bucket in a part of the body.
    pub(in crate::proxy) fn rename(&mut self, body: &mut Option<Bytes>, end: bool) {
        let renamed = self.push(body.as_deref().unwrap_or_default(), end);
        *body = (!renamed.is_empty()).then_some(renamed);
    }

    /// Takes the next part; returns the bytes that can be passed on.
    fn push(&mut self, part: &[u8], end: bool) -> Bytes {
        self.held.extend_from_slice(part);
        let mut passed = BytesMut::with_capacity(self.held.len());
        while let Some(at) = memchr(b'<', &self.held) {
            passed.extend_from_slice(&self.held.split_to(at));
            match self.element() {
                Element::Other => passed.extend_from_slice(&self.held.split_to(1)),
                Element::Incomplete if end || self.held.len() > LONGEST => {
                    passed.extend_from_slice(&self.held.split_to(1));
                }
                Element::Incomplete => return passed.freeze(),
                Element::Renamed(length, text) => {
                    let _ = self.held.split_to(length);
                    passed.extend_from_slice(text.as_bytes());
                }
            }
        }
        passed.extend_from_slice(&self.held.split());
        passed.freeze()
    }

    /// Returns the kind of the element at the start of the held bytes.
    fn element(&self) -> Element {
        let mut is_begun = false;
        for name in NAMES.into_iter().chain(PATHS) {
            let (open, close) = (format!("<{name}>"), format!("</{name}>"));
            if let Some(rest) = self.held.strip_prefix(open.as_bytes()) {
                let Some(length) = find(rest, close.as_bytes()) else { return Element::Incomplete };
                let Ok(text) = std::str::from_utf8(&rest[..length]) else { return Element::Other };
                let renamed = match PATHS.contains(&name) {
                    true => self.path(text),
                    false if text == self.from => self.to.clone(),
                    false => text.to_owned(),
                };
                let whole = open.len() + length + close.len();
                return Element::Renamed(whole, format!("{open}{renamed}{close}"));
            }
            is_begun |= open.as_bytes().starts_with(&self.held);
        }
        if is_begun { Element::Incomplete } else { Element::Other }
    }

    /// Renames the bucket in a path or URL, as its first segment or at the beginning of the host name.
    fn path(&self, text: &str) -> String {
        let (scheme, rest) = text
            .split_once("://")
            .map_or(("", text), |(scheme, rest)| (&text[..scheme.len() + "://".len()], rest));
        if !scheme.is_empty()
            && let Some(rest) = rest.strip_prefix(&*self.from)
            && rest.starts_with('.')
        {
            return format!("{scheme}{}{rest}", self.to);
        }
        let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let bucket = path.strip_prefix('/').and_then(|path| path.strip_prefix(&*self.from));
        match bucket.filter(|rest| rest.is_empty() || rest.starts_with(['/', '?'])) {
            Some(rest) => format!("{scheme}{host}/{}{rest}", self.to),
            None => text.to_owned(),
        }
    }
}

enum Element {
    Other,
    Incomplete,
    /// Length of the element, in bytes, and its replacement.
    Renamed(usize, String),
}

#[cfg(test)]
mod tests {
    use super::*;

    const XML: &str = "<R><Name>real</Name><Prefix>real</Prefix><Key>real</Key><Name>real2</Name>\
                       <Bucket>real</Bucket><Location>http://h:9/real/k</Location>\
                       <Location>https://real.s3.test/real/k</Location><Resource>/real</Resource>\
                       <Named>x</Named><Resource>/other/real</Resource></R>";
    const RENAMED: &str = "<R><Name>mine</Name><Prefix>real</Prefix><Key>real</Key><Name>real2</Name>\
                           <Bucket>mine</Bucket><Location>http://h:9/mine/k</Location>\
                           <Location>https://mine.s3.test/real/k</Location><Resource>/mine</Resource>\
                           <Named>x</Named><Resource>/other/real</Resource></R>";

    #[test]
    fn a_bucket_is_renamed_wherever_the_body_is_cut() {
        for cut in 0..XML.len() {
            let mut renaming = Renaming::new("real", "mine");
            let mut whole = renaming.push(&XML.as_bytes()[..cut], false).to_vec();
            whole.extend(renaming.push(&XML.as_bytes()[cut..], true));
            assert_eq!(String::from_utf8(whole).unwrap(), RENAMED, "{cut}");
        }
    }

    #[test]
    fn nothing_is_held_back_for_ever_and_nothing_is_lost() {
        let mut renaming = Renaming::new("real", "mine");
        let long = format!("<Location>{}", "x".repeat(2 * LONGEST));
        assert_eq!(renaming.push(long.as_bytes(), false).len(), long.len());
        assert_eq!(renaming.push(b"<Buck", true), "<Buck");
        // S3 sends whitespace while it completes an upload.
        assert_eq!(renaming.push(b"  \n", false), "  \n");
    }
}
