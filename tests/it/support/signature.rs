//! Expected signatures of our requests, computed anew from the requests that the origin received.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hotset::auth::{Credentials, Payload, Signature, Signer};
use hotset::s3::Query;

use super::fake_s3::Seen;
use super::proxy::test_credentials;

/// Returns the `Authorization` for this request with the credentials of [`TestProxy`](super::TestProxy), and the seed
/// signature of its chunks.
///
/// # Panics
/// When the request has no `x-amz-date` or no `x-amz-content-sha256`.
pub fn our_signature(seen: &Seen) -> (String, Signature) {
    our_signature_for(seen, "us-east-1")
}

/// Returns the signature for another region.
///
/// # Panics
/// As [`our_signature`].
pub fn our_signature_for(seen: &Seen, region: &str) -> (String, Signature) {
    signature_by(test_credentials(), seen, region)
}

/// Returns the signature with the credentials of this numbered session of a directory bucket.
///
/// # Panics
/// As [`our_signature`].
pub fn session_signature_for(seen: &Seen, region: &str, number: u64) -> String {
    let [key, secret, token] = ["SESSION", "secret", "token"].map(|text| format!("{text}{number}"));
    let keys = Credentials::new(key, secret.into(), Some(token.into())).expect("legal keys");
    signature_by(keys.for_session(), seen, region).0
}

fn signature_by(keys: Credentials, seen: &Seen, region: &str) -> (String, Signature) {
    let signer = Signer::new(Arc::new(keys), region);
    let mut headers = seen.headers.clone();
    headers.remove("authorization");
    let query = Query::parse(&seen.query).expect("a query that can be read");
    let payload = Payload::Sha256Hex(seen.header("x-amz-content-sha256"));
    let now = moment(seen.header("x-amz-date"));
    let signature = signer.sign(&seen.method, &seen.path, &query, &mut headers, payload, now);
    let authorization = headers["authorization"].to_str().expect("visible text").to_owned();
    (authorization, signature)
}

/// Parses a time like `20250102T030405Z`, by way of an HTTP date.
fn moment(amz_date: &str) -> SystemTime {
    let number = |range| amz_date.get(range).and_then(|d: &str| d.parse::<u64>().ok());
    let part = |range| number(range).expect("x-amz-date is digits");
    let months =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let month = months[usize::try_from(part(4..6)).expect("two digits") - 1];
    // Parsers of asctime ignore the weekday, but need one.
    let (year, day) = (part(0..4), part(6..8));
    let seconds = part(9..11) * 3600 + part(11..13) * 60 + part(13..15);
    let days = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
    let midnight = days.iter().find_map(|name| {
        httpdate::parse_http_date(&format!("{name}, {day:02} {month} {year} 00:00:00 GMT")).ok()
    });
    let midnight = midnight.expect("a date").duration_since(UNIX_EPOCH).expect("after 1970");
    UNIX_EPOCH + midnight + Duration::from_secs(seconds)
}
