//! The listener: connections, TLS, heads. The invariant: no peer can hold it up, and none costs more than its share.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::authentication::Authentication;
use super::config::WebhookConfig;
use super::error::WebhookError;
use super::receiver::Receiver;
use crate::accept::accept;
use crate::events::{Intake, Source};
use crate::tls::Tls;

const HEADER_BYTES: usize = 16 * 1024;

/// A receiver that is bound and knows whom it believes.
pub struct Webhook {
    config: WebhookConfig,
    authentication: Authentication,
    listener: TcpListener,
    tls: Option<Arc<Tls>>,
}

impl Webhook {
    /// Binds the address unless there is a socket for it; reads the files of certificates, which blocks.
    ///
    /// # Errors
    /// [`WebhookError`]: the key that is wrong.
    pub async fn bind(
        config: &WebhookConfig,
        socket: Option<TcpListener>,
    ) -> Result<Self, WebhookError> {
        let authentication = Authentication::new(config)?;
        let tls = config.tls.as_ref().map(|tls| Tls::load(tls, "events.webhook", false));
        let tls = tls.transpose();
        let tls =
            tls.map_err(|error| WebhookError::new(&format!("tls.{}", error.key), error.problem))?;
        let listener = match socket {
            Some(listener) => Ok(listener),
            None => TcpListener::bind(&config.address).await,
        };
        let listener = listener.map_err(|error| {
            WebhookError::new(
                "address",
                format_args!("cannot listen on {}: {error}", config.address),
            )
        })?;
        Ok(Self { config: config.clone(), authentication, listener, tls })
    }

    /// Reads the files that are named and says what is wrong with them; blocks.
    ///
    /// # Errors
    /// [`WebhookError`]: the key that is wrong.
    pub fn check(config: &WebhookConfig) -> Result<(), WebhookError> {
        Authentication::new(config)?;
        let checked = config.tls.as_ref().map_or(Ok(()), Tls::check);
        checked.map_err(|error| WebhookError::new(&format!("tls.{}", error.key), error.problem))
    }

    /// The address that senders connect to.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.listener.local_addr().ok()
    }

    /// Receives until `shutdown` turns true, then until what is under way is answered.
    pub async fn run(self, intake: Arc<Intake>, mut shutdown: watch::Receiver<bool>) {
        let Self { config, authentication, listener, tls } = self;
        let status = intake.receiver_status(Source::Webhook, config.address.as_str());
        status.up();
        let slots = Arc::new(Semaphore::new(config.connections));
        let receiver = Arc::new(Receiver::new(&config, authentication, intake));
        let mut watching = JoinSet::new();
        if let Some(tls) = &tls {
            watching.spawn(tls.clone().watch());
        }
        let mut connections = JoinSet::new();
        loop {
            let next = accept("events.webhook", &slots, || listener.accept());
            let ((stream, _), slot) = tokio::select! {
                biased;
                () = told(&mut shutdown) => break,
                Some(ended) = connections.join_next() => {
                    if let Err(error) = ended {
                        log::error!("events.webhook: a connection's task failed: {error}");
                    }
                    continue;
                }
                next = next => next,
            };
            let (receiver, tls, shutdown) = (receiver.clone(), tls.clone(), shutdown.clone());
            let header_timeout = config.header_timeout.0;
            connections.spawn(async move {
                connection(stream, receiver, tls, header_timeout, shutdown).await;
                drop(slot);
            });
        }
        drop(listener);
        connections.join_all().await;
    }
}

/// Waits until it is told to stop.
async fn told(shutdown: &mut watch::Receiver<bool>) {
    let _ = shutdown.wait_for(|stop| *stop).await;
}

/// One connection, from its first byte to its last.
async fn connection(
    stream: TcpStream,
    receiver: Arc<Receiver>,
    tls: Option<Arc<Tls>>,
    header_timeout: Duration,
    shutdown: watch::Receiver<bool>,
) {
    let _ = stream.set_nodelay(true);
    let Some(tls) = tls else {
        return serve(stream, receiver, header_timeout, shutdown).await;
    };
    match timeout(header_timeout, tls.accept(stream)).await {
        Ok(Ok(stream)) => serve(stream, receiver, header_timeout, shutdown).await,
        Ok(Err(error)) => log::debug!("events.webhook: a TLS handshake failed: {error}"),
        Err(_) => log::debug!("events.webhook: a TLS handshake took too long"),
    }
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    receiver: Arc<Receiver>,
    header_timeout: Duration,
    mut shutdown: watch::Receiver<bool>,
) {
    let service = service_fn(|request: Request<Incoming>| {
        let receiver = receiver.clone();
        async move { Ok::<_, Infallible>(receiver.answer(request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(header_timeout)
        .max_buf_size(HEADER_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = told(&mut shutdown) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        log::debug!("events.webhook: a connection failed: {error}");
    }
}
