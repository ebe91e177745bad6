//! Verification of a form's signature, which covers the text of its policy.
//!
//! Source: Amazon S3 API Reference, "Authenticating Requests: Browser-Based Uploads Using POST (AWS Signature Version
//! 4)". The expiry is that of the policy, but no later than that of a signing key: seven days.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::SystemTime;

use ring::hmac;

use super::Verifier;
use super::claim::{Claim, Credential, Form, MAX_EXPIRES};
use super::refusal;
use crate::auth::form::{Fields, must_contain};
use crate::auth::identities::{Identity, IdentitySet};
use crate::auth::sign::ALGORITHM;
use crate::auth::sign::date::parse_amz_date;
use crate::auth::sign::signature::unhex;
use crate::s3::S3Error;

/// Required fields with S3's names for errors; one of the first four marks a form as signed.
const NEEDED: [(&str, &str); 5] = [
    ("x-amz-algorithm", "X-Amz-Algorithm"),
    ("x-amz-credential", "X-Amz-Credential"),
    ("x-amz-date", "X-Amz-Date"),
    ("x-amz-signature", "X-Amz-Signature"),
    ("policy", "policy"),
];

impl Verifier {
    /// Returns the identity in `identities` that signed a form with these fields, and the form's policy; `None` if it
    /// is not signed.
    ///
    /// # Errors
    /// In S3's words: `InvalidArgument`, `InvalidRequest`, `AccessDenied`, `InvalidAccessKeyId`, `InvalidToken`,
    /// `SignatureDoesNotMatch`.
    #[allow(clippy::missing_panics_doc, reason = "an identity that is found by a key has one")]
    pub fn verify_form<'a>(
        &self,
        identities: &IdentitySet,
        fields: &'a Fields,
        now: SystemTime,
    ) -> Result<Option<(Arc<Identity>, &'a str)>, S3Error> {
        let Some((claim, policy)) = claim_of(fields)? else { return Ok(None) };
        claim.check_scope(&self.region)?;
        claim.check_time(now)?;
        let access_key = claim.credential.access_key;
        let identity = identities
            .by_access_key(access_key)
            .ok_or_else(|| refusal::unknown_access_key(access_key))?;
        let credentials = identity.credentials_of(access_key).expect("found by its access key");
        let key = credentials.signing_key(claim.credential.date, &self.region);
        if !key.is_token(claim.token) {
            return Err(refusal::wrong_token(&claim));
        }
        let tag = unhex(claim.hex.as_bytes());
        if tag.is_none_or(|tag| hmac::verify(&key.key, policy.as_bytes(), &tag).is_err()) {
            return Err(refusal::policy_signature_differs(&claim, policy));
        }
        Ok(Some((Arc::clone(identity), policy)))
    }
}

fn claim_of(fields: &Fields) -> Result<Option<(Claim<'_>, &str)>, S3Error> {
    let is_here = |name: &str| fields.get(name).is_some();
    if !NEEDED[..4].iter().any(|(name, _)| is_here(name)) {
        return match is_here("awsaccesskeyid") || is_here("signature") {
            true => Err(refusal::other_version()),
            false => Ok(None),
        };
    }
    let mut values = [""; NEEDED.len()];
    for (value, (name, told)) in values.iter_mut().zip(NEEDED) {
        *value = fields.get(name).ok_or_else(|| must_contain(told))?;
    }
    let [algorithm, credential, amz_date, hex, policy] = values;
    if algorithm != ALGORITHM {
        return Err(match algorithm.starts_with("AWS4-") {
            true => refusal::other_version(),
            false => refusal::bad_field(
                "X-Amz-Algorithm",
                algorithm,
                "X-Amz-Algorithm only supports \"AWS4-HMAC-SHA256\"",
            ),
        });
    }
    let time = parse_amz_date(amz_date).ok_or_else(|| {
        let message = "X-Amz-Date must be formated via ISO8601 Long format";
        refusal::bad_field("X-Amz-Date", amz_date, message)
    })?;
    let claim = Claim {
        form: Form::Fields,
        credential: Credential::parse(credential, Form::Fields)
            .map_err(|error| error.with_detail("ArgumentValue", credential))?,
        signed_headers: "",
        hex,
        amz_date: Cow::Borrowed(amz_date),
        time,
        expires: MAX_EXPIRES,
        token: fields.get("x-amz-security-token"),
        payload: "",
    };
    Ok(Some((claim, policy)))
}
