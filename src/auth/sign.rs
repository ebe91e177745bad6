//! Signature Version 4 in its header form, as S3 understands it.
//!
//! Source: Amazon S3 API Reference, "Authenticating Requests (AWS Signature Version 4)"; for S3 the
//! path is encoded once and not normalised. Invariant: the signature covers `host`, the range, the
//! conditions and every `x-amz-*` header as they are sent, and no header that a hop may change. No
//! clock is read here: the caller brings the time, corrected for the origin's clock where it is
//! known (R15).

mod canonical;

use std::fmt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use http::header::{AUTHORIZATION, HOST, HeaderName, HeaderValue};
use http::{HeaderMap, Method};
use parking_lot::RwLock;
use ring::{digest, hmac};

use self::canonical::{CanonicalRequest, is_signed, signed_names};
use super::credentials::Credentials;
use crate::s3::target::Query;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const SERVICE: &str = "s3";
const TERMINATOR: &str = "aws4_request";

/// SHA-256 of nothing: the payload hash of a request without a body.
pub const EMPTY_SHA256: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

const X_AMZ_DATE: HeaderName = HeaderName::from_static("x-amz-date");
const X_AMZ_SECURITY_TOKEN: HeaderName = HeaderName::from_static("x-amz-security-token");
pub(super) const X_AMZ_CONTENT_SHA256: HeaderName = HeaderName::from_static("x-amz-content-sha256");

/// The query parameters that carry a presigned signature (R23).
const PRESIGNED: [&str; 7] = [
    "X-Amz-Algorithm",
    "X-Amz-Credential",
    "X-Amz-Date",
    "X-Amz-Expires",
    "X-Amz-SignedHeaders",
    "X-Amz-Signature",
    "X-Amz-Security-Token",
];

/// The query without the seven parameters of a presigned URL; all else keeps its place (R23).
#[must_use]
pub fn strip_presigned(query: &Query) -> Query {
    query.without(&PRESIGNED)
}

/// What `x-amz-content-sha256` says of the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Payload<'a> {
    /// The body is not covered by the signature: for TLS.
    Unsigned,
    /// The body's SHA-256 in lower-case hex (visible ASCII in any case); [`EMPTY_SHA256`] where
    /// there is none.
    Sha256Hex(&'a str),
    /// `aws-chunked`, each chunk signed.
    StreamingSigned,
    /// `aws-chunked`, each chunk and the trailers signed.
    StreamingSignedTrailer,
    /// `aws-chunked` with trailers, nothing of it signed: for TLS.
    StreamingUnsignedTrailer,
}

impl<'a> Payload<'a> {
    /// The header's value.
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
    /// The key of the last day asked for: four HMACs that all requests of a UTC day share.
    day: RwLock<Option<DayKey>>,
}

#[derive(Clone)]
struct DayKey {
    date: String,
    key: Arc<hmac::Key>,
}

/// A request's signature, and what the signatures of its chunks are chained to.
#[derive(Clone)]
pub struct Signature {
    hex: String,
    amz_date: String,
    scope: String,
    key: Arc<hmac::Key>,
}

impl Signer {
    /// A signer for `region` (`us-east-1`), which is visible ASCII as the configuration has
    /// checked; nothing is derived before the first request.
    #[must_use]
    pub fn new(credentials: Arc<Credentials>, region: &str) -> Self {
        Self { credentials, region: region.to_owned(), day: RwLock::new(None) }
    }

    /// Whose name this signs in.
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
        let scope = format!("{date}/{}/{SERVICE}/{TERMINATOR}", self.region);
        self.write_amz_headers(headers, payload, &amz_date);

        let names = signed_names(headers, select);
        let signed_headers = names.iter().map(HeaderName::as_str).collect::<Vec<_>>().join(";");
        let request = CanonicalRequest { method, encoded_path, query, headers, names: &names };
        let request_hash = hex(sha256(&request.to_bytes(&signed_headers, payload)).as_ref());
        let to_sign = format!("{ALGORITHM}\n{amz_date}\n{scope}\n{request_hash}");

        let key = self.day_key(date);
        let signature = hex(hmac::sign(&key, to_sign.as_bytes()).as_ref());
        let authorization = format!(
            "{ALGORITHM} Credential={}/{scope}, SignedHeaders={signed_headers}, \
             Signature={signature}",
            self.credentials.access_key()
        );
        headers.insert(AUTHORIZATION, sensitive(&authorization));
        Signature { hex: signature, amz_date, scope, key }
    }

    fn write_amz_headers(&self, headers: &mut HeaderMap, payload: Payload<'_>, amz_date: &str) {
        headers.insert(X_AMZ_DATE, plain(amz_date));
        headers.insert(X_AMZ_CONTENT_SHA256, plain(payload.as_str()));
        match self.credentials.session_token() {
            Some(token) => headers.insert(X_AMZ_SECURITY_TOKEN, sensitive(token.expose())),
            // A client's token belongs to the client's key, not to ours.
            None => headers.remove(X_AMZ_SECURITY_TOKEN),
        };
    }

    fn day_key(&self, date: &str) -> Arc<hmac::Key> {
        if let Some(day) = self.day.read().as_ref().filter(|day| day.date == date) {
            return Arc::clone(&day.key);
        }
        let key = Arc::new(derive_key(self.credentials.secret_key().expose(), date, &self.region));
        *self.day.write() = Some(DayKey { date: date.to_owned(), key: Arc::clone(&key) });
        key
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

impl Signature {
    /// The signature in lower-case hex, 64 characters.
    #[must_use]
    pub fn hex(&self) -> &str {
        &self.hex
    }

    /// The time signed, `20130524T000000Z`.
    #[must_use]
    pub fn amz_date(&self) -> &str {
        &self.amz_date
    }

    /// The credential scope, `20130524/us-east-1/s3/aws4_request`.
    #[must_use]
    pub fn scope(&self) -> &str {
        &self.scope
    }

    /// Becomes the signature of the next chunk, which is chained to this one ("Transferring Payload
    /// in Multiple Chunks").
    pub(super) fn advance_chunk(&mut self, data: &[u8]) -> &str {
        let hash = hex(sha256(data).as_ref());
        self.advance("PAYLOAD", &format!("{EMPTY_SHA256}\n{hash}"))
    }

    /// Becomes the signature of the trailers, given as `name:value\n` lines ("Including Trailing
    /// Headers").
    pub(super) fn advance_trailer(&mut self, canonical: &[u8]) -> &str {
        let hash = hex(sha256(canonical).as_ref());
        self.advance("TRAILER", &hash)
    }

    fn advance(&mut self, kind: &str, hashes: &str) -> &str {
        let Self { hex: previous, amz_date, scope, key } = &*self;
        let to_sign = format!("{ALGORITHM}-{kind}\n{amz_date}\n{scope}\n{previous}\n{hashes}");
        self.hex = hex(hmac::sign(key, to_sign.as_bytes()).as_ref());
        &self.hex
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signature").field("scope", &self.scope).finish_non_exhaustive()
    }
}

fn derive_key(secret: &str, date: &str, region: &str) -> hmac::Key {
    let start = hmac::Key::new(hmac::HMAC_SHA256, format!("AWS4{secret}").as_bytes());
    [date, region, SERVICE, TERMINATOR].iter().fold(start, |key, step| {
        hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&key, step.as_bytes()).as_ref())
    })
}

/// `20130524T000000Z`; a time before 1970 counts as 1970.
fn amz_date(now: SystemTime) -> String {
    let seconds = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let (year, month, day) = civil_date(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
}

/// Year, month and day of a count of days since 1970-01-01 in the Gregorian calendar.
fn civil_date(days: u64) -> (u64, u64, u64) {
    // Counted from 1 March of year 0: a leap day is then a year's last day, and eras of 400 years
    // are alike.
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let leap_days = day_of_era / 1460 - day_of_era / 36_524 + day_of_era / 146_096;
    let year_of_era = (day_of_era - leap_days) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let months_since_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * months_since_march + 2) / 5 + 1;
    let month = (months_since_march + 2) % 12 + 1;
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

fn sha256(data: &[u8]) -> digest::Digest {
    digest::digest(&digest::SHA256, data)
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
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
