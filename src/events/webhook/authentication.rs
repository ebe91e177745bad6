//! Authentication of event senders: by a secret in a header, a signature over the body, or the
//! signature of SNS.
//!
//! Each configured method suffices; if one is tried and fails, no other is tried. Secrets are compared in constant
//! time, as HMAC tags under a key that lives as long as the process.

use std::time::SystemTime;

use http::{HeaderMap, HeaderName, Method, header};
use ring::hmac;
use ring::rand::SystemRandom;

use super::config::WebhookConfig;
use super::error::WebhookError;
use super::signed::{self, Signed, Taken};
use super::sns::Sns;
use crate::auth::{AllowedOrigins, bearer};
use crate::config::units::Secret;
use crate::metrics::webhook::Outcome;
use crate::s3::event::sns::Envelope;

pub(super) struct Authentication {
    key: hmac::Key,
    /// HMAC tags of the accepted tokens.
    tokens: Vec<hmac::Tag>,
    api_keys: Vec<hmac::Tag>,
    api_key_header: HeaderName,
    signed: Signed,
    sns: Option<Sns>,
    /// Whether no method is configured, so that every client is trusted.
    everybody: bool,
}

/// Authentication of a sender by the request head.
pub(super) enum ByHead {
    /// The sender is authenticated.
    Known,
    /// The body decides.
    AskBody,
}

/// An authenticated sender.
pub(super) enum Sender {
    Known,
    /// By a signature that is valid once.
    Signed(Taken),
    /// SNS, with a subscription confirmation, without events.
    Confirmation,
}

impl Authentication {
    pub(super) fn new(config: &WebhookConfig) -> Result<Self, WebhookError> {
        let random = SystemRandom::new();
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &random)
            .map_err(|_| WebhookError::new("tokens", "there are no random numbers"))?;
        let tags = |secrets: &[Secret]| -> Vec<hmac::Tag> {
            secrets.iter().map(|secret| hmac::sign(&key, secret.expose().as_bytes())).collect()
        };
        let api_key_header = config.api_key_header.parse().map_err(|_| {
            WebhookError::new("api_key_header", format!("`{}` is no header", config.api_key_header))
        })?;
        Ok(Self {
            tokens: tags(&config.tokens),
            api_keys: tags(&config.api_keys),
            api_key_header,
            signed: Signed::new(&config.secrets),
            sns: config.sns.as_ref().map(Sns::new).transpose()?,
            everybody: config.trusts_everyone(),
            key,
        })
    }

    /// Authenticates by the head, before the body is read.
    pub(super) fn by_head(&self, headers: &HeaderMap) -> Result<ByHead, Outcome> {
        if self.everybody {
            // Every client is trusted except for web pages (R39), which never send notifications.
            let checked = AllowedOrigins::default().check(&Method::POST, headers);
            return checked.map(|()| ByHead::Known).map_err(|refused| {
                log::warn!("events.webhook: a notification is refused: {refused}");
                Outcome::WebPage
            });
        }
        if headers.contains_key(&signed::SIGNATURE) {
            return Ok(ByHead::AskBody);
        }
        if let Some(value) = headers.get(header::AUTHORIZATION)
            && !self.tokens.is_empty()
        {
            let value = value.as_bytes();
            let token = bearer(value).unwrap_or(value);
            let known = self.is_one_of(&self.tokens, value) || self.is_one_of(&self.tokens, token);
            return if known { Ok(ByHead::Known) } else { Err(Outcome::Forged) };
        }
        if let Some(value) = headers.get(&self.api_key_header)
            && !self.api_keys.is_empty()
        {
            let known = self.is_one_of(&self.api_keys, value.as_bytes());
            return if known { Ok(ByHead::Known) } else { Err(Outcome::Forged) };
        }
        if self.sns.is_some() { Ok(ByHead::AskBody) } else { Err(Outcome::Unauthenticated) }
    }

    /// Authenticates by the body, too.
    pub(super) async fn by_body(
        &self,
        head: ByHead,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<Sender, Outcome> {
        if matches!(head, ByHead::AskBody) && headers.contains_key(&signed::SIGNATURE) {
            let taken = self.signed.take(headers, body, SystemTime::now())?;
            return Ok(Sender::Signed(taken));
        }
        // A subscription is confirmed only for a configured topic, whoever sends it.
        let asks = headers.get("x-amz-sns-message-type").map(http::HeaderValue::as_bytes);
        let known = matches!(head, ByHead::Known);
        if known && !matches!(asks, Some(b"SubscriptionConfirmation")) {
            return Ok(Sender::Known);
        }
        let Some(sns) = &self.sns else {
            return if known { Ok(Sender::Known) } else { Err(Outcome::Unauthenticated) };
        };
        let envelope = Envelope::parse(body).ok_or(Outcome::Unauthenticated)?;
        sns.verify(&envelope, SystemTime::now()).await?;
        if envelope.kind == "SubscriptionConfirmation" {
            sns.confirm(&envelope).await?;
            return Ok(Sender::Confirmation);
        }
        if envelope.kind == "UnsubscribeConfirmation" {
            log::warn!(
                "events.webhook: {} was unsubscribed: no more notifications will arrive",
                envelope.topic_arn
            );
        }
        Ok(Sender::Known)
    }

    /// Makes a signature usable again, because its message was not applied.
    pub(super) fn give_back(&self, sender: &Sender) {
        if let Sender::Signed(taken) = sender {
            self.signed.give_back(*taken);
        }
    }

    fn is_one_of(&self, tags: &[hmac::Tag], presented: &[u8]) -> bool {
        // All are compared, so that the time does not reveal which one matches.
        let equal = |tag: &hmac::Tag| hmac::verify(&self.key, presented, tag.as_ref()).is_ok();
        tags.iter().filter(|tag| equal(tag)).count() > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(config: &WebhookConfig, name: &'static str, value: &str) -> Option<Outcome> {
        let authentication = Authentication::new(config).unwrap();
        let headers =
            [(HeaderName::from_static(name), value.parse().unwrap())].into_iter().collect();
        authentication.by_head(&headers).err()
    }

    #[test]
    fn a_token_is_known_plain_and_as_a_bearer_and_with_its_own_scheme_only_as_it_is() {
        let config = WebhookConfig {
            tokens: vec!["made-up-token".into(), "Basic dXNlcjpwYXNz".into()],
            ..WebhookConfig::default()
        };
        for value in ["made-up-token", "Bearer made-up-token", "bearer made-up-token"] {
            assert_eq!(asked(&config, "authorization", value), None, "{value}");
        }
        assert_eq!(asked(&config, "authorization", "Basic dXNlcjpwYXNz"), None);
        for value in ["made-up-toke", "made-up-token ", "Bearer", "dXNlcjpwYXNz", "Bearer  x", "x"]
        {
            let outcome = asked(&config, "authorization", value);
            assert_eq!(outcome, Some(Outcome::Forged), "{value}");
        }
        let outcome = asked(&config, "x-api-key", "made-up-token");
        assert_eq!(outcome, Some(Outcome::Unauthenticated));
    }

    #[test]
    fn an_api_key_is_known_under_its_header_alone() {
        let config = WebhookConfig {
            api_keys: vec!["made-up-key".into()],
            api_key_header: "X-Events".to_owned(),
            ..WebhookConfig::default()
        };
        assert_eq!(asked(&config, "x-events", "made-up-key"), None);
        assert_eq!(asked(&config, "x-events", "made-up-ke"), Some(Outcome::Forged));
        let outcome = asked(&config, "x-api-key", "made-up-key");
        assert_eq!(outcome, Some(Outcome::Unauthenticated));
        let outcome = asked(&config, "authorization", "made-up-key");
        assert_eq!(outcome, Some(Outcome::Unauthenticated));
    }

    #[test]
    fn everybody_is_believed_only_where_nothing_is_configured() {
        assert_eq!(asked(&WebhookConfig::default(), "x-anything", "x"), None);
        let config =
            WebhookConfig { secrets: vec!["a made-up secret".into()], ..WebhookConfig::default() };
        assert_eq!(asked(&config, "x-anything", "x"), Some(Outcome::Unauthenticated));
    }
}
