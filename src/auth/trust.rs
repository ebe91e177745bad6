//! The `trust` mode: every client may do what hotset's own keys may (R20), restricted by `auth.writes`, `auth.buckets`
//! and `auth.reserved`; web pages are refused unless they are listed (R39).

use std::fmt::Display;

use http::{HeaderMap, Method};

use super::{AllowedOrigins, AuthConfig, ReservedNames};
use crate::s3::{
    BucketName, ObjectKey, Parsed, RequestHead, RequiredPermissions, Resource, S3Error,
};

/// Authorises by `auth.origins`, `auth.writes`, `auth.buckets` and `auth.reserved`.
#[derive(Debug)]
pub struct Trust {
    writes: bool,
    buckets: Option<Vec<String>>,
    origins: AllowedOrigins,
    reserved: ReservedNames,
}

impl Trust {
    pub fn new(config: &AuthConfig, reserved: ReservedNames) -> Self {
        let origins = AllowedOrigins::new(&config.origins);
        Self { writes: config.writes, buckets: config.buckets.clone(), origins, reserved }
    }

    /// Authorises a request.
    ///
    /// # Errors
    /// `AccessDenied`, naming the configuration key that refuses it.
    pub fn authorize(&self, head: &RequestHead<'_>, parsed: &Parsed) -> Result<(), S3Error> {
        // The request itself is checked later; its preflight is answered by the origin, unsigned.
        if !head.is_preflight() {
            self.origins.check(head.method, head.headers)?;
        }
        let reads = matches!(*head.method, Method::GET | Method::HEAD | Method::OPTIONS);
        if !reads && !self.writes {
            return Err(denied("auth.writes is false"));
        }
        let Some(bucket) = &parsed.bucket else {
            return match self.buckets {
                Some(_) => Err(denied("auth.buckets allows no request without a bucket")),
                // Users, keys and roles are made so on Ceph, SeaweedFS and others.
                None if !reads && !self.reserved.is_empty() => Err(denied(
                    "S3 has no write without a bucket, and the origin may reserve it for an interface of its own \
                     (auth.reserved)",
                )),
                None => Ok(()),
            };
        };
        self.check(bucket, parsed.key.as_ref())?;
        self.confine(&RequiredPermissions::of(head, parsed))
    }

    /// Whether a request comes from no web page, or from one in `auth.origins`.
    pub fn believes(&self, method: &Method, headers: &HeaderMap) -> bool {
        self.origins.check(method, headers).is_ok()
    }

    /// Whether `auth.buckets` restricts the buckets.
    pub fn is_confined(&self) -> bool {
        self.buckets.is_some()
    }

    /// Checks that all resources are within `auth.buckets` and outside `auth.reserved`, in every reading of their
    /// names.
    ///
    /// # Errors
    /// `AccessDenied`.
    pub fn confine(&self, needs: &RequiredPermissions) -> Result<(), S3Error> {
        needs.iter().try_for_each(|need| match &need.resource {
            Resource::BucketName(bucket) | Resource::Prefix(bucket, _) => self.check(bucket, None),
            Resource::Object(bucket, key) => self.check(bucket, Some(key)),
            Resource::Everything if self.is_confined() => Err(denied(
                "auth.buckets allows no key that may lead out of its bucket, and no source of a copy that cannot be \
                 read",
            )),
            Resource::Everything => Ok(()),
        })
    }

    /// Checks one bucket. A bucket in `auth.buckets` is allowed, whatever its name.
    fn check(&self, bucket: &BucketName, key: Option<&ObjectKey>) -> Result<(), S3Error> {
        let is_listed = self.buckets.iter().flatten().any(|name| name == bucket.as_str());
        if self.reserved.has_bucket(bucket) && !is_listed {
            return Err(denied(format_args!(
                "the origin may reserve the name {bucket} for an interface of its own (auth.reserved); a bucket of \
                 that name is allowed when it is in auth.buckets"
            )));
        }
        if self.is_confined() && !is_listed {
            return Err(denied("the bucket is not in auth.buckets"));
        }
        match key {
            Some(key) if self.reserved.has_key(key) => Err(denied(
                "the origin may reserve what the key begins with for an interface of its own (auth.reserved)",
            )),
            Some(key) if self.reserved.may_be_reached(key) => Err(denied(
                "the key may lead out of its bucket, to what the origin may reserve for an interface of its own \
                 (auth.reserved)",
            )),
            _ => Ok(()),
        }
    }
}

fn denied(why: impl Display) -> S3Error {
    let mut error = S3Error::access_denied();
    error.message = format!("Access Denied: {why}").into();
    error
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderName, HeaderValue};

    use super::*;
    use crate::s3::operation;

    const COPY_SOURCE: HeaderName = HeaderName::from_static("x-amz-copy-source");

    fn trust(writes: bool, buckets: Option<&[&str]>) -> Trust {
        let buckets = buckets.map(|b| b.iter().map(ToString::to_string).collect());
        let reserved = ReservedNames::new(None, false, true);
        Trust { writes, buckets, origins: AllowedOrigins::default(), reserved }
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
        let parsed = operation::parse(&head, &crate::s3::HostNames::default()).unwrap();
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

    #[test]
    fn r20_buckets_refuses_what_may_lead_out_of_them() {
        let trust = trust(true, Some(&["ours"]));
        for key in ["..", "../theirs/k", "%2e%2e/theirs/k", "a/..%2f../theirs/k", "..%5Ctheirs"] {
            assert_eq!(code(&trust, &Method::GET, &format!("/ours/{key}"), None), "AccessDenied");
        }
        assert_eq!(code(&trust, &Method::GET, "/ours?prefix=../theirs", None), "AccessDenied");
        assert_eq!(code(&trust, &Method::GET, "/ours/a/../k", None), "");
        for source in ["/ours/../theirs/k", "ours/%2e%2e/theirs/k", "ours/%252e%252e/theirs/k", ""]
        {
            assert_eq!(code(&trust, &Method::PUT, "/ours/k", Some(source)), "AccessDenied");
        }
        // An unknown operation must not bypass the check.
        for query in ["foo", "tagging&tagging", "versionId=1"] {
            let refused = |target: &str, source| {
                let code = code(&trust, &Method::PUT, &format!("{target}?{query}"), source);
                assert_eq!(code, "AccessDenied", "{target}?{query}");
            };
            refused("/ours/k", Some("/theirs/k"));
            refused("/ours/../theirs/k", None);
            refused("/ours/%252e%252e/theirs/k", None);
        }
        for target in ["/ours?prefix=a&prefix=../theirs/", "/ours?prefix=a%5Cb/../../theirs/"] {
            assert_eq!(code(&trust, &Method::GET, target, None), "AccessDenied", "{target}");
        }
        // Without restrictions this is allowed, too.
        assert_eq!(code(&self::trust(true, None), &Method::GET, "/ours/../theirs/k", None), "");
    }

    #[test]
    fn r20_names_that_the_origin_reserves_are_refused_unless_they_are_listed() {
        let open = trust(true, None);
        for target in ["/minio/admin/v3/info", "/minio", "/_all?x", "/ours/minio/admin/v3/info"] {
            for method in [Method::GET, Method::PUT] {
                assert_eq!(code(&open, &method, target, None), "AccessDenied", "{target}");
            }
        }
        for key in [
            "../minio/admin/v3/info",
            "a/%2e%2e/../minio/admin",
            "%252e%252e/minio/admin",
            "..%5Cminio%5Cadmin",
            "./minio/admin",
            "a/../minio/admin",
        ] {
            for target in [format!("/ours/{key}"), format!("/ours/{key}?foo")] {
                assert_eq!(code(&open, &Method::GET, &target, None), "AccessDenied", "{target}");
            }
        }
        for target in ["/", "/?Action=CreateUser"] {
            assert_eq!(code(&open, &Method::POST, target, None), "AccessDenied", "{target}");
            assert_eq!(code(&open, &Method::GET, target, None), "", "{target}");
        }
        for source in ["/.minio.sys/config/k", "/ours/../.minio.sys/k"] {
            assert_eq!(code(&open, &Method::PUT, "/ours/k", Some(source)), "AccessDenied");
        }
        for source in ["/ours/k", "unreadable", "/ours/../other/k"] {
            assert_eq!(code(&open, &Method::PUT, "/ours/k", Some(source)), "");
        }
        let listed = trust(true, Some(&["ours", "admin"]));
        assert_eq!(code(&listed, &Method::GET, "/admin/k", None), "");
        assert_eq!(code(&listed, &Method::GET, "/ours/minio/k", None), "AccessDenied");
    }
}
