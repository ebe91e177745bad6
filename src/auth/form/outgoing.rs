//! The form as it is sent to the origin: the same fields, signed with the origin credentials.
//!
//! The client's signature depends on a key unknown to the origin. Ours covers a policy of its own that allows only this
//! form and expires within the hour. Dropped are the fields of the client's signature, those that S3 ignores, and
//! `bucket`, which is in the address and must not be repeated.

use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use chrono::{DateTime, SecondsFormat, Utc};
use http::HeaderValue;
use serde_json::{Value, json};

use super::{Boundary, FormHead, SizeRange};
use crate::auth::Signer;
use crate::auth::sign::ALGORITHM;
use crate::s3::BucketName;

/// Lifetime of the policy that hotset signs; the origin checks it when it has received the fields.
const LIFE: Duration = Duration::from_hours(1);
const DROPPED: [&str; 9] = [
    "policy",
    "x-amz-algorithm",
    "x-amz-credential",
    "x-amz-date",
    "x-amz-signature",
    "x-amz-security-token",
    "awsaccesskeyid",
    "signature",
    "bucket",
];
/// Field names that some servers accept in lower case only; so are all of `x-amz-*`.
const IN_LOWER_CASE: [&str; 6] =
    ["key", "acl", "tagging", "redirect", "success_action_redirect", "success_action_status"];

/// The head and the end of a form for the origin.
#[derive(Debug, Clone)]
pub struct Outgoing {
    pub(super) head: Bytes,
    pub(super) close: Vec<u8>,
    content_type: String,
}

impl Outgoing {
    /// Writes `form` for `bucket`, as of `now`; without a `signer` it is unsigned.
    #[allow(clippy::missing_panics_doc, reason = "hexadecimal digits make a boundary")]
    pub fn new(
        form: &FormHead,
        bucket: &BucketName,
        size: Option<SizeRange>,
        signer: Option<&Signer>,
        now: SystemTime,
    ) -> Self {
        let text = format!("hotset-{:032x}", rand::random::<u128>());
        let boundary = Boundary::new(&text).expect("digits are legal");
        let mut fields: Vec<(&str, String)> = Vec::new();
        for field in form.fields.iter().filter(|field| !DROPPED.contains(&&*field.known_as)) {
            let known_as = field.known_as.as_str();
            let lower = known_as.starts_with("x-amz-") || IN_LOWER_CASE.contains(&known_as);
            fields.push((if lower { known_as } else { &field.name }, field.value.clone()));
        }
        if let Some(signer) = signer {
            sign(&mut fields, bucket, size, signer, now);
        }
        // Behind the CRLF that a part's delimiter begins with.
        let mut head = Vec::with_capacity(2048);
        for (name, value) in &fields {
            head.extend_from_slice(boundary.delimiter());
            head.extend_from_slice(disposition(name).as_bytes());
            head.extend_from_slice(b"\r\n\r\n");
            head.extend_from_slice(value.as_bytes());
        }
        head.extend_from_slice(boundary.delimiter());
        // Some servers know a file by its having a name; which one, no field asks any more.
        head.extend_from_slice(disposition("file").as_bytes());
        head.extend_from_slice(b"; filename=\"file\"\r\n");
        if let Some(content_type) = &form.file.content_type {
            head.extend_from_slice(format!("Content-Type: {content_type}\r\n").as_bytes());
        }
        head.extend_from_slice(b"\r\n");
        Self {
            head: Bytes::from(head).slice(2..),
            close: boundary.close(),
            content_type: format!("multipart/form-data; boundary={text}"),
        }
    }

    /// Returns the Content-Type of the request.
    #[allow(clippy::missing_panics_doc, reason = "hexadecimal digits are legal")]
    pub fn content_type(&self) -> HeaderValue {
        HeaderValue::from_str(&self.content_type).expect("visible ASCII")
    }

    /// Returns the length of the outgoing body for an incoming body of `length` bytes; `None` if that cannot hold a file and
    /// its end, or overflows.
    pub fn length(&self, form: &FormHead, boundary: &Boundary, length: u64) -> Option<u64> {
        let around = (self.head.len() + self.close.len()) as u64;
        form.file_at_most(boundary, length)?.checked_add(around)
    }
}

fn disposition(name: &str) -> String {
    format!("\r\nContent-Disposition: form-data; name=\"{name}\"")
}

/// Adds our credentials, a policy that allows exactly these fields, and its signature.
fn sign(
    fields: &mut Vec<(&str, String)>,
    bucket: &BucketName,
    size: Option<SizeRange>,
    signer: &Signer,
    now: SystemTime,
) {
    let signing = signer.for_form(now);
    fields.push(("x-amz-algorithm", ALGORITHM.to_owned()));
    fields.push(("x-amz-credential", signing.credential().to_owned()));
    fields.push(("x-amz-date", signing.amz_date().to_owned()));
    if let Some(token) = signer.credentials().session_token() {
        fields.push(("x-amz-security-token", token.expose().to_owned()));
    }
    let mut conditions = vec![json!({"bucket": bucket.as_str()})];
    conditions.extend(fields.iter().map(|(name, value)| condition(name, value)));
    if let Some(SizeRange { min, max }) = size {
        conditions.push(json!(["content-length-range", min, max]));
    }
    let expiration: DateTime<Utc> = (now + LIFE).into();
    let expiration = expiration.to_rfc3339_opts(SecondsFormat::Millis, true);
    let policy = json!({"expiration": expiration, "conditions": conditions});
    let policy = STANDARD.encode(policy.to_string());
    let signature = signing.sign(policy.as_bytes());
    fields.push(("policy", policy));
    fields.push(("x-amz-signature", signature));
}

/// Returns a condition on exactly this value. S3 interprets dollar signs in a policy, so only the text before one is
/// compared.
fn condition(name: &str, value: &str) -> Value {
    match value.split_once('$') {
        None => json!({name: value}),
        Some((before, _)) => json!(["starts-with", format!("${name}"), before]),
    }
}
