//! A TLS front of the origin: it proves its identity, and passes on what comes.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

use rustls::ServerConfig;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use super::authority::Pair;
use super::fake_s3::FakeS3;
use super::lock;

/// One connection whose handshake succeeded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handshake {
    /// Address that the client connected to.
    pub address: IpAddr,
    /// The server's name that the client sent (SNI).
    pub name: Option<String>,
}

/// The front; dropping it closes its port.
pub struct TlsFront {
    port: u16,
    handshakes: Arc<Mutex<Vec<Handshake>>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for TlsFront {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl TlsFront {
    /// Listens on one port of these addresses, in front of `s3`.
    ///
    /// # Panics
    /// When the port is not free at one of them.
    pub async fn start(s3: &FakeS3, pair: &Pair, addresses: &[IpAddr]) -> TlsFront {
        TlsFront::start_at(s3, pair, addresses, 0).await
    }

    /// As [`TlsFront::start`], on a port that the caller chooses.
    ///
    /// # Panics
    /// As [`TlsFront::start`].
    pub async fn start_at(
        s3: &FakeS3,
        pair: &Pair,
        addresses: &[IpAddr],
        mut port: u16,
    ) -> TlsFront {
        let cert = CertificateDer::from_pem_slice(pair.cert.as_bytes()).expect("PEM");
        let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).expect("PEM");
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions that ring has")
            .with_no_client_auth()
            .with_single_cert(vec![cert], key)
            .expect("a pair");
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let mut tasks = Vec::new();
        let handshakes = Arc::new(Mutex::new(Vec::new()));
        for address in addresses {
            let listener = TcpListener::bind((*address, port)).await.expect("a free port");
            port = listener.local_addr().expect("it is bound").port();
            let (acceptor, handshakes) = (acceptor.clone(), Arc::clone(&handshakes));
            tasks.push(tokio::spawn(accept(listener, acceptor, handshakes, s3.addr())));
        }
        TlsFront { port, handshakes, tasks }
    }

    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns the connections so far.
    #[must_use]
    pub fn handshakes(&self) -> Vec<Handshake> {
        lock(&self.handshakes).clone()
    }

    /// Forgets the connections so far.
    pub fn forget(&self) {
        lock(&self.handshakes).clear();
    }
}

async fn accept(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    handshakes: Arc<Mutex<Vec<Handshake>>>,
    to: SocketAddr,
) {
    while let Ok((stream, _)) = listener.accept().await {
        let (acceptor, handshakes) = (acceptor.clone(), Arc::clone(&handshakes));
        tokio::spawn(async move {
            let address = stream.local_addr().expect("it is connected").ip();
            let Ok(mut client) = acceptor.accept(stream).await else { return };
            let name = client.get_ref().1.server_name().map(str::to_owned);
            lock(&handshakes).push(Handshake { address, name });
            let Ok(mut server) = TcpStream::connect(to).await else { return };
            let _ = copy_bidirectional(&mut client, &mut server).await;
        });
    }
}
