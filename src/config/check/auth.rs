//! Checks of `auth`, and of its relation to the listeners.

use std::net::SocketAddr;

use http::Uri;

use super::values::{greater_than_zero, wrong};
use crate::auth::{AuthConfig, AuthMode};
use crate::config::ConfigError;
use crate::config::units::HumanDuration;
use crate::proxy::config::ListenConfig;
use crate::tls::config::{ClientAuth, TlsConfig};

/// Maximum time for which a decision of S3 is reused.
const DECISION_MAX: HumanDuration = HumanDuration::secs(60);

/// Name of a key, and whether it is set.
type Key<'a> = (&'a str, bool);

/// Checks `auth`. A key of another mode is refused, so that it does not seem to have an effect.
pub(super) fn check(auth: &AuthConfig, listeners: &[ListenConfig]) -> Result<(), ConfigError> {
    check_buckets(auth.buckets.as_deref())?;
    check_reserved(auth.reserved.as_deref().unwrap_or_default())?;
    check_open(auth, listeners)?;
    check_origins(&auth.origins)?;
    let of_verify = [
        ("auth.identities", auth.identities.is_some()),
        ("auth.reload", auth.reload != AuthConfig::default().reload),
        ("auth.region", auth.region.is_some()),
        ("auth.hosts", !auth.hosts.is_empty()),
    ];
    let of_trust = [
        ("auth.writes", !auth.writes),
        ("auth.buckets", auth.buckets.is_some()),
        ("auth.open", auth.open),
    ];
    let of_transparent = [("auth.decision_ttl", auth.decision_ttl != AuthConfig::DECISION_TTL)];
    let of_modes: [(AuthMode, &str, &[Key<'_>]); 3] = [
        (AuthMode::Trust, "trust", &of_trust),
        (AuthMode::Verify, "verify", &of_verify),
        (AuthMode::Transparent, "transparent", &of_transparent),
    ];
    let others = of_modes.iter().filter(|(mode, ..)| *mode != auth.mode);
    let mut unused = others.flat_map(|(_, mode, keys)| keys.iter().map(move |key| (key, mode)));
    if let Some(((key, _), mode)) = unused.find(|((_, set), _)| *set) {
        return wrong(key, format_args!("only valid with auth.mode: {mode}"));
    }
    let of_both =
        [("auth.origins", !auth.origins.is_empty()), ("auth.reserved", auth.reserved.is_some())];
    if auth.mode == AuthMode::Transparent
        && let Some((key, _)) = of_both.into_iter().find(|(_, is_set)| *is_set)
    {
        return wrong(key, "is only valid with auth.mode: trust or verify");
    }
    if auth.mode == AuthMode::Verify && auth.identities.is_none() {
        return wrong("auth.identities", "is needed with auth.mode: verify");
    }
    greater_than_zero("auth.reload", auth.reload)?;
    if auth.decision_ttl.0 > DECISION_MAX.0 {
        return wrong("auth.decision_ttl", format_args!("must be at most {DECISION_MAX}"));
    }
    let is_word = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic());
    if auth.region.as_deref().is_some_and(|region| !is_word(region) || region.contains('/')) {
        return wrong("auth.region", "must be the name of a region");
    }
    match auth.hosts.iter().position(|host| !is_word(host) || host.contains('/')) {
        Some(index) => wrong(
            format_args!("auth.hosts[{index}]"),
            format_args!("`{}` is not a host such as s3.local or s3.local:9000", auth.hosts[index]),
        ),
        None => Ok(()),
    }
}

fn check_buckets(buckets: Option<&[String]>) -> Result<(), ConfigError> {
    let Some(buckets) = buckets else {
        return Ok(());
    };
    if buckets.is_empty() {
        return wrong(
            "auth.buckets",
            "an empty list refuses every request; null allows all buckets",
        );
    }
    for (index, bucket) in buckets.iter().enumerate() {
        if matches!(bucket.as_str(), "" | "." | "..") || bucket.contains('/') {
            return wrong(
                format_args!("auth.buckets[{index}]"),
                format_args!("`{bucket}` is not the name of a bucket"),
            );
        }
    }
    Ok(())
}

fn check_reserved(names: &[String]) -> Result<(), ConfigError> {
    let is_pattern = |name: &String| {
        let start = name.strip_suffix('*').unwrap_or(name);
        !start.is_empty() && start.bytes().all(|b| b.is_ascii_graphic() && !b"/*".contains(&b))
    };
    match names.iter().position(|name| !is_pattern(name)) {
        None => Ok(()),
        Some(index) => wrong(
            format_args!("auth.reserved[{index}]"),
            format_args!(
                "`{}` is neither the name of a bucket nor the start of one with * behind it, such as minio or _*",
                names[index]
            ),
        ),
    }
}

/// Checks that `auth.open` is set for public listeners: in `trust` mode only the address of a listener limits the use
/// of hotset's keys (R20).
fn check_open(auth: &AuthConfig, listeners: &[ListenConfig]) -> Result<(), ConfigError> {
    if auth.mode != AuthMode::Trust || auth.open {
        return Ok(());
    }
    let is_open = |listen: &&ListenConfig| {
        let requires = |tls: &TlsConfig| tls.client_auth == ClientAuth::Required;
        let address = listen.address.parse::<SocketAddr>();
        address.is_ok_and(|address| !address.ip().to_canonical().is_loopback())
            && !listen.tls.as_ref().is_some_and(requires)
    };
    match listeners.iter().find(is_open) {
        None => Ok(()),
        Some(listen) => wrong(
            "auth.open",
            format_args!(
                "with auth.mode: trust whoever reaches the listener {} may do what hotset's own keys may: listen on \
                 a loopback address or a unix socket, choose auth.mode: verify, or set auth.open: true",
                listen.address
            ),
        ),
    }
}

/// Checks web origins, which must be written as browsers do (RFC 6454, section 6.1), or never match.
fn check_origins(origins: &[String]) -> Result<(), ConfigError> {
    let is_origin = |text: &str| {
        let Ok(uri) = text.parse::<Uri>() else { return false };
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return false;
        };
        let is_default =
            matches!((scheme, authority.port_u16()), ("http", Some(80)) | ("https", Some(443)));
        let written = format!("{scheme}://{authority}").to_ascii_lowercase();
        text == written && !authority.as_str().contains('@') && !is_default
    };
    match origins.iter().position(|origin| origin != "null" && !is_origin(origin)) {
        None => Ok(()),
        Some(index) => wrong(
            format_args!("auth.origins[{index}]"),
            format_args!(
                "`{}` is not an origin as browsers send it, such as https://app.example.org or \
                 http://localhost:3000 (in lower case, without a path or a default port)",
                origins[index]
            ),
        ),
    }
}
