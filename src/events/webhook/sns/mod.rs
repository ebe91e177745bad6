//! Notifications signed by SNS, and confirmation of subscriptions.
//!
//! The invariant: an envelope is not trusted, and no URL in it is requested, before its topic is a configured one and
//! the URL is one of SNS's own ([`Host`]). Requests to SNS are counted and limited.
//!
//! Source: the SNS Developer Guide, "Verifying the signatures of Amazon SNS messages".

mod certificates;
mod client;
mod host;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::DateTime;
use ring::signature::{
    RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey,
};

use self::certificates::Certificates;
use self::client::Client;
use self::host::Host;
use super::config::SnsConfig;
use super::error::WebhookError;
use crate::metrics::webhook::Outcome;
use crate::s3::event::sns::Envelope;

/// The accepted topics.
pub(super) struct Sns {
    topics: Vec<String>,
    max_age: Duration,
    allow_sha1: bool,
    host: Host,
    client: Arc<Client>,
    certificates: Certificates,
}

impl Sns {
    /// Reads the file of trusted authorities; blocks.
    pub(super) fn new(config: &SnsConfig) -> Result<Self, WebhookError> {
        let host = Host::new(config.endpoint.as_deref());
        let client = Arc::new(Client::new(config)?);
        let certificates = Certificates::new(client.clone(), config.require_chain);
        Ok(Self {
            topics: config.topics.clone(),
            max_age: config.max_age.0,
            allow_sha1: config.allow_sha1,
            host,
            client,
            certificates,
        })
    }

    /// Verifies that an envelope is signed by SNS, for a configured topic, and not long before `now`.
    pub(super) async fn verify(
        &self,
        envelope: &Envelope<'_>,
        now: SystemTime,
    ) -> Result<(), Outcome> {
        if !self.topics.iter().any(|topic| *topic == envelope.topic_arn) {
            return Err(Outcome::WrongTopic);
        }
        let url = self.host.certificate(&envelope.signing_cert_url, &envelope.topic_arn);
        let url = url.ok_or(Outcome::WrongUrl)?;
        let text = envelope.signed_text().ok_or(Outcome::Forged)?;
        let signature = STANDARD.decode(&*envelope.signature).map_err(|_| Outcome::Forged)?;
        let sent =
            DateTime::parse_from_rfc3339(&envelope.timestamp).map_err(|_| Outcome::Forged)?;
        if distance(sent.into(), now) > self.max_age {
            return Err(Outcome::Expired);
        }
        let algorithm = match &*envelope.signature_version {
            "1" if !self.allow_sha1 => return Err(Outcome::Sha1),
            "1" => &RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY,
            "2" => &RSA_PKCS1_2048_8192_SHA256,
            _ => return Err(Outcome::Forged),
        };
        let key = self.certificates.key(url).await?;
        let key = UnparsedPublicKey::new(algorithm, &*key);
        key.verify(text.as_bytes(), &signature).map_err(|_| Outcome::Forged)
    }

    /// Confirms a subscription, whose message was verified.
    pub(super) async fn confirm(&self, envelope: &Envelope<'_>) -> Result<(), Outcome> {
        let topic = &*envelope.topic_arn;
        let url = envelope.subscribe_url.as_deref().unwrap_or_default();
        let url = self.host.confirmation(url, topic).ok_or(Outcome::WrongUrl)?;
        match self.client.get(&url).await {
            Ok(answer) if answer.status.is_success() => {
                log::info!("events.webhook: subscribed to {topic}");
                Ok(())
            }
            Ok(answer) => {
                log::warn!(
                    "events.webhook: {topic} rejects the subscription confirmation: {}",
                    answer.status
                );
                Err(Outcome::Unavailable)
            }
            Err(error) => {
                log::warn!("events.webhook: cannot confirm the subscription of {topic}: {error}");
                Err(Outcome::Unavailable)
            }
        }
    }
}

fn distance(a: SystemTime, b: SystemTime) -> Duration {
    a.duration_since(b).unwrap_or_else(|before| before.duration())
}
