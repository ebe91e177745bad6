//! TLS of one listener: handshakes, and reloading of files that change.
//!
//! The invariant: there is always a whole configuration. New files take its place only when all of them are right and
//! fit together; a handshake uses the one that was there when it began, and connections keep theirs.

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

/// Plain text that waits to be sent as records: what a socket takes at once, and no more.
const SEND_BUFFER: usize = 64 * 1024;

/// TLS of one listener.
pub struct Tls {
    listener: &'static str,
    http_2: bool,
    current: RwLock<Arc<ServerConfig>>,
    seen: Mutex<Seen>,
}

/// A configuration whose files were read and fit together, ready to be put into force.
pub struct NewTls {
    config: Arc<TlsConfig>,
    files: Arc<Files>,
    loaded: Arc<ServerConfig>,
}

/// State of the files at the last check.
#[derive(Clone)]
struct Seen {
    config: Arc<TlsConfig>,
    /// Those in use.
    files: Arc<Files>,
    /// Why those that are there now are not.
    refused: Option<TlsError>,
}

impl Tls {
    /// Reads the files; blocks. `listener` is the key that it is configured under, for logs; whether `http_2` is
    /// spoken there is offered to clients (RFC 7301).
    ///
    /// # Errors
    /// [`TlsError`]: the key and the file that are wrong, in one line.
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

    /// Reads the files of another configuration for this listener; blocks.
    ///
    /// # Errors
    /// As [`Tls::load`].
    pub fn prepare(&self, config: &TlsConfig) -> Result<NewTls, TlsError> {
        let files = Files::read(config)?;
        let loaded = load(config, &files, self.http_2)?.config;
        Ok(NewTls { config: Arc::new(config.clone()), files: Arc::new(files), loaded })
    }

    /// Shakes hands by another configuration from now on; connections keep theirs.
    pub fn replace(&self, new: NewTls) {
        let NewTls { config, files, loaded } = new;
        let mut seen = self.seen.lock();
        *self.current.write() = loaded;
        *seen = Seen { config, files, refused: None };
    }

    /// Says what is wrong with the files, or with the time in which their certificates are valid; blocks.
    ///
    /// # Errors
    /// [`TlsError`]: the first thing that is wrong.
    pub fn check(config: &TlsConfig) -> Result<(), TlsError> {
        let loaded = load(config, &Files::read(config)?, false)?;
        loaded.invalid_now.into_iter().next().map_or(Ok(()), Err)
    }

    /// Shakes hands with a client. The caller bounds the time.
    ///
    /// # Errors
    /// As the socket says; `InvalidData` when the client is none for us.
    pub async fn accept<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        socket: S,
    ) -> io::Result<Box<TlsStream<S>>> {
        let config = self.current.read().clone();
        let handshake = TlsAcceptor::from(config)
            .accept_with(socket, |connection| connection.set_buffer_limit(Some(SEND_BUFFER)));
        handshake.await.map(Box::new)
    }

    /// Looks at the files again and again, for as long as it is polled.
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

    /// Takes what is new and right; says once what is new and wrong.
    fn reload(&self) {
        let before = self.seen.lock().clone();
        let new = self.read_new(&before).or_else(|error| {
            // Between the two files of a pair, perhaps: the second look finds both.
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

/// The certificate that a client showed and that its authority vouches for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// Of the whole certificate in DER: its fingerprint.
    pub sha256: [u8; 32],
    /// Its subject alternative names that are text.
    pub names: Vec<AlternativeName>,
}

/// A subject alternative name, as it stands in a certificate (RFC 5280, section 4.2.1.6). The kinds are apart: any
/// text may stand in each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AlternativeName {
    Dns(String),
    /// Such as a SPIFFE id.
    Uri(String),
    Email(String),
}

impl ClientCertificate {
    /// The fingerprint as `openssl x509 -fingerprint -sha256` has it, without colons and in lower case.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let mut digits = String::with_capacity(64);
        for byte in self.sha256 {
            let _ = write!(digits, "{byte:02x}");
        }
        digits
    }

    /// The certificate behind a connection; `None`: the client showed none.
    ///
    /// # Errors
    /// The certificate is not valid any more: a resumed session may be older than its end.
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

/// Whether HTTP/2 was agreed upon (RFC 7301).
#[must_use]
pub fn chose_http_2<S>(stream: &TlsStream<S>) -> bool {
    stream.get_ref().1.alpn_protocol() == Some(b"h2")
}
