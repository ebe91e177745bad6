//! Authentication and authorisation of a form: by its policy, then by its signer's permissions (R21).

use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use http::header::{AUTHORIZATION, HeaderName};
use http::{HeaderMap, Method};

use super::policy::{Policy, SizeRange};
use super::{Boundary, FormHead, body, refusal};
use crate::auth::identities::{Identity, IdentitySet};
use crate::auth::{Access, Sender};
use crate::s3::{
    BucketName, InvalidName, ObjectKey, Parsed, RequestHead, RequiredPermissions, S3Error,
};

/// Whether a request identifies its sender in its body: a form for a bucket, without another signature.
pub(in crate::auth) fn is_form(head: &RequestHead<'_>, parsed: &Parsed) -> bool {
    *head.method == Method::POST
        && parsed.bucket.is_some()
        && parsed.key.is_none()
        && parsed.query.is_empty()
        && !head.headers.contains_key(AUTHORIZATION)
        && Boundary::is_announced(head.headers)
}

/// Pending authorisation of a form whose fields are not read yet.
#[derive(Debug)]
pub struct FormGate(Option<Asking>);

/// Sender and time of a form, as far as its head tells.
#[derive(Debug)]
struct Asking {
    identities: Arc<IdentitySet>,
    /// Identity of an unsigned form.
    otherwise: Result<Option<Arc<Identity>>, S3Error>,
    peer: Option<IpAddr>,
    now: SystemTime,
}

impl FormGate {
    /// Creates a gate without restrictions, for senders who may do everything whatever they signed.
    pub(in crate::auth) fn open() -> Self {
        Self(None)
    }

    /// Creates a gate for one of `identities`; `otherwise` is the identity of an unsigned form.
    pub(in crate::auth) fn new(
        identities: Arc<IdentitySet>,
        otherwise: Result<Option<Arc<Identity>>, S3Error>,
        sender: Sender<'_>,
        now: SystemTime,
    ) -> Self {
        Self(Some(Asking { identities, otherwise, peer: sender.address, now }))
    }
}

/// A form that is allowed.
#[derive(Debug)]
pub struct AdmittedForm {
    /// Its sender; `None` in `trust` mode.
    pub identity: Option<Arc<Identity>>,
    pub key: ObjectKey,
    /// Allowed sizes of the file.
    pub size: Option<SizeRange>,
}

impl Access {
    /// Authenticates and authorises a form for `bucket` whose body has `length` bytes.
    ///
    /// # Errors
    /// In S3's words: any error of its signature, `InvalidPolicyDocument`, `InvalidArgument`, `KeyTooLongError`,
    /// `EntityTooLarge`, `EntityTooSmall`, and `AccessDenied` for what the policy or the sender's permissions do not
    /// allow.
    pub fn admit_form(
        &self,
        gate: &FormGate,
        headers: &HeaderMap,
        bucket: &BucketName,
        form: &FormHead,
        at_most: u64,
    ) -> Result<AdmittedForm, S3Error> {
        let (Self::Verify(parts), Some(asking)) = (self, &gate.0) else {
            let key = key_of(form)?;
            if let Self::Trust(trust) = self {
                trust.load().confine(&needs_of(bucket, &key, form))?;
            }
            return Ok(AdmittedForm { identity: None, key, size: None });
        };
        refuse_unsigned(headers)?;
        let (now, parts) = (asking.now, parts.load());
        let signed = parts.verifier.verify_form(&asking.identities, &form.fields, now)?;
        let size = match &signed {
            Some((_, policy)) => Policy::parse(policy)?.check(bucket, &form.fields, now)?,
            None => None,
        };
        let key = key_of(form)?;
        if form.fields.get("bucket").is_some_and(|named| named != bucket.as_str()) {
            return Err(S3Error::access_denied());
        }
        let identity = match signed {
            Some((identity, _)) => Some(identity),
            None => asking.otherwise.clone()?,
        };
        let identity = identity.ok_or_else(S3Error::access_denied)?;
        let needs = parts.reserved.escalate(needs_of(bucket, &key, form));
        identity.authorize(&needs, asking.peer, now)?;
        body::check_size(size, at_most)?;
        Ok(AdmittedForm { identity: Some(identity), key, size })
    }
}

fn needs_of(bucket: &BucketName, key: &ObjectKey, form: &FormHead) -> RequiredPermissions {
    let fields = form.fields.iter().map(|field| (&*field.known_as, &*field.value));
    RequiredPermissions::of_form(bucket, key, fields)
}

fn key_of(form: &FormHead) -> Result<ObjectKey, S3Error> {
    let key = form.fields.get("key").ok_or_else(|| refusal::must_contain("key"))?;
    ObjectKey::new(key).map_err(|error| match error {
        InvalidName::TooLong { length, max } => S3Error::key_too_long(length, max),
        _ => refusal::empty_key(),
    })
}

/// Refuses unsigned S3 headers: a form's signature covers only its fields.
fn refuse_unsigned(headers: &HeaderMap) -> Result<(), S3Error> {
    let names = headers.keys().map(HeaderName::as_str).filter(|name| name.starts_with("x-amz-"));
    let names: Vec<&str> = names.collect();
    match names.is_empty() {
        true => Ok(()),
        false => Err(refusal::unsigned_headers(&names.join(", "))),
    }
}
