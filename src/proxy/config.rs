//! Configuration of the client side: listeners, limits and logging.
//!
//! Plain data with its defaults; what must hold between keys is checked by the `config` module.

use std::str::FromStr;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::conn::gate::GateLimits;
use super::conn::head::HeadLimits;
use super::conn::proxy_protocol::ProxyProtocolConfig;
use crate::auth::ClientLimit;
use crate::config::units::{ByteSize, HumanDuration};
use crate::tls::config::TlsConfig;

/// One listening address, an item of `listen`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct ListenConfig {
    /// `ip:port`, or `unix:/path` of a socket.
    pub address: String,
    /// Permissions of a Unix socket, in octal and in quotes.
    pub mode: FileMode,
    /// Domains for virtual-hosted-style requests: with `s3.local`, `Host: b.s3.local` names bucket
    /// `b`. All other hosts are path style. With `auth.mode: trust` a host must be in this list, an
    /// address, a single label, or end in `.svc`, `.cluster.local` or `.internal` (R24).
    pub domains: Vec<String>,
    /// Path prefix under which an ingress exposes hotset, such as `/s3`. It is removed from request
    /// paths, and signatures are valid with it and without it. Not with `auth.mode: transparent`.
    /// `None`: no prefix.
    pub path_prefix: Option<String>,
    /// TLS 1.2 and 1.3, with HTTP/2 by ALPN; `None`: plain HTTP.
    pub tls: Option<TlsConfig>,
    /// PROXY protocol, version 1 or 2, from load balancers in front; `None`: the client is whoever
    /// connects.
    pub proxy_protocol: Option<ProxyProtocolConfig>,
}

impl Default for ListenConfig {
    fn default() -> Self {
        Self {
            address: "127.0.0.1:9000".to_owned(),
            mode: FileMode::OWNER,
            domains: Vec::new(),
            path_prefix: None,
            tls: None,
            proxy_protocol: None,
        }
    }
}

/// Permissions of a file, in octal: `"0600"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(into = "String")]
pub struct FileMode(u32);

impl FileMode {
    /// Read and write permission for the owner.
    pub const OWNER: Self = Self(0o600);

    pub fn bits(self) -> u32 {
        self.0
    }
}

impl FromStr for FileMode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let octal = (3..=4).contains(&text.len()).then(|| u32::from_str_radix(text, 8).ok());
        match octal.flatten() {
            // A socket that its owner may not use is a number that was not meant to be octal.
            Some(bits) if bits <= 0o777 && bits & 0o600 == 0o600 => Ok(Self(bits)),
            _ => Err(format!("`{text}` is no mode such as \"0660\"")),
        }
    }
}

impl<'de> Deserialize<'de> for FileMode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FileModeVisitor;
        impl Visitor<'_> for FileModeVisitor {
            type Value = FileMode;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a mode such as \"0660\"")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<FileMode, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(FileModeVisitor)
    }
}

impl From<FileMode> for String {
    fn from(mode: FileMode) -> Self {
        format!("{:04o}", mode.0)
    }
}

/// Limits on what clients may use, the key `limits`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct LimitsConfig {
    /// Maximum open client connections, over all listeners.
    pub connections: usize,
    /// Maximum open connections of one client address; further ones are answered 503 `SlowDown`.
    /// `None`: as many as `connections`.
    pub connections_per_address: Option<usize>,
    /// Maximum requests in flight, over all listeners; further ones are answered 503 `SlowDown`.
    pub requests: usize,
    /// Limits of each identity, with `auth.mode: verify`. An identity's `limits` in the identities
    /// file take their place. All anonymous clients are one identity.
    pub per_identity: ClientLimit,
    /// Limits of each client address; an IPv6 address counts as its /64, and a client behind a load
    /// balancer as the PROXY protocol names it.
    pub per_address: ClientLimit,
    /// Maximum size of a request's header fields; S3 accepts 8 KiB.
    pub header_bytes: ByteSize,
    /// Maximum number of header fields in a request.
    pub headers: usize,
    /// Maximum size of a request's path and query.
    pub uri_bytes: ByteSize,
    /// Timeout of the TLS handshake, and of the PROXY protocol header.
    pub handshake_timeout: HumanDuration,
    /// Timeout for receiving a complete request head.
    pub header_timeout: HumanDuration,
    /// Timeout for receiving each 64 KiB of a request body.
    pub body_timeout: HumanDuration,
    /// Maximum time for which a client reads nothing of its response before the connection is closed.
    pub write_timeout: HumanDuration,
    /// Time for which an idle connection is kept open. Set it above the idle timeout of load balancers in
    /// front (60 s for an ALB), which otherwise answer 502 when hotset closes first.
    pub keep_alive: HumanDuration,
    /// Maximum requests on one HTTP/1 connection; `None`: no limit.
    pub keep_alive_requests: Option<u32>,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            connections: 10_000,
            connections_per_address: None,
            requests: 20_000,
            per_identity: ClientLimit::default(),
            per_address: ClientLimit::default(),
            header_bytes: ByteSize::kib(8),
            headers: 128,
            uri_bytes: ByteSize::kib(16),
            handshake_timeout: HumanDuration::secs(10),
            header_timeout: HumanDuration::secs(30),
            body_timeout: HumanDuration::secs(30),
            write_timeout: HumanDuration::secs(300),
            keep_alive: HumanDuration::secs(75),
            keep_alive_requests: None,
        }
    }
}

impl LimitsConfig {
    /// Maximum number of headers that pingora accepts.
    pub const HEADERS_MAX: usize = 256;
    /// Largest value allowed for the parts of a head: each connection may hold as much.
    pub const HEAD_BYTES_MAX: ByteSize = ByteSize::kib(256);

    pub(super) fn gate(&self) -> GateLimits {
        let bytes = |size: ByteSize| usize::try_from(size.bytes()).unwrap_or(usize::MAX);
        GateLimits {
            head: HeadLimits {
                uri: bytes(self.uri_bytes),
                fields: bytes(self.header_bytes),
                count: self.headers,
            },
            head_time: self.header_timeout.0,
            body_time: self.body_timeout.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An ALB and nginx keep idle connections for 60 s, and S3 was measured to wait about 5 minutes for a paused
    /// reader.
    #[test]
    fn idle_connections_outlive_those_of_balancers_and_paused_readers_are_waited_for_as_s3_does() {
        let limits = LimitsConfig::default();
        assert_eq!(limits.keep_alive, HumanDuration::secs(75));
        assert_eq!(limits.write_timeout, HumanDuration::secs(300));
    }
}
