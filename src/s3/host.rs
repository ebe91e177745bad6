//! The Host header: whose name a request was sent to, and the bucket in it (R24).
//!
//! Virtual-hosted style is only what was configured: the labels before a listed domain. Addresses,
//! `localhost` and a listed domain itself are path style; every other name is refused, since a
//! browser lured to us under another name (DNS rebinding) is no client.

use std::borrow::Cow;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::error::S3Error;
use super::name::BucketName;

/// A host name or address in lower case, without brackets, zone or final dot.
#[derive(Debug)]
pub(super) struct Host<'a> {
    pub name: Cow<'a, str>,
    pub port: Option<u16>,
    is_address: bool,
}

impl<'a> Host<'a> {
    /// `name`, `name:port`, `1.2.3.4:port`, `[::1]:port`; `None` for anything else.
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        let (name, rest) = match text.strip_prefix('[') {
            Some(bracketed) => bracketed.split_once(']')?,
            None => text.split_at(text.find(':').unwrap_or(text.len())),
        };
        let port = match rest.strip_prefix(':') {
            Some(digits) if !digits.bytes().all(|b| b.is_ascii_digit()) => return None,
            Some(digits) if !digits.is_empty() => Some(digits.parse().ok()?),
            None if !rest.is_empty() => return None,
            // RFC 3986 section 3.2.3: a colon without a port is no port.
            _ => None,
        };
        if text.starts_with('[') {
            let address: Ipv6Addr = name.split('%').next()?.parse().ok()?;
            return Some(Host { name: address.to_string().into(), port, is_address: true });
        }
        let name = name.strip_suffix('.').unwrap_or(name);
        let name = match name.bytes().any(|b| b.is_ascii_uppercase()) {
            true => Cow::Owned(name.to_ascii_lowercase()),
            false => Cow::Borrowed(name),
        };
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
        if name.is_empty() || !name.bytes().all(allowed) {
            return None;
        }
        let is_address = name.parse::<Ipv4Addr>().is_ok();
        Some(Host { name, port, is_address })
    }

    /// 400 for a host that is not one of ours.
    pub(super) fn refused(host: &str) -> S3Error {
        S3Error::invalid_request(format!("The host '{host}' is not in listen.domains."))
    }

    /// The labels before a listed domain. `None`: path style.
    pub(super) fn bucket(&self, domains: &[String]) -> Result<Option<BucketName>, S3Error> {
        let listed = || domains.iter().map(|domain| domain.trim_end_matches('.'));
        let is_listed = listed().any(|domain| self.name.eq_ignore_ascii_case(domain));
        if self.is_address || self.name == "localhost" || is_listed {
            return Ok(None);
        }
        // The longest domain that fits leaves the shortest bucket: `a.eu.s3.local` is bucket `a`
        // when both `s3.local` and `eu.s3.local` are listed.
        let bucket = listed()
            .filter_map(|domain| labels_before(&self.name, domain))
            .min_by_key(|labels| labels.len())
            .ok_or_else(|| Host::refused(&self.name))?;
        bucket_name(bucket).map(Some)
    }
}

/// `bucket` of `bucket.domain`.
fn labels_before<'a>(name: &'a str, domain: &str) -> Option<&'a str> {
    let at = name.len().checked_sub(domain.len())?;
    // Host names are ASCII, and a domain that is not cannot be equal to any part of one.
    let (labels, rest) = name.split_at_checked(at)?;
    if domain.is_empty() || !rest.eq_ignore_ascii_case(domain) {
        return None;
    }
    labels.strip_suffix('.')
}

/// A bucket's name in a request.
pub(super) fn bucket_name(name: &str) -> Result<BucketName, S3Error> {
    BucketName::new(name).map_err(|_| S3Error::invalid_bucket_name(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bucket in a host's name.
    fn bucket(host: &str) -> Result<Option<String>, String> {
        let domains = ["s3.local", "EU.s3.local.", "example.org"].map(str::to_owned);
        let host = Host::parse(host).ok_or_else(|| Host::refused(host));
        match host.and_then(|host| host.bucket(&domains)) {
            Ok(bucket) => Ok(bucket.map(|bucket| bucket.to_string())),
            Err(error) => Err(error.code.into_owned()),
        }
    }

    #[test]
    fn r24_the_bucket_is_the_labels_before_a_listed_domain() {
        for host in ["bkt.s3.local", "BKT.S3.Local:9000", "bkt.s3.local.", "bkt.eu.s3.local:"] {
            assert_eq!(bucket(host), Ok(Some("bkt".to_owned())), "{host}");
        }
        assert_eq!(bucket("my.old.bkt.s3.local"), Ok(Some("my.old.bkt".to_owned())));
    }

    #[test]
    fn r24_addresses_localhost_and_a_domain_itself_are_path_style() {
        for host in [
            "127.0.0.1",
            "127.0.0.1:9000",
            "[::1]",
            "[::1]:9000",
            "[fe80::1%25eth0]:9000",
            "localhost",
            "LOCALHOST:9000",
            "localhost.",
            "s3.local",
            "s3.local:9000",
            "eu.s3.local",
            "Example.org.",
        ] {
            assert_eq!(bucket(host), Ok(None), "{host}");
        }
    }

    #[test]
    fn r24_any_other_host_is_refused() {
        for host in [
            "evil.example",
            "bkt.localhost",
            "xs3.local",
            "bkt-s3.local",
            "s3.local.evil",
            "local",
            "",
            ".",
            "::1",
            "[::1",
            "[::1]x",
            "[s3.local]",
            "s3.local:x",
            "s3.local:99999",
            "s3.local:+80",
            "u@s3.local",
            "s3.local/x",
            "a b",
            "127.1",
            "0x7f.0.0.1",
            "s3.local:80:80",
        ] {
            assert_eq!(bucket(host), Err("InvalidRequest".to_owned()), "{host:?}");
        }
        let unlisted = |domains: &[String]| Host::parse("bkt.s3.local").unwrap().bucket(domains);
        assert!(unlisted(&[]).is_err());
        assert!(unlisted(&[String::new(), ".".to_owned()]).is_err());
        let message = unlisted(&[]).unwrap_err().message;
        assert_eq!(message, "The host 'bkt.s3.local' is not in listen.domains.");
    }

    #[test]
    fn labels_that_no_bucket_has_are_a_400() {
        for host in ["a.s3.local", ".s3.local", "...s3.local"] {
            assert_eq!(bucket(host), Err("InvalidBucketName".to_owned()), "{host}");
        }
    }
}
