//! Classification of requests: reads that the cache may answer, and requests that pass through.
//!
//! By allow-list (R16): only a GET or HEAD of a key whose every query parameter and `x-amz-*` header is known not to
//! affect the bytes is a [`Read`]. All else passes through, with its possible [`Effect`] on cached objects (R8).
//! Authentication and authorization are handled elsewhere.

use http::header::{HeaderMap, HeaderName};
use http::method::Method;

use super::address::{Address, locate};
use super::error::S3Error;
use super::host::HostNames;
use super::name::{BucketName, ObjectKey};
use super::request_head::RequestHead;
use super::target::{Query, encode_path};

pub use super::effect::Effect;
pub use super::overrides::ResponseOverrides;
pub use super::read::{Read, ReadMethod};

const METHOD_OVERRIDES: [&str; 2] = ["x-http-method", "x-method-override"];

/// A parsed request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parsed {
    /// The bucket, in either style.
    pub bucket: Option<BucketName>,
    /// The key; only with a bucket.
    pub key: Option<ObjectKey>,
    /// The whole query, signature parameters included.
    pub query: Query,
    /// Whether the bucket came from the host name.
    pub virtual_hosted: bool,
    /// The operation.
    pub operation: Operation,
}

/// Operation of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// A read that the cache may answer.
    Read(Read),
    /// Anything else, with its possible effect on cached objects.
    PassThrough(Effect),
}

impl Parsed {
    /// Returns bucket and key, if both are named.
    #[must_use]
    pub fn object(&self) -> Option<(&BucketName, &ObjectKey)> {
        self.bucket.as_ref().zip(self.key.as_ref())
    }

    /// Whether the keys to delete are in the body.
    #[must_use]
    pub fn is_listed_in_body(&self) -> bool {
        matches!(self.operation, Operation::PassThrough(Effect::ListedInBody(_)))
    }

    /// Returns the encoded path for an origin addressed by path: `/bucket/key`, `/bucket` or `/`.
    #[must_use]
    pub fn path_style(&self) -> String {
        let bucket = self.bucket.as_ref().map_or("", BucketName::as_str);
        match &self.key {
            Some(key) => encode_path(&format!("/{bucket}/{key}")),
            None => encode_path(&format!("/{bucket}")),
        }
    }

    /// Returns the encoded path for an origin addressed by `bucket.host`: `/key` or `/`.
    #[must_use]
    pub fn virtual_style(&self) -> String {
        let key = self.key.as_ref().map_or("", ObjectKey::as_str);
        encode_path(&format!("/{key}"))
    }
}

/// Parses a request. `names` are those of the listener (R24).
///
/// # Errors
/// 400: `InvalidURI` (escapes, UTF-8, form), `InvalidBucketName`, `KeyTooLongError`, `InvalidRequest` (a host that is
/// not ours, or not the target's; `response-*` without a signature; a header that overrides the method) or
/// `InvalidArgument` (control bytes in `response-*`, R18).
pub fn parse(head: &RequestHead<'_>, names: &HostNames) -> Result<Parsed, S3Error> {
    let Address { bucket, key, query, virtual_hosted } = locate(head.raw_target, head.host, names)?;
    let read = match (read_method(head.method), &key) {
        (Some(method), Some(_)) => Read::understand(method, head, &query)?,
        _ => None,
    };
    let operation = match read {
        Some(read) => Operation::Read(read),
        None => {
            refuse_method_override(head.headers)?;
            Operation::PassThrough(Effect::of(head, bucket.as_ref(), key.as_ref(), &query))
        }
    };
    Ok(Parsed { bucket, key, query, virtual_hosted, operation })
}

/// Refuses headers that make some servers treat a GET as another method. S3 knows none, and authorization and
/// invalidation go by the method. Reads from the cache have none of these (R16).
fn refuse_method_override(headers: &HeaderMap) -> Result<(), S3Error> {
    let mut names = headers.keys().map(HeaderName::as_str);
    let is_override = |name: &&str| METHOD_OVERRIDES.iter().any(|start| name.starts_with(start));
    match names.find(is_override) {
        None => Ok(()),
        Some(name) => Err(S3Error::invalid_request(format!("The header {name} is not supported."))),
    }
}

fn read_method(method: &Method) -> Option<ReadMethod> {
    match *method {
        Method::GET => Some(ReadMethod::Get),
        Method::HEAD => Some(ReadMethod::Head),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(method: &str, target: &str, host: &str) -> Parsed {
        let head = RequestHead {
            method: &Method::from_bytes(method.as_bytes()).unwrap(),
            raw_target: target.as_bytes(),
            host: Some(host),
            headers: &HeaderMap::new(),
            has_body: false,
        };
        parse(&head, &HostNames::private(vec!["s3.local".to_owned()])).unwrap()
    }

    #[test]
    fn a_get_or_head_of_a_key_is_a_read_in_both_styles() {
        for (method, expected) in [("GET", ReadMethod::Get), ("HEAD", ReadMethod::Head)] {
            for (target, host) in [("/bkt/a//b", "localhost"), ("/a//b", "bkt.s3.local")] {
                let at = parsed(method, target, host);
                let (bucket, key) = at.object().unwrap();
                assert_eq!((bucket.as_str(), key.as_str()), ("bkt", "a//b"));
                match at.operation {
                    Operation::Read(read) => assert_eq!(read.method, expected),
                    other @ Operation::PassThrough(_) => panic!("{other:?}"),
                }
            }
        }
    }

    #[test]
    fn a_request_without_a_key_is_passed_through() {
        for target in ["/", "/bkt", "/bkt/", "/bkt?list-type=2", "/?x-id=ListBuckets"] {
            for method in ["GET", "HEAD", "OPTIONS"] {
                let at = parsed(method, target, "localhost");
                assert_eq!(at.operation, Operation::PassThrough(Effect::None), "{target}");
                assert_eq!(at.object(), None);
            }
        }
    }

    #[test]
    fn r16_a_query_that_is_not_allowed_passes_through() {
        for query in ["acl", "tagging", "annotation"] {
            let at = parsed("GET", &format!("/bkt/k?{query}"), "localhost");
            assert_eq!(at.operation, Operation::PassThrough(Effect::None), "{query}");
            assert!(!at.query.is_empty());
        }
    }

    #[test]
    fn r21_a_header_that_overrides_the_method_is_refused() {
        for name in ["x-http-method", "x-http-method-override", "x-method-override"] {
            let headers =
                HeaderMap::from_iter([(name.parse().unwrap(), "DELETE".parse().unwrap())]);
            for (method, target) in [("GET", "/bkt/k"), ("POST", "/bkt/k"), ("GET", "/bkt")] {
                let head = RequestHead {
                    method: &method.parse().unwrap(),
                    raw_target: target.as_bytes(),
                    host: None,
                    headers: &headers,
                    has_body: false,
                };
                let error = parse(&head, &HostNames::default()).unwrap_err();
                assert_eq!((error.status.as_u16(), &*error.code), (400, "InvalidRequest"));
            }
        }
    }

    #[test]
    fn methods_are_case_sensitive_and_unknown_ones_are_writes() {
        for method in ["get", "PUT", "DELETE", "POST", "PATCH", "APPEND", "TRACE"] {
            match parsed(method, "/bkt/k", "localhost").operation {
                Operation::PassThrough(Effect::Objects(objects)) => assert_eq!(objects.len(), 1),
                other => panic!("{method} {other:?}"),
            }
        }
    }

    #[test]
    fn the_path_for_the_origin_is_written_in_either_style() {
        let at = parsed("GET", "/bkt/a//b%20c/..", "localhost");
        assert_eq!(at.path_style(), "/bkt/a//b%20c/..");
        assert_eq!(at.virtual_style(), "/a//b%20c/..");
        let at = parsed("GET", "//b+c", "bkt.s3.local");
        assert_eq!(at.path_style(), "/bkt//b%2Bc");
        assert_eq!(at.virtual_style(), "//b%2Bc");
        assert_eq!(parsed("GET", "/bkt/", "localhost").path_style(), "/bkt");
        assert_eq!(parsed("GET", "/bkt/", "localhost").virtual_style(), "/");
        assert_eq!(parsed("GET", "/", "localhost").path_style(), "/");
    }
}
