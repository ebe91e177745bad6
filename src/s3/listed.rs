//! Entries of a listing that streams to a client: keys with their `ETag` and size.
//!
//! The document is not parsed as a whole. Keys are found by their tags, and only the entries of cached keys are read
//! further. An unusual document yields fewer entries, never wrong bytes: evidence only makes metadata stale (R34).
//! Between two pieces the scanner keeps the unfinished end, at most [`MAX_HELD`] bytes.

use std::borrow::Cow;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::Method;
use memchr::memmem::{self, Finder};
use memchr::{memchr, memchr3};

use super::evidence::{Evidence, fingerprint, opaque};
use super::range::exact;
use super::target::{Query, decode, is_presigned};

/// Query parameters of a listing, besides those of its signature.
const LISTING_QUERY: [&str; 13] = [
    "list-type",
    "prefix",
    "delimiter",
    "max-keys",
    "marker",
    "start-after",
    "continuation-token",
    "encoding-type",
    "fetch-owner",
    "versions",
    "key-marker",
    "version-id-marker",
    "x-id",
];

/// Maximum bytes of an entry before its key.
const TAIL: usize = 512;
/// Maximum bytes of an entry; longer ones are ignored.
const MAX_HELD: usize = 16 << 10;
/// Bytes of a piece that are scanned together with the unfinished end of the previous one.
const STITCH: usize = 1 << 10;
/// Bytes skipped after an irrelevant key: initially, and at most after many of them.
const JUMP: (usize, usize) = (2 << 10, 64 << 10);

/// The parameters of a `ListObjects`, `ListObjectsV2` or `ListObjectVersions` that decide which keys it omits.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ListRequest {
    prefix: String,
    delimiter: Option<String>,
    encoded: bool,
}

impl ListRequest {
    /// Parses a request on a bucket; `None`: it is no listing of keys, or has an unknown parameter.
    #[must_use]
    pub fn of(method: &Method, query: &Query) -> Option<Self> {
        let known = |name: &str| LISTING_QUERY.contains(&name) || is_presigned(name);
        if *method != Method::GET || !query.iter().all(|(name, _)| known(name)) {
            return None;
        }
        (!query.has_repeated_name()).then(|| Self {
            prefix: query.get("prefix").unwrap_or_default().to_owned(),
            delimiter: query.get("delimiter").filter(|text| !text.is_empty()).map(str::to_owned),
            encoded: query.get("encoding-type") == Some("url"),
        })
    }

    /// Returns the common prefix that replaces `key` in the listing; `None`: the key itself is listed.
    #[must_use]
    pub fn common_prefix<'a>(&self, key: &'a str) -> Option<&'a str> {
        let delimiter = self.delimiter.as_deref()?;
        let from = if key.starts_with(&self.prefix) { self.prefix.len() } else { 0 };
        let at = key[from..].find(delimiter)?;
        Some(&key[..from + at + delimiter.len()])
    }
}

/// State of a key in a listing.
#[derive(Debug, PartialEq, Eq)]
pub enum EntryState<'a> {
    /// An object, and the current version of its key.
    Object {
        /// The tag as written in the document.
        etag: Option<&'a [u8]>,
        /// Size in bytes.
        size: Option<u64>,
    },
    /// A delete marker is the current version.
    Deleted,
    /// A version that is not current, or an unknown element.
    Other,
    /// The rest of the entry has not arrived.
    Incomplete,
}

impl EntryState<'_> {
    /// Returns the [`Evidence::fingerprint`] without building the evidence.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        match self {
            Self::Object { etag, size } => fingerprint(*etag, *size),
            _ => 0,
        }
    }

    /// Returns the evidence of the current object in this entry; `None`: there is none.
    #[must_use]
    pub fn evidence(&self) -> Option<Evidence> {
        match self {
            Self::Object { etag, size } => {
                let text = |etag| String::from_utf8_lossy(opaque(etag)).into_owned();
                Some(Evidence::Object { etag: etag.map(text), size: *size })
            }
            Self::Deleted => Some(Evidence::Absent),
            Self::Other | Self::Incomplete => None,
        }
    }
}

/// Searches for an XML tag, first at its last offset, since the entries of a listing are alike.
#[derive(Debug)]
struct Tag {
    text: &'static [u8],
    finder: Finder<'static>,
    last: AtomicUsize,
}

impl Tag {
    fn new(text: &'static str) -> Self {
        let text = text.as_bytes();
        Self { text, finder: Finder::new(text), last: AtomicUsize::new(0) }
    }

    fn find(&self, data: &[u8]) -> Option<usize> {
        let last = self.last.load(Ordering::Relaxed);
        if data.get(last..).is_some_and(|data| data.starts_with(self.text)) {
            return Some(last);
        }
        let at = self.finder.find(data)?;
        self.last.store(at, Ordering::Relaxed);
        Some(at)
    }

    /// Returns the text after the tag, as written.
    fn text_in<'a>(&self, entry: &'a [u8]) -> Option<&'a [u8]> {
        let text = &entry[self.find(entry)? + self.text.len()..];
        Some(text[..memchr(b'<', text)?].trim_ascii())
    }
}

#[derive(Debug)]
struct Tags {
    key: Tag,
    etag: Tag,
    size: Tag,
    latest: Tag,
    elements: [Element; 3],
}

#[derive(Debug)]
struct Element {
    open: &'static [u8],
    close: Tag,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Contents,
    Version,
    DeleteMarker,
}

impl Tags {
    fn new() -> Self {
        let element = |open: &'static str, close, kind| Element {
            open: open.as_bytes(),
            close: Tag::new(close),
            kind,
        };
        Self {
            key: Tag::new("<Key>"),
            etag: Tag::new("<ETag>"),
            size: Tag::new("<Size>"),
            latest: Tag::new("<IsLatest>"),
            elements: [
                element("<Contents>", "</Contents>", Kind::Contents),
                element("<Version>", "</Version>", Kind::Version),
                element("<DeleteMarker>", "</DeleteMarker>", Kind::DeleteMarker),
            ],
        }
    }
}

/// An entry of which only the key was parsed.
pub struct ListedEntry<'a> {
    tags: &'a Tags,
    /// Bytes between the end of the previous key and the tag of this one.
    before: &'a [u8],
    /// Bytes from the end of the key on.
    after: &'a [u8],
    /// The key.
    pub key: Cow<'a, [u8]>,
}

/// Receives the entries of a listing in order.
pub trait ListingVisitor {
    /// Receives a key alone; true: neither its entry nor any before it in key order is relevant.
    fn skip(&mut self, key: &[u8]) -> bool;

    /// Receives an entry that was not skipped; false: it must be visited again when more has arrived.
    fn visit(&mut self, entry: &ListedEntry<'_>) -> bool;
}

/// Finds the keys of a listing in the pieces of its body.
#[derive(Debug)]
pub struct ListingScanner {
    encoded: bool,
    held: Vec<u8>,
    tags: Tags,
}

impl ListingScanner {
    /// Creates a scanner for the response to `request`.
    #[must_use]
    pub fn new(request: &ListRequest) -> Self {
        Self { encoded: request.encoded, held: Vec::new(), tags: Tags::new() }
    }

    /// Visits the entries whose keys have arrived.
    pub fn push(&mut self, mut piece: &[u8], visitor: &mut impl ListingVisitor) {
        while !self.held.is_empty() && !piece.is_empty() {
            let (before, taken) = (self.held.len(), piece.len().min(STITCH));
            let mut held = std::mem::take(&mut self.held);
            held.extend_from_slice(&piece[..taken]);
            let done = self.scan(&held, visitor);
            if done >= before {
                piece = &piece[done - before..];
            } else {
                piece = &piece[taken..];
                held.drain(..done.max(held.len().saturating_sub(MAX_HELD)));
                self.held = held;
            }
        }
        if !piece.is_empty() {
            let done = self.scan(piece, visitor);
            self.held.extend_from_slice(&piece[done.max(piece.len().saturating_sub(MAX_HELD))..]);
        }
    }

    /// Returns the number of bytes that need not be scanned again.
    fn scan(&self, data: &[u8], visitor: &mut impl ListingVisitor) -> usize {
        let (mut floor, mut jump) = (0, 0);
        loop {
            let found = self.find_key(data, floor + jump);
            let Some((key_at, key_end)) = found else {
                if jump == 0 {
                    break;
                }
                jump = shorter(jump);
                continue;
            };
            let key = self.key(&data[key_at..key_end]);
            let skipped = key.as_deref().is_some_and(|key| visitor.skip(key));
            if !skipped && jump > 0 {
                // One of those that were jumped over may matter.
                jump = 0;
                continue;
            }
            if let Some(key) = key.filter(|_| !skipped) {
                let before = &data[floor..key_at - self.tags.key.text.len()];
                let entry = ListedEntry { tags: &self.tags, before, after: &data[key_end..], key };
                if !visitor.visit(&entry) {
                    return floor;
                }
            }
            floor = key_end;
            jump = if skipped { longer(jump) } else { 0 };
        }
        // A key whose end is missing is held whole.
        match self.tags.key.find(&data[floor..]) {
            Some(_) => floor,
            None => floor.max(data.len().saturating_sub(TAIL)),
        }
    }

    /// Returns the start and the end of the text of the next key.
    fn find_key(&self, data: &[u8], from: usize) -> Option<(usize, usize)> {
        let at = from + self.tags.key.find(data.get(from..)?)? + self.tags.key.text.len();
        Some((at, at + memchr(b'<', &data[at..])?))
    }

    /// Returns the key in UTF-8; `None`: it is invalid.
    fn key<'a>(&self, text: &'a [u8]) -> Option<Cow<'a, [u8]>> {
        if memchr3(b'&', b'%', b'+', text).is_none() {
            return Some(Cow::Borrowed(text));
        }
        let text = quick_xml::escape::unescape(std::str::from_utf8(text).ok()?).ok()?;
        let key = match self.encoded {
            true => decode(text.replace('+', " ").as_bytes()).ok()?.into_owned(),
            false => text.into_owned(),
        };
        Some(key.into_bytes().into())
    }
}

fn longer(jump: usize) -> usize {
    (jump * 2).clamp(JUMP.0, JUMP.1)
}

/// Shortens a jump that led past the last relevant key; to zero from the shortest.
fn shorter(jump: usize) -> usize {
    if jump > JUMP.0 { (jump / 8).max(JUMP.0) } else { 0 }
}

impl ListedEntry<'_> {
    /// Parses the rest of the entry.
    #[must_use]
    pub fn state(&self) -> EntryState<'_> {
        let Some((element, head)) = self.element() else { return EntryState::Other };
        let Some(end) = element.close.find(self.after) else { return EntryState::Incomplete };
        let rest = &self.after[..end];
        let field = |tag: &Tag| tag.text_in(rest).or_else(|| tag.text_in(head));
        let current =
            element.kind == Kind::Contents || field(&self.tags.latest) == Some(&b"true"[..]);
        match (current, element.kind) {
            (false, _) => EntryState::Other,
            (true, Kind::DeleteMarker) => EntryState::Deleted,
            (true, Kind::Contents | Kind::Version) => EntryState::Object {
                etag: field(&self.tags.etag).filter(|etag| !opaque(etag).is_empty()),
                size: field(&self.tags.size).and_then(|size| exact(str::from_utf8(size).ok()?)),
            },
        }
    }

    /// Returns the innermost known element around the key, and its content before the key.
    fn element(&self) -> Option<(&Element, &[u8])> {
        let elements = &self.tags.elements;
        if let Some(element) = elements.iter().find(|known| self.before.ends_with(known.open)) {
            return Some((element, &[]));
        }
        let opens = elements.iter().filter_map(|element| {
            let at = memmem::rfind(self.before, element.open)?;
            Some((at + element.open.len(), element))
        });
        let (at, element) = opens.max_by_key(|(at, _)| *at)?;
        Some((element, &self.before[at..]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(query: &str) -> Option<ListRequest> {
        ListRequest::of(&Method::GET, &Query::parse(query).unwrap())
    }

    fn object(etag: &str, size: u64) -> Evidence {
        Evidence::Object { etag: Some(etag.to_owned()), size: Some(size) }
    }

    /// Keys with their evidence, from a first key on.
    struct Found(Vec<(String, Option<Evidence>)>, &'static str);

    impl ListingVisitor for Found {
        fn skip(&mut self, key: &[u8]) -> bool {
            key < self.1.as_bytes()
        }

        fn visit(&mut self, entry: &ListedEntry<'_>) -> bool {
            let state = entry.state();
            let complete = state != EntryState::Incomplete;
            if complete {
                let key = String::from_utf8(entry.key.to_vec()).unwrap();
                self.0.push((key, state.evidence()));
            }
            complete
        }
    }

    /// Returns the evidence of each key from `first` on, with the bytes in pieces of `size`.
    fn listed_from(
        first: &'static str,
        body: &str,
        encoded: bool,
        size: usize,
    ) -> Vec<(String, Option<Evidence>)> {
        let query = if encoded { "encoding-type=url" } else { "" };
        let mut scanner = ListingScanner::new(&request(query).unwrap());
        let mut found = Found(Vec::new(), first);
        body.as_bytes().chunks(size).for_each(|piece| scanner.push(piece, &mut found));
        found.0
    }

    fn listed(body: &str, encoded: bool, size: usize) -> Vec<(String, Option<Evidence>)> {
        listed_from("", body, encoded, size)
    }

    const VERSIONS: &str = "<?xml version=\"1.0\"?><ListVersionsResult xmlns=\"x\"><Name>b</Name>\
        <Version><Key>a &amp; b</Key><VersionId>2</VersionId><IsLatest>true</IsLatest>\
        <ETag>&quot;e1&quot;</ETag><Size>5</Size></Version>\n\
        <Version><Key>a &amp; b</Key><VersionId>1</VersionId><IsLatest>false</IsLatest>\
        <ETag>\"e0\"</ETag><Size>4</Size></Version>\
        <DeleteMarker><Key>c%2Fd</Key><IsLatest>true</IsLatest></DeleteMarker></ListVersionsResult>";

    #[test]
    fn entries_are_the_same_in_pieces_of_any_size() {
        let expected = vec![
            ("a & b".to_owned(), Some(object("e1", 5))),
            ("a & b".to_owned(), None),
            ("c%2Fd".to_owned(), Some(Evidence::Absent)),
        ];
        for size in [1, 2, 3, 7, 50, 1000] {
            assert_eq!(listed(VERSIONS, false, size), expected, "{size}");
        }
        assert_eq!(listed(VERSIONS, true, 9)[2].0, "c/d");
    }

    #[test]
    fn fields_come_in_any_order_and_unquoted_etags_are_read() {
        let body = "<ListBucketResult><Contents>\n<ETag>e</ETag><Key>k</Key><Size>1</Size></Contents>\
            <Contents><Key>l</Key><ETag></ETag><Size>x</Size></Contents>\
            <CommonPrefixes><Prefix>m/</Prefix></CommonPrefixes></ListBucketResult>";
        for size in [1, 10, 1000] {
            let found = listed(body, false, size);
            assert_eq!(found[0], ("k".to_owned(), Some(object("e", 1))));
            let nothing_told = Some(Evidence::Object { etag: None, size: None });
            assert_eq!(found[1..], [("l".to_owned(), nothing_told)]);
        }
    }

    #[test]
    fn keys_behind_those_that_are_jumped_over_are_visited() {
        let entry = |n| {
            let size = 1u64 << (n % 40);
            format!("<Contents><Key>{n:03}</Key><ETag>e{n}</ETag><Size>{size}</Size></Contents>")
        };
        let body: String = (0..300).map(entry).collect();
        for size in [100, 1000, 10_000, 100_000] {
            for first in ["000", "001", "150", "299", "300"] {
                let found = listed_from(first, &body, false, size);
                let n: usize = first.parse().unwrap();
                assert_eq!(found.len(), 300 - n, "{size} {first}");
                for (n, (key, evidence)) in (n..).zip(found) {
                    let expected = object(&format!("e{n}"), 1 << (n % 40));
                    assert_eq!((key, evidence), (format!("{n:03}"), Some(expected)));
                }
            }
        }
    }

    #[test]
    fn held_bytes_are_bounded_whatever_comes() {
        let mut scanner = ListingScanner::new(&request("").unwrap());
        let mut found = Found(Vec::new(), "");
        let endless = format!("<Contents><Key>k</Key>{}", "<X/>".repeat(1000));
        for piece in std::iter::repeat_n(endless.as_bytes(), 50) {
            scanner.push(piece, &mut found);
            assert!(scanner.held.len() <= MAX_HELD);
        }
        for piece in std::iter::repeat_n([b'x'; 5000], 50) {
            scanner.push(&piece, &mut found);
            assert!(scanner.held.len() <= MAX_HELD);
        }
        assert_eq!(found.0, []);
    }

    #[test]
    fn only_known_listings_are_scanned() {
        for query in ["", "list-type=2&prefix=a&max-keys=5", "versions&key-marker=k", "marker=a"] {
            assert!(request(query).is_some(), "{query}");
        }
        for query in ["acl", "uploads", "allow-unordered=true", "prefix=a&prefix=b"] {
            assert_eq!(request(query), None, "{query}");
        }
        assert_eq!(ListRequest::of(&Method::HEAD, &Query::default()), None);
        let rolled = request("prefix=a%2F&delimiter=%2F").unwrap();
        assert_eq!(rolled.common_prefix("a/b/c"), Some("a/b/"));
        assert_eq!(rolled.common_prefix("a/b"), None);
        assert_eq!(request("prefix=a").unwrap().common_prefix("a/b/c"), None);
    }
}
