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

/// Authorisation by mode. What a mode decides by can be replaced while requests are under way.
pub enum Access {
    /// The listener and two switches.
    Trust(ArcSwap<Trust>),
    /// Signatures, and the identities of a file.
    Verify(ArcSwap<Verification>),
    /// S3, request by request: nobody is refused here, and no hit is served before it said yes (R22).
    Transparent(Transparent),
}

/// Parts of the mode `verify`.
pub struct Verification {
    /// Read again when their file changes.
    identities: Arc<Identities>,
    /// Verifier of signatures.
    pub(super) verifier: Verifier,
    /// Pages that may send what is not signed.
    origins: AllowedOrigins,
    /// Bucket names that need `admin`.
    pub(super) reserved: ReservedNames,
}

/// Client of a connection, as far as the connection identifies it.
#[derive(Debug, Clone, Copy)]
pub struct Sender<'a> {
    /// `None` for a unix socket.
    pub address: Option<IpAddr>,
    /// Names and fingerprint of its certificate; empty without one.
    pub certificate: &'a [CertificateId],
}

/// A request that may be done.
#[derive(Debug)]
pub struct Admitted {
    /// Its sender; `None` in `trust` mode.
    pub identity: Option<Arc<Identity>>,
    /// Check of its body while it streams.
    pub body: BodyCheck,
    /// The keys that its body names are still to be asked for, before anything of it goes out.
    pub listed: Option<ListedKeys>,
    /// All of the bucket may be deleted, but not all that the keys in its body may name.
    pub held: Option<ListedKeys>,
    /// It says in its body who sends it and what is to be done: nothing of that was asked yet.
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

/// A sender who may delete some keys of a bucket, and has sent a list that is not read yet (R21).
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
        /// When it asked.
        now: SystemTime,
    },
}

impl ListedKeys {
    /// Lets the list of keys through.
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
    /// `region` is the origin's, that of clients unless `auth.region` says otherwise; `reserved` are its own names. Reads the identities file;
    /// `accept` sees each set before it holds.
    ///
    /// # Errors
    /// The identities file cannot be read or is wrong.
    pub fn new(
        config: &AuthConfig,
        region: &str,
        reserved: ReservedNames,
        accept: impl Fn(&IdentitySet) -> Result<(), String> + Send + Sync + 'static,
    ) -> Result<Self, IdentitiesError> {
        Self::with_identities(config, region, reserved, None, accept)
    }

    /// As [`Access::new`], by the settings of `config` that differ from those in `before`. The set of identities stays,
    /// unless its file is another one.
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

    /// Decides by `new` from the next request on. What one of another mode decides by is left out.
    pub fn replace(&self, new: Self) {
        match (self, new) {
            (Self::Trust(current), Self::Trust(new)) => current.store(new.into_inner()),
            (Self::Verify(current), Self::Verify(new)) => current.store(new.into_inner()),
            _ => {}
        }
    }

    /// Paths may have been signed with one of these before them: see [`Verifier::with_path_prefixes`].
    ///
    /// # Panics
    /// Never: it has no other owner yet.
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

    /// Whether the page that a request comes from may see why it was refused: in `trust` mode only a listed one (R39).
    #[must_use]
    pub fn believes(&self, method: &Method, headers: &HeaderMap) -> bool {
        match self {
            Self::Trust(trust) => trust.load().believes(method, headers),
            Self::Verify(_) | Self::Transparent(_) => true,
        }
    }

    /// Lets a request through.
    ///
    /// # Errors
    /// As [`Verifier::verify`], and `AccessDenied` for what its sender may not do.
    pub fn admit(
        &self,
        head: &RequestHead<'_>,
        parsed: &Parsed,
        sender: Sender<'_>,
    ) -> Result<Admitted, S3Error> {
        // S3 refuses two, whichever of them is right; of a preflight it looks at none.
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
        // Browsers never sign what they ask before the request itself.
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

/// Reads the identities, and again whenever their file changes.
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
/// A browser shows its certificate for every page, and connects from the same address: only a page that is listed may
/// make use of that. What the anonymous identity reads, the bucket's CORS rules may show to pages.
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
