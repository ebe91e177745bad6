//! The listener: connections, TLS, heads. The invariant: no peer can block it, and none costs more than its share.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::authentication::Authentication;
use super::config::WebhookConfig;
use super::error::WebhookError;
use super::receiver::Receiver;
use crate::accept::accept;
use crate::events::{Intake, Source};
use crate::permits::Permits;
use crate::tls::{NewTls, Tls, TlsError};

const HEADER_BYTES: usize = 16 * 1024;

/// A bound webhook with its authentication.
pub struct Webhook {
    listener: TcpListener,
    settings: Arc<WebhookSettings>,
}

/// Settings of a webhook, which can be replaced while it runs.
pub struct WebhookSettings {
    intake: Arc<Intake>,
    config: ArcSwap<WebhookConfig>,
    /// Receiver of new requests.
    receiver: ArcSwap<Receiver>,
    slots: Arc<Permits>,
    tls: Option<Arc<Tls>>,
}

/// Validated settings, with the files that they name.
pub struct NewWebhook {
    config: WebhookConfig,
    authentication: Authentication,
    tls: Option<NewTls>,
}

impl WebhookSettings {
    /// Validates other settings, and reads the files that they name; blocks. `None`: they are the same.
    ///
    /// # Errors
    /// [`WebhookError`]: the invalid key.
    pub fn prepare(&self, config: &WebhookConfig) -> Result<Option<NewWebhook>, WebhookError> {
        if **self.config.load() == *config {
            return Ok(None);
        }
        let authentication = Authentication::new(config)?;
        let tls = match (&self.tls, &config.tls) {
            (Some(running), Some(tls)) => Some(running.prepare(tls).map_err(|e| in_tls(&e))?),
            _ => None,
        };
        Ok(Some(NewWebhook { config: config.clone(), authentication, tls }))
    }

    /// Puts other settings in force for new requests; those under way keep theirs.
    pub fn replace(&self, new: NewWebhook) {
        let NewWebhook { config, authentication, tls } = new;
        if let (Some(running), Some(tls)) = (&self.tls, tls) {
            running.replace(tls);
        }
        self.slots.resize(config.connections);
        let receiver = Receiver::new(&config, authentication, self.intake.clone());
        self.receiver.store(Arc::new(receiver));
        self.config.store(Arc::new(config));
    }
}

fn in_tls(error: &TlsError) -> WebhookError {
    WebhookError::new(&format!("tls.{}", error.key), &error.problem)
}

impl Webhook {
    /// Binds the address unless a socket was passed in; reads the certificate files, which blocks.
    ///
    /// # Errors
    /// [`WebhookError`]: the invalid key.
    pub async fn bind(
        config: &WebhookConfig,
        socket: Option<TcpListener>,
        intake: Arc<Intake>,
    ) -> Result<Self, WebhookError> {
        let authentication = Authentication::new(config)?;
        let tls = config.tls.as_ref().map(|tls| Tls::load(tls, "events.webhook", false));
        let tls = tls.transpose();
        let tls = tls.map_err(|error| in_tls(&error))?;
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
        let receiver = Receiver::new(config, authentication, intake.clone());
        let settings = WebhookSettings {
            intake,
            config: ArcSwap::from_pointee(config.clone()),
            receiver: ArcSwap::from_pointee(receiver),
            slots: Permits::new(config.connections),
            tls,
        };
        Ok(Self { listener, settings: Arc::new(settings) })
    }

    /// Returns the settings, which can be replaced while the webhook runs.
    pub fn settings(&self) -> Arc<WebhookSettings> {
        self.settings.clone()
    }

    /// Validates the settings and the files that they name; blocks.
    ///
    /// # Errors
    /// [`WebhookError`]: the invalid key.
    pub fn check(config: &WebhookConfig) -> Result<(), WebhookError> {
        Authentication::new(config)?;
        let checked = config.tls.as_ref().map_or(Ok(()), Tls::check);
        checked.map_err(|error| in_tls(&error))
    }

    /// Returns the address that senders connect to.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.listener.local_addr().ok()
    }

    /// Receives until `shutdown` turns true, then until requests under way are answered.
    pub async fn run(self, mut shutdown: watch::Receiver<bool>) {
        let Self { listener, settings } = self;
        let address = settings.config.load().address.clone();
        let status = settings.intake.receiver_status(Source::Webhook, address);
        status.up();
        let mut watching = JoinSet::new();
        if let Some(tls) = &settings.tls {
            watching.spawn(tls.clone().watch());
        }
        let mut connections = JoinSet::new();
        loop {
            let next = accept("events.webhook", settings.slots.semaphore(), || listener.accept());
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
            let (settings, shutdown) = (settings.clone(), shutdown.clone());
            connections.spawn(async move {
                connection(stream, settings, shutdown).await;
                drop(slot);
            });
        }
        drop(listener);
        connections.join_all().await;
    }
}

/// Waits for the shutdown.
async fn told(shutdown: &mut watch::Receiver<bool>) {
    let _ = shutdown.wait_for(|stop| *stop).await;
}

/// Serves one connection.
async fn connection(
    stream: TcpStream,
    settings: Arc<WebhookSettings>,
    shutdown: watch::Receiver<bool>,
) {
    let _ = stream.set_nodelay(true);
    let header_timeout = settings.config.load().header_timeout.0;
    let Some(tls) = settings.tls.clone() else {
        return serve(stream, settings, header_timeout, shutdown).await;
    };
    match timeout(header_timeout, tls.accept(stream)).await {
        Ok(Ok(stream)) => serve(stream, settings, header_timeout, shutdown).await,
        Ok(Err(error)) => log::debug!("events.webhook: a TLS handshake failed: {error}"),
        Err(_) => log::debug!("events.webhook: a TLS handshake took too long"),
    }
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    settings: Arc<WebhookSettings>,
    header_timeout: Duration,
    mut shutdown: watch::Receiver<bool>,
) {
    let service = service_fn(|request: Request<Incoming>| {
        let receiver = settings.receiver.load_full();
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
