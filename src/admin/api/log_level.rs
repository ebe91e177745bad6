//! `/api/v1/log-level`: the minimum level of log messages, until the next start or reload.

use serde::{Deserialize, Serialize};

use crate::logging::operator::{self, LEVELS};

/// The body of requests and responses.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LogLevel {
    level: String,
}

pub(super) fn current() -> LogLevel {
    LogLevel { level: operator::level().to_owned() }
}

/// Sets the level.
///
/// # Errors
/// The reason for which the level is invalid.
pub(super) fn set(wanted: &LogLevel) -> Result<LogLevel, String> {
    let (level, before) = (&wanted.level, operator::level());
    if !operator::set_level(level) {
        return Err(format!("level: `{level}` is none of {}", LEVELS.join(", ")));
    }
    log::warn!("the level of log messages is {level} now, and was {before} (admin API)");
    Ok(current())
}
