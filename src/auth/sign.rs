//! Signature Version 4 of S3, in its header form, for our own requests; `verify` shares the parts.
//!
//! Source: Amazon S3 API Reference, "Authenticating Requests (AWS Signature Version 4)"; for S3 the path is encoded
//! once and not normalised. Invariant: the signature covers `host`, the range, the conditions and every `x-amz-*`
//! header as they are sent, and no header that a hop may change. The caller passes the time, corrected for the origin's
//! clock where it is known (R15).

pub(in crate::auth) mod canonical;
pub(in crate::auth) mod date;
pub(in crate::auth) mod key;
pub(in crate::auth) mod signature;
pub(in crate::auth) mod terms;

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use http::header::{AUTHORIZATION, HOST, HeaderName, HeaderValue};
use http::{HeaderMap, Method};
use ring::hmac;

use self::canonical::{CanonicalRequest, is_signed, signed_names};
use self::date::amz_date;
use self::key::SigningKey;
pub use self::signature::Signature;
use self::signature::{hex, sha256};
pub use self::terms::EMPTY_SHA256;
use self::terms::X_AMZ_S3SESSION_TOKEN;
pub(in crate::auth) use self::terms::X_AMZ_SECURITY_TOKEN;
pub(in crate::auth) use self::terms::{ALGORITHM, SERVICE, TERMINATOR, cut_at_byte, split_at_byte};
use super::credentials::Credentials;
use crate::s3::target::Query;

pub(super) const X_AMZ_DATE: HeaderName = HeaderName::from_static("x-amz-date");
pub(super) const X_AMZ_CONTENT_SHA256: HeaderName = HeaderName::from_static("x-amz-content-sha256");

/// Value of `x-amz-content-sha256`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Payload<'a> {
    /// The body is not covered by the signature: for TLS.
    Unsigned,
    /// The body's SHA-256 in lower-case hex (visible ASCII in any case); [`EMPTY_SHA256`] without a body.
    Sha256Hex(&'a str),
    /// `aws-chunked`, each chunk signed.
    StreamingSigned,
    /// `aws-chunked`, each chunk and the trailers signed.
    StreamingSignedTrailer,
    /// `aws-chunked` with trailers, unsigned: for TLS.
    StreamingUnsignedTrailer,
}

impl<'a> Payload<'a> {
    /// Returns the header's value.
    #[must_use]
    pub fn as_str(self) -> &'a str {
        match self {
            Self::Unsigned => "UNSIGNED-PAYLOAD",
            Self::Sha256Hex(hex) => hex,
            Self::StreamingSigned => "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
            Self::StreamingSignedTrailer => "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
            Self::StreamingUnsignedTrailer => "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
        }
    }
}

/// Signs requests to one region with one set of credentials; cheap to share, safe from any thread.
pub struct Signer {
    credentials: Arc<Credentials>,
    region: String,
}

impl Signer {
    /// Creates a signer for `region` (`us-east-1`), visible ASCII as validated in the configuration. Keys are derived
    /// on the first request.
    #[must_use]
    pub fn new(credentials: Arc<Credentials>, region: &str) -> Self {
        Self { credentials, region: region.to_owned() }
    }

    /// Returns a signer with the same keys for another region.
    #[must_use]
    pub fn in_region(&self, region: &str) -> Self {
        Self::new(self.credentials.clone(), region)
    }

    /// Returns the credentials that sign.
    #[must_use]
    pub fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// Signs a request, as of `now`, by writing `authorization`, `x-amz-date`,
    /// `x-amz-content-sha256` and (with temporary credentials) `x-amz-security-token` into
    /// `headers`; a client's own values of these are replaced.
    ///
    /// `encoded_path` is the path byte for byte as it will be sent
    /// (`crate::s3::target::encode_path`), `headers` has its final `host`. Signed are `host`,
    /// `range`, `content-type`, `content-md5`, `if-*` and `x-amz-*`: these must not change
    /// afterwards.
    pub fn sign(
        &self,
        method: &Method,
        encoded_path: &str,
        query: &Query,
        headers: &mut HeaderMap,
        payload: Payload<'_>,
        now: SystemTime,
    ) -> Signature {
        debug_assert!(headers.contains_key(HOST), "S3 refuses a signature without host");
        self.sign_selected(method, encoded_path, query, headers, payload, now, is_signed)
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "the parts of a request, and the choice that tests widen"
    )]
    fn sign_selected(
        &self,
        method: &Method,
        encoded_path: &str,
        query: &Query,
        headers: &mut HeaderMap,
        payload: Payload<'_>,
        now: SystemTime,
        select: fn(&HeaderName) -> bool,
    ) -> Signature {
        let amz_date = amz_date(now);
        let (date, _) = amz_date.split_at(8);
        let scope = self.scope(date);
        self.write_amz_headers(headers, payload, &amz_date);

        let names = signed_names(headers, select);
        let signed_headers = names.iter().map(HeaderName::as_str).collect::<Vec<_>>().join(";");
        let request = CanonicalRequest {
            method,
            encoded_path,
            query,
            host: None,
            headers,
            signed_headers: &signed_headers,
        };
        let request = request.to_bytes(payload.as_str()).expect("the names are the headers' own");
        let to_sign = string_to_sign(&amz_date, &scope, &request);

        let key = self.credentials.signing_key(date, &self.region);
        let signature = hex(hmac::sign(&key.key, to_sign.as_bytes()).as_ref());
        let authorization = format!(
            "{ALGORITHM} Credential={}/{scope}, SignedHeaders={signed_headers}, \
             Signature={signature}",
            self.credentials.access_key()
        );
        headers.insert(AUTHORIZATION, sensitive(&authorization));
        Signature::new(signature, amz_date, scope, key)
    }

    /// Returns the parameters for signing a form at the time `now`.
    pub(in crate::auth) fn for_form(&self, now: SystemTime) -> FormSigning {
        let amz_date = amz_date(now);
        let (date, _) = amz_date.split_at(8);
        let credential = format!("{}/{}", self.credentials.access_key(), self.scope(date));
        let key = self.credentials.signing_key(date, &self.region);
        FormSigning { amz_date, credential, key }
    }

    fn scope(&self, date: &str) -> String {
        format!("{date}/{}/{}/{TERMINATOR}", self.region, self.credentials.service())
    }

    fn write_amz_headers(&self, headers: &mut HeaderMap, payload: Payload<'_>, amz_date: &str) {
        headers.insert(X_AMZ_DATE, plain(amz_date));
        headers.insert(X_AMZ_CONTENT_SHA256, plain(payload.as_str()));
        // A client's token belongs to the client's key, not to ours.
        headers.remove(X_AMZ_SECURITY_TOKEN);
        headers.remove(X_AMZ_S3SESSION_TOKEN);
        if let Some(token) = self.credentials.session_token() {
            headers.insert(self.credentials.token_header(), sensitive(token.expose()));
        }
    }
}

/// A credential for a form at one moment, and its signing key.
pub(in crate::auth) struct FormSigning {
    amz_date: String,
    credential: String,
    key: Arc<SigningKey>,
}

impl FormSigning {
    /// Returns the time, `20130524T000000Z`.
    pub(in crate::auth) fn amz_date(&self) -> &str {
        &self.amz_date
    }

    /// Returns the credential, `AKID/20130524/us-east-1/s3/aws4_request`.
    pub(in crate::auth) fn credential(&self) -> &str {
        &self.credential
    }

    /// Returns the signature of a policy's base64 text, in hex.
    pub(in crate::auth) fn sign(&self, policy: &[u8]) -> String {
        hex(hmac::sign(&self.key.key, policy).as_ref())
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer")
            .field("credentials", &self.credentials)
            .field("region", &self.region)
            .finish_non_exhaustive()
    }
}

/// Returns the string to sign of a canonical request.
pub(in crate::auth) fn string_to_sign(amz_date: &str, scope: &str, request: &[u8]) -> String {
    let hash = hex(sha256(request).as_ref());
    let lines = [ALGORITHM, amz_date, scope, &hash];
    let mut text = String::with_capacity(lines.iter().map(|line| line.len() + 1).sum());
    for (index, line) in lines.into_iter().enumerate() {
        if index > 0 {
            text.push('\n');
        }
        text.push_str(line);
    }
    text
}

fn plain(value: &str) -> HeaderValue {
    HeaderValue::from_str(value).expect("dates and payload names are visible ASCII")
}

fn sensitive(value: &str) -> HeaderValue {
    let mut value =
        HeaderValue::from_str(value).expect("Credentials::new lets only visible ASCII pass");
    value.set_sensitive(true);
    value
}

#[cfg(test)]
pub(super) mod tests;
