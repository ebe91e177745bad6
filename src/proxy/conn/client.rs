//! The client of a connection, and the reason for refusing what it sent: set by the connection, read by the gateway
//! at each request.

use std::sync::OnceLock;

use parking_lot::Mutex;
use pingora::proxy::Session;

use crate::auth::CertificateId;
use crate::proxy::fast_path::handed_over::HandedOver;
use crate::proxy::response::refusal::Refusal;
use crate::tls::{AlternativeName, ClientCertificate};

/// The client of one connection.
#[derive(Debug)]
pub(in crate::proxy) struct Client {
    certificate: Option<ClientCertificate>,
    certificate_ids: Vec<CertificateId>,
    refusal: OnceLock<Refusal>,
    /// The fast path's result for the head that the next session reads.
    handed_over: Mutex<Option<Box<HandedOver>>>,
}

impl Client {
    pub(in crate::proxy) fn new(certificate: Option<ClientCertificate>) -> Self {
        let certificate_ids = certificate.as_ref().map(ids).unwrap_or_default();
        let (refusal, handed_over) = (OnceLock::new(), Mutex::default());
        Self { certificate, certificate_ids, refusal, handed_over }
    }

    /// Returns the identifiers of that certificate: its fingerprint and its names.
    pub(in crate::proxy) fn certificate_ids(&self) -> &[CertificateId] {
        &self.certificate_ids
    }

    /// Returns the certificate that the client presented and `client_ca` verified.
    pub(in crate::proxy) fn certificate(&self) -> Option<&ClientCertificate> {
        self.certificate.as_ref()
    }

    /// Returns the client that sent a request; `None` only where there is no connection.
    pub(in crate::proxy) fn of(session: &Session) -> Option<&Self> {
        let proxy = session.digest()?.proxy_digest.as_deref()?;
        proxy.user_data.as_ref()?.downcast_ref::<std::sync::Arc<Self>>().map(AsRef::as_ref)
    }

    /// Leaves the fast path's result for the next session, which replaces any earlier one.
    pub(in crate::proxy) fn hand_over(&self, understood: Option<Box<HandedOver>>) {
        *self.handed_over.lock() = understood;
    }

    /// Takes the result that was left, once.
    pub(in crate::proxy) fn take_over(&self) -> Option<Box<HandedOver>> {
        self.handed_over.lock().take()
    }

    /// Records the reason for refusing what the client sent. The connection ends there, so only the first reason
    /// counts.
    pub(in crate::proxy) fn refuse(&self, why: Refusal) {
        let _ = self.refusal.set(why);
    }

    /// Returns the reason that the current request was refused.
    pub(in crate::proxy) fn refused(&self) -> Option<Refusal> {
        self.refusal.get().copied()
    }

    /// Returns the reason that the body of the current request was refused, and not that for a head after it.
    pub(in crate::proxy) fn refused_body(&self) -> Option<Refusal> {
        self.refused().filter(|why| matches!(why, Refusal::Chunk | Refusal::SlowBody))
    }
}

/// Returns the fingerprint, then the names in the certificate's order.
fn ids(certificate: &ClientCertificate) -> Vec<CertificateId> {
    let names = certificate.names.iter().map(|name| match name {
        AlternativeName::Dns(name) => CertificateId::dns(name),
        AlternativeName::Uri(uri) => CertificateId::uri(uri),
        AlternativeName::Email(address) => CertificateId::email(address),
    });
    std::iter::once(CertificateId::Sha256(certificate.sha256)).chain(names).collect()
}
