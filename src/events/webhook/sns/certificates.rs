//! Signing certificates of SNS: fetched, verified and cached.
//!
//! The certificate under a URL never changes, so that a verified one is kept until it expires. A message may name a
//! certificate that does not exist: failures are remembered, and fetches per minute are limited.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::client::verify_server_name;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, Error};
use tokio::time::timeout;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::client::{Answer, Client};
use super::host::Url;
use crate::metrics::webhook::Outcome;

/// Names in SNS's certificates, whatever the region.
const NAMES: [&str; 2] = ["sns.amazonaws.com", "sns.amazonaws.com.cn"];
/// Maximum certificates kept; SNS has one or two per region.
const KEPT: usize = 64;
/// Maximum fetches per minute.
const TRIES: usize = 20;
const MINUTE: Duration = Duration::from_mins(1);
/// Pause before a certificate that could not be fetched is requested again.
const PAUSE: Duration = Duration::from_secs(30);

/// Maximum wait of a message for its turn to fetch; SNS times out after 15 s.
const TURN_TIMEOUT: Duration = Duration::from_secs(5);

/// A public key: the `RSAPublicKey` of PKCS #1, in DER.
pub(super) type Key = Arc<[u8]>;

pub(super) struct Certificates {
    client: Arc<Client>,
    require_chain: bool,
    known: Mutex<Known>,
    /// Allows one fetch at a time; those that wait for the same one find it cached.
    fetching: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Known {
    keys: HashMap<Url, (Key, SystemTime)>,
    failed: HashMap<Url, (Outcome, Instant)>,
    /// Times of the latest fetches.
    tries: Vec<Instant>,
}

impl Certificates {
    pub(super) fn new(client: Arc<Client>, require_chain: bool) -> Self {
        let (known, fetching) = (Mutex::default(), tokio::sync::Mutex::default());
        Self { client, require_chain, known, fetching }
    }

    /// Returns the key of a certificate.
    pub(super) async fn key(&self, url: Url) -> Result<Key, Outcome> {
        if let Some(known) = self.known.lock().get(&url) {
            return known;
        }
        let turn = timeout(TURN_TIMEOUT, self.fetching.lock()).await;
        let _one = turn.map_err(|_| Outcome::Unavailable)?;
        if let Some(known) = self.known.lock().get(&url) {
            return known;
        }
        if !self.known.lock().may_try() {
            return Err(Outcome::Unavailable);
        }
        let found = match self.client.get(&url).await {
            Ok(answer) if answer.status.is_success() => {
                self.verified(&url, &answer).map_err(|problem| (Outcome::Forged, problem))
            }
            Ok(answer) if answer.status.is_client_error() => {
                Err((Outcome::Forged, answer.status.to_string()))
            }
            Ok(answer) => Err((Outcome::Unavailable, answer.status.to_string())),
            Err(error) => Err((Outcome::Unavailable, error.to_string())),
        };
        let mut known = self.known.lock();
        match found {
            Ok((key, expires)) => {
                known.keep(url, key.clone(), expires);
                Ok(key)
            }
            Err((outcome, problem)) => {
                let target = &url.target;
                log::warn!("events.webhook: no certificate at {}{target}: {problem}", url.host);
                known.failed.insert(url, (outcome, Instant::now()));
                Err(outcome)
            }
        }
    }

    /// Verifies that a certificate is one of SNS's. Returns its key and its expiry.
    fn verified(&self, url: &Url, answer: &Answer) -> Result<(Key, SystemTime), String> {
        let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&answer.body).collect();
        let mut found = found.map_err(|error| format!("malformed PEM: {error}"))?;
        if found.is_empty() {
            return Err("there is no certificate in it".to_owned());
        }
        let certificate = found.remove(0);
        // Intermediates are in the file, or are those of the host itself.
        found.extend(answer.chain.iter().cloned());
        self.believe(url, &certificate, &found)?;
        let (_, parsed) = X509Certificate::from_der(&certificate).map_err(|e| e.to_string())?;
        if !parsed.validity().is_valid() {
            return Err("the certificate has expired, or is not valid yet".to_owned());
        }
        let expires = u64::try_from(parsed.validity().not_after.timestamp()).unwrap_or(0);
        let key = parsed.public_key().subject_public_key.data.as_ref();
        Ok((key.into(), UNIX_EPOCH + Duration::from_secs(expires)))
    }

    /// Verifies the name of a certificate and its issuer.
    fn believe(
        &self,
        url: &Url,
        certificate: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
    ) -> Result<(), String> {
        let parsed = ParsedCertificate::try_from(certificate).map_err(|e| e.to_string())?;
        let names = NAMES.into_iter().chain([url.host.as_str()]);
        let name = names
            .filter_map(|name| ServerName::try_from(name).ok())
            .find(|name| verify_server_name(&parsed, name).is_ok())
            .ok_or("the certificate is of another name")?;
        let now = UnixTime::now();
        let verifier = &self.client.verifier;
        match verifier.verify_server_cert(certificate, chain, &name, &[], now) {
            Ok(_) => Ok(()),
            // The one in between is nowhere to be had; SNS's host, whose own certificate was verified, showed this one.
            Err(Error::InvalidCertificate(CertificateError::UnknownIssuer))
                if url.tls && !self.require_chain =>
            {
                Ok(())
            }
            Err(error) => Err(error.to_string()),
        }
    }
}

impl Known {
    fn get(&mut self, url: &Url) -> Option<Result<Key, Outcome>> {
        if let Some((key, expires)) = self.keys.get(url) {
            if SystemTime::now() < *expires {
                return Some(Ok(key.clone()));
            }
            self.keys.remove(url);
        }
        let (outcome, since) = self.failed.get(url)?;
        (since.elapsed() < PAUSE).then_some(Err(*outcome))
    }

    fn may_try(&mut self) -> bool {
        self.tries.retain(|tried| tried.elapsed() < MINUTE);
        // No more of these than there are tries in the pause.
        self.failed.retain(|_, (_, since)| since.elapsed() < PAUSE);
        if self.tries.len() >= TRIES {
            return false;
        }
        self.tries.push(Instant::now());
        true
    }

    fn keep(&mut self, url: Url, key: Key, expires: SystemTime) {
        if self.keys.len() >= KEPT {
            self.keys.clear();
        }
        self.keys.insert(url, (key, expires));
    }
}
