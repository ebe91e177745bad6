//! The two loops of one peer: requesting leases, and sending messages.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};

use super::lease::{ANSWER, EVERY, Failure};
use super::outbox::Session;
use super::peer::{Peer, Role};
use super::wire::{self, LeaseAnswer, LeaseQuestion, PushAnswer};
use super::{Cluster, ReplicaTls, TokenSource};
use crate::cache::boot_time;

/// Interval between lease requests to a replica that is gone; [`OWN_EVERY`] is that to addresses of this process
/// itself.
const GONE_EVERY: Duration = Duration::from_millis(250);
const OWN_EVERY: Duration = Duration::from_secs(5);
/// Maximum wait for the response to messages, which may be many.
const PUSH_ANSWER: Duration = Duration::from_secs(2);
/// Pause after messages that were not delivered.
const PUSH_PAUSE: Duration = Duration::from_millis(50);
/// Maximum bytes of a response.
const ANSWER_MAX: usize = 64 << 10;

/// A request without a response.
#[derive(Debug)]
pub(super) struct AskError {
    failure: Failure,
    pub why: String,
}

impl AskError {
    fn silent(why: impl Into<String>) -> Self {
        Self { failure: Failure::Silent, why: why.into() }
    }
}

impl From<io::Error> for AskError {
    fn from(error: io::Error) -> Self {
        let refused = error.kind() == io::ErrorKind::ConnectionRefused;
        let failure = if refused { Failure::Refused } else { Failure::Silent };
        Self { failure, why: error.to_string() }
    }
}

/// A connection to a peer's admin port, opened on demand.
pub(super) struct Connection {
    peer: Arc<Peer>,
    token: TokenSource,
    tls: Option<ReplicaTls>,
    open: Option<Open>,
}

struct Open {
    sender: SendRequest<Full<Bytes>>,
    authorization: Option<String>,
}

impl Connection {
    pub(super) fn new(peer: &Arc<Peer>, cluster: &Cluster) -> Self {
        let (token, tls) = (cluster.token.clone(), cluster.tls.clone());
        Self { peer: peer.clone(), token, tls, open: None }
    }

    /// Sends one request and returns the response. An idle connection that turns out to be closed is replaced.
    pub(super) async fn ask(&mut self, path: &str, body: Bytes) -> Result<Bytes, AskError> {
        if let Some(mut open) = self.open.take()
            && open.sender.ready().await.is_ok()
            && let Ok((answer, open)) = self.exchange(open, path, body.clone()).await
        {
            self.open = Some(open);
            return Ok(answer);
        }
        let open = self.connect().await?;
        let (answer, open) = self.exchange(open, path, body).await?;
        self.open = Some(open);
        Ok(answer)
    }

    async fn connect(&self) -> Result<Open, AskError> {
        let stream = TcpStream::connect(self.peer.address).await?;
        stream.set_nodelay(true)?;
        let sender = match &self.tls {
            None => handshake(stream).await?,
            Some(ReplicaTls { connector, name }) => {
                let secured = connector.connect(name.clone(), stream).await;
                let secured = secured.map_err(|error| AskError::silent(format!("TLS: {error}")))?;
                handshake(secured).await?
            }
        };
        let token = self.token.clone();
        let token = spawn_blocking(move || token()).await.map_err(io::Error::other)?;
        let token =
            token.map_err(|error| AskError::silent(format!("admin.token_file: {error}")))?;
        let authorization = token.map(|token| format!("Bearer {}", token.expose()));
        Ok(Open { sender, authorization })
    }

    async fn exchange(
        &self,
        mut open: Open,
        path: &str,
        body: Bytes,
    ) -> Result<(Bytes, Open), AskError> {
        let broken = |error: hyper::Error| AskError::silent(error.to_string());
        let request = Request::builder()
            .method(Method::POST)
            .uri(path)
            .header(HOST, self.peer.address.to_string())
            .header(CONTENT_TYPE, "application/json");
        let request = match &open.authorization {
            Some(token) => request.header(AUTHORIZATION, token),
            None => request,
        };
        let request = request.body(Full::new(body)).map_err(|e| AskError::silent(e.to_string()))?;
        let answer = open.sender.send_request(request).await.map_err(broken)?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), ANSWER_MAX).collect().await;
        let body = body.map_err(|error| AskError::silent(error.to_string()))?.to_bytes();
        if status == StatusCode::OK {
            return Ok((body, open));
        }
        let text = String::from_utf8_lossy(&body);
        let why = format!("it answers {}: {}", status.as_u16(), text.trim());
        let failure = if status.is_client_error() { Failure::Denied } else { Failure::Silent };
        // The connection is dropped, so that a changed token is read again.
        Err(AskError { failure, why })
    }
}

async fn handshake<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
) -> Result<SendRequest<Full<Bytes>>, AskError> {
    let (sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| AskError::silent(error.to_string()))?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            log::debug!("cluster: a connection ended: {error}");
        }
    });
    Ok(sender)
}

/// Requests leases from a peer and sends it messages until it is removed. Cancel-safe.
pub(super) async fn run(cluster: Arc<Cluster>, peer: Arc<Peer>) {
    let mut removed = peer.removed.subscribe();
    tokio::select! {
        _ = removed.wait_for(|removed| *removed) => {}
        () = ask_for_leases(&cluster, &peer) => {}
        () = push(&cluster, &peer) => {}
    }
}

async fn ask_for_leases(cluster: &Cluster, peer: &Arc<Peer>) {
    let mut connection = Connection::new(peer, cluster);
    let question = LeaseQuestion { session: cluster.members.own(), port: cluster.port };
    let question = Bytes::from(wire::text(&question));
    loop {
        let sent = boot_time();
        let answer = timeout(ANSWER, connection.ask(wire::LEASE, question.clone())).await;
        let answer = answer.unwrap_or_else(|_| {
            // The connection may be the cause.
            connection.open = None;
            Err(AskError::silent("it does not answer"))
        });
        match answer.and_then(|bytes| parse::<LeaseAnswer>(&bytes)) {
            Ok(answer) => cluster.members.answered(peer, sent, &answer),
            Err(AskError { failure, why }) => cluster.members.failed(peer, failure, sent, &why),
        }
        peer.count_lapse();
        let pause = {
            let state = peer.state();
            match state.role {
                Role::Replica => {
                    let far = state.lease.is_gone() || state.lease.is_denied();
                    let every = if far { GONE_EVERY } else { EVERY };
                    every.saturating_sub(boot_time().saturating_sub(sent))
                }
                Role::Own | Role::Alias => OWN_EVERY,
            }
        };
        tokio::select! {
            () = sleep(pause) => {}
            // At most as often as this replica gets requests.
            () = peer.hurry.notified() => {}
        }
    }
}

async fn push(cluster: &Cluster, peer: &Arc<Peer>) {
    let mut connection = Connection::new(peer, cluster);
    loop {
        let batch = {
            let state = peer.state();
            if state.is_replica() { state.outbox.batch() } else { None }
        };
        let Some(batch) = batch else {
            peer.queued.notified().await;
            continue;
        };
        let body = wire::push_text(cluster.members.own(), &batch);
        let answer = timeout(PUSH_ANSWER, connection.ask(wire::PUSH, body.into())).await;
        let answer = answer.unwrap_or_else(|_| {
            connection.open = None;
            Err(AskError::silent("it does not answer"))
        });
        match answer.and_then(|bytes| parse::<PushAnswer>(&bytes)) {
            Ok(PushAnswer { session, applied }) if is_to(peer, session) => {
                peer.state().outbox.confirm(batch.stream, applied);
                peer.notify();
            }
            Ok(_) => {
                // Another process answers; its lease response identifies it.
                peer.hurry.notify_one();
                sleep(PUSH_PAUSE).await;
            }
            Err(AskError { why, .. }) => {
                log::debug!("cluster: messages to {} are sent again: {why}", peer.address);
                let far = {
                    let state = peer.state();
                    state.lease.is_gone() || state.lease.is_denied()
                };
                sleep(if far { GONE_EVERY } else { PUSH_PAUSE }).await;
            }
        }
    }
}

fn is_to(peer: &Peer, session: Session) -> bool {
    peer.state().outbox.session() == Some(session)
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, AskError> {
    serde_json::from_slice(bytes).map_err(|error| AskError::silent(format!("it answers {error}")))
}
