//! Authentication and authorisation of every request, by `auth.mode` (R20).

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use http::{HeaderMap, Method};

use super::form::{FormGate, is_form};
use super::identities::{CertificateId, Identities, IdentitiesError, Identity, IdentitySet};
use super::transparent::Transparent;
use super::trust::Trust;
use super::verify::{self, BodyCheck, Verified, Verifier};
use super::{AllowedOrigins, AuthConfig, AuthMode, ReservedNames};
use crate::s3::{
    Action, BucketName, ObjectKey, Parsed, RequestHead, RequiredPermissions, Resource, S3Error,
    spelling,
};

/// Authorisation by mode. The settings of a mode can be replaced while requests are under way.
pub enum Access {
    /// Trust in every client of the listener, within `auth.writes`, `auth.buckets` and `auth.reserved`.
    Trust(ArcSwap<Trust>),
    /// Verification of signatures, with the identities of a file.
    Verify(ArcSwap<Verification>),
    /// Authorisation by S3, request by request: nothing is refused here, and no hit is served without S3's consent
    /// (R22).
    Transparent(Transparent),
}

/// Parts of the mode `verify`.
pub struct Verification {
    /// Identities, reloaded when their file changes.
    identities: Arc<Identities>,
    /// Verifier of signatures.
    pub(super) verifier: Verifier,
    /// Web pages that may send unsigned requests.
    origins: AllowedOrigins,
    /// Reserved bucket names, which require `admin`.
    pub(super) reserved: ReservedNames,
}

/// Client of a connection, as far as the connection identifies it.
#[derive(Debug, Clone, Copy)]
pub struct Sender<'a> {
    /// Address of the peer; `None` for a unix socket.
    pub address: Option<IpAddr>,
    /// Names and fingerprint of the client certificate; empty without one.
    pub certificate: &'a [CertificateId],
}

/// A request that is allowed.
#[derive(Debug)]
pub struct Admitted {
    /// Its sender; `None` in `trust` mode.
    pub identity: Option<Arc<Identity>>,
    /// Check of the body while it streams.
    pub body: BodyCheck,
    /// Authorisation of the keys in the body, which is due before anything is sent.
    pub listed: Option<ListedKeys>,
    /// Restriction of the keys in the body, where all of the bucket may be deleted but not all that its keys may name.
    pub held: Option<ListedKeys>,
    /// A form, whose body holds its identity and operation: none of it is authorised yet.
    pub form: Option<FormGate>,
}

impl Admitted {
    fn unsigned(identity: Option<Arc<Identity>>) -> Self {
        Self { identity, body: BodyCheck::Unsigned, listed: None, held: None, form: None }
    }

    fn form(gate: FormGate) -> Self {
        Self { form: Some(gate), ..Self::unsigned(None) }
    }
}

/// Pending authorisation of a list of keys to delete, which is not parsed yet (R21).
#[derive(Debug)]
pub enum ListedKeys {
    /// Only keys that stay within the bucket.
    Confined,
    /// Only keys that the identity may delete.
    Of {
        /// The sender.
        identity: Arc<Identity>,
        /// Its address.
        peer: Option<IpAddr>,
        /// Time of the request.
        now: SystemTime,
    },
}

impl ListedKeys {
    /// Authorises the list of keys.
    ///
    /// # Errors
    /// `AccessDenied` for the first key that may not be deleted.
    pub fn authorize(&self, bucket: &BucketName, keys: &[ObjectKey]) -> Result<(), S3Error> {
        match self {
            Self::Of { identity, peer, now } => {
                identity.authorize(&RequiredPermissions::deleting(bucket, keys), *peer, *now)
            }
            Self::Confined if keys.iter().any(|key| spelling::has_dot_segments(key.as_str())) => {
                Err(S3Error::access_denied())
            }
            Self::Confined => Ok(()),
        }
    }
}

impl Access {
    /// Builds the access control. `region` is the origin's, which clients use unless `auth.region` is set; `reserved`
    /// are the origin's reserved names. Reads the identities file; `accept` sees each set before it takes effect.
    ///
    /// # Errors
    /// The identities file cannot be read or is invalid.
    pub fn new(
        config: &AuthConfig,
        region: &str,
        reserved: ReservedNames,
        accept: impl Fn(&IdentitySet) -> Result<(), String> + Send + Sync + 'static,
    ) -> Result<Self, IdentitiesError> {
        Self::with_identities(config, region, reserved, None, accept)
    }

    /// As [`Access::new`], for the settings of `config` that differ from those in `before`. Keeps the set of identities
    /// unless the file is another one.
    ///
    /// # Errors
    /// As [`Access::new`].
    pub fn anew(
        &self,
        config: &AuthConfig,
        before: &AuthConfig,
        region: &str,
        reserved: ReservedNames,
        accept: impl Fn(&IdentitySet) -> Result<(), String> + Send + Sync + 'static,
    ) -> Result<Self, IdentitiesError> {
        let is_same = config.identities == before.identities && config.reload == before.reload;
        let identities = match self {
            Self::Verify(parts) if is_same => Some(parts.load().identities.clone()),
            _ => None,
        };
        Self::with_identities(config, region, reserved, identities, accept)
    }

    fn with_identities(
        config: &AuthConfig,
        region: &str,
        reserved: ReservedNames,
        identities: Option<Arc<Identities>>,
        accept: impl Fn(&IdentitySet) -> Result<(), String> + Send + Sync + 'static,
    ) -> Result<Self, IdentitiesError> {
        match config.mode {
            AuthMode::Trust => Ok(Self::Trust(ArcSwap::from_pointee(Trust::new(config, reserved)))),
            AuthMode::Transparent => Ok(Self::Transparent(Transparent::new(config))),
            AuthMode::Verify => {
                let identities = match identities {
                    Some(identities) => identities,
                    None => load(config, accept)?,
                };
                let region = config.region.as_deref().unwrap_or(region).to_owned();
                let verifier = Verifier::new(region, config.hosts.clone());
                let origins = AllowedOrigins::new(&config.origins);
                let parts = Verification { identities, verifier, origins, reserved };
                Ok(Self::Verify(ArcSwap::from_pointee(parts)))
            }
        }
    }

    /// Puts the settings of `new` in force from the next request on, unless its mode differs.
    pub fn replace(&self, new: Self) {
        match (self, new) {
            (Self::Trust(current), Self::Trust(new)) => current.store(new.into_inner()),
            (Self::Verify(current), Self::Verify(new)) => current.store(new.into_inner()),
            _ => {}
        }
    }

    /// Accepts signatures over paths with one of these prefixes: see [`Verifier::with_path_prefixes`].
    ///
    /// # Panics
    /// Never: the verifier has no other owner yet.
    #[must_use]
    pub fn with_path_prefixes(self, prefixes: Vec<String>) -> Self {
        match self {
            Self::Verify(parts) => {
                let parts = Arc::into_inner(parts.into_inner()).expect("it is not in use yet");
                let verifier = parts.verifier.with_path_prefixes(prefixes);
                Self::Verify(ArcSwap::from_pointee(Verification { verifier, ..parts }))
            }
            other @ (Self::Trust(_) | Self::Transparent(_)) => other,
        }
    }

    /// Returns the number of request signatures verified so far; counted in debug builds only.
    #[cfg(debug_assertions)]
    pub fn verifications(&self) -> u64 {
        match self {
            Self::Verify(parts) => parts.load().verifier.verifications(),
            Self::Trust(_) | Self::Transparent(_) => 0,
        }
    }

    /// Returns the identities in force, in `verify` mode.
    pub fn identities(&self) -> Option<Arc<IdentitySet>> {
        match self {
            Self::Verify(parts) => Some(parts.load().identities.current()),
            Self::Trust(_) | Self::Transparent(_) => None,
        }
    }

    /// Returns the recent decisions of S3, in `transparent` mode.
    #[must_use]
    pub fn transparent(&self) -> Option<&Transparent> {
        match self {
            Self::Transparent(transparent) => Some(transparent),
            Self::Trust(_) | Self::Verify(_) => None,
        }
    }

    /// Whether the page that caused a request may see the reason of a refusal: in `trust` mode only a listed one (R39).
    #[must_use]
    pub fn believes(&self, method: &Method, headers: &HeaderMap) -> bool {
        match self {
            Self::Trust(trust) => trust.load().believes(method, headers),
            Self::Verify(_) | Self::Transparent(_) => true,
        }
    }

    /// Authenticates and authorises a request.
    ///
    /// # Errors
    /// As [`Verifier::verify`], and `AccessDenied` for what the identity may not do.
    pub fn admit(
        &self,
        head: &RequestHead<'_>,
        parsed: &Parsed,
        sender: Sender<'_>,
    ) -> Result<Admitted, S3Error> {
        // S3 refuses two signatures, whichever is right; it ignores those of a preflight.
        if !head.is_unsigned_options() {
            verify::signed_by(head.headers, &parsed.query)?;
        }
        let parts = match self {
            Self::Trust(trust) => {
                let trust = trust.load();
                trust.authorize(head, parsed)?;
                return Ok(match is_form(head, parsed) {
                    true => Admitted::form(FormGate::open()),
                    false => {
                        let is_listed = trust.is_confined() && parsed.is_listed_in_body();
                        let listed = is_listed.then_some(ListedKeys::Confined);
                        Admitted { listed, ..Admitted::unsigned(None) }
                    }
                });
            }
            Self::Transparent(_) => return Ok(Admitted::unsigned(None)),
            Self::Verify(parts) => parts.load(),
        };
        let Verification { verifier, origins, reserved, .. } = &**parts;
        let identities = parts.identities.current();
        // Browsers never sign preflights.
        if head.is_unsigned_options() {
            return Ok(Admitted::unsigned(None));
        }
        let now = SystemTime::now();
        let otherwise = || by_connection(&identities, origins, head, sender);
        if is_form(head, parsed) {
            // A form that is signed does not need it.
            let otherwise = otherwise();
            return Ok(Admitted::form(FormGate::new(identities, otherwise, sender, now)));
        }
        let needs = reserved.escalate(RequiredPermissions::of(head, parsed));
        let mut admitted = match verifier.verify(&identities, head, parsed, now)? {
            Some(Verified { identity, body }) => {
                Admitted { body, ..Admitted::unsigned(Some(identity)) }
            }
            None => Admitted::unsigned(otherwise()?),
        };
        let peer = sender.address;
        let identity = admitted.identity.as_ref().ok_or_else(S3Error::access_denied)?;
        if let Err(refused) = identity.authorize(&needs, peer, now) {
            let bucket = needs.listed_in_body().ok_or(refused)?;
            let any =
                RequiredPermissions::one(Action::Delete, Resource::BucketName(bucket.clone()));
            identity.authorize(&any, peer, now)?;
            let identity = Arc::clone(identity);
            admitted.listed = Some(ListedKeys::Of { identity, peer, now });
        } else if parsed.is_listed_in_body() {
            let identity = Arc::clone(identity);
            admitted.held = Some(ListedKeys::Of { identity, peer, now });
        }
        Ok(admitted)
    }
}

/// Loads the identities, and reloads them when their file changes.
fn load(
    config: &AuthConfig,
    accept: impl Fn(&IdentitySet) -> Result<(), String> + Send + Sync + 'static,
) -> Result<Arc<Identities>, IdentitiesError> {
    let file = config.identities.as_deref().unwrap_or_else(|| Path::new(""));
    let identities = Arc::new(Identities::load_for(file, accept)?);
    if let Err(error) = identities.watch(config.reload.0) {
        log::error!("the identities file is not watched: {error}");
    }
    Ok(identities)
}

/// Identifies the sender of an unsigned request: by its client certificate, or else as anonymous.
///
/// A browser presents its certificate for every page, and connects from the same address, so only a listed page may use
/// that identity. Objects that the anonymous identity reads may be shown to pages by the bucket's CORS rules.
///
/// # Errors
/// `AccessDenied` for a web page that is not in `auth.origins`.
fn by_connection(
    identities: &IdentitySet,
    origins: &AllowedOrigins,
    head: &RequestHead<'_>,
    sender: Sender<'_>,
) -> Result<Option<Arc<Identity>>, S3Error> {
    let known = identities.by_certificate(sender.certificate);
    let reads = matches!(*head.method, Method::GET | Method::HEAD);
    if known.is_some() || !reads {
        origins.check(head.method, head.headers)?;
    }
    Ok(known.or(identities.anonymous()).cloned())
}
