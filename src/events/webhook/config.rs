//! Configuration of the HTTP listener for event notifications, the key `events.webhook`.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::units::{ByteSize, HumanDuration, Secret};
use crate::tls::config::{ClientAuth, TlsConfig};

/// HTTP listener for event notifications. A sender is authenticated by `tokens`, `api_keys`,
/// `secrets`, `sns` or a client certificate. Without any of them every sender is trusted, which is
/// only allowed on a loopback address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct WebhookConfig {
    /// `ip:port`. Without `tokens`, `api_keys`, `secrets`, `sns` or required client certificates it
    /// must be a loopback address.
    pub address: String,
    /// TLS, as in `listen[].tls`; `None`: plain HTTP.
    pub tls: Option<TlsConfig>,
    /// Accepted values of `Authorization`, at least 16 bytes each: a bare token, also accepted
    /// after `Bearer`, or a scheme with its credentials (`Basic dXNlcjpwYXNz`). MinIO, Ceph and SNS
    /// with raw delivery send these.
    pub tokens: Vec<Secret>,
    /// Accepted values of the header `api_key_header`, at least 16 bytes each, as sent by
    /// EventBridge API destinations.
    pub api_keys: Vec<Secret>,
    /// Name of the API key header.
    pub api_key_header: String,
    /// Secrets of HMAC signatures in `x-hotset-signature`, at least 16 bytes each; list both while
    /// one is rotated.
    pub secrets: Vec<Secret>,
    /// SNS notifications that are accepted by their signature; `None`: none.
    pub sns: Option<SnsConfig>,
    /// Name of the origin whose buckets its notifications name; `None`: they may be any origin's.
    pub origin: Option<String>,
    /// Maximum size of a request body.
    pub body: ByteSize,
    /// Maximum open connections; further ones wait.
    pub connections: usize,
    /// Maximum requests in flight; further ones are answered 503.
    pub requests: usize,
    /// Timeout of the TLS handshake, and of a request head, idle time included.
    pub header_timeout: HumanDuration,
    /// Timeout for receiving a complete request body.
    pub body_timeout: HumanDuration,
}

impl WebhookConfig {
    /// Minimum length of `tokens`, `api_keys` and `secrets`, in bytes.
    pub const SECRET_MIN: usize = 16;

    /// Whether every client is trusted, because no authentication is configured.
    #[must_use]
    pub fn trusts_everyone(&self) -> bool {
        let keys = [&self.tokens, &self.api_keys, &self.secrets];
        keys.iter().all(|keys| keys.is_empty()) && self.sns.is_none()
    }

    /// Whether a client certificate is required to connect.
    #[must_use]
    pub fn requires_certificates(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.client_auth == ClientAuth::Required)
    }
}

impl Default for WebhookConfig {
    fn default() -> Self {
        Self {
            address: "127.0.0.1:9002".to_owned(),
            tls: None,
            tokens: Vec::new(),
            api_keys: Vec::new(),
            api_key_header: "x-api-key".to_owned(),
            secrets: Vec::new(),
            sns: None,
            origin: None,
            body: ByteSize::mib(1),
            connections: 256,
            requests: 64,
            header_timeout: HumanDuration::secs(30),
            body_timeout: HumanDuration::secs(10),
        }
    }
}

/// SNS topics whose signed notifications are accepted, the key `events.webhook.sns`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct SnsConfig {
    /// ARNs of the topics to accept. Subscriptions of these topics are confirmed automatically.
    pub topics: Vec<String>,
    /// PEM file of the certificate authorities to trust in place of the system's, for SNS endpoints
    /// and for signing certificates.
    pub ca_file: Option<PathBuf>,
    /// Whether a signing certificate must have a complete chain to an authority. SNS publishes it
    /// without intermediates; by default a certificate is also accepted because an SNS endpoint
    /// served it over TLS.
    pub require_chain: bool,
    /// Maximum difference between a message's `Timestamp` and the local clock, as a protection
    /// against replays.
    pub max_age: HumanDuration,
    /// Whether signatures of version 1 (SHA-1) are accepted. A topic uses them until its
    /// `SignatureVersion` is set to 2.
    pub allow_sha1: bool,
    /// For tests: `http://host:port` or `https://host:port` of a server in place of SNS; `None`:
    /// AWS.
    pub endpoint: Option<String>,
}

impl Default for SnsConfig {
    fn default() -> Self {
        Self {
            topics: Vec::new(),
            ca_file: None,
            require_chain: false,
            max_age: HumanDuration(Duration::from_hours(1)),
            allow_sha1: true,
            endpoint: None,
        }
    }
}
