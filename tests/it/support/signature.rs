//! What our signature of a request must be, computed anew from what the origin has seen.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hotset::auth::{Credentials, Payload, Signature, Signer};
use hotset::s3::Query;

use super::fake_s3::Seen;
use super::proxy::test_credentials;

/// The `Authorization` that the keys of [`TestProxy`](super::TestProxy) give this request, and what its chunks'
/// signatures are chained to.
///
/// # Panics
/// When the request has no `x-amz-date` or no `x-amz-content-sha256`.
pub fn our_signature(seen: &Seen) -> (String, Signature) {
    our_signature_for(seen, "us-east-1")
}

/// The same for another region.
///
/// # Panics
/// As [`our_signature`].
pub fn our_signature_for(seen: &Seen, region: &str) -> (String, Signature) {
    signature_by(test_credentials(), seen, region)
}

/// The same with the keys of the session of a directory bucket that has this number.
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

/// `20250102T030405Z` as a time: by its seconds since 1970, found with an HTTP date.
fn moment(amz_date: &str) -> SystemTime {
    let number = |range| amz_date.get(range).and_then(|d: &str| d.parse::<u64>().ok());
    let part = |range| number(range).expect("x-amz-date is digits");
    let months =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let month = months[usize::try_from(part(4..6)).expect("two digits") - 1];
    // The day of the week is not looked at by asctime's readers, but must be one.
    let (year, day) = (part(0..4), part(6..8));
    let seconds = part(9..11) * 3600 + part(11..13) * 60 + part(13..15);
    let days = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
    let midnight = days.iter().find_map(|name| {
        httpdate::parse_http_date(&format!("{name}, {day:02} {month} {year} 00:00:00 GMT")).ok()
    });
    let midnight = midnight.expect("a date").duration_since(UNIX_EPOCH).expect("after 1970");
    UNIX_EPOCH + midnight + Duration::from_secs(seconds)
}
