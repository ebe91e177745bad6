//! Limits of one client: plain data, of the configuration and of the identities file.

use serde::{Deserialize, Deserializer, Serialize};

use crate::config::units::ByteSize;

/// Limits of each identity, or of each client address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct ClientLimit {
    /// Maximum requests a second; further ones are answered 503 `SlowDown`. A client that was idle
    /// may send those of one second at once. `None`: no limit.
    pub requests_per_second: Option<u32>,
    /// Maximum bytes a second of request and response bodies together. Bodies above it are slowed
    /// down. `None`: no limit.
    pub bytes_per_second: Option<ByteSize>,
    /// Maximum requests in flight; further ones are answered 503 `SlowDown`. `None`: no limit.
    pub requests: Option<u32>,
}

impl ClientLimit {
    /// The smallest value of `bytes_per_second`: below it a client would give up.
    pub const BYTES_MIN: ByteSize = ByteSize::kib(1);

    /// Whether there is no limit at all.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// Returns the first key with an implausible value, and the problem.
    #[must_use]
    pub fn problem(&self) -> Option<(&'static str, String)> {
        let zero = || "must be greater than zero".to_owned();
        if self.requests_per_second == Some(0) {
            return Some(("requests_per_second", zero()));
        }
        if self.requests == Some(0) {
            return Some(("requests", zero()));
        }
        let bytes = self.bytes_per_second.filter(|bytes| *bytes < Self::BYTES_MIN)?;
        Some(("bytes_per_second", format!("{bytes} is less than {}", Self::BYTES_MIN)))
    }
}

/// Limits of an identity that replace those of `limits.per_identity`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClientLimitOverride {
    requests_per_second: Own<u32>,
    bytes_per_second: Own<ByteSize>,
    requests: Own<u32>,
}

/// A limit that may be set, also to null: then there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Own<T> {
    #[default]
    NotWritten,
    Written(Option<T>),
}

impl<T> Own<T> {
    fn or(self, configured: Option<T>) -> Option<T> {
        match self {
            Self::NotWritten => configured,
            Self::Written(limit) => limit,
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Own<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Option::deserialize(deserializer).map(Self::Written)
    }
}

impl ClientLimitOverride {
    /// Returns the limits in force: the own ones, and those of `configured` for the others.
    #[must_use]
    pub fn over(&self, configured: &ClientLimit) -> ClientLimit {
        ClientLimit {
            requests_per_second: self.requests_per_second.or(configured.requests_per_second),
            bytes_per_second: self.bytes_per_second.or(configured.bytes_per_second),
            requests: self.requests.or(configured.requests),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml;

    #[test]
    fn an_override_replaces_what_it_names_and_lifts_what_it_sets_to_null() {
        let configured = ClientLimit {
            requests_per_second: Some(10),
            bytes_per_second: Some(ByteSize::kib(64)),
            requests: Some(3),
        };
        let over = |text: &str| {
            yaml::from_str::<ClientLimitOverride>(text).map(|limits| limits.over(&configured))
        };
        assert_eq!(over("{}").unwrap(), configured);
        let other = ClientLimit { requests: Some(7), requests_per_second: None, ..configured };
        assert_eq!(over("requests: 7\nrequests_per_second: null").unwrap(), other);
        assert!(over("connections: 7").is_err());
    }

    #[test]
    fn a_limit_that_lets_nothing_through_is_a_mistake() {
        let problem = |limit: ClientLimit| limit.problem().map(|(key, _)| key);
        let none = ClientLimit::default();
        assert!(none.is_none() && problem(none).is_none());
        let zero = ClientLimit { requests_per_second: Some(0), ..none };
        assert_eq!(problem(zero), Some("requests_per_second"));
        assert_eq!(problem(ClientLimit { requests: Some(0), ..none }), Some("requests"));
        let of = |bytes| ClientLimit { bytes_per_second: Some(ByteSize(bytes)), ..none };
        assert_eq!(problem(of(1023)), Some("bytes_per_second"));
        assert_eq!(problem(of(1024)), None);
    }
}
