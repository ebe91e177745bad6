//! Directory buckets of S3 Express One Zone: their endpoints, and the sessions that sign their requests.
//!
//! Session keys are for one bucket and valid for five minutes. `CreateSession` returns them for our own keys, and
//! [`super::credentials::renew`] renews them at half their time, like other temporary keys. Each directory bucket has
//! its own origin, so that nothing else is signed with its session keys.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use chrono::{DateTime, Utc};
use http::header::{HOST, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use http::{Method, StatusCode};
use tokio::time::Instant;

use super::clock::OriginClock;
use super::credentials::{Found, Source};
use super::endpoint_variant::Variant;
use super::exchange::{Exchange, Transport, Try};
use super::regions::Site;
use super::request::build_head;
use super::slots::{Class, Urgency};
use super::{Addressing, OriginConfig};
use crate::auth::{Credentials, Payload, Signer};
use crate::config::units::Secret;
use crate::s3::session::SessionKeys;
use crate::s3::{Query, S3Error};

const SUFFIX: &str = "--x-s3";
const SESSION_MODE: HeaderName = HeaderName::from_static("x-amz-create-session-mode");
/// Timeout of `CreateSession`.
const LIMIT: Duration = Duration::from_secs(10);
/// Maximum response body that is read, in bytes.
const MAX_BODY: usize = 64 * 1024;

/// A directory bucket, identified by its name: `BASE--ZONE--x-s3`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectoryBucket {
    name: String,
    /// Availability zone id, such as `use1-az4`.
    zone: String,
}

impl DirectoryBucket {
    /// Whether a name is that of a directory bucket, by its suffix, which no other bucket may have at AWS.
    pub fn is_one(name: &str) -> bool {
        name.ends_with(SUFFIX)
    }

    /// Parses a bucket name; `None`: it names no zone.
    pub fn parse(name: &str) -> Option<Self> {
        let (base, zone) = name.strip_suffix(SUFFIX)?.rsplit_once("--")?;
        let is_legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let is_label =
            |text: &str| !text.is_empty() && !text.starts_with('-') && text.bytes().all(is_legal);
        (is_label(base) && is_label(zone) && name.len() <= 63)
            .then(|| Self { name: name.to_owned(), zone: zone.to_owned() })
    }

    /// Returns the settings of an origin for this bucket: those of `origin`, except endpoint, region and addressing. The
    /// endpoint is FIPS or dual-stack if that of `origin` is.
    #[must_use]
    pub fn settings(&self, origin: &OriginConfig) -> OriginConfig {
        let uri: Option<http::Uri> = origin.endpoint.parse().ok();
        let scheme = uri.as_ref().and_then(http::Uri::scheme_str).unwrap_or("https");
        let host = uri.as_ref().and_then(http::Uri::host).unwrap_or_default();
        let port = uri.as_ref().and_then(http::Uri::port_u16);
        let port = port.map_or_else(String::new, |port| format!(":{port}"));
        let is_china = host.trim_end_matches('.').rsplit('.').next() == Some("cn");
        let domain = if is_china { "amazonaws.com.cn" } else { "amazonaws.com" };
        let (Self { name, zone }, region) = (self, &origin.region);
        let variant = Variant::of(&origin.endpoint);
        let (fips, dual_stack) = (variant.fips(), variant.dual_stack());
        let host = format!("{name}.s3express{fips}-{zone}{dual_stack}.{region}.{domain}");
        OriginConfig {
            endpoint: format!("{scheme}://{host}{port}"),
            addressing: Addressing::Bucket,
            ..origin.clone()
        }
    }
}

/// Source of the keys that sign `CreateSession`.
#[derive(Debug)]
pub enum SessionKeysFrom {
    /// Fixed keys.
    Fixed(Arc<Credentials>),
    /// Keys that are looked up each time.
    Source(Source),
}

/// Sessions of one directory bucket.
pub(super) struct Sessions {
    pub(super) keys: SessionKeysFrom,
    pub(super) region: String,
    pub(super) transport: Arc<Transport>,
    /// The bucket's own endpoint.
    pub(super) site: Arc<Site>,
    pub(super) clock: Arc<OriginClock>,
}

impl Sessions {
    /// Requests a session.
    ///
    /// # Errors
    /// One line.
    pub(super) async fn load(&self) -> Result<Option<Found>, String> {
        let keys = match &self.keys {
            SessionKeysFrom::Fixed(keys) => keys.clone(),
            SessionKeysFrom::Source(source) => {
                let found = source.load().await.map_err(|error| error.to_string())?;
                let found = found.ok_or("no credentials to ask for a session with")?;
                Arc::new(found.credentials.for_directory_buckets())
            }
        };
        let answer = self.ask(&Signer::new(keys, &self.region)).await?;
        let keys = SessionKeys::parse(&answer).map_err(|error| error.to_string())?;
        let ends = DateTime::parse_from_rfc3339(&keys.expiration);
        let ends = ends.map_err(|_| format!("`{}` is no time", keys.expiration))?;
        let (secret, token) = (Secret::new(keys.secret_key), Secret::new(keys.token));
        let credentials = Credentials::new(keys.access_key, secret, Some(token));
        let credentials = credentials.map_err(|error| error.to_string())?.for_session();
        let expires = Some(SystemTime::from(ends.with_timezone(&Utc)));
        Ok(Some(Found { credentials, expires, place: "CreateSession" }))
    }

    async fn ask(&self, signer: &Signer) -> Result<Vec<u8>, String> {
        let target = self.site.endpoint().target(None, None);
        let query = Query::default().with("session", "");
        let mut headers = HeaderMap::with_capacity(8);
        let host = HeaderValue::from_str(&target.host).map_err(|error| error.to_string())?;
        headers.insert(HOST, host);
        headers.insert(USER_AGENT, HeaderValue::from_static("hotset"));
        headers.insert(SESSION_MODE, HeaderValue::from_static("ReadWrite"));
        let (payload, now) = (Payload::Unsigned, self.clock.now());
        signer.sign(&Method::GET, "/", &query, &mut headers, payload, now);
        let path = format!("/?{}", query.to_canonical_string());
        let head = build_head(Method::GET, path.as_bytes(), &headers);
        let (deadline, urgency) = (Instant::now() + LIMIT, Urgency::new(Class::Metadata));
        let deliver = self.transport.deliver(
            &self.site,
            head,
            &target.host,
            Try::first(true),
            deadline,
            &urgency,
        );
        let exchange = deliver.await.map_err(|(error, _)| error.to_string())?;
        let (status, head, body) = read(exchange).await?;
        if status == StatusCode::OK {
            return Ok(body);
        }
        let error = S3Error::from_response(status, &head, &body);
        Err(format!("CreateSession: {} {}", status.as_u16(), error.code))
    }
}

async fn read(mut exchange: Exchange) -> Result<(StatusCode, HeaderMap, Vec<u8>), String> {
    let mut body = Vec::new();
    while let Some(bytes) = exchange.read().await.map_err(|error| error.to_string())? {
        body.extend_from_slice(bytes);
        if body.len() > MAX_BODY {
            return Err("the answer to CreateSession is too long".to_owned());
        }
    }
    let (status, head) = (exchange.status, exchange.head().clone());
    exchange.release().await;
    Ok((status, head, body))
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions").field("site", &self.site).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_bucket_has_the_endpoint_of_its_zone() {
        let origin = |endpoint: &str, region: &str| OriginConfig {
            endpoint: endpoint.to_owned(),
            region: region.to_owned(),
            ..OriginConfig::default()
        };
        let bucket = DirectoryBucket::parse("my-data--use1-az4--x-s3").unwrap();
        let settings = bucket.settings(&origin("https://s3.us-east-1.amazonaws.com", "us-east-1"));
        assert_eq!(
            settings.endpoint,
            "https://my-data--use1-az4--x-s3.s3express-use1-az4.us-east-1.amazonaws.com"
        );
        assert_eq!((settings.addressing, &*settings.region), (Addressing::Bucket, "us-east-1"));
        let china = origin("http://s3.cn-north-1.amazonaws.com.cn:8080", "cn-north-1");
        let end = ".s3express-use1-az4.cn-north-1.amazonaws.com.cn:8080";
        assert!(bucket.settings(&china).endpoint.ends_with(end));
        for (endpoint, host) in [
            ("https://s3-fips.us-east-1.amazonaws.com", "s3express-fips-use1-az4.us-east-1"),
            (
                "https://s3.dualstack.us-east-1.amazonaws.com",
                "s3express-use1-az4.dualstack.us-east-1",
            ),
        ] {
            let settings = bucket.settings(&origin(endpoint, "us-east-1"));
            assert!(settings.endpoint.contains(&format!(".{host}.amazonaws.com")), "{settings:?}");
        }
        // Others have the end of the name, and no zone.
        for name in ["data--x-s3", "--x-s3", "--az--x-s3", "data----x-s3", "Data--az--x-s3", "data"]
        {
            assert_eq!(DirectoryBucket::parse(name), None, "{name}");
        }
        assert!(DirectoryBucket::is_one("data--x-s3") && !DirectoryBucket::is_one("data-x-s3"));
    }
}
