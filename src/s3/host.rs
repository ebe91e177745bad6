//! The Host header: the host name of a request, and the bucket in it (R24).
//!
//! Only configured domains are virtual-hosted style: the labels before a listed domain name the bucket. Any other name
//! is path style. Where clients are authenticated by their connection alone, it is refused, to protect against DNS
//! rebinding: a browser may have been lured here under an attacker's name. Names that no attacker can register are
//! accepted in any case.

use std::borrow::Cow;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::error::S3Error;
use super::name::BucketName;

/// Domains whose names only a private DNS server can resolve (Kubernetes services, ICANN's private-use TLD).
const PRIVATE: [&str; 3] = ["svc", "cluster.local", "internal"];

/// Host names under which requests are accepted, and domains in which a label is a bucket (R24).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostNames {
    domains: Vec<String>,
    accepts_any: bool,
}

impl HostNames {
    /// Accepts every name. A name below one of `domains` is virtual-hosted style, any other is path style.
    #[must_use]
    pub fn any(domains: Vec<String>) -> Self {
        Self { domains, accepts_any: true }
    }

    /// Accepts names in and below `domains`, and names that public DNS does not resolve: addresses, names of one label,
    /// and names under `svc`, `cluster.local` and `internal`.
    #[must_use]
    pub fn private(domains: Vec<String>) -> Self {
        Self { domains, accepts_any: false }
    }

    /// Returns the bucket in a host name, or `None` for path style.
    pub(super) fn bucket(&self, host: &Host<'_>) -> Result<Option<BucketName>, S3Error> {
        let listed = || self.domains.iter().map(|domain| domain.trim_end_matches('.'));
        if host.is_address || listed().any(|domain| host.name.eq_ignore_ascii_case(domain)) {
            return Ok(None);
        }
        // The longest domain that fits leaves the shortest bucket: `a.eu.s3.local` is bucket `a`
        // when both `s3.local` and `eu.s3.local` are listed.
        let bucket = listed()
            .filter_map(|domain| labels_before(&host.name, domain))
            .min_by_key(|labels| labels.len());
        match bucket {
            Some(bucket) => bucket_name(bucket).map(Some),
            None if self.accepts_any || host.is_private() => Ok(None),
            None => Err(host.unlisted()),
        }
    }
}

/// A host name or address in lower case, without brackets, zone or final dot.
#[derive(Debug)]
pub(super) struct Host<'a> {
    pub name: Cow<'a, str>,
    pub port: Option<u16>,
    is_address: bool,
}

impl<'a> Host<'a> {
    /// Parses `name`, `name:port`, `1.2.3.4:port` or `[::1]:port`; `None` for anything else.
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

    /// Whether public DNS does not resolve the name, so that no web page can have been loaded from it.
    fn is_private(&self) -> bool {
        let is_below = |domain| labels_before(&self.name, domain).is_some();
        !self.name.contains('.') || PRIVATE.into_iter().any(is_below)
    }

    /// Returns the 400 for a name that this listener does not accept.
    fn unlisted(&self) -> S3Error {
        S3Error::invalid_request(format!(
            "The host '{}' is not listed in listen[].domains; auth.mode trust accepts other names only if they have one \
             label or end in .svc, .cluster.local or .internal.",
            self.name
        ))
    }

    /// Returns the 400 for an invalid host.
    pub(super) fn malformed(host: &str) -> S3Error {
        S3Error::invalid_request(format!("The host '{host}' is not a valid host name or address."))
    }
}

/// Returns the `bucket` of `bucket.domain`.
fn labels_before<'a>(name: &'a str, domain: &str) -> Option<&'a str> {
    let at = name.len().checked_sub(domain.len())?;
    // Host names are ASCII, and a domain that is not cannot be equal to any part of one.
    let (labels, rest) = name.split_at_checked(at)?;
    if domain.is_empty() || !rest.eq_ignore_ascii_case(domain) {
        return None;
    }
    labels.strip_suffix('.')
}

/// Validates the bucket name in a request.
pub(super) fn bucket_name(name: &str) -> Result<BucketName, S3Error> {
    BucketName::new(name).map_err(|_| S3Error::invalid_bucket_name(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn domains() -> Vec<String> {
        ["s3.local", "EU.s3.local.", "example.org"].map(str::to_owned).into()
    }

    /// Returns the bucket in a host name.
    fn bucket_by(names: &HostNames, host: &str) -> Result<Option<String>, String> {
        let host = Host::parse(host).ok_or_else(|| Host::malformed(host));
        match host.and_then(|host| names.bucket(&host)) {
            Ok(bucket) => Ok(bucket.map(|bucket| bucket.to_string())),
            Err(error) => Err(error.code.into_owned()),
        }
    }

    fn bucket(host: &str) -> Result<Option<String>, String> {
        bucket_by(&HostNames::private(domains()), host)
    }

    #[test]
    fn r24_the_bucket_is_the_labels_before_a_listed_domain() {
        for names in [HostNames::private(domains()), HostNames::any(domains())] {
            for host in ["bkt.s3.local", "BKT.S3.Local:9000", "bkt.s3.local.", "bkt.eu.s3.local:"] {
                assert_eq!(bucket_by(&names, host), Ok(Some("bkt".to_owned())), "{host}");
            }
            let dotted = bucket_by(&names, "my.old.bkt.s3.local");
            assert_eq!(dotted, Ok(Some("my.old.bkt".to_owned())));
        }
    }

    #[test]
    fn r24_names_that_nobody_can_register_are_path_style() {
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
            "hotset",
            "HOTSET:9000",
            "my_cache:9000",
            "hotset.",
            "hotset.default.svc",
            "hotset.default.svc.cluster.local:9000",
            "hotset.default.svc.cluster.local.",
            "host.docker.INTERNAL",
            "svc",
        ] {
            assert_eq!(bucket(host), Ok(None), "{host}");
        }
    }

    #[test]
    fn r24_in_trust_mode_a_name_that_somebody_can_register_is_refused() {
        for host in [
            "evil.example",
            "evil.example:9000",
            "bkt.localhost",
            "xs3.local",
            "bkt-s3.local",
            "s3.local.evil",
            "hotset.default",
            "evilsvc.example",
            "cluster.local.example",
            "x.evilcluster.local",
            "evil.notinternal",
            "internal.example",
            "127.1",
            "0x7f.0.0.1",
        ] {
            assert_eq!(bucket(host), Err("InvalidRequest".to_owned()), "{host:?}");
            assert_eq!(bucket_by(&HostNames::any(domains()), host), Ok(None), "{host:?}");
        }
        for names in [vec![], vec![String::new(), ".".to_owned()]] {
            let host = Host::parse("bkt.s3.local").unwrap();
            let error = HostNames::private(names).bucket(&host).unwrap_err();
            assert!(error.message.contains("'bkt.s3.local'"), "{}", error.message);
            assert!(error.message.contains("listen[].domains"), "{}", error.message);
        }
    }

    #[test]
    fn r24_what_is_no_host_is_refused_in_every_mode() {
        for host in [
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
            "s3.local:80:80",
        ] {
            assert_eq!(bucket(host), Err("InvalidRequest".to_owned()), "{host:?}");
            let any = bucket_by(&HostNames::any(domains()), host);
            assert_eq!(any, Err("InvalidRequest".to_owned()), "{host:?}");
        }
    }

    #[test]
    fn labels_that_no_bucket_has_are_a_400() {
        for host in ["a.s3.local", ".s3.local", "...s3.local"] {
            assert_eq!(bucket(host), Err("InvalidBucketName".to_owned()), "{host}");
        }
    }
}
