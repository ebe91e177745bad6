//! Checks of `origin`: its endpoint, its credentials and its timeouts.

use std::net::IpAddr;

use http::Uri;

use super::endpoint_kind;
use super::values::{at_least_one, greater_than_zero, wrong};
use crate::config::ConfigError;
use crate::origin::config::{Addressing, CredentialsConfig, OriginConfig};

pub(super) fn check(origin: &OriginConfig) -> Result<(), ConfigError> {
    check_endpoint(origin)?;
    endpoint_kind::check(origin)?;
    for (key, text) in [
        ("origin.region", &origin.region),
        ("origin.credential_domain", &origin.credential_domain),
        ("origin.credentials.profile", &origin.credentials.profile),
    ] {
        if text.is_empty() || text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return wrong(key, "must be non-empty and contain no whitespace");
        }
    }
    check_credentials(&origin.credentials)?;
    for (key, duration) in [
        ("origin.connect_timeout", origin.connect_timeout),
        ("origin.first_byte_timeout", origin.first_byte_timeout),
        ("origin.idle_timeout", origin.idle_timeout),
        ("origin.deadline", origin.deadline),
        ("origin.backoff.base", origin.backoff.base),
        ("origin.keep_alive", origin.keep_alive),
    ] {
        greater_than_zero(key, duration)?;
    }
    if origin.backoff.cap < origin.backoff.base {
        return wrong(
            "origin.backoff.cap",
            format_args!("{} is less than origin.backoff.base", origin.backoff.cap),
        );
    }
    at_least_one("origin.attempts", origin.attempts)?;
    at_least_one("origin.connections", origin.connections)?;
    at_least_one("origin.connections_per_address", origin.connections_per_address.unwrap_or(1))?;
    at_least_one("origin.pass_through_connections", origin.pass_through_connections)
}

pub(super) fn check_credentials(config: &CredentialsConfig) -> Result<(), ConfigError> {
    let words = [
        ("origin.credentials.role_arn", &config.role_arn),
        ("origin.credentials.external_id", &config.external_id),
        ("origin.credentials.session_name", &config.session_name),
    ];
    for (key, word) in words {
        let Some(word) = word else { continue };
        if word.is_empty() || word.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return wrong(key, "must be non-empty and contain no whitespace");
        }
        if config.role_arn.is_none() {
            return wrong(key, "only valid with origin.credentials.role_arn");
        }
        if config.anonymous {
            return wrong(key, "not valid with origin.credentials.anonymous");
        }
    }
    if config.anonymous && config.file.is_some() {
        return wrong("origin.credentials.file", "not valid with origin.credentials.anonymous");
    }
    Ok(())
}

fn check_endpoint(origin: &OriginConfig) -> Result<(), ConfigError> {
    const KEY: &str = "origin.endpoint";
    let text = &origin.endpoint;
    let not_an_endpoint = || {
        ConfigError::at(
            KEY,
            format_args!("`{text}` is not http://host[:port] or https://host[:port]"),
        )
    };
    let uri: Uri = text.parse().map_err(|_| not_an_endpoint())?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err(not_an_endpoint());
    }
    let authority = uri.authority().ok_or_else(not_an_endpoint)?;
    if authority.as_str().contains('@') {
        // Without the text: it holds a password.
        return wrong(KEY, "must not hold a user or a password");
    }
    let host = authority.host();
    let port_ok = match authority.as_str().strip_prefix(host) {
        Some("") => true,
        Some(rest) => rest.len() > 1 && authority.port_u16().is_some_and(|port| port != 0),
        None => false,
    };
    if host.is_empty() || !port_ok {
        return Err(not_an_endpoint());
    }
    if !matches!(uri.path(), "" | "/") || uri.query().is_some() || text.contains('#') {
        return wrong(KEY, format_args!("`{text}` must not have a path"));
    }
    let is_address = host.starts_with('[') || host.parse::<IpAddr>().is_ok();
    if origin.addressing == Addressing::Virtual && is_address {
        return wrong(
            "origin.addressing",
            format_args!("virtual needs a name, and {host} is an address"),
        );
    }
    Ok(())
}
