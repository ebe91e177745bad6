//! The `trust` mode: whoever can connect may do what hotset's own keys may (R20), narrowed by two switches.

use http::Method;

use super::AuthConfig;
use crate::s3::{BucketName, S3Error};

/// Who is asking. In `trust` mode there is one identity: anybody who can connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity;

/// Decides by `auth.writes` and `auth.buckets`.
#[derive(Debug)]
pub struct Trust {
    writes: bool,
    buckets: Option<Vec<String>>,
}

impl Trust {
    pub fn new(config: &AuthConfig) -> Self {
        Self { writes: config.writes, buckets: config.buckets.clone() }
    }

    /// Lets a request through; `also` are buckets that it touches beside its own, such as a copy's source.
    ///
    /// # Errors
    /// `AccessDenied`, naming the switch that refused.
    pub fn authorize<'a>(
        &self,
        method: &Method,
        bucket: Option<&'a BucketName>,
        also: impl IntoIterator<Item = &'a str>,
    ) -> Result<Identity, S3Error> {
        let reads = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
        if !reads && !self.writes {
            return Err(denied("auth.writes is false"));
        }
        if let Some(allowed) = &self.buckets {
            let Some(bucket) = bucket else {
                return Err(denied("auth.buckets allows no request without a bucket"));
            };
            let mut touched = std::iter::once(bucket.as_str()).chain(also);
            if !touched.all(|name| allowed.iter().any(|a| a == name)) {
                return Err(denied("the bucket is not in auth.buckets"));
            }
        }
        Ok(Identity)
    }
}

fn denied(why: &'static str) -> S3Error {
    let mut error = S3Error::access_denied();
    error.message = format!("Access Denied: {why}").into();
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trust(writes: bool, buckets: Option<&[&str]>) -> Trust {
        let buckets = buckets.map(|b| b.iter().map(ToString::to_string).collect());
        Trust { writes, buckets }
    }

    #[test]
    fn r20_writes_false_refuses_all_but_reads() {
        let trust = trust(false, None);
        let bucket = BucketName::new("bucket").unwrap();
        assert!(trust.authorize(&Method::GET, Some(&bucket), []).is_ok());
        assert!(trust.authorize(&Method::HEAD, Some(&bucket), []).is_ok());
        for method in [Method::PUT, Method::DELETE, Method::POST, Method::PATCH] {
            let refused = trust.authorize(&method, Some(&bucket), []).unwrap_err();
            assert_eq!(refused.code, "AccessDenied");
        }
    }

    #[test]
    fn r20_buckets_narrow_reads_listings_and_copy_sources() {
        let trust = trust(true, Some(&["ours"]));
        let (ours, theirs) = (BucketName::new("ours").unwrap(), BucketName::new("theirs").unwrap());
        assert!(trust.authorize(&Method::GET, Some(&ours), []).is_ok());
        assert!(trust.authorize(&Method::GET, Some(&theirs), []).is_err());
        assert!(trust.authorize(&Method::GET, None, []).is_err());
        assert!(trust.authorize(&Method::PUT, Some(&ours), ["theirs"]).is_err());
    }
}
