//! Checks of `admin` and `warm`.

use super::values::{at_least_one, wrong};
use crate::admin::config::AdminConfig;
use crate::cache::config::{Freshness, PrefetchConfig, RuleConfig};
use crate::config::ConfigError;
use crate::warm::config::WarmConfig;

/// The token is said in a header, or not at all.
pub(super) fn check_admin(admin: &AdminConfig) -> Result<(), ConfigError> {
    if admin.token.is_some() && admin.token_file.is_some() {
        return wrong("admin.token_file", "cannot be set together with admin.token");
    }
    let is_word = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic());
    match &admin.token {
        Some(token) if !is_word(token.expose()) => wrong(
            "admin.token",
            "must be non-empty and contain only printable ASCII characters without spaces",
        ),
        Some(token) if token.expose().len() < AdminConfig::TOKEN_MIN => wrong(
            "admin.token",
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
