//! Checks of `events.webhook`.

use std::net::SocketAddr;

use http::{HeaderName, Uri};

use super::values::{at_least_one, check_tls, free_address, greater_than_zero, wrong};
use crate::config::ConfigError;
use crate::config::units::Secret;
use crate::events::webhook::config::{SnsConfig, WebhookConfig};

pub(super) fn check(config: &WebhookConfig, taken: &[SocketAddr]) -> Result<(), ConfigError> {
    let key = |name: &str| format!("events.webhook.{name}");
    let address = free_address(&key("address"), &config.address, taken)?;
    let anybody = config.trusts_everyone() && !config.requires_certificates();
    if anybody && !address.ip().is_loopback() {
        return wrong(
            "events.webhook",
            format_args!(
                "whoever reaches {address} would be believed: set secrets, tokens, api_keys, sns.topics or \
                 tls.client_auth: required"
            ),
        );
    }
    if let Some(tls) = &config.tls {
        check_tls(&key("tls"), tls)?;
    }
    for (name, secrets) in
        [("tokens", &config.tokens), ("api_keys", &config.api_keys), ("secrets", &config.secrets)]
    {
        check_secrets(&key(name), secrets)?;
    }
    if config.api_key_header.parse::<HeaderName>().is_err() {
        let problem = format_args!("`{}` is no name of a header", config.api_key_header);
        return wrong(key("api_key_header"), problem);
    }
    if let Some(sns) = &config.sns {
        check_sns(sns)?;
    }
    at_least_one(&key("body"), config.body.bytes())?;
    at_least_one(&key("connections"), config.connections as u64)?;
    at_least_one(&key("requests"), config.requests as u64)?;
    greater_than_zero(&key("header_timeout"), config.header_timeout)?;
    greater_than_zero(&key("body_timeout"), config.body_timeout)
}

fn check_secrets(key: &str, secrets: &[Secret]) -> Result<(), ConfigError> {
    let shortest = WebhookConfig::SECRET_MIN;
    let length = |secret: &Secret| match secret.expose().split_once(' ') {
        // The scheme in `Authorization` is not part of the secret.
        Some(("Basic" | "Bearer", secret)) => secret.len(),
        _ => secret.expose().len(),
    };
    match secrets.iter().position(|secret| length(secret) < shortest) {
        Some(at) => wrong(
            format!("{key}[{at}]"),
            format_args!(
                "is shorter than {shortest} bytes: `openssl rand -hex 32` makes a long one"
            ),
        ),
        None => Ok(()),
    }
}

fn check_sns(config: &SnsConfig) -> Result<(), ConfigError> {
    const TOPICS: &str = "events.webhook.sns.topics";
    greater_than_zero("events.webhook.sns.max_age", config.max_age)?;
    if config.topics.is_empty() {
        return wrong(TOPICS, "at least one ARN is needed");
    }
    for (at, topic) in config.topics.iter().enumerate() {
        let parts: Vec<&str> = topic.split(':').collect();
        if !matches!(parts[..], ["arn", _, "sns", _, _, name] if !name.is_empty()) {
            return wrong(
                format!("{TOPICS}[{at}]"),
                format_args!(
                    "`{topic}` is not the ARN of a topic, arn:aws:sns:REGION:ACCOUNT:NAME"
                ),
            );
        }
    }
    let Some(endpoint) = &config.endpoint else { return Ok(()) };
    let uri = endpoint.parse::<Uri>().ok();
    let plain = uri.is_some_and(|uri| {
        let scheme = uri.scheme_str().unwrap_or_default();
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        matches!(scheme, "http" | "https") && *endpoint == format!("{scheme}://{authority}")
    });
    match plain {
        true => Ok(()),
        false => wrong(
            "events.webhook.sns.endpoint",
            format_args!("`{endpoint}` is not http://host:port or https://host:port"),
        ),
    }
}
