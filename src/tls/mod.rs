//! TLS of one listener: handshakes, and reloading of changed files.
//!
//! The invariant: there is always a complete configuration. New files replace it only when all of them are valid and
//! consistent; a handshake uses the configuration at its start, and connections keep theirs.

mod authorities;
mod certificates;
pub mod config;
mod own_server;

use std::fmt::Write as _;
use std::io;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use self::certificates::{About, Files, load};
use self::config::TlsConfig;
use crate::metrics::wire;

pub use self::authorities::{authorities, connector, trusted_authorities};
pub use self::certificates::TlsError;
pub use self::own_server::{connector_to_any, connector_to_own};

/// Maximum plain text waiting to be sent as records: as much as a socket accepts at once.
const SEND_BUFFER: usize = 64 * 1024;

/// TLS of one listener.
pub struct Tls {
    listener: &'static str,
    http_2: bool,
    current: RwLock<Arc<ServerConfig>>,
    seen: Mutex<Seen>,
}

/// A loaded and validated configuration, ready to be put in force.
pub struct NewTls {
    config: Arc<TlsConfig>,
    files: Arc<Files>,
    loaded: Arc<ServerConfig>,
}

/// State of the files at the last check.
#[derive(Clone)]
struct Seen {
    config: Arc<TlsConfig>,
    /// Files in use.
    files: Arc<Files>,
    /// Error of the current files, if they were refused.
    refused: Option<TlsError>,
}

impl Tls {
    /// Loads the files; blocks. `listener` is its key in the configuration, for logs; `http_2`: whether HTTP/2 is
    /// offered to clients (RFC 7301).
    ///
    /// # Errors
    /// [`TlsError`]: the key and the file with the error, in one line.
    pub fn load(
        config: &TlsConfig,
        listener: &'static str,
        http_2: bool,
    ) -> Result<Arc<Self>, TlsError> {
        let files = Files::read(config)?;
        let loaded = load(config, &files, http_2)?;
        for invalid in &loaded.invalid_now {
            log::warn!("{listener}: tls: {invalid}");
        }
        let (config, files) = (Arc::new(config.clone()), Arc::new(files));
        Ok(Arc::new(Self {
            listener,
            http_2,
            current: RwLock::new(loaded.config),
            seen: Mutex::new(Seen { config, files, refused: None }),
        }))
    }

    /// Loads the files of another configuration for this listener; blocks.
    ///
    /// # Errors
    /// As [`Tls::load`].
    pub fn prepare(&self, config: &TlsConfig) -> Result<NewTls, TlsError> {
        let files = Files::read(config)?;
        let loaded = load(config, &files, self.http_2)?.config;
        Ok(NewTls { config: Arc::new(config.clone()), files: Arc::new(files), loaded })
    }

    /// Puts another configuration in force for new handshakes; connections keep theirs.
    pub fn replace(&self, new: NewTls) {
        let NewTls { config, files, loaded } = new;
        let mut seen = self.seen.lock();
        *self.current.write() = loaded;
        *seen = Seen { config, files, refused: None };
    }

    /// Validates the files, including the validity period of certificates; blocks.
    ///
    /// # Errors
    /// [`TlsError`]: the first error.
    pub fn check(config: &TlsConfig) -> Result<(), TlsError> {
        let loaded = load(config, &Files::read(config)?, false)?;
        loaded.invalid_now.into_iter().next().map_or(Ok(()), Err)
    }

    /// Performs the handshake with a client. The caller sets the timeout.
    ///
    /// # Errors
    /// The socket's error; `InvalidData` if the client is rejected.
    pub async fn accept<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        socket: S,
    ) -> io::Result<Box<TlsStream<S>>> {
        let config = self.current.read().clone();
        let handshake = TlsAcceptor::from(config)
            .accept_with(socket, |connection| connection.set_buffer_limit(Some(SEND_BUFFER)));
        handshake.await.map(Box::new)
    }

    /// Checks the files for changes periodically, for as long as it is polled.
    pub async fn watch(self: Arc<Self>) {
        loop {
            let every = self.seen.lock().config.reload.0;
            tokio::time::sleep(every).await;
            let (tls, listener) = (self.clone(), self.listener);
            // Files may be on a slow or a dead mount.
            if tokio::task::spawn_blocking(move || tls.reload()).await.is_err() {
                log::error!("{listener}: tls: looking for new certificates failed");
            }
        }
    }

    /// Adopts changed files if they are valid; otherwise logs the error once.
    fn reload(&self) {
        let before = self.seen.lock().clone();
        let new = self.read_new(&before).or_else(|error| {
            // Perhaps between the replacement of the two files of a pair: the second check finds both.
            if before.refused.as_ref() == Some(&error) {
                Err(error)
            } else {
                self.read_new(&before)
            }
        });
        let mut seen = self.seen.lock();
        if !Arc::ptr_eq(&seen.config, &before.config) {
            // Other files are configured by now.
            return;
        }
        match new {
            Ok(None) => seen.refused = None,
            Ok(Some((files, config))) => {
                *self.current.write() = config;
                (seen.files, seen.refused) = (Arc::new(files), None);
                wire::certificates_reloaded(true);
                let file = seen.config.cert.display();
                log::info!("{}: tls: new certificates from {file}", self.listener);
            }
            Err(error) if seen.refused.as_ref() == Some(&error) => {}
            Err(error) => {
                wire::certificates_reloaded(false);
                log::error!("{}: tls: the certificates in use stay: {error}", self.listener);
                seen.refused = Some(error);
            }
        }
    }

    /// Loads the files if they changed; `None`: they are unchanged.
    fn read_new(&self, old: &Seen) -> Result<Option<(Files, Arc<ServerConfig>)>, TlsError> {
        let files = Files::read(&old.config)?;
        if files == *old.files {
            return Ok(None);
        }
        let loaded = load(&old.config, &files, self.http_2)?;
        for invalid in &loaded.invalid_now {
            log::warn!("{}: tls: {invalid}", self.listener);
        }
        Ok(Some((files, loaded.config)))
    }
}

/// A client certificate that was verified against its authority.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// Fingerprint: SHA-256 of the whole certificate in DER.
    pub sha256: [u8; 32],
    /// Textual subject alternative names.
    pub names: Vec<AlternativeName>,
}

/// A subject alternative name, as in the certificate (RFC 5280, section 4.2.1.6). The kinds are kept apart, since each
/// may contain any text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AlternativeName {
    Dns(String),
    /// A URI, such as a SPIFFE id.
    Uri(String),
    Email(String),
}

impl ClientCertificate {
    /// Returns the fingerprint as `openssl x509 -fingerprint -sha256` prints it, but without colons and in lower case.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let mut digits = String::with_capacity(64);
        for byte in self.sha256 {
            let _ = write!(digits, "{byte:02x}");
        }
        digits
    }

    /// Returns the client certificate of a connection; `None`: the client sent none.
    ///
    /// # Errors
    /// The certificate has expired: a resumed session may outlast it.
    pub fn of<S>(stream: &TlsStream<S>) -> io::Result<Option<Self>> {
        let Some([certificate, ..]) = stream.get_ref().1.peer_certificates() else {
            return Ok(None);
        };
        let invalid = |why| io::Error::new(io::ErrorKind::InvalidData, why);
        let about = About::read(certificate).ok_or_else(|| invalid("malformed certificate"))?;
        if let Some(why) = about.invalid_now() {
            return Err(invalid(why));
        }
        Ok(Some(Self { sha256: fingerprint(certificate), names: about.names }))
    }
}

fn fingerprint(certificate: &CertificateDer<'_>) -> [u8; 32] {
    let digest = ring::digest::digest(&ring::digest::SHA256, certificate);
    digest.as_ref().try_into().expect("SHA-256 has 32 bytes")
}

/// Whether HTTP/2 was negotiated (RFC 7301).
#[must_use]
pub fn chose_http_2<S>(stream: &TlsStream<S>) -> bool {
    stream.get_ref().1.alpn_protocol() == Some(b"h2")
}
