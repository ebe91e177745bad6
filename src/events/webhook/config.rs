//! What can be set about the receiver of notifications over HTTP, the key `events.webhook`.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::units::{ByteSize, HumanDuration, Secret};
use crate::tls::config::{ClientAuth, TlsConfig};

/// A listener for notifications, and whom it believes: each of `tokens`, `api_keys`, `secrets` and `sns` suffices.
/// Without any of them it believes whoever can connect, which only a loopback address may, or one where clients must
/// show a certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct WebhookConfig {
    /// `ip:port`.
    pub address: String,
    /// `None`: plain HTTP.
    pub tls: Option<TlsConfig>,
    /// What `Authorization` may say: a token, plain or after `Bearer`; or a scheme and what follows it, as it is
    /// (`Basic dXNlcjpwYXNz`). MinIO, Ceph and SNS with raw delivery send these.
    pub tokens: Vec<Secret>,
    /// What the header `api_key_header` may say, as an API destination of `EventBridge` sends it.
    pub api_keys: Vec<Secret>,
    /// A header's name.
    pub api_key_header: String,
    /// Keys of signatures in `x-hotset-signature`; several while they are replaced.
    pub secrets: Vec<Secret>,
    /// Whose signed notifications of SNS are believed; `None`: nobody's.
    pub sns: Option<SnsConfig>,
    /// The longest body.
    pub body: ByteSize,
    /// Connections at the same time; further ones wait.
    pub connections: usize,
    /// Bodies that are read and applied at the same time; further ones are answered 503.
    pub requests: usize,
    /// For the handshake of TLS, and for the head of a request, the time before it included.
    pub header_timeout: HumanDuration,
    /// For the whole body of a request.
    pub body_timeout: HumanDuration,
}

impl WebhookConfig {
    /// The shortest of `tokens`, `api_keys` and `secrets`, in bytes.
    pub const SECRET_MIN: usize = 16;

    /// Whether whoever can connect is believed: nothing tells senders apart.
    #[must_use]
    pub fn believes_everybody(&self) -> bool {
        let keys = [&self.tokens, &self.api_keys, &self.secrets];
        keys.iter().all(|keys| keys.is_empty()) && self.sns.is_none()
    }

    /// Whether only clients with a certificate can connect.
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
            body: ByteSize::mib(1),
            connections: 256,
            requests: 64,
            header_timeout: HumanDuration::secs(30),
            body_timeout: HumanDuration::secs(10),
        }
    }
}

/// Notifications that SNS signs, the key `events.webhook.sns`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct SnsConfig {
    /// ARNs of the topics that are believed and whose subscriptions are confirmed; no others are.
    pub topics: Vec<String>,
    /// A PEM file of certificates to trust instead of the system's, for SNS's host and for its signatures.
    pub ca_file: Option<PathBuf>,
    /// Whether the certificate of a signature must lead to an authority by itself. SNS publishes it without those
    /// in between; otherwise one that leads nowhere is believed since SNS's host showed it.
    pub require_chain: bool,
    /// How far a message's own `Timestamp` may be from our clock: one that is older may have been sent before.
    pub max_age: HumanDuration,
    /// Whether signatures of version 1, by SHA-1, are believed. A topic signs by them until its `SignatureVersion` is
    /// set to 2.
    pub allow_sha1: bool,
    /// `http://host:port` or `https://host:port` of what stands for SNS in a test; `None`: SNS of AWS alone.
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
