//! `listen[].path_prefix`: hotset below a path of an ingress.
//!
//! An ingress passes `/s3/bucket/key` on as it is, or cuts `/s3` off; the client signed it either way. A prefix is
//! removed before the request is parsed, and the verifier tries both paths. So that a path means one object whoever
//! signed it, no request may name a bucket that equals the first segment of a prefix.

use http::Uri;
use http::header::{HeaderValue, LOCATION};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::{ErrorType, OrErr as _, Result};

use crate::s3::{BucketName, without_prefix};

/// Path prefix of one listener, and the bucket names that all prefixes reserve.
#[derive(Debug, Clone, Default)]
pub struct PathPrefix {
    own: Option<String>,
    /// First segments of the prefixes of all listeners.
    reserved: Vec<String>,
}

impl PathPrefix {
    /// Makes the prefix of a listener; `own` is its prefix, `all` are those of all listeners.
    pub fn new<'a>(own: Option<&str>, all: impl Iterator<Item = &'a str>) -> Self {
        let first = |prefix: &str| prefix.split('/').nth(1).unwrap_or_default().to_owned();
        Self { own: own.map(str::to_owned), reserved: all.map(first).collect() }
    }

    /// Returns a request target without the prefix; `None`: it does not begin with the prefix.
    pub(super) fn cut(&self, raw_target: &[u8]) -> Option<Vec<u8>> {
        without_prefix(raw_target, self.own.as_deref()?)
    }

    /// Removes the prefix from a request's head.
    pub(super) fn cut_head(&self, head: &mut RequestHeader) -> Result<()> {
        let Some(target) = self.cut(head.raw_path()) else { return Ok(()) };
        if head.uri.authority().is_none() {
            return head.set_raw_path(&target);
        }
        // Over HTTP/2 the URI contains the host.
        let mut parts = head.uri.clone().into_parts();
        let path = target.as_slice().try_into();
        parts.path_and_query = Some(path.or_err(ErrorType::InvalidHTTPHeader, "path_prefix")?);
        let uri = Uri::from_parts(parts).or_err(ErrorType::InvalidHTTPHeader, "path_prefix")?;
        head.set_uri(uri);
        Ok(())
    }

    /// Adds the prefix to the path of a `Location` header.
    pub(super) fn restore_location(&self, head: &mut ResponseHeader) -> Result<()> {
        let location = head.headers.get(LOCATION).and_then(|location| location.to_str().ok());
        let Some((prefix, path)) = self.own.as_deref().zip(location) else { return Ok(()) };
        if !path.starts_with('/') || path.starts_with("//") {
            return Ok(());
        }
        let location = HeaderValue::from_str(&format!("{prefix}{path}"));
        head.insert_header(LOCATION, location.or_err(ErrorType::InvalidHTTPHeader, "path_prefix")?)
    }

    /// Whether a bucket of this name could not be distinguished from a prefix.
    pub(super) fn is_reserved(&self, bucket: &BucketName) -> bool {
        self.reserved.iter().any(|first| first == bucket.as_str())
    }
}
