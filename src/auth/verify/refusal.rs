//! S3 errors for requests with a refused signature: programs match the code, people read the message.
//!
//! Source: S3 API Reference, "Error responses", and S3's observed answers. None of them contains a secret or a valid
//! signature.

use std::fmt::Display;
use std::time::SystemTime;

use http::StatusCode;
use http::header::{HeaderName, HeaderValue};

use super::claim::{Claim, Form, MAX_SKEW};
use super::signed_names::SignedNames;
use crate::auth::sign::date::amz_date;
use crate::s3::{RequestHead, S3Error};

pub(super) const CREDENTIAL: &str =
    "the Credential is mal-formed; expecting \"<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request\".";
pub(super) const MISSING_PARAMETERS: &str = "Query-string authentication version 4 requires the X-Amz-Algorithm, \
     X-Amz-Credential, X-Amz-Signature, X-Amz-Date, X-Amz-SignedHeaders, and X-Amz-Expires parameters.";

fn denied(message: &'static str) -> S3Error {
    S3Error::new(StatusCode::FORBIDDEN, "AccessDenied", message)
}

fn argument(name: &str, value: &HeaderValue, message: &'static str) -> S3Error {
    let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
    S3Error::invalid_argument(name, message).with_detail("ArgumentValue", value)
}

pub(super) fn malformed_header(problem: impl Display) -> S3Error {
    let message = format!("The authorization header is malformed; {problem}");
    S3Error::new(StatusCode::BAD_REQUEST, "AuthorizationHeaderMalformed", message)
}

pub(super) fn malformed_query(problem: impl Display) -> S3Error {
    let code = "AuthorizationQueryParametersError";
    S3Error::new(StatusCode::BAD_REQUEST, code, problem.to_string())
}

/// Returns the error for a header and a presigned query, or two headers.
pub(super) fn two_mechanisms(authorization: &HeaderValue) -> S3Error {
    argument(
        "Authorization",
        authorization,
        "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query string \
         parameter or the Authorization header should be specified",
    )
}

pub(super) fn unsupported_authorization(authorization: &HeaderValue) -> S3Error {
    argument("Authorization", authorization, "Unsupported Authorization Type")
}

/// Returns the error for Signature Version 2, or 4A.
pub(super) fn other_version() -> S3Error {
    S3Error::invalid_request(
        "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256.",
    )
}

pub(super) fn missing_header(name: &str) -> S3Error {
    S3Error::invalid_request(format!("Missing required header for this request: {name}"))
}

pub(super) fn bad_header(name: &HeaderName) -> S3Error {
    S3Error::invalid_argument(name.as_str(), format!("{name} must be one value in ASCII"))
}

pub(super) fn no_date() -> S3Error {
    denied("AWS authentication requires a valid Date or x-amz-date header")
}

pub(super) fn too_skewed(claim: &Claim<'_>, now: SystemTime) -> S3Error {
    let message = "The difference between the request time and the current time is too large.";
    S3Error::new(StatusCode::FORBIDDEN, "RequestTimeTooSkewed", message)
        .with_detail("RequestTime", amz_date(claim.time))
        .with_detail("ServerTime", amz_date(now))
        .with_detail("MaxAllowedSkewMilliseconds", MAX_SKEW.as_millis().to_string())
}

pub(super) fn not_yet() -> S3Error {
    denied("Request is not valid yet")
}

pub(super) fn expired(expires: u64, end: SystemTime, now: SystemTime) -> S3Error {
    denied("Request has expired")
        .with_detail("X-Amz-Expires", expires.to_string())
        .with_detail("Expires", amz_date(end))
        .with_detail("ServerTime", amz_date(now))
}

pub(super) fn unknown_access_key(access_key: &str) -> S3Error {
    let message = "The AWS Access Key Id you provided does not exist in our records.";
    S3Error::new(StatusCode::FORBIDDEN, "InvalidAccessKeyId", message)
        .with_detail("AWSAccessKeyId", access_key)
}

/// Returns the error for a wrong session token. Without any, S3 does not know the key of temporary credentials.
pub(super) fn wrong_token(claim: &Claim<'_>) -> S3Error {
    let Some(token) = claim.token else { return unknown_access_key(claim.credential.access_key) };
    let message = "The provided token is malformed or otherwise invalid.";
    S3Error::new(StatusCode::BAD_REQUEST, "InvalidToken", message).with_detail("Token-0", token)
}

/// Returns the error for a header name that is repeated in `SignedHeaders`.
pub(super) fn signed_twice(form: Form) -> S3Error {
    form.malformed_parameter("SignedHeaders must name each header once.")
}

/// Returns the error for required headers that are not signed, or signed headers that are missing.
pub(super) fn unsigned(head: &RequestHead<'_>, signed: &SignedNames<'_>) -> S3Error {
    let is_here =
        |name: &str| name == "host" && head.host.is_some() || head.headers.contains_key(name);
    let amz = head.headers.keys().map(HeaderName::as_str).filter(|name| name.starts_with("x-amz-"));
    let unsigned = std::iter::once("host").chain(amz).filter(|name| !signed.contains(name));
    let absent = signed.iter().filter(|name| !is_here(name));
    let names = unsigned.chain(absent).collect::<Vec<_>>().join(", ");
    denied("There were headers present in the request which were not signed")
        .with_detail("HeadersNotSigned", names)
}

/// Returns the error for a wrong signature. It includes the canonical request, as S3's does, so that the signer can
/// find the difference.
pub(super) fn signature_differs(claim: &Claim<'_>, to_sign: &str, canonical: &[u8]) -> S3Error {
    signature_error()
        .with_detail("AWSAccessKeyId", claim.credential.access_key)
        .with_detail("StringToSign", to_sign)
        .with_detail("SignatureProvided", claim.hex)
        .with_detail("CanonicalRequest", String::from_utf8_lossy(canonical))
}

/// As [`signature_differs`], for a form, which signs its policy as sent.
pub(super) fn policy_signature_differs(claim: &Claim<'_>, policy: &str) -> S3Error {
    signature_error()
        .with_detail("AWSAccessKeyId", claim.credential.access_key)
        .with_detail("StringToSign", policy)
        .with_detail("SignatureProvided", claim.hex)
}

/// Returns the error for an invalid field of a form.
pub(super) fn bad_field(name: &str, value: &str, message: &'static str) -> S3Error {
    S3Error::invalid_argument(name, message).with_detail("ArgumentValue", value)
}

/// Returns the error for a wrong signature of a request, a chunk or a trailer.
pub(in crate::auth) fn signature_error() -> S3Error {
    let message = "The request signature we calculated does not match the signature you provided. Check your key \
                   and signing method.";
    S3Error::new(StatusCode::FORBIDDEN, "SignatureDoesNotMatch", message)
}

/// Returns the error for an invalid `x-amz-content-sha256`.
pub(super) fn bad_payload(payload: &str) -> S3Error {
    S3Error::invalid_argument(
        "x-amz-content-sha256",
        "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-UNSIGNED-PAYLOAD-TRAILER, \
         STREAMING-AWS4-HMAC-SHA256-PAYLOAD, STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER or a valid sha256 value.",
    )
    .with_detail("ArgumentValue", payload)
}

/// Returns the error for a body that differs from the signed one.
pub(super) fn body_differs(claimed: &str, computed: &str) -> S3Error {
    let message = "The provided 'x-amz-content-sha256' header does not match what was computed.";
    S3Error::new(StatusCode::BAD_REQUEST, "XAmzContentSHA256Mismatch", message)
        .with_detail("ClientComputedContentSHA256", claimed)
        .with_detail("S3ComputedContentSHA256", computed)
}
