//! Authentication by a signed request, for a Lambda function's relay and any other sender that can compute an HMAC:
//!
//! ```text
//! x-hotset-timestamp: 1795402211                      seconds since 1970, within 5 minutes of our clock
//! x-hotset-signature: v1=<hex of HMAC-SHA-256(secret, timestamp "." body)>
//! ```
//!
//! A signature is valid once (409 the second time): a retry needs a new signature.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{HeaderMap, HeaderName};
use parking_lot::Mutex;
use ring::hmac;

use super::recent::{Known, Recent, Seen};
use crate::config::units::Secret;
use crate::metrics::webhook::Outcome;

pub(super) const SIGNATURE: HeaderName = HeaderName::from_static("x-hotset-signature");
pub(super) const TIMESTAMP: HeaderName = HeaderName::from_static("x-hotset-timestamp");

/// Maximum clock difference to the sender, in seconds.
const SKEW: u64 = 300;

/// The secrets, and recently used signatures.
pub(super) struct Signed {
    keys: Vec<hmac::Key>,
    recent: Mutex<Recent>,
}

/// A used signature.
#[derive(Debug, Clone, Copy)]
pub(super) struct Taken {
    second: u64,
    seen: Seen,
}

impl Signed {
    pub(super) fn new(secrets: &[Secret]) -> Self {
        let key = |secret: &Secret| hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes());
        Self { keys: secrets.iter().map(key).collect(), recent: Mutex::default() }
    }

    /// Accepts a signature that is valid, recent, and not used before.
    pub(super) fn take(
        &self,
        headers: &HeaderMap,
        body: &[u8],
        now: SystemTime,
    ) -> Result<Taken, Outcome> {
        let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        let timestamp = text(TIMESTAMP).ok_or(Outcome::Forged)?;
        let signature = text(SIGNATURE).and_then(signature).ok_or(Outcome::Forged)?;
        let second = second(timestamp).ok_or(Outcome::Forged)?;
        let message = [timestamp.as_bytes(), b".", body].concat();
        let signs = |key: &hmac::Key| hmac::verify(key, &message, &signature).is_ok();
        if !self.keys.iter().any(signs) {
            return Err(Outcome::Forged);
        }
        let now = now.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
        if second.abs_diff(now) > SKEW {
            return Err(Outcome::Expired);
        }
        let (seen, _) = signature.split_first_chunk().expect("16 of 32 bytes");
        match self.recent.lock().add(second, *seen, now.saturating_sub(SKEW)) {
            Known::New => Ok(Taken { second, seen: *seen }),
            Known::Seen => Err(Outcome::Replayed),
            Known::Forgotten => Err(Outcome::Expired),
        }
    }

    /// Makes a signature usable again: its message was not applied, and may be sent again unchanged.
    pub(super) fn give_back(&self, taken: Taken) {
        self.recent.lock().remove(taken.second, &taken.seen);
    }
}

/// Parses the time, digits only, so that each time has one spelling.
fn second(text: &str) -> Option<u64> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    if digits && !text.starts_with('0') { text.parse().ok() } else { None }
}

fn signature(header: &str) -> Option<[u8; 32]> {
    let digits = header.strip_prefix("v1=")?.as_bytes();
    let mut bytes = [0; 32];
    if digits.len() != 64 {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(digits.as_chunks::<2>().0) {
        let digit = |at: usize| char::from(pair[at]).to_digit(16);
        *byte = u8::try_from(digit(0)? * 16 + digit(1)?).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_795_402_211;
    const BODY: &[u8] = b"{\"Records\":[]}";

    fn signed() -> Signed {
        Signed::new(&["a made-up old secret".into(), "a made-up new secret".into()])
    }

    fn headers(timestamp: &str, signature: &str) -> HeaderMap {
        let pairs = [(TIMESTAMP, timestamp), (SIGNATURE, signature)];
        pairs.map(|(name, value)| (name, value.parse().unwrap())).into_iter().collect()
    }

    fn sign(secret: &str, timestamp: &str, body: &[u8]) -> HeaderMap {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        let tag = hmac::sign(&key, &[timestamp.as_bytes(), b".", body].concat());
        let value = tag.as_ref().iter().fold("v1=".to_owned(), |hex, b| format!("{hex}{b:02x}"));
        headers(timestamp, &value)
    }

    fn take(signed: &Signed, headers: &HeaderMap, body: &[u8]) -> Option<Outcome> {
        signed.take(headers, body, UNIX_EPOCH + Duration::from_secs(NOW)).err()
    }

    #[test]
    fn a_signature_with_any_of_the_secrets_is_taken_once() {
        for secret in ["a made-up old secret", "a made-up new secret"] {
            let signed = signed();
            let headers = sign(secret, &NOW.to_string(), BODY);
            assert_eq!(take(&signed, &headers, BODY), None);
            assert_eq!(take(&signed, &headers, BODY), Some(Outcome::Replayed));
        }
    }

    #[test]
    fn it_is_as_openssl_computes_it() {
        // printf '1795402211.{"Records":[]}' | openssl dgst -sha256 -hmac 'a made-up old secret'
        let hex = "ebaf549cc16629931b729874cb7ec5edbd0fe9390d8df6554f896b2e4098d05c";
        assert_eq!(take(&signed(), &headers("1795402211", &format!("v1={hex}")), BODY), None);
    }

    #[test]
    fn what_was_not_applied_may_be_sent_again() {
        let signed = signed();
        let headers = sign("a made-up new secret", &NOW.to_string(), BODY);
        let taken = signed.take(&headers, BODY, UNIX_EPOCH + Duration::from_secs(NOW)).unwrap();
        signed.give_back(taken);
        assert_eq!(take(&signed, &headers, BODY), None);
    }

    #[test]
    fn another_body_time_or_secret_is_forged() {
        let good = sign("a made-up new secret", &NOW.to_string(), BODY);
        assert_eq!(take(&signed(), &good, b"{}"), Some(Outcome::Forged));
        let mut later = good.clone();
        later.insert(TIMESTAMP, (NOW + 1).to_string().parse().unwrap());
        assert_eq!(take(&signed(), &later, BODY), Some(Outcome::Forged));
        let other = sign("another made-up secret", &NOW.to_string(), BODY);
        assert_eq!(take(&signed(), &other, BODY), Some(Outcome::Forged));
        let nobody = Signed::new(&[]);
        assert_eq!(take(&nobody, &good, BODY), Some(Outcome::Forged));
    }

    #[test]
    fn clocks_may_be_five_minutes_apart() {
        for (at, outcome) in [
            (NOW - 301, Some(Outcome::Expired)),
            (NOW - 300, None),
            (NOW + 300, None),
            (NOW + 301, Some(Outcome::Expired)),
        ] {
            let headers = sign("a made-up new secret", &at.to_string(), BODY);
            assert_eq!(take(&signed(), &headers, BODY), outcome, "{at}");
        }
    }

    #[test]
    fn headers_of_another_shape_are_forged() {
        let hex = "0".repeat(64);
        for (timestamp, signature) in [
            ("1795402211", format!("v2={hex}")),
            ("1795402211", hex.clone()),
            ("1795402211", format!("v1={}", &hex[1..])),
            ("1795402211", format!("v1={}g", &hex[1..])),
            ("1795402211", format!("v1={}+1", &hex[2..])),
            ("-1", format!("v1={hex}")),
            ("1e9", format!("v1={hex}")),
        ] {
            let headers = headers(timestamp, &signature);
            assert_eq!(take(&signed(), &headers, BODY), Some(Outcome::Forged), "{headers:?}");
        }
        // Valid, but spelled differently: each second must have only one spelling.
        let padded = sign("a made-up new secret", &format!("0{NOW}"), BODY);
        assert_eq!(take(&signed(), &padded, BODY), Some(Outcome::Forged));
        assert_eq!(take(&signed(), &HeaderMap::new(), BODY), Some(Outcome::Forged));
    }
}
