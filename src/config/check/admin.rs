//! Checks of `admin` and `warm`.

use super::values::{at_least_one, check_tls, wrong};
use crate::admin::config::AdminConfig;
use crate::cache::config::{Freshness, PrefetchConfig, RuleConfig};
use crate::config::ConfigError;
use crate::config::units::Secret;
use crate::tls::config::ClientAuth;
use crate::warm::config::WarmConfig;

/// Checks the tokens, which must be valid in a header.
pub(super) fn check_admin(admin: &AdminConfig) -> Result<(), ConfigError> {
    for (key, token, file) in [
        ("admin.token", &admin.token, &admin.token_file),
        ("admin.read_token", &admin.read_token, &admin.read_token_file),
    ] {
        if token.is_some() && file.is_some() {
            return wrong(format!("{key}_file"), format_args!("cannot be set together with {key}"));
        }
        check_token(key, token.as_ref())?;
    }
    let secret = |token: &Option<Secret>| token.as_ref().map(|token| token.expose().to_owned());
    if admin.token.is_some() && secret(&admin.token) == secret(&admin.read_token) {
        return wrong("admin.read_token", "must differ from admin.token, which it would replace");
    }
    let Some(tls) = &admin.tls else { return Ok(()) };
    check_tls("admin.tls", tls)?;
    if tls.client_auth != ClientAuth::None {
        let why = "must be none: health probes and other clients have no certificate";
        return wrong("admin.tls.client_auth", why);
    }
    Ok(())
}

fn check_token(key: &str, token: Option<&Secret>) -> Result<(), ConfigError> {
    let is_word = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic());
    match token {
        Some(token) if !is_word(token.expose()) => wrong(
            key,
            "must be non-empty and contain only printable ASCII characters without spaces",
        ),
        Some(token) if token.expose().len() < AdminConfig::TOKEN_MIN => wrong(
            key,
            format_args!(
                "is shorter than {} bytes: `openssl rand -hex 32` makes a long one",
                AdminConfig::TOKEN_MIN
            ),
        ),
        _ => Ok(()),
    }
}

pub(super) fn check_warm(warm: &WarmConfig) -> Result<(), ConfigError> {
    at_least_one("warm.reads", warm.reads)?;
    let most = WarmConfig::READS_MAX;
    match warm.reads > most {
        true => wrong("warm.reads", format_args!("{} is more than {most}", warm.reads)),
        false => Ok(()),
    }
}

pub(super) fn check_prefetch(index: usize, rule: &RuleConfig) -> Result<(), ConfigError> {
    let Some(PrefetchConfig { whole, head, tail }) = rule.prefetch else { return Ok(()) };
    let key = format!("rules[{index}].prefetch");
    if rule.freshness == Freshness::Bypass {
        return wrong(key, "has no effect with freshness: bypass");
    }
    at_least_one(&key, whole.max(head).max(tail).bytes())
}
