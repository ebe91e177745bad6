//! Verification of Signature Version 4 in the mode `verify`.
//!
//! `claim` parses the signature of a request, this module compares it with the one computed from the secret, and
//! [`BodyCheck`] verifies the body; `form` does the same for the policy of a browser's form. Source: Amazon S3 API
//! Reference, "Authenticating Requests (AWS Signature Version 4)". Invariants: the verified path and query are those
//! that the request is parsed by, decoded once and never normalised; every `x-amz-*` header and the host are covered
//! (R21); signatures and tokens are compared in constant time. Permissions and expiry of the identity are checked
//! elsewhere.

mod body;
mod claim;
mod form;
mod refusal;
mod signed_names;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::SystemTime;

use http::header::HOST;
use percent_encoding::utf8_percent_encode;
use ring::hmac;

pub use self::body::{BodyCheck, Digester, HoldBack};
pub(super) use self::claim::signed_by;
use self::claim::{Claim, Form};
pub(super) use self::refusal::signature_error;
use self::signed_names::SignedNames;
use super::identities::{Identity, IdentitySet};
use super::sign::canonical::CanonicalRequest;
use super::sign::key::SigningKey;
use super::sign::signature::unhex;
use super::sign::{Signature, X_AMZ_CONTENT_SHA256, string_to_sign};
use crate::s3::target::{PATH, decode};
use crate::s3::{Parsed, RequestHead, S3Error, raw_path};

/// Verifier of requests to one region.
#[derive(Debug)]
pub struct Verifier {
    region: String,
    hosts: Vec<String>,
    /// Prefixes of paths that clients may have signed; see [`Verifier::with_path_prefixes`].
    path_prefixes: Vec<String>,
    verifications: Calls,
}

/// A counter of calls for tests; release builds do not count.
#[derive(Debug, Default)]
struct Calls {
    #[cfg(debug_assertions)]
    total: std::sync::atomic::AtomicU64,
}

impl Calls {
    #[allow(clippy::unused_self, reason = "used in debug builds")]
    fn count(&self) {
        #[cfg(debug_assertions)]
        self.total.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }

    #[cfg(debug_assertions)]
    fn total(&self) -> u64 {
        self.total.load(std::sync::atomic::Ordering::Relaxed)
    }
}

/// Signer of a verified request, and the remaining check of its body.
#[derive(Debug)]
pub struct Verified {
    /// The identity whose secret signed.
    pub identity: Arc<Identity>,
    /// Body hash that the signature covers.
    pub body: BodyCheck,
}

impl Verifier {
    /// Creates a verifier. `region` is the one in clients' signatures; `hosts` are names, with ports if any, that
    /// clients may have signed instead of the received one.
    pub fn new(region: String, hosts: Vec<String>) -> Self {
        Self { region, hosts, path_prefixes: Vec::new(), verifications: Calls::default() }
    }

    /// Accepts signatures over paths with one of these prefixes, which a listener or a proxy before it has removed.
    #[must_use]
    pub fn with_path_prefixes(self, path_prefixes: Vec<String>) -> Self {
        Self { path_prefixes, ..self }
    }

    /// Returns the paths that a client may have signed, the likeliest first.
    fn signed_paths<'a>(&self, path: &'a str) -> Vec<Cow<'a, str>> {
        let mut paths = Vec::with_capacity(1 + 2 * self.path_prefixes.len());
        for prefix in &self.path_prefixes {
            paths.push(Cow::from(format!("{prefix}{path}")));
            if path == "/" {
                paths.push(Cow::from(prefix.clone()));
            }
        }
        paths.push(Cow::from(path));
        paths
    }

    /// Returns the number of request signatures verified so far; counted in debug builds only.
    #[cfg(debug_assertions)]
    pub fn verifications(&self) -> u64 {
        self.verifications.total()
    }

    /// Returns the identity in `identities` that signed this request; `None` if it is not signed.
    ///
    /// # Errors
    /// In S3's words: `AccessDenied`, `SignatureDoesNotMatch`, `InvalidAccessKeyId`, `InvalidToken`,
    /// `RequestTimeTooSkewed`, `AuthorizationHeaderMalformed`, `AuthorizationQueryParametersError`,
    /// `XAmzContentSHA256Mismatch`, `InvalidArgument` and `InvalidRequest`.
    #[allow(clippy::missing_panics_doc, reason = "an identity that is found by a key has one")]
    pub fn verify(
        &self,
        identities: &IdentitySet,
        head: &RequestHead<'_>,
        parsed: &Parsed,
        now: SystemTime,
    ) -> Result<Option<Verified>, S3Error> {
        let Some(claim) = Claim::of(head, &parsed.query)? else { return Ok(None) };
        self.verifications.count();
        claim.check_scope(&self.region)?;
        claim.check_time(now)?;
        let names = SignedNames::new(claim.signed_headers);
        let names = names.ok_or_else(|| refusal::signed_twice(claim.form))?;
        check_coverage(head, &names, claim.form)?;
        let identity = identities
            .by_access_key(claim.credential.access_key)
            .ok_or_else(|| refusal::unknown_access_key(claim.credential.access_key))?;
        let credentials =
            identity.credentials_of(claim.credential.access_key).expect("found by its access key");
        let key = credentials.signing_key(claim.credential.date, &self.region);
        if !key.is_token(claim.token) {
            return Err(refusal::wrong_token(&claim));
        }
        self.check_signature(head, parsed, &claim, &names, &key)?;
        let body = BodyCheck::of(claim.payload, head.has_body, || claim.signature(key))?;
        Ok(Some(Verified { identity: Arc::clone(identity), body }))
    }

    /// Compares the signature for the received host, then for those that may stand for it.
    fn check_signature(
        &self,
        head: &RequestHead<'_>,
        parsed: &Parsed,
        claim: &Claim<'_>,
        names: &SignedNames<'_>,
        key: &SigningKey,
    ) -> Result<(), S3Error> {
        let path = decode(raw_path(head.raw_target)?.as_bytes())?;
        let encoded_path = Cow::from(utf8_percent_encode(&path, PATH));
        let paths = self.signed_paths(&encoded_path);
        let request = CanonicalRequest {
            method: head.method,
            encoded_path: &paths[0],
            query: &parsed.query,
            host: head.host,
            headers: head.headers,
            signed_headers: claim.signed_headers,
        };
        let tag = unhex(claim.hex.as_bytes());
        let is_right = |to_sign: &str| {
            tag.is_some_and(|tag| hmac::verify(&key.key, to_sign.as_bytes(), &tag).is_ok())
        };
        let Some(canonical) = request.to_bytes(claim.payload) else {
            return Err(refusal::unsigned(head, names));
        };
        let to_sign = string_to_sign(&claim.amz_date, claim.credential.scope, &canonical);
        if is_right(&to_sign) {
            return Ok(());
        }
        for encoded_path in &paths[1..] {
            let canonical = CanonicalRequest { encoded_path, ..request };
            let canonical = canonical.to_bytes(claim.payload).unwrap_or_default();
            if is_right(&string_to_sign(&claim.amz_date, claim.credential.scope, &canonical)) {
                return Ok(());
            }
        }
        for host in &self.hosts {
            let host = match (&parsed.bucket, parsed.virtual_hosted) {
                (Some(bucket), true) => Cow::from(format!("{bucket}.{host}")),
                _ => Cow::from(host),
            };
            for encoded_path in &paths {
                let request = CanonicalRequest { host: Some(&host), encoded_path, ..request };
                let canonical = request.to_bytes(claim.payload).unwrap_or_default();
                if is_right(&string_to_sign(&claim.amz_date, claim.credential.scope, &canonical)) {
                    return Ok(());
                }
            }
        }
        Err(refusal::signature_differs(claim, &to_sign, &canonical))
    }
}

impl Claim<'_> {
    /// Returns the verified signature as the start of the chunks' chain.
    fn signature(&self, key: Arc<SigningKey>) -> Signature {
        let (hex, scope) = (self.hex.to_owned(), self.credential.scope.to_owned());
        Signature::new(hex, self.amz_date.clone().into_owned(), scope, key)
    }
}

/// Checks that the host and every `x-amz-*` header are signed, so that no hop can have added headers that S3 acts upon
/// (R21).
///
/// `x-amz-content-sha256` need not be: the canonical request ends with its value, in header and presigned signatures.
fn check_coverage(
    head: &RequestHead<'_>,
    signed: &SignedNames<'_>,
    form: Form,
) -> Result<(), S3Error> {
    let covered = |name: &str| {
        !name.starts_with("x-amz-")
            || signed.contains(name)
            || form != Form::Fields && name == X_AMZ_CONTENT_SHA256
    };
    if signed.contains(HOST.as_str()) && head.headers.keys().all(|name| covered(name.as_str())) {
        return Ok(());
    }
    Err(refusal::unsigned(head, signed))
}

#[cfg(test)]
mod tests;
