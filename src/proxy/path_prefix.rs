//! `listen[].path_prefix`: hotset below a path of an ingress.
//!
//! An ingress passes `/s3/bucket/key` on as it is, or cuts `/s3` off; the client signed it either way. What comes with the
//! prefix loses it before anything is understood, and the verifier tries both paths. So that a path means one object
//! whoever signed it, no request may name a bucket as the prefix begins.

use http::Uri;
use http::header::{HeaderValue, LOCATION};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::{ErrorType, OrErr as _, Result};

use super::Gateway;
use crate::s3::{Parsed, RequestHead, S3Error, operation, without_prefix};

/// What paths begin with at one listener.
#[derive(Debug, Clone, Default)]
pub struct PathPrefix {
    own: Option<String>,
    /// First segments of the prefixes of all listeners.
    reserved: Vec<String>,
}

impl PathPrefix {
    /// `own`: of this listener; `all`: of all of them.
    pub fn new<'a>(own: Option<&str>, all: impl Iterator<Item = &'a str>) -> Self {
        let first = |prefix: &str| prefix.split('/').nth(1).unwrap_or_default().to_owned();
        Self { own: own.map(str::to_owned), reserved: all.map(first).collect() }
    }

    /// The target of a request without the prefix; `None`: it does not begin with it.
    pub(super) fn cut(&self, raw_target: &[u8]) -> Option<Vec<u8>> {
        without_prefix(raw_target, self.own.as_deref()?)
    }

    /// Cuts the prefix off a request's head.
    pub(super) fn cut_head(&self, head: &mut RequestHeader) -> Result<()> {
        let Some(target) = self.cut(head.raw_path()) else { return Ok(()) };
        if head.uri.authority().is_none() {
            return head.set_raw_path(&target);
        }
        // HTTP/2: the host stands in there.
        let mut parts = head.uri.clone().into_parts();
        let path = target.as_slice().try_into();
        parts.path_and_query = Some(path.or_err(ErrorType::InvalidHTTPHeader, "path_prefix")?);
        let uri = Uri::from_parts(parts).or_err(ErrorType::InvalidHTTPHeader, "path_prefix")?;
        head.set_uri(uri);
        Ok(())
    }

    /// Puts the prefix before the path that an answer sends its client to.
    pub(super) fn restore_location(&self, head: &mut ResponseHeader) -> Result<()> {
        let location = head.headers.get(LOCATION).and_then(|location| location.to_str().ok());
        let Some((prefix, path)) = self.own.as_deref().zip(location) else { return Ok(()) };
        if !path.starts_with('/') || path.starts_with("//") {
            return Ok(());
        }
        let location = HeaderValue::from_str(&format!("{prefix}{path}"));
        head.insert_header(LOCATION, location.or_err(ErrorType::InvalidHTTPHeader, "path_prefix")?)
    }
}

impl Gateway {
    /// Parses a request whose prefix is cut off.
    pub(super) fn parse(&self, head: &RequestHead<'_>) -> Result<Parsed, S3Error> {
        let parsed = operation::parse(head, &self.host_names)?;
        let is_reserved = |name: &str| self.path_prefix.reserved.iter().any(|other| other == name);
        match parsed.bucket.as_ref().filter(|bucket| is_reserved(bucket.as_str())) {
            Some(bucket) => {
                let message =
                    format!("{bucket} is a path_prefix here, and no bucket can be named so.");
                Err(S3Error::invalid_request(message))
            }
            None => Ok(parsed),
        }
    }
}
