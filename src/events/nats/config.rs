//! Configuration of NATS JetStream, the key `events.nats`.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::config::units::{HumanDuration, Secret};

/// A stream, and how to reach it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct NatsConfig {
    /// Servers, `nats://host:4222` or `tls://..`; other servers of the cluster are discovered.
    pub servers: Vec<String>,
    /// User name, with `password`; alternatives are `token` and `credentials`.
    pub user: Option<String>,
    /// Password of `user`.
    pub password: Option<Secret>,
    /// Authentication token.
    pub token: Option<Secret>,
    /// Credentials file with a user's JWT and seed, as written by `nsc`.
    pub credentials: Option<PathBuf>,
    /// PEM file of the certificate authorities to trust in place of the system's; `None`: the
    /// system's.
    pub ca_file: Option<PathBuf>,
    /// Name of the stream, which must exist.
    pub stream: String,
    /// Subject filter; `None`: all subjects of the stream.
    pub subject: Option<String>,
    /// Name of the durable consumer, created if missing. Each replica needs its own. `None`:
    /// `hotset-` followed by the host name.
    pub consumer: Option<String>,
    /// Time for which the server keeps the consumer without requests; `None`: for ever.
    pub expires: Option<HumanDuration>,
    /// Name of the origin whose buckets its messages name; `None`: they may be any origin's.
    pub origin: Option<String>,
}

impl NatsConfig {
    /// Validates the settings; an error is the name of the key and the problem.
    ///
    /// # Errors
    /// The first invalid key.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        if self.servers.is_empty() {
            return Err(("servers", "at least one is needed".to_owned()));
        }
        if self.servers.iter().any(|server| server.contains('@')) {
            return Err(("servers", "write credentials into user and password".to_owned()));
        }
        if !is_name(&self.stream) {
            return Err(("stream", format!("`{}` is not the name of a stream", self.stream)));
        }
        if self.consumer.as_ref().is_some_and(|name| !is_name(name)) {
            return Err(("consumer", "must have no spaces, dots, asterisks or >".to_owned()));
        }
        if self.user.is_some() != self.password.is_some() {
            return Err(("password", "user and password must be set together".to_owned()));
        }
        let ways = [self.user.is_some(), self.token.is_some(), self.credentials.is_some()];
        if ways.iter().filter(|set| **set).count() > 1 {
            return Err(("token", "user, token and credentials exclude one another".to_owned()));
        }
        Ok(())
    }
}

impl Default for NatsConfig {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            user: None,
            password: None,
            token: None,
            credentials: None,
            ca_file: None,
            stream: String::new(),
            subject: None,
            consumer: None,
            expires: Some(HumanDuration::secs(24 * 3600)),
            origin: None,
        }
    }
}

/// Whether a text is a valid name. Source: NATS documentation, "Naming Streams, Consumers, and Accounts".
fn is_name(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_graphic() && !matches!(c, '.' | '*' | '>' | '/' | '\\');
    !text.is_empty() && text.chars().all(allowed)
}
