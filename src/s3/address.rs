//! Bucket and key of a request, from its raw target and its `Host` header (R24).
//!
//! A name is taken from the wire exactly once. The target is read as it was sent, never as some
//! library normalised it, so `//`, `.` and `..` stay in the key; and where request line and Host
//! disagree about the host, or a reader could disagree with us about the target, it is refused.

use super::error::S3Error;
use super::host::{Host, HostNames, bucket_name};
use super::name::{BucketName, InvalidName, ObjectKey};
use super::target::{Query, decode};

/// Bucket and key of a request, from its request line and `Host`.
#[derive(Debug)]
pub(super) struct Address {
    pub bucket: Option<BucketName>,
    pub key: Option<ObjectKey>,
    pub query: Query,
    pub virtual_hosted: bool,
}

/// Reads a target (origin-form, absolute-form or `*`) and a Host header.
pub(super) fn locate(
    raw_target: &[u8],
    host: Option<&str>,
    names: &HostNames,
) -> Result<Address, S3Error> {
    let target = Target::split(raw_target)?;
    let host = match (host, target.authority) {
        (Some(host), authority) => {
            let host = Host::parse(host).ok_or_else(|| Host::malformed(host))?;
            if authority.is_some_and(|absolute| !absolute.is_same_place(&host)) {
                let message = "The host in the request line differs from the Host header.";
                return Err(S3Error::invalid_request(message));
            }
            Some(host)
        }
        (None, Some(absolute)) => Some(absolute.host),
        (None, None) => None,
    };
    let bucket_of_host = match &host {
        Some(host) => names.bucket(host)?,
        None => None,
    };
    let query = Query::parse(target.query)?;
    let path = target.path.strip_prefix('/').unwrap_or_default();
    let virtual_hosted = bucket_of_host.is_some();
    let (bucket, raw_key) = match bucket_of_host {
        Some(bucket) => (Some(bucket), path),
        None if path.is_empty() => (None, ""),
        None => {
            let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
            (Some(bucket_name(&decode(bucket.as_bytes())?)?), key)
        }
    };
    Ok(Address { bucket, key: object_key(raw_key)?, query, virtual_hosted })
}

fn object_key(raw: &str) -> Result<Option<ObjectKey>, S3Error> {
    match ObjectKey::new(&decode(raw.as_bytes())?) {
        Ok(key) => Ok(Some(key)),
        Err(InvalidName::TooLong { length, max }) => Err(S3Error::key_too_long(length, max)),
        Err(_) => Ok(None),
    }
}

/// Returns the path of a request target as it was sent, still encoded.
///
/// # Errors
/// 400 `InvalidURI` as [`parse`](super::operation::parse).
pub fn raw_path(raw_target: &[u8]) -> Result<&str, S3Error> {
    Target::split(raw_target).map(|target| target.path)
}

/// Returns a target in origin-form (RFC 9112, section 3.2.1): path and query, encoded as they were sent.
///
/// # Errors
/// 400 `InvalidURI` as [`parse`](super::operation::parse).
pub fn origin_form(raw_target: &[u8]) -> Result<String, S3Error> {
    let Target { path, query, .. } = Target::split(raw_target)?;
    let mark = if raw_target.contains(&b'?') { "?" } else { "" };
    Ok(format!("{path}{mark}{query}"))
}

/// Removes a prefix such as `/s3` from the path of a request target; `None`: the path does not begin with it as whole
/// segments.
pub fn without_prefix(raw_target: &[u8], prefix: &str) -> Option<Vec<u8>> {
    // In an absolute form the path begins after the authority.
    let text = std::str::from_utf8(raw_target).ok()?;
    let start = match text.starts_with('/') {
        true => 0,
        false => {
            let authority = text.find("://")? + 3;
            authority + text[authority..].find('/')?
        }
    };
    let rest = text[start..].strip_prefix(prefix)?;
    let slash = match rest.bytes().next() {
        Some(b'/') => "",
        None | Some(b'?') => "/",
        Some(_) => return None,
    };
    Some([&text[..start], slash, rest].concat().into_bytes())
}

/// The parts of a request target, still encoded.
struct Target<'a> {
    authority: Option<Authority<'a>>,
    path: &'a str,
    query: &'a str,
}

impl<'a> Target<'a> {
    fn split(raw: &'a [u8]) -> Result<Self, S3Error> {
        let text = std::str::from_utf8(raw).map_err(|_| S3Error::invalid_uri())?;
        // A fragment is never sent (RFC 9112 section 3.2), and readers differ on where it ends.
        if text.bytes().any(|b| b <= b' ' || b == 0x7F || b == b'#') {
            return Err(S3Error::invalid_uri());
        }
        let (target, query) = text.split_once('?').unwrap_or((text, ""));
        let (authority, path) = match target {
            "*" => (None, "/"),
            _ if target.starts_with('/') => (None, target),
            _ => {
                let (authority, path) = absolute(target).ok_or_else(S3Error::invalid_uri)?;
                (Some(authority), path)
            }
        };
        Ok(Target { authority, path, query })
    }
}

/// Splits `http://authority/path` into authority and path.
fn absolute(target: &str) -> Option<(Authority<'_>, &str)> {
    let (scheme, rest) = target.split_once("://")?;
    let default_port = match scheme {
        _ if scheme.eq_ignore_ascii_case("http") => 80,
        _ if scheme.eq_ignore_ascii_case("https") => 443,
        _ => return None,
    };
    let (authority, path) = match rest.find('/') {
        Some(at) => rest.split_at(at),
        None => (rest, "/"),
    };
    Some((Authority { host: Host::parse(authority)?, default_port }, path))
}

/// The host of an absolute target, and the default port of its scheme.
struct Authority<'a> {
    host: Host<'a>,
    default_port: u16,
}

impl Authority<'_> {
    /// Whether both name the same host and port, as `http://a:80/` and `Host: a` do.
    fn is_same_place(&self, other: &Host<'_>) -> bool {
        let port = |host: &Host<'_>| host.port.unwrap_or(self.default_port);
        self.host.name == other.name && port(&self.host) == port(other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(target: &str, host: Option<&str>) -> Result<Address, S3Error> {
        let domains = ["s3.local", "EU.s3.local.", "example.org"].map(str::to_owned);
        locate(target.as_bytes(), host, &HostNames::private(domains.into()))
    }

    /// Returns bucket and key of a request to a host.
    fn names(target: &str, host: &str) -> (Option<String>, Option<String>) {
        let at = with(target, Some(host)).unwrap();
        (at.bucket.map(|b| b.to_string()), at.key.map(|k| k.to_string()))
    }

    fn both(bucket: &str, key: &str) -> (Option<String>, Option<String>) {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        (some(bucket), some(key))
    }

    fn code(target: &str, host: Option<&str>) -> String {
        let error = with(target, host).unwrap_err();
        assert_eq!(error.status, 400);
        error.code.into_owned()
    }

    #[test]
    fn a_prefix_is_cut_off_where_it_is_a_whole_segment() {
        let cut = |target: &str| {
            without_prefix(target.as_bytes(), "/s3").map(|cut| String::from_utf8(cut).unwrap())
        };
        assert_eq!(cut("/s3/bkt/k?x=/s3/y").as_deref(), Some("/bkt/k?x=/s3/y"));
        assert_eq!(cut("/s3").as_deref(), Some("/"));
        assert_eq!(cut("/s3?location").as_deref(), Some("/?location"));
        assert_eq!(cut("http://h:1/s3/bkt").as_deref(), Some("http://h:1/bkt"));
        for target in ["/s3x/bkt", "/bkt/s3/k", "*", "/", "http://h"] {
            assert_eq!(cut(target), None, "{target}");
        }
    }

    #[test]
    fn path_style_is_bucket_then_key() {
        assert_eq!(names("/", "localhost"), both("", ""));
        assert_eq!(names("/bkt", "localhost"), both("bkt", ""));
        assert_eq!(names("/bkt/", "localhost"), both("bkt", ""));
        assert_eq!(names("/bkt?list-type=2", "localhost"), both("bkt", ""));
        assert_eq!(names("/bkt/k", "localhost"), both("bkt", "k"));
        assert_eq!(names("/bkt/a/b/", "localhost"), both("bkt", "a/b/"));
        assert_eq!(names("*", "localhost"), both("", ""));
    }

    #[test]
    fn keys_are_decoded_once_and_never_normalised() {
        assert_eq!(names("/bkt//k", "localhost"), both("bkt", "/k"));
        assert_eq!(names("/bkt/a//b", "localhost"), both("bkt", "a//b"));
        assert_eq!(names("/bkt/./a/../b", "localhost"), both("bkt", "./a/../b"));
        assert_eq!(names("/bkt/..", "localhost"), both("bkt", ".."));
        assert_eq!(names("/bkt/a%2Fb%252F+%C3%BC%20", "localhost"), both("bkt", "a/b%2F+ü "));
        assert_eq!(names("/bkt/ü", "localhost"), both("bkt", "ü"));
        assert_eq!(names("/b%6Bt/k", "localhost"), both("bkt", "k"));
        assert_eq!(names("/bkt/a://b?c", "localhost"), both("bkt", "a://b"));
    }

    #[test]
    fn the_query_is_what_follows_the_first_question_mark() {
        let at = with("/bkt/k%3F?a=b?c&d", Some("localhost")).unwrap();
        assert_eq!(at.key.unwrap().as_str(), "k?");
        assert_eq!((at.query.get("a"), at.query.get("d")), (Some("b?c"), Some("")));
    }

    #[test]
    fn a_target_that_cannot_be_read_is_a_400() {
        for target in [
            "",
            "bkt/k",
            "host:80",
            "/bkt/%",
            "/bkt/%zz",
            "/bkt/%FF",
            "/bkt/k?a=%z",
            "/bkt/a b",
            "/bkt/a#b",
            "/bkt/a\tb",
            "/bkt/\u{7F}",
            "ftp://s3.local/bkt",
            "http:///bkt/k",
            "http://u@s3.local/bkt",
            "://s3.local/",
            "/%FF/k",
        ] {
            assert_eq!(code(target, Some("s3.local")), "InvalidURI", "{target:?}");
        }
        let raw = locate(b"/bkt/\xFF", None, &HostNames::default()).unwrap_err();
        assert_eq!(raw.code, "InvalidURI");
    }

    #[test]
    fn a_name_that_no_bucket_has_is_a_400() {
        for target in ["//k", "/a/k", "/a%2Fb/k", "/b%20t/k", "/../etc", "/.../k", "/b%C3%BCt"] {
            assert_eq!(code(target, Some("localhost")), "InvalidBucketName", "{target}");
        }
    }

    #[test]
    fn a_key_of_more_than_1024_bytes_is_a_400() {
        let target = |bytes: usize| format!("/bkt/{}", "%41".repeat(bytes));
        assert!(with(&target(1024), Some("localhost")).is_ok());
        assert_eq!(code(&target(1025), Some("localhost")), "KeyTooLongError");
    }

    #[test]
    fn r24_a_virtual_hosted_path_is_all_key() {
        assert_eq!(names("/a//b", "bkt.s3.local"), both("bkt", "a//b"));
        assert_eq!(names("/", "my.old.bkt.s3.local"), both("my.old.bkt", ""));
        assert_eq!(names("//", "bkt.example.org"), both("bkt", "/"));
        assert!(with("/k", Some("bkt.s3.local")).unwrap().virtual_hosted);
        assert!(!with("/bkt/k", Some("[::1]:9000")).unwrap().virtual_hosted);
        assert_eq!(code("/bkt/k", Some("evil.example")), "InvalidRequest");
        assert_eq!(code("/k", Some("a.s3.local")), "InvalidBucketName");
    }

    #[test]
    fn r24_without_a_host_header_it_is_path_style() {
        let at = with("/bkt/k", None).unwrap();
        assert_eq!((at.bucket.unwrap().as_str(), at.virtual_hosted), ("bkt", false));
    }

    #[test]
    fn r24_scheme_and_authority_of_an_absolute_target_are_stripped() {
        assert_eq!(names("http://s3.local/bkt/a//b?x", "s3.local"), both("bkt", "a//b"));
        assert_eq!(names("HTTP://127.0.0.1:9000/bkt/k", "127.0.0.1:9000"), both("bkt", "k"));
        assert_eq!(names("http://bkt.s3.local/k", "BKT.s3.local"), both("bkt", "k"));
        assert_eq!(names("http://s3.local", "s3.local"), both("", ""));
        assert_eq!(names("http://s3.local?x=/y", "s3.local"), both("", ""));
        assert_eq!(names("http://[::1]:9000/bkt/k", "[::1]:9000"), both("bkt", "k"));
    }

    #[test]
    fn r24_an_absolute_target_must_agree_with_host() {
        assert_eq!(names("http://s3.local:80/bkt/k", "s3.local"), both("bkt", "k"));
        assert_eq!(names("https://s3.local/bkt/k", "s3.local:443"), both("bkt", "k"));
        for (target, host) in [
            ("http://bkt.s3.local/k", "other.s3.local"),
            ("http://s3.local/bkt/k", "bkt.s3.local"),
            ("http://127.0.0.1/bkt/k", "localhost"),
            ("http://s3.local:9000/bkt/k", "s3.local"),
            ("http://s3.local/bkt/k", "s3.local:9000"),
            ("http://evil.example/bkt/k", "s3.local"),
        ] {
            assert_eq!(code(target, Some(host)), "InvalidRequest", "{target} {host}");
        }
    }

    #[test]
    fn r24_without_a_host_header_the_absolute_targets_authority_counts() {
        let at = with("http://bkt.s3.local/k", None).unwrap();
        assert!(at.virtual_hosted);
        assert_eq!(code("http://evil.example/bkt/k", None), "InvalidRequest");
    }
}
