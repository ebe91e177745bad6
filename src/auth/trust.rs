//! The `trust` mode: whoever can connect may do what hotset's own keys may (R20), narrowed by
//! `auth.writes` and `auth.buckets`; web pages may not unless they are listed (R39).

use http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::{AllowedOrigins, AuthConfig};
use crate::s3::{Parsed, Query, RequestHead, S3Error};

const COPY_SOURCE: HeaderName = HeaderName::from_static("x-amz-copy-source");

/// Decides by `auth.origins`, `auth.writes` and `auth.buckets`.
#[derive(Debug)]
pub struct Trust {
    writes: bool,
    buckets: Option<Vec<String>>,
    origins: AllowedOrigins,
}

impl Trust {
    pub fn new(config: &AuthConfig) -> Self {
        let origins = AllowedOrigins::new(&config.origins);
        Self { writes: config.writes, buckets: config.buckets.clone(), origins }
    }

    /// Lets a request through, or not.
    ///
    /// # Errors
    /// `AccessDenied`, naming the key that refused.
    pub fn authorize(&self, head: &RequestHead<'_>, parsed: &Parsed) -> Result<(), S3Error> {
        // What a page may do is then asked by the request itself; its preflight is answered by the origin, unsigned.
        if !head.is_preflight() {
            self.origins.check(head.method, head.headers)?;
        }
        let reads = matches!(*head.method, Method::GET | Method::HEAD | Method::OPTIONS);
        if !reads && !self.writes {
            return Err(denied("auth.writes is false"));
        }
        let Some(allowed) = &self.buckets else { return Ok(()) };
        let Some(bucket) = &parsed.bucket else {
            return Err(denied("auth.buckets allows no request without a bucket"));
        };
        let copied = copy_source_buckets(head.headers, &parsed.query);
        let mut touched = std::iter::once(bucket.as_str()).chain(copied.iter().map(String::as_str));
        match touched.all(|name| allowed.iter().any(|a| a == name)) {
            true => Ok(()),
            false => Err(denied("the bucket is not in auth.buckets")),
        }
    }
}

/// The buckets that a copy reads (R21): its source is in the headers, or in the query by a presigner's hand.
fn copy_source_buckets(headers: &HeaderMap, query: &Query) -> Vec<String> {
    let hoisted = query.iter().filter(|(name, _)| name.eq_ignore_ascii_case(COPY_SOURCE.as_str()));
    let hoisted = hoisted.map(|(_, value)| value.unwrap_or_default().as_bytes());
    let sources = headers.get_all(COPY_SOURCE).iter().map(HeaderValue::as_bytes).chain(hoisted);
    let bucket = |source: &[u8]| {
        let source = percent_encoding::percent_decode(source).decode_utf8_lossy();
        source.trim_start_matches('/').split('/').next().unwrap_or_default().to_owned()
    };
    sources.map(bucket).collect()
}

fn denied(why: &'static str) -> S3Error {
    let mut error = S3Error::access_denied();
    error.message = format!("Access Denied: {why}").into();
    error
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::s3::operation;

    fn trust(writes: bool, buckets: Option<&[&str]>) -> Trust {
        let buckets = buckets.map(|b| b.iter().map(ToString::to_string).collect());
        Trust { writes, buckets, origins: AllowedOrigins::default() }
    }

    fn code(trust: &Trust, method: &Method, target: &str, source: Option<&'static str>) -> String {
        let mut headers = HeaderMap::new();
        if let Some(source) = source {
            headers.insert(COPY_SOURCE, HeaderValue::from_static(source));
        }
        let head = RequestHead {
            method,
            raw_target: target.as_bytes(),
            host: None,
            headers: &headers,
            has_body: false,
        };
        let parsed = operation::parse(&head, &[]).unwrap();
        let refused = trust.authorize(&head, &parsed).err();
        refused.map_or(String::new(), |error| error.code.into_owned())
    }

    #[test]
    fn r20_writes_false_refuses_all_but_reads() {
        let trust = trust(false, None);
        for method in [Method::GET, Method::HEAD, Method::OPTIONS] {
            assert_eq!(code(&trust, &method, "/bucket/k", None), "");
        }
        for method in [Method::PUT, Method::DELETE, Method::POST, Method::PATCH] {
            assert_eq!(code(&trust, &method, "/bucket/k", None), "AccessDenied");
        }
    }

    #[test]
    fn r20_buckets_narrow_reads_listings_and_copy_sources() {
        let trust = trust(true, Some(&["ours"]));
        assert_eq!(code(&trust, &Method::GET, "/ours/k", None), "");
        assert_eq!(code(&trust, &Method::GET, "/theirs/k", None), "AccessDenied");
        assert_eq!(code(&trust, &Method::GET, "/", None), "AccessDenied");
        assert_eq!(code(&trust, &Method::PUT, "/ours/k", Some("/ours/k")), "");
        assert_eq!(code(&trust, &Method::PUT, "/ours/k", Some("/theirs/k")), "AccessDenied");
        let hoisted = "/ours/k?X-Amz-Copy-Source=theirs%2Fk";
        assert_eq!(code(&trust, &Method::PUT, hoisted, None), "AccessDenied");
    }
}
