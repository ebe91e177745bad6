//! An access key, its secret and perhaps a session token.
//!
//! Invariant: secrets are never printed, and every part that is sent in a header is a valid header value, so that
//! signing cannot fail. The sources of credentials are in `crate::origin::credentials`.

use std::fmt;
use std::sync::Arc;

use http::HeaderName;

use super::sign::key::{SigningKey, SigningKeys};
use super::sign::terms::{SERVICE, X_AMZ_S3SESSION_TOKEN, X_AMZ_SECURITY_TOKEN};
use crate::config::units::Secret;

/// Credentials of one identity at an S3 server.
pub struct Credentials {
    access_key: String,
    secret_key: Secret,
    session_token: Option<Secret>,
    signing_keys: SigningKeys,
    service: Service,
}

/// The service name in the scope of a SigV4 signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Service {
    S3,
    /// Directory buckets of S3 Express One Zone.
    DirectoryBuckets {
        /// Whether the keys are those of a session, and not those that request sessions.
        is_session: bool,
    },
}

/// Reason for which credentials cannot be used. Their values are never in the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCredentials {
    /// The access key is empty, or has a byte that is not allowed in the credential scope or in a header.
    #[error("the access key id is empty or holds a blank, `/`, `,` or a character beyond ASCII")]
    AccessKey,
    /// The secret key is empty.
    #[error("the secret access key is empty")]
    SecretKey,
    /// The session token is empty or has a byte that is not allowed in a header.
    #[error("the session token is empty or holds a blank or a character beyond ASCII")]
    SessionToken,
}

impl Credentials {
    /// Validates the parts and combines them.
    ///
    /// # Errors
    /// [`InvalidCredentials`] names the part that cannot be sent.
    pub fn new(
        access_key: String,
        secret_key: Secret,
        session_token: Option<Secret>,
    ) -> Result<Self, InvalidCredentials> {
        let visible = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic());
        if !visible(&access_key) || access_key.contains(['/', ',']) {
            return Err(InvalidCredentials::AccessKey);
        }
        if secret_key.expose().is_empty() {
            return Err(InvalidCredentials::SecretKey);
        }
        if session_token.as_ref().is_some_and(|token| !visible(token.expose())) {
            return Err(InvalidCredentials::SessionToken);
        }
        let (signing_keys, service) = (SigningKeys::default(), Service::S3);
        Ok(Self { access_key, secret_key, session_token, signing_keys, service })
    }

    /// Returns the same credentials, for requesting sessions of directory buckets.
    #[must_use]
    pub fn for_directory_buckets(self) -> Self {
        self.of(Service::DirectoryBuckets { is_session: false })
    }

    /// Returns the same credentials as the keys of a directory bucket session.
    #[must_use]
    pub fn for_session(self) -> Self {
        self.of(Service::DirectoryBuckets { is_session: true })
    }

    fn of(self, service: Service) -> Self {
        Self { service, signing_keys: SigningKeys::default(), ..self }
    }

    /// Returns the service in the scope of signatures.
    pub(super) fn service(&self) -> &'static str {
        match self.service {
            Service::S3 => SERVICE,
            Service::DirectoryBuckets { .. } => "s3express",
        }
    }

    /// Returns the name of the session token's header.
    pub(super) fn token_header(&self) -> HeaderName {
        match self.service {
            Service::DirectoryBuckets { is_session: true } => X_AMZ_S3SESSION_TOKEN,
            Service::S3 | Service::DirectoryBuckets { is_session: false } => X_AMZ_SECURITY_TOKEN,
        }
    }

    /// Returns the access key id, which is public and sent with every request.
    #[must_use]
    pub fn access_key(&self) -> &str {
        &self.access_key
    }

    /// Returns the secret access key, which signs and is never sent.
    #[must_use]
    pub fn secret_key(&self) -> &Secret {
        &self.secret_key
    }

    /// Returns the token of temporary credentials, sent as `x-amz-security-token`.
    #[must_use]
    pub fn session_token(&self) -> Option<&Secret> {
        self.session_token.as_ref()
    }

    /// Returns the signing key for requests of `date` (`20130524`) to `region`.
    pub(super) fn signing_key(&self, date: &str, region: &str) -> Arc<SigningKey> {
        self.signing_keys.get(self, date, region)
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("access_key", &self.access_key)
            .field("secret_key", &"***")
            .field("session_token", &self.session_token.as_ref().map(|_| "***"))
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Secret {
        Secret::new(text.to_owned())
    }

    #[test]
    fn debug_prints_the_access_key_and_nothing_secret() {
        let token = Some(secret("session-material"));
        let credentials =
            Credentials::new("AKIAEXAMPLE".into(), secret("hidden-material"), token).unwrap();
        let shown = format!("{credentials:?}");
        assert!(shown.contains("AKIAEXAMPLE"), "{shown}");
        assert!(!shown.contains("material"), "{shown}");
    }

    #[test]
    fn what_a_header_cannot_carry_is_refused_by_name() {
        for bad in ["", "has space", "line\nfeed", "sla/sh", "com,ma", "ключ"] {
            let refused = Credentials::new(bad.into(), secret("s"), None).unwrap_err();
            assert_eq!(refused, InvalidCredentials::AccessKey, "{bad:?}");
        }
        let no_secret = Credentials::new("AK".into(), secret(""), None).unwrap_err();
        assert_eq!(no_secret, InvalidCredentials::SecretKey);
        for bad in ["", "two\r\nlines"] {
            let refused =
                Credentials::new("AK".into(), secret("s"), Some(secret(bad))).unwrap_err();
            assert_eq!(refused, InvalidCredentials::SessionToken, "{bad:?}");
        }
    }

    #[test]
    fn secrets_may_hold_slashes_and_plus_signs() {
        let token = Some(secret("FwoG/+=="));
        let credentials = Credentials::new("AK".into(), secret("a/b+c="), token).unwrap();
        assert_eq!(credentials.secret_key().expose(), "a/b+c=");
        assert_eq!(credentials.session_token().map(Secret::expose), Some("FwoG/+=="));
    }
}
