//! Signing keys, derived from a secret for one day and one region.
//!
//! Deriving one costs five HMACs, so each set of credentials caches its own. Invariants: a cached key belongs to the
//! secret that it is stored with and is dropped with it, and the number of cached keys is bounded.

use std::sync::Arc;

use parking_lot::RwLock;
use ring::hmac;

use super::terms::TERMINATOR;
use crate::auth::Credentials;

/// Maximum cached keys. A presigned URL is valid for seven days; with today and the clock skew on either side, no valid
/// day evicts another.
const KEPT: usize = 10;

/// A signing key of one set of credentials for one day and one region.
pub(in crate::auth) struct SigningKey {
    date: String,
    region: String,
    pub(in crate::auth) key: hmac::Key,
    /// The session token's HMAC under this key, with which a presented token is compared in constant time.
    token: Option<hmac::Tag>,
}

impl SigningKey {
    fn derive(credentials: &Credentials, date: &str, region: &str) -> Self {
        let secret = format!("AWS4{}", credentials.secret_key().expose());
        let start = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        let key =
            [date, region, credentials.service(), TERMINATOR].iter().fold(start, |key, step| {
                hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&key, step.as_bytes()).as_ref())
            });
        let token = credentials.session_token();
        let token = token.map(|token| hmac::sign(&key, token.expose().as_bytes()));
        Self { date: date.to_owned(), region: region.to_owned(), key, token }
    }

    /// Whether `presented` is the credentials' session token, or both have none.
    pub(in crate::auth) fn is_token(&self, presented: Option<&str>) -> bool {
        match (&self.token, presented) {
            (None, None) => true,
            (Some(tag), Some(token)) => {
                hmac::verify(&self.key, token.as_bytes(), tag.as_ref()).is_ok()
            }
            _ => false,
        }
    }
}

/// Cached signing keys of one set of credentials.
#[derive(Default)]
pub(in crate::auth) struct SigningKeys(RwLock<Vec<Arc<SigningKey>>>);

impl SigningKeys {
    /// Returns the key for `date` (`20130524`) and `region`; `credentials` are the owner of this cache.
    pub(in crate::auth) fn get(
        &self,
        credentials: &Credentials,
        date: &str,
        region: &str,
    ) -> Arc<SigningKey> {
        let fits = |key: &&Arc<SigningKey>| key.date == date && key.region == region;
        if let Some(key) = self.0.read().iter().find(fits) {
            return Arc::clone(key);
        }
        let derived = Arc::new(SigningKey::derive(credentials, date, region));
        let mut kept = self.0.write();
        if let Some(key) = kept.iter().find(fits) {
            return Arc::clone(key);
        }
        if kept.len() == KEPT {
            let oldest = (0..KEPT).min_by_key(|&i| &kept[i].date).expect("there are some");
            kept.swap_remove(oldest);
        }
        kept.push(Arc::clone(&derived));
        derived
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials(token: Option<&str>) -> Credentials {
        Credentials::new("AK".to_owned(), "secret".into(), token.map(Into::into)).unwrap()
    }

    #[test]
    fn a_key_is_kept_by_day_and_region_and_their_number_is_bounded() {
        let credentials = credentials(None);
        let key = |day: u32| credentials.signing_key(&format!("202401{day:02}"), "us-east-1");
        let first = key(1);
        assert!(Arc::ptr_eq(&first, &key(1)));
        assert!(!Arc::ptr_eq(&first, &credentials.signing_key("20240101", "eu-west-1")));
        let ninth = key(9);
        for day in 2..=10 {
            key(day);
        }
        assert!(Arc::ptr_eq(&ninth, &key(9)), "the newer days stay");
        assert!(!Arc::ptr_eq(&first, &key(1)), "the oldest made room");
    }

    #[test]
    fn a_token_is_needed_exactly_when_the_credentials_have_one() {
        let permanent = credentials(None).signing_key("20240101", "us-east-1");
        assert!(permanent.is_token(None) && !permanent.is_token(Some("")));
        let temporary = credentials(Some("token")).signing_key("20240101", "us-east-1");
        assert!(temporary.is_token(Some("token")));
        for other in [None, Some(""), Some("toke"), Some("tokenn"), Some("Token")] {
            assert!(!temporary.is_token(other), "{other:?}");
        }
    }
}
