//! TLS of one listener: handshakes, and files that are read again when they change.
//!
//! The invariant: there is always a whole configuration. New files take its place only when all of them are right and
//! fit together; a handshake uses the one that was there when it began, and connections keep theirs.

mod certificates;
pub mod config;

use std::fmt::Write as _;
use std::io;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use self::certificates::{About, Files, load};
use self::config::TlsConfig;
use super::transport::Socket;
use crate::metrics::wire;

pub use self::certificates::TlsError;

/// Plain text that waits to be sent as records: what a socket takes at once, and no more.
const SEND_BUFFER: usize = 64 * 1024;

/// TLS of one listener.
pub struct Tls {
    config: TlsConfig,
    current: RwLock<Arc<ServerConfig>>,
    seen: Mutex<Seen>,
}

/// What the files were when they were last looked at.
struct Seen {
    /// Those in use.
    files: Files,
    /// Why those that are there now are not.
    refused: Option<TlsError>,
}

impl Tls {
    /// Reads the files; blocks.
    ///
    /// # Errors
    /// [`TlsError`]: the key and the file that are wrong, in one line.
    pub fn load(config: &TlsConfig) -> Result<Arc<Self>, TlsError> {
        let files = Files::read(config)?;
        let loaded = load(config, &files)?;
        for invalid in &loaded.invalid_now {
            log::warn!("listen: tls: {invalid}");
        }
        Ok(Arc::new(Self {
            config: config.clone(),
            current: RwLock::new(loaded.config),
            seen: Mutex::new(Seen { files, refused: None }),
        }))
    }

    /// Says what is wrong with the files, or with the time in which their certificates are valid; blocks.
    ///
    /// # Errors
    /// [`TlsError`]: the first thing that is wrong.
    pub fn check(config: &TlsConfig) -> Result<(), TlsError> {
        let loaded = load(config, &Files::read(config)?)?;
        loaded.invalid_now.into_iter().next().map_or(Ok(()), Err)
    }

    /// Shakes hands with a client. The caller bounds the time.
    ///
    /// # Errors
    /// As the socket says; `InvalidData` when the client is none for us.
    pub(super) async fn accept(&self, socket: Socket) -> io::Result<Box<TlsStream<Socket>>> {
        let config = self.current.read().clone();
        let handshake = TlsAcceptor::from(config)
            .accept_with(socket, |connection| connection.set_buffer_limit(Some(SEND_BUFFER)));
        handshake.await.map(Box::new)
    }

    /// Looks at the files again and again, for as long as it is polled.
    pub(super) async fn watch(self: Arc<Self>) {
        loop {
            tokio::time::sleep(self.config.reload.0).await;
            let tls = self.clone();
            // Files may be on a slow or a dead mount.
            if tokio::task::spawn_blocking(move || tls.reload()).await.is_err() {
                log::error!("listen: tls: looking for new certificates failed");
            }
        }
    }

    /// Takes what is new and right; says once what is new and wrong.
    fn reload(&self) {
        let mut seen = self.seen.lock();
        let new = self.read_new(&seen.files).or_else(|error| {
            // Between the two files of a pair, perhaps: the second look finds both.
            if seen.refused.as_ref() == Some(&error) {
                Err(error)
            } else {
                self.read_new(&seen.files)
            }
        });
        match new {
            Ok(None) => seen.refused = None,
            Ok(Some((files, config))) => {
                *self.current.write() = config;
                *seen = Seen { files, refused: None };
                wire::certificates_reloaded(true);
                log::info!("listen: tls: new certificates from {}", self.config.cert.display());
            }
            Err(error) if seen.refused.as_ref() == Some(&error) => {}
            Err(error) => {
                wire::certificates_reloaded(false);
                log::error!("listen: tls: the certificates in use stay: {error}");
                seen.refused = Some(error);
            }
        }
    }

    /// What is new; `None`: the files are those in use.
    fn read_new(&self, old: &Files) -> Result<Option<(Files, Arc<ServerConfig>)>, TlsError> {
        let files = Files::read(&self.config)?;
        if files == *old {
            return Ok(None);
        }
        let loaded = load(&self.config, &files)?;
        for invalid in &loaded.invalid_now {
            log::warn!("listen: tls: {invalid}");
        }
        Ok(Some((files, loaded.config)))
    }
}

/// The certificate that a client showed and that its authority vouches for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ClientCertificate {
    /// Of the whole certificate in DER: its fingerprint.
    pub sha256: [u8; 32],
    /// Its subject alternative names that are text.
    pub names: Vec<String>,
}

impl ClientCertificate {
    /// The fingerprint as `openssl x509 -fingerprint -sha256` has it, without colons and in lower case.
    pub(super) fn fingerprint(&self) -> String {
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
    pub(super) fn of(stream: &TlsStream<Socket>) -> io::Result<Option<Self>> {
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
pub(super) fn chose_http_2(stream: &TlsStream<Socket>) -> bool {
    stream.get_ref().1.alpn_protocol() == Some(b"h2")
}
