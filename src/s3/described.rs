//! Response headers that describe the object, and may be cached and replayed (R13).
//!
//! An allow-list, with one prefix (`x-amz-`) and its exceptions that belong to a single response: headers added by a
//! proxy, a browser rule or the connection are never replayed to others. Checksums are kept apart, since they are valid
//! for the whole object only.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use super::etag::ETag;
use super::field::is_connection_option;

/// Headers outside `x-amz-*` that describe the object and are replayed.
const KEPT: [HeaderName; 9] = [
    header::ETAG,
    header::LAST_MODIFIED,
    header::ACCEPT_RANGES,
    header::CONTENT_TYPE,
    header::CONTENT_ENCODING,
    header::CONTENT_LANGUAGE,
    header::CONTENT_DISPOSITION,
    header::CACHE_CONTROL,
    header::EXPIRES,
];

/// `x-amz-*` headers that belong to a single response or request.
const NOT_OF_THE_OBJECT: [&str; 8] = [
    "x-amz-request-id",
    "x-amz-id-2",
    "x-amz-cf-id",
    "x-amz-cf-pop",
    "x-amz-request-charged",
    "x-amz-mp-parts-count",
    "x-amz-delete-marker",
    "x-amz-trailer",
];

const CHECKSUM_PREFIX: &str = "x-amz-checksum-";

/// Returns the whole object's checksums, if the response can contain them.
///
/// S3 gives the *part's* value when a range equals a part, so a 206 is believed only when it
/// covers the whole object and the object is not a one-part upload, whose part is just as large.
pub(super) fn checksums_of_the_whole(
    headers: &HeaderMap,
    etag: &ETag,
    whole: bool,
    ranged: bool,
) -> Option<Vec<(HeaderName, HeaderValue)>> {
    if !whole || (ranged && etag.part_count() == Some(1)) {
        return None;
    }
    let found = checksums(headers);
    if ranged && found.is_empty() { None } else { Some(found) }
}

/// Returns the checksums in a response, of an object or a part.
pub(super) fn checksums(headers: &HeaderMap) -> Vec<(HeaderName, HeaderValue)> {
    let named = |name: &HeaderName| name.as_str().starts_with(CHECKSUM_PREFIX);
    headers.iter().filter(|(name, _)| named(name)).map(own).collect()
}

/// Returns the headers that describe the object.
pub(super) fn described(headers: &HeaderMap) -> Vec<(HeaderName, HeaderValue)> {
    let hop_by_hop = |name: &HeaderName| is_connection_option(headers, name);
    headers.iter().filter(|(name, _)| describes(name) && !hop_by_hop(name)).map(own).collect()
}

/// Returns the headers of a response that do not belong to it alone (R13) and may be replayed.
#[must_use]
pub fn described_headers(headers: &HeaderMap) -> Vec<(HeaderName, HeaderValue)> {
    described(headers)
}

fn describes(name: &HeaderName) -> bool {
    let text = name.as_str();
    if !text.starts_with("x-amz-") {
        return KEPT.contains(name);
    }
    !text.starts_with(CHECKSUM_PREFIX) && !NOT_OF_THE_OBJECT.contains(&text)
}

/// Whether a `Cache-Control` contains `no-store` or `private`, with or without field names.
pub(super) fn forbids_storing(headers: &HeaderMap) -> bool {
    list_members(headers, &header::CACHE_CONTROL).any(|directive| {
        let (name, _) = name_and_value(directive);
        name.eq_ignore_ascii_case("no-store") || name.eq_ignore_ascii_case("private")
    })
}

/// Whether the lines of a `Cache-Control` contain `no-cache`, with or without field names, or `max-age=0`. A shared
/// cache uses `s-maxage` in place of `max-age` (RFC 9111, section 5.2.2.10).
pub(super) fn requires_validation<'a>(lines: impl Iterator<Item = &'a HeaderValue>) -> bool {
    let (mut no_cache, mut max_age, mut s_maxage) = (false, None, None);
    for (name, value) in members(lines).map(name_and_value) {
        let is_zero = !value.is_empty() && value.bytes().all(|digit| digit == b'0');
        match name {
            name if name.eq_ignore_ascii_case("no-cache") => no_cache = true,
            name if name.eq_ignore_ascii_case("max-age") => max_age = Some(is_zero),
            name if name.eq_ignore_ascii_case("s-maxage") => s_maxage = Some(is_zero),
            _ => {}
        }
    }
    no_cache || s_maxage.or(max_age).unwrap_or_default()
}

/// Splits a directive into name and value; the value is without quotes, and empty if there is none.
fn name_and_value(directive: &str) -> (&str, &str) {
    let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
    (name.trim(), value.trim().trim_matches('"'))
}

/// Returns the members of a comma-separated header, over all its lines.
fn list_members<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> impl Iterator<Item = &'a str> + use<'a> {
    members(headers.get_all(name).into_iter())
}

fn members<'a>(lines: impl Iterator<Item = &'a HeaderValue>) -> impl Iterator<Item = &'a str> {
    let lines = lines.filter_map(|line| {
        // An object's Cache-Control is its owner's text: bytes outside UTF-8 end what we read.
        let bytes = line.as_bytes();
        let valid = bytes.utf8_chunks().next()?.valid();
        Some(valid)
    });
    lines.flat_map(|line| line.split(',')).map(str::trim)
}

fn own((name, value): (&HeaderName, &HeaderValue)) -> (HeaderName, HeaderValue) {
    let name = HeaderName::from_bytes(name.as_str().as_bytes())
        .expect("a header's name is valid as a header's name");
    (name, own_value(value))
}

/// Copies a value into memory of its own: a parsed value is a view that keeps the connection's whole read buffer alive,
/// and metadata is kept for long and by the million.
pub(super) fn own_value(value: &HeaderValue) -> HeaderValue {
    HeaderValue::from_bytes(value.as_bytes())
        .expect("a header's value is valid as a header's value")
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATE: &str = "Wed, 21 Oct 2015 07:28:00 GMT";
    type Pairs = [(&'static str, &'static str)];

    fn headers(pairs: &Pairs) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(*name, HeaderValue::from_static(value));
        }
        map
    }

    fn checksums(
        pairs: &Pairs,
        etag: &'static str,
        whole: bool,
        ranged: bool,
    ) -> Option<Vec<(HeaderName, HeaderValue)>> {
        let etag = ETag::new(HeaderValue::from_static(etag));
        checksums_of_the_whole(&headers(pairs), &etag, whole, ranged)
    }

    fn names(pairs: &[(HeaderName, HeaderValue)]) -> Vec<&str> {
        let mut names: Vec<_> = pairs.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn what_describes_the_object_is_replayed() {
        let kept = [
            ("accept-ranges", "bytes"),
            ("cache-control", "max-age=60"),
            ("content-disposition", "inline"),
            ("content-encoding", "gzip"),
            ("content-language", "en"),
            ("content-type", "text/plain"),
            ("etag", "\"abc\""),
            ("expires", "whenever"),
            ("last-modified", DATE),
            ("x-amz-expiration", "x"),
            ("x-amz-meta-color", "blue"),
            ("x-amz-missing-meta", "1"),
            ("x-amz-object-lock-mode", "COMPLIANCE"),
            ("x-amz-server-side-encryption", "AES256"),
            ("x-amz-storage-class", "GLACIER_IR"),
            ("x-amz-tagging-count", "2"),
            ("x-amz-version-id", "null"),
            ("x-amz-website-redirect-location", "/x"),
        ];
        let described = described(&headers(&kept));
        assert_eq!(names(&described), kept.map(|(name, _)| name));
        for (name, value) in kept {
            assert!(described.iter().any(|(n, v)| n == name && v == value), "{name}");
        }
    }

    #[test]
    fn r13_what_belongs_to_one_answer_is_never_stored() {
        let dropped = [
            ("access-control-allow-origin", "*"),
            ("access-control-expose-headers", "etag"),
            ("age", "3"),
            ("connection", "close, x-amz-hop"),
            ("date", DATE),
            ("keep-alive", "timeout=5"),
            ("server", "s"),
            ("set-cookie", "a=b"),
            ("strict-transport-security", "max-age=1"),
            ("trailer", "x"),
            ("upgrade", "h2c"),
            ("vary", "Origin"),
            ("via", "1.1 x"),
            ("x-amz-cf-id", "c"),
            ("x-amz-hop", "named by Connection"),
            ("x-amz-id-2", "i"),
            ("x-amz-mp-parts-count", "3"),
            ("x-amz-request-charged", "requester"),
            ("x-amz-request-id", "r"),
        ];
        assert_eq!(described(&headers(&dropped)), []);
    }

    #[test]
    fn the_whole_objects_checksums_are_kept_apart_from_the_replayed_headers() {
        let sums = [("x-amz-checksum-crc32", "AAAAAA=="), ("x-amz-checksum-type", "FULL_OBJECT")];
        assert_eq!(described(&headers(&sums)), []);
        let kept = checksums(&sums, "\"abc\"", true, false).unwrap();
        assert_eq!(names(&kept), ["x-amz-checksum-crc32", "x-amz-checksum-type"]);
        assert_eq!(checksums(&[], "\"abc\"", true, false), Some(vec![]));
    }

    #[test]
    fn a_ranges_checksum_is_never_taken_for_the_whole_objects() {
        let sums = [("x-amz-checksum-crc32", "AAAAAA==")];
        assert_eq!(checksums(&sums, "\"abc\"", false, true), None);
        assert_eq!(checksums(&[], "\"abc\"", true, true), None);
        assert_eq!(checksums(&sums, "\"abc-1\"", true, true), None);
        for etag in ["\"abc\"", "\"abc-2\""] {
            assert_eq!(checksums(&sums, etag, true, true).unwrap().len(), 1, "{etag}");
        }
    }

    #[test]
    fn r13_no_store_and_private_are_seen_in_every_spelling() {
        let forbids = |value| forbids_storing(&headers(&[("cache-control", value)]));
        for value in ["no-store", "No-Store", "max-age=1, private", "private=\"x\"", "a , no-store"]
        {
            assert!(forbids(value), "{value}");
        }
        for value in ["no-cache", "public, max-age=60", "x-private", "", "privately"] {
            assert!(!forbids(value), "{value}");
        }
        let lines = [("cache-control", "a"), ("cache-control", "no-store")];
        assert!(forbids_storing(&headers(&lines)));
        assert!(!forbids_storing(&HeaderMap::new()));
    }
}
