//! One identity: its credentials and permissions.
//!
//! Invariant: a request is allowed when *each* of its pairs is inside one grant (R21). Only what a grant names is
//! allowed, and no action includes another.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use http::StatusCode;
use ipnet::IpNet;

use super::pattern::Pattern;
use crate::auth::{ClientLimitOverride, Credentials};
use crate::s3::{Action, RequiredPermission, RequiredPermissions, Resource, S3Error};

/// An identity: the owner of an access key or certificate, or the anonymous client.
#[derive(Debug)]
pub struct Identity {
    pub(super) name: String,
    /// Equivalent credentials: there are several during a rotation.
    pub(super) credentials: Vec<Credentials>,
    pub(super) allow: Vec<Grant>,
    /// Allowed client networks; empty: any.
    pub(super) networks: Vec<IpNet>,
    pub(super) expires: Option<SystemTime>,
    pub(super) certificates: Vec<CertificateId>,
    pub(super) origin: Option<OriginKeys>,
    pub(super) limits: Option<ClientLimitOverride>,
}

/// Property by which a TLS client certificate is identified.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum CertificateId {
    /// SHA-256 of the DER encoding.
    Sha256([u8; 32]),
    /// A host name, in lower case.
    Dns(String),
    /// A URI, such as a SPIFFE id: scheme and host in lower case, the rest unchanged.
    Uri(String),
    /// A mail address, its domain in lower case.
    Email(String),
}

impl CertificateId {
    /// Creates a host name, which is case-insensitive.
    #[must_use]
    pub fn dns(name: &str) -> Self {
        Self::Dns(name.to_ascii_lowercase())
    }

    /// Creates a URI: scheme and host are case-insensitive, the path is not (RFC 3986, section 6.2.2.1).
    #[must_use]
    pub fn uri(text: &str) -> Self {
        let Some((scheme, rest)) = text.split_once("://") else {
            return Self::Uri(text.to_owned());
        };
        let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        let (user, host) = authority.split_at(authority.rfind('@').map_or(0, |at| at + 1));
        let [scheme, host] = [scheme, host].map(str::to_ascii_lowercase);
        Self::Uri(format!("{scheme}://{user}{host}{path}"))
    }

    /// Creates a mail address: the domain is case-insensitive, the local part is not (RFC 5280, section 7.5).
    #[must_use]
    pub fn email(address: &str) -> Self {
        let (user, domain) = address.split_at(address.rfind('@').unwrap_or(0));
        Self::Email(format!("{user}{}", domain.to_ascii_lowercase()))
    }
}

impl fmt::Display for CertificateId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(name) => write!(f, "dns:{name}"),
            Self::Uri(name) => write!(f, "uri:{name}"),
            Self::Email(name) => write!(f, "email:{name}"),
            Self::Sha256(bytes) => {
                f.write_str("sha256:")?;
                bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }
    }
}

/// Origin credentials of an identity.
#[derive(Debug)]
pub struct OriginKeys {
    pub(super) domain: String,
    pub(super) credentials: Option<Arc<Credentials>>,
}

impl OriginKeys {
    /// Returns the credential domain (R1): one of the identity alone, or one shared by several identities.
    #[must_use]
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// Returns the keys; `None`: requests are sent unsigned.
    #[must_use]
    pub fn credentials(&self) -> Option<&Arc<Credentials>> {
        self.credentials.as_ref()
    }
}

/// Allowed actions on resources.
#[derive(Debug)]
pub(super) struct Grant {
    pub(super) actions: Vec<Action>,
    pub(super) resources: Vec<Pattern>,
}

impl Grant {
    fn covers(&self, need: &RequiredPermission) -> bool {
        self.actions.contains(&need.action)
            && self.resources.iter().any(|pattern| pattern.covers(&need.resource))
    }
}

impl Identity {
    /// Returns the name, for logs.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the credentials; empty for the anonymous identity and for those identified by a certificate.
    #[must_use]
    pub fn credentials(&self) -> &[Credentials] {
        &self.credentials
    }

    /// Returns the credentials with this access key.
    #[must_use]
    pub fn credentials_of(&self, access_key: &str) -> Option<&Credentials> {
        self.credentials.iter().find(|credentials| credentials.access_key() == access_key)
    }

    /// Returns the time of expiry.
    #[must_use]
    pub fn expires(&self) -> Option<SystemTime> {
        self.expires
    }

    /// Returns the identity's own origin credentials, if it has any.
    #[must_use]
    pub fn origin(&self) -> Option<&OriginKeys> {
        self.origin.as_ref()
    }

    /// Returns the identity's own limits.
    #[must_use]
    pub fn limits(&self) -> Option<&ClientLimitOverride> {
        self.limits.as_ref()
    }

    /// Checks that the identity may do all of `needs` from `peer` (`None`: a unix socket, which is in no network) at
    /// `now`.
    ///
    /// # Errors
    /// 400 `ExpiredToken` when it has expired; 403 `AccessDenied` with the missing permission.
    pub fn authorize(
        &self,
        needs: &RequiredPermissions,
        peer: Option<IpAddr>,
        now: SystemTime,
    ) -> Result<(), S3Error> {
        self.find_refusal(needs, peer, now).map_err(|mut refusal| {
            refusal.identity = Some(self.name.as_str().into());
            refusal
        })
    }

    fn find_refusal(
        &self,
        needs: &RequiredPermissions,
        peer: Option<IpAddr>,
        now: SystemTime,
    ) -> Result<(), S3Error> {
        if self.expires.is_some_and(|end| end <= now) {
            let message = "The provided token has expired.";
            return Err(S3Error::new(StatusCode::BAD_REQUEST, "ExpiredToken", message));
        }
        if !self.networks.is_empty() && !peer.is_some_and(|peer| self.is_from(peer)) {
            return Err(self.denied("may not connect from here"));
        }
        match needs.iter().find(|need| !self.may(need)) {
            None => Ok(()),
            Some(RequiredPermission { action, resource: Resource::Everything }) => {
                Err(self.denied(&format!("may not {} everything", action.as_str())))
            }
            Some(RequiredPermission { action, resource }) => {
                Err(self.denied(&format!("may not {} {resource}", action.as_str())))
            }
        }
    }

    fn may(&self, need: &RequiredPermission) -> bool {
        self.allow.iter().any(|grant| grant.covers(need))
    }

    fn is_from(&self, peer: IpAddr) -> bool {
        // A listener on [::] sees IPv4 as ::ffff:a.b.c.d.
        let peer = peer.to_canonical();
        self.networks.iter().any(|network| network.contains(&peer))
    }

    fn denied(&self, what: &str) -> S3Error {
        let mut error = S3Error::access_denied();
        error.message = format!("Access Denied: {} {what}", self.name).into();
        error
    }
}
