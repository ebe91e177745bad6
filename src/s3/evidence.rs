//! Evidence of an object's state in a response that passes through (R34).

use std::hash::BuildHasher as _;
use std::sync::LazyLock;

use foldhash::fast::RandomState;
use http::header::{self, HeaderMap};
use http::status::StatusCode;

use super::etag::ETag;
use super::object_meta::{ObjectMeta, size_of_answer};

/// The current object of a key, or one version of it, as the origin describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Evidence {
    /// The object exists.
    Object {
        /// Without quotes; `None`: not in the response.
        etag: Option<String>,
        /// Bytes of the whole object; `None`: not in the response.
        size: Option<u64>,
    },
    /// The object does not exist.
    Absent,
}

impl Evidence {
    /// Returns the evidence in the response head of a GET or HEAD of an object; `None`: it has none.
    #[must_use]
    pub fn of_answer(status: StatusCode, headers: &HeaderMap) -> Option<Self> {
        match status {
            StatusCode::OK | StatusCode::PARTIAL_CONTENT | StatusCode::NOT_MODIFIED => {
                let etag = ETag::from_headers(headers)?;
                let etag = opaque(etag.as_header().to_str().ok()?.as_bytes());
                let etag = Some(String::from_utf8_lossy(etag).into_owned());
                // A content coding on the way changes the length.
                let plain = !headers.contains_key(header::CONTENT_ENCODING);
                let size = plain.then(|| size_of_answer(status, headers)).flatten();
                Some(Self::Object { etag, size })
            }
            StatusCode::NOT_FOUND => Some(Self::Absent),
            StatusCode::METHOD_NOT_ALLOWED if headers.contains_key("x-amz-delete-marker") => {
                Some(Self::Absent)
            }
            _ => None,
        }
    }

    /// Whether the evidence contradicts `known`; `None`: the object is cached as absent.
    #[must_use]
    pub fn contradicts(&self, known: Option<&ObjectMeta>) -> bool {
        match (self, known) {
            (Self::Object { etag, size }, Some(meta)) => {
                etag.as_ref().is_some_and(|etag| !meta.etag.weak_eq(etag))
                    || size.is_some_and(|size| size != meta.size)
            }
            (Self::Absent, Some(_)) | (Self::Object { .. }, None) => true,
            (Self::Absent, None) => false,
        }
    }

    /// Returns a hash of the evidence, stable within a process and never 0.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        match self {
            Self::Object { etag, size } => fingerprint(etag.as_deref().map(str::as_bytes), *size),
            Self::Absent => 1,
        }
    }
}

impl ObjectMeta {
    /// Returns the fingerprint of the evidence that matches this metadata.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        fingerprint(Some(self.etag.as_bytes()), Some(self.size))
    }
}

/// Returns the [`Evidence::fingerprint`] of an existing object; `etag` quoted or not.
pub(super) fn fingerprint(etag: Option<&[u8]>, size: Option<u64>) -> u64 {
    static SEED: LazyLock<RandomState> = LazyLock::new(RandomState::default);
    SEED.hash_one((etag.map(opaque), size)).max(2)
}

/// Returns the opaque part of an entity tag: weak or not, quoted or not, also with quotes escaped for XML.
pub(super) fn opaque(etag: &[u8]) -> &[u8] {
    let etag = etag.trim_ascii();
    let etag = etag.strip_prefix(b"W/").unwrap_or(etag);
    let quotes: [&[u8]; 3] = [b"&quot;", b"\"", b"&#34;"];
    let inside = |quote| etag.strip_prefix(quote)?.strip_suffix(quote);
    quotes.into_iter().find_map(inside).unwrap_or(etag)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    const DATE: &str = "Wed, 21 Oct 2015 07:28:00 GMT";

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(n, v)| (n.parse().unwrap(), HeaderValue::from_static(v))).collect()
    }

    fn meta() -> ObjectMeta {
        let answer = [("etag", "\"abc\""), ("last-modified", DATE), ("content-length", "10")];
        ObjectMeta::from_response(StatusCode::OK, &headers(&answer)).unwrap()
    }

    /// Whether a response contradicts the object above.
    fn contradicts(status: u16, pairs: &[(&'static str, &'static str)]) -> bool {
        let status = StatusCode::from_u16(status).unwrap();
        let evidence = Evidence::of_answer(status, &headers(pairs));
        evidence.is_some_and(|evidence| evidence.contradicts(Some(&meta())))
    }

    #[test]
    fn r34_another_etag_size_or_presence_contradicts_what_is_known() {
        assert!(contradicts(200, &[("etag", "\"x\""), ("content-length", "10")]));
        assert!(contradicts(200, &[("etag", "\"abc\""), ("content-length", "11")]));
        assert!(!contradicts(200, &[("etag", "\"abc\""), ("content-length", "10")]));
        assert!(contradicts(404, &[]));
        assert!(contradicts(304, &[("etag", "\"x\"")]));
        assert!(!contradicts(304, &[("etag", "\"abc\""), ("content-length", "0")]));
        for status in [200, 301, 400, 403, 405, 412, 416, 500, 503] {
            assert!(!contradicts(status, &[("content-length", "3")]), "{status}");
        }
        assert!(!contradicts(206, &[("etag", "\"abc\""), ("content-range", "bytes 0-3/10")]));
        assert!(contradicts(206, &[("etag", "\"abc\""), ("content-range", "bytes 0-3/12")]));
        let encoded = [("etag", "\"abc\""), ("content-encoding", "gzip"), ("content-length", "7")];
        assert!(!contradicts(200, &encoded));
    }

    #[test]
    fn r34_an_object_contradicts_an_absence() {
        assert!(Evidence::Object { etag: None, size: None }.contradicts(None));
        assert!(!Evidence::Absent.contradicts(None) && Evidence::Absent.contradicts(Some(&meta())));
    }

    #[test]
    fn a_fingerprint_ignores_how_an_etag_is_written() {
        let known = meta().fingerprint();
        for etag in ["abc", "\"abc\"", "&quot;abc&quot;", "&#34;abc&#34;", "W/\"abc\"", " abc\n"] {
            assert_eq!(fingerprint(Some(etag.as_bytes()), Some(10)), known, "{etag}");
        }
        assert_ne!(fingerprint(Some(b"abd"), Some(10)), known);
        assert_ne!(fingerprint(Some(b"abc"), Some(11)), known);
        assert_ne!(fingerprint(Some(b"abc"), None), known);
    }
}
