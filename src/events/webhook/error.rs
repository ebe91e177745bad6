//! Configuration errors of the webhook.

use std::fmt;

/// Error of starting the webhook. Its display is one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookError {
    /// The invalid key below `events.webhook`.
    pub key: String,
    pub problem: String,
}

impl WebhookError {
    pub(super) fn new(key: &str, problem: impl fmt::Display) -> Self {
        Self { key: key.to_owned(), problem: problem.to_string() }
    }
}

impl fmt::Display for WebhookError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.problem)
    }
}

impl std::error::Error for WebhookError {}
