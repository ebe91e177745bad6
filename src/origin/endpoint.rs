//! Endpoint of the origin: scheme, host, port, addressing style, and the choice of the next address.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use pingora::upstreams::peer::{HttpPeer, PeerOptions};
use tokio::time::Instant;

use super::addresses::Addresses;
use super::resolver::Resolver;
use super::{Addressing, OriginConfig, OriginError};
use crate::s3::target::encode_path;
use crate::s3::{BucketName, ObjectKey};

const AWS: [&str; 2] = ["amazonaws.com", "amazonaws.com.cn"];

/// The endpoint configured by `origin.endpoint`.
#[derive(Debug)]
pub struct Endpoint {
    tls: bool,
    host: String,
    port: u16,
    addressing: Addressing,
    resolver: Arc<Resolver>,
    addresses: Arc<Addresses>,
}

/// Host header and encoded path of a request for a bucket or key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The Host header, with the port unless it is the default of the scheme.
    pub host: String,
    /// The `SigV4`-encoded path, which begins with `/`.
    pub path: String,
}

/// Destination of a request: its Host header and the addresses to connect to.
#[derive(Debug)]
pub(super) struct Route {
    /// The Host header.
    pub(super) host: String,
    /// Healthy addresses, the next one first: an idle connection to any of them will do.
    pub(super) addresses: Vec<SocketAddr>,
    /// An address that is due for a probe.
    pub(super) probe: Option<SocketAddr>,
    is_tls: bool,
    options: PeerOptions,
}

impl Route {
    /// Returns the peer for a connection to one of the addresses.
    pub(super) fn peer(&self, address: SocketAddr) -> HttpPeer {
        let mut peer = HttpPeer::new(address, self.is_tls, self.name().to_owned());
        peer.options = self.options.clone();
        peer
    }

    /// Returns the name that the peer's certificate must have: the Host header without its port, and without the
    /// brackets of an IPv6 address.
    fn name(&self) -> &str {
        match self.host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((address, _)) => address,
            None => self.host.rsplit_once(':').map_or(&*self.host, |(name, _)| name),
        }
    }

    /// Returns the deadline by which a request that passes through must get a connection.
    pub(super) fn wait_until(&self) -> Instant {
        Instant::now() + self.options.connection_timeout.unwrap_or_default()
    }
}

impl Endpoint {
    /// Parses `http(s)://host[:port]`.
    ///
    /// # Errors
    /// A sentence that says why the endpoint is invalid.
    pub fn parse(endpoint: &str, addressing: Addressing) -> Result<Self, String> {
        Self::at(endpoint, addressing, &[])
    }

    /// As [`Endpoint::parse`], but connects to the addresses `to`, if there are any, instead of resolving the host.
    ///
    /// # Errors
    /// As [`Endpoint::parse`].
    pub fn at(endpoint: &str, addressing: Addressing, to: &[IpAddr]) -> Result<Self, String> {
        let uri: http::Uri = endpoint.parse().map_err(|e| format!("{endpoint}: {e}"))?;
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(format!("{endpoint}: begins with neither http:// nor https://")),
        };
        if uri.path() != "/" && !uri.path().is_empty() || uri.query().is_some() {
            return Err(format!("{endpoint}: has a path; give scheme, host and port only"));
        }
        let host = uri.host().ok_or_else(|| format!("{endpoint}: names no host"))?.to_owned();
        let port = uri.port_u16().unwrap_or(if tls { 443 } else { 80 });
        let resolver = match to {
            [] => Resolver::new(&host, port, tls),
            to => Resolver::fixed(&host, to, port),
        };
        let addresses = Arc::default();
        Ok(Self { tls, host, port, addressing, resolver, addresses })
    }

    pub fn is_tls(&self) -> bool {
        self.tls
    }

    /// Returns the host name or address, without a port.
    pub fn name(&self) -> &str {
        &self.host
    }

    /// Whether the endpoint is Amazon's, which compares keys byte by byte and reserves no names.
    #[must_use]
    pub fn is_aws(&self) -> bool {
        let host = self.host.trim_end_matches('.').to_ascii_lowercase();
        let is_below = |domain| host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'));
        AWS.into_iter().any(is_below)
    }

    /// Returns host and path of a request to the service, a bucket or an object.
    pub fn target(&self, bucket: Option<&BucketName>, key: Option<&ObjectKey>) -> Target {
        let key = key.map_or("", ObjectKey::as_str);
        // A host's name has no colon.
        let has_tenant = bucket.is_some_and(|bucket| bucket.as_str().contains(':'));
        let addressing = if has_tenant { Addressing::Path } else { self.addressing };
        match (bucket, addressing) {
            (None, _) => Target { host: self.authority(&self.host), path: "/".to_owned() },
            (Some(bucket), Addressing::Path) => {
                let bucket = encode_path(bucket.as_str());
                let path = match key {
                    "" => format!("/{bucket}"),
                    key => format!("/{bucket}/{}", encode_path(key)),
                };
                Target { host: self.authority(&self.host), path }
            }
            (Some(_), Addressing::Bucket) => {
                Target { host: self.authority(&self.host), path: format!("/{}", encode_path(key)) }
            }
            (Some(bucket), Addressing::Virtual) => Target {
                host: self.authority(&format!("{}.{}", bucket.as_str(), self.host)),
                path: format!("/{}", encode_path(key)),
            },
        }
    }

    fn authority(&self, host: &str) -> String {
        match (self.tls, self.port) {
            (true, 443) | (false, 80) => host.to_owned(),
            (_, port) => format!("{host}:{port}"),
        }
    }

    /// Returns the route for the given Host header. A retry (`is_retry`) avoids addresses that failed.
    ///
    /// # Errors
    /// [`OriginError::Connect`] when the name does not resolve in time.
    pub(super) async fn route(
        &self,
        host: &str,
        config: &OriginConfig,
        is_retry: bool,
    ) -> Result<Route, OriginError> {
        let known = self.resolver.addresses(config.connect_timeout.0).await?;
        let (addresses, probe) = self.addresses.choose(&known, is_retry);
        let mut options = PeerOptions::new();
        options.connection_timeout = Some(config.connect_timeout.0);
        options.total_connection_timeout = Some(config.connect_timeout.0 * 2);
        options.idle_timeout = Some(config.keep_alive.0);
        options.write_timeout = Some(config.idle_timeout.0);
        Ok(Route { host: host.to_owned(), addresses, probe, is_tls: self.tls, options })
    }

    /// Returns the health of the addresses.
    pub(super) fn addresses(&self) -> &Arc<Addresses> {
        &self.addresses
    }

    /// Returns the addresses in use; empty before the first lookup.
    pub(super) fn known_addresses(&self) -> Vec<SocketAddr> {
        self.resolver.known_addresses()
    }

    /// Explains for the readiness report why the addresses are old, if they are.
    pub(super) fn describe_addresses(&self) -> Option<String> {
        self.resolver.describe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(endpoint: &str, addressing: Addressing) -> Target {
        let endpoint = Endpoint::parse(endpoint, addressing).unwrap();
        let bucket = BucketName::new("photos").unwrap();
        let key = ObjectKey::new("a b/ü+x").unwrap();
        endpoint.target(Some(&bucket), Some(&key))
    }

    #[test]
    fn the_host_carries_a_port_only_when_it_is_not_the_schemes_own() {
        let path = target("https://s3.example.com:443", Addressing::Path);
        assert_eq!(path.host, "s3.example.com");
        assert_eq!(path.path, "/photos/a%20b/%C3%BC%2Bx");
        let virtual_hosted = target("http://minio:9000", Addressing::Virtual);
        assert_eq!(virtual_hosted.host, "photos.minio:9000");
        assert_eq!(virtual_hosted.path, "/a%20b/%C3%BC%2Bx");
    }

    #[test]
    fn a_bucket_of_a_tenant_is_in_the_path() {
        for addressing in [Addressing::Path, Addressing::Virtual] {
            let endpoint = Endpoint::parse("http://rgw:9000", addressing).unwrap();
            let target = endpoint.target(Some(&BucketName::new("t:photos").unwrap()), None);
            assert_eq!((&*target.host, &*target.path), ("rgw:9000", "/t%3Aphotos"));
        }
    }

    #[test]
    fn amazons_hosts_are_told_from_others() {
        let is_aws = |host: &str| {
            Endpoint::parse(&format!("https://{host}"), Addressing::Path).unwrap().is_aws()
        };
        for host in ["s3.us-east-1.amazonaws.com", "S3.cn-north-1.amazonaws.com.cn."] {
            assert!(is_aws(host), "{host}");
        }
        for host in ["evilamazonaws.com", "amazonaws.com.example.org", "minio"] {
            assert!(!is_aws(host), "{host}");
        }
    }

    #[tokio::test]
    async fn a_certificate_must_have_the_hosts_name_or_address() {
        for (endpoint, name) in [
            ("https://[2001:db8::1]", "2001:db8::1"),
            ("https://[2001:db8::1]:9000", "2001:db8::1"),
            ("https://192.0.2.1:9000", "192.0.2.1"),
            ("https://s3.example.com", "s3.example.com"),
            ("https://s3.example.com:9000", "s3.example.com"),
        ] {
            let to = [IpAddr::from([192, 0, 2, 1])];
            let endpoint = Endpoint::at(endpoint, Addressing::Path, &to).unwrap();
            let host = endpoint.target(None, None).host;
            let route = endpoint.route(&host, &OriginConfig::default(), false).await.unwrap();
            assert_eq!(route.peer(route.addresses[0]).sni, name);
        }
    }

    #[test]
    fn an_endpoint_with_a_path_or_without_a_scheme_is_refused() {
        assert!(Endpoint::parse("https://s3.example.com/base", Addressing::Path).is_err());
        assert!(Endpoint::parse("s3.example.com", Addressing::Path).is_err());
        assert!(Endpoint::parse("ftp://s3.example.com", Addressing::Path).is_err());
    }
}
