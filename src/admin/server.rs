//! A small HTTP server: the web page at `/`, `/metrics`, `/healthz`, `/readyz`, and whatever is below `/api/`.
//!
//! The invariant: no client can block it. One request per connection, limits on the lifetime of a connection and on
//! their number; beyond that, new ones wait in the backlog. Other replicas (`/cluster/`, behind the token) keep their
//! connections, which have a limit of their own.

use std::convert::Infallible;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::select;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::api::{Api, LineStream};
use super::connection_end::ConnectionEnd;
use super::text::{only_get, text};
use super::{exposition, page};
use crate::accept::accept;
use crate::tls::Tls;

const CONNECTIONS: usize = 64;
/// Maximum connections of other replicas: a few for each of them.
const PEER_CONNECTIONS: usize = 256;
/// Timeout for receiving a request head.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
const HEADER_BYTES: usize = 16 * 1024;
/// Interval at which histogram samples are drained into buckets; until then each occupies memory.
const UPKEEP: Duration = Duration::from_secs(1);

/// Data and handlers of the admin server.
#[derive(Clone)]
pub struct AdminState {
    /// Whether the server is ready for clients.
    pub ready: Arc<AtomicBool>,
    /// Additional lines of `/readyz`, without effect on its status.
    pub detail: Arc<dyn Fn() -> String + Send + Sync>,
    /// Handler of requests below `/api/`.
    pub api: Arc<Api>,
    /// TLS; `None`: plain HTTP.
    pub tls: Option<Arc<Tls>>,
}

impl fmt::Debug for AdminState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdminState").field("ready", &self.ready).finish_non_exhaustive()
    }
}

/// Serves until the sender of `shutdown` is dropped.
///
/// `true` in `shutdown` means that the process is draining: `/readyz` answers 503 from then on. The rest continues, so
/// that the drain can be observed and the process does not look dead.
pub async fn serve(listener: TcpListener, state: AdminState, mut shutdown: watch::Receiver<bool>) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    let peers = Arc::new(Semaphore::new(PEER_CONNECTIONS));
    let mut connections = JoinSet::new();
    if let Some(tls) = &state.tls {
        connections.spawn(tls.clone().watch());
    }
    let mut upkeep = interval(UPKEEP);
    upkeep.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        select! {
            // Only an error, a dropped sender, matters; the value is read when needed.
            changed = shutdown.changed() => if changed.is_err() { return },
            _ = upkeep.tick() => {
                // Draining a second's samples of a busy server takes milliseconds, too long for a thread that may serve
                // clients.
                let handle = state.api.stats.handle.clone();
                spawn_blocking(move || handle.run_upkeep());
                // Peaks are sampled.
                (state.api.stats.refresh)();
            }
            Some(ended) = connections.join_next() => {
                if let Err(error) = ended {
                    log::error!("admin: a connection's task failed: {error}");
                }
            }
            ((stream, from), slot) = accept("admin", &slots, || listener.accept()) => {
                let (state, draining) = (state.clone(), shutdown.clone());
                let slot = Slot { permit: Mutex::new((slot, false)), peers: peers.clone() };
                connections.spawn(serve_connection(stream, from.ip(), state, draining, slot));
            }
        }
    }
}

/// Slot of a connection within the limits.
struct Slot {
    /// The permit, and whether it is one of the replicas'.
    permit: Mutex<(OwnedSemaphorePermit, bool)>,
    peers: Arc<Semaphore>,
}

impl Slot {
    /// Moves the connection to the replicas' slots. Returns `false` if they are exhausted.
    fn is_peers(&self) -> bool {
        let mut permit = self.permit.lock();
        if !permit.1
            && let Ok(peers) = self.peers.clone().try_acquire_owned()
        {
            *permit = (peers, true);
        }
        permit.1
    }
}

async fn serve_connection(
    stream: TcpStream,
    from: IpAddr,
    state: AdminState,
    draining: watch::Receiver<bool>,
    slot: Slot,
) {
    // Small responses to small requests of other replicas.
    let _ = stream.set_nodelay(true);
    let end = Arc::new(ConnectionEnd::of_new_connection());
    let Some(tls) = &state.tls else {
        return answer_over(stream, from, &state, &draining, &slot, &end).await;
    };
    match timeout(HEADER_TIMEOUT, tls.accept(stream)).await {
        Ok(Ok(stream)) => answer_over(*stream, from, &state, &draining, &slot, &end).await,
        Ok(Err(error)) => log::debug!("admin: a TLS handshake failed: {error}"),
        Err(_) => log::debug!("admin: a TLS handshake took longer than it may"),
    }
}

async fn answer_over<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    from: IpAddr,
    state: &AdminState,
    draining: &watch::Receiver<bool>,
    slot: &Slot,
    end: &Arc<ConnectionEnd>,
) {
    let service = service_fn(|request: Request<Incoming>| {
        let draining = *draining.borrow();
        async move {
            let path = request.uri().path();
            Ok::<_, Infallible>(if path.starts_with("/cluster/") {
                match state.api.answer_peer(request, from, end).await {
                    Ok(response) if slot.is_peers() => whole(response),
                    Ok(response) | Err(response) => last(whole(response)),
                }
            } else if path == "/api/v1/requests" {
                match state.api.watch(&request, from, end).await {
                    Ok(stream) => last(stream.map(Either::Right)),
                    Err(response) => last(whole(response)),
                }
            } else if path.starts_with("/api/") {
                last(whole(state.api.answer(request, from, end).await))
            } else {
                last(answer(&request, state, draining).await.map(Either::Left))
            })
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(HEADER_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    select! {
        served = connection => {
            if let Err(error) = served {
                log::debug!("admin: a connection failed: {error}");
            }
        }
        () = end.reached() => log::debug!("admin: a connection took longer than it may"),
    }
}

/// A complete body, or a stream of lines.
type ServerBody = Either<Full<Bytes>, LineStream>;

/// Marks the response as the last one of its connection.
fn last(mut response: Response<ServerBody>) -> Response<ServerBody> {
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

fn whole(response: Response<String>) -> Response<ServerBody> {
    response.map(|text| Either::Left(full(text)))
}

fn full(text: String) -> Full<Bytes> {
    Full::new(Bytes::from(text))
}

async fn answer(
    request: &Request<Incoming>,
    state: &AdminState,
    draining: bool,
) -> Response<Full<Bytes>> {
    let (method, path) = (request.method(), request.uri().path());
    if let Some(file) = page::find(method, path) {
        return file.map(full);
    }
    let known = matches!(path, "/metrics" | "/healthz" | "/readyz");
    if known && !matches!(*method, Method::GET | Method::HEAD) {
        return only_get().map(full);
    }
    if path == "/metrics" {
        let api = state.api.clone();
        return exposition::answer(request.headers(), move || api.stats.render()).await;
    }
    health(path, state, draining).map(full)
}

fn health(path: &str, state: &AdminState, draining: bool) -> Response<String> {
    match path {
        "/healthz" => text(StatusCode::OK, "ok\n".to_owned()),
        "/readyz" if draining => text(StatusCode::SERVICE_UNAVAILABLE, "draining\n".to_owned()),
        "/readyz" if state.ready.load(Ordering::Acquire) => {
            text(StatusCode::OK, format!("ready\n{}", (state.detail)()))
        }
        "/readyz" => text(StatusCode::SERVICE_UNAVAILABLE, "not ready\n".to_owned()),
        _ => text(
            StatusCode::NOT_FOUND,
            "there are /, /metrics, /healthz, /readyz and /api/v1/\n".to_owned(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::atomic::AtomicU64;

    use metrics_exporter_prometheus::PrometheusBuilder;
    use serde_json::Value;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::task::JoinHandle;

    use super::*;
    use crate::admin::stats::{Parts, Stats};
    use crate::admin::{AdminConfig, Reload, Token};
    use crate::auth::AuthMode;
    use crate::cache::{Cache, CacheConfig, RuleConfig, Rules};
    use crate::logging::audit::AuditLogger;
    use crate::origin::{Origin, OriginConfig};
    use crate::warm::{WarmConfig, Warmer};

    struct Running {
        address: SocketAddr,
        ready: Arc<AtomicBool>,
        refreshed: Arc<AtomicU64>,
        shutdown: watch::Sender<bool>,
        server: JoinHandle<()>,
    }

    fn api(stats: Stats) -> Arc<Api> {
        let origin = Arc::new(Origin::new(OriginConfig::default(), None).unwrap());
        let rules = [RuleConfig::default()];
        let cache = Cache::new(&CacheConfig::default(), &rules, origin.clone()).unwrap();
        let rules = Arc::new(Rules::new(&rules).unwrap());
        let config = WarmConfig::default();
        let warmer =
            Warmer::new(&config, cache.clone(), origin.into(), rules.clone(), Arc::new(|| 0), 1);
        let (token, mode) = (Token::new(&AdminConfig::default()), AuthMode::Trust);
        let reload: Reload = Box::new(|_| Box::pin(async { Ok(Value::Null) }));
        let (on_loopback, cluster, audit) = (true, None, AuditLogger::default());
        Arc::new(Api {
            cache,
            warmer,
            rules,
            mode,
            token,
            on_loopback,
            cluster,
            audit,
            inspect: Arc::default(),
            stats,
            reload,
        })
    }

    async fn start() -> Running {
        let recorder = PrometheusBuilder::new().build_recorder();
        metrics::with_local_recorder(&recorder, || metrics::counter!("shown_total").increment(3));
        let ready = Arc::new(AtomicBool::new(false));
        let refreshed = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&refreshed);
        let nothing = || Box::new(|| Value::Null);
        let shown = Stats {
            handle: recorder.handle(),
            refresh: Arc::new(move || {
                count.fetch_add(1, Ordering::Relaxed);
            }),
            started: tokio::time::Instant::now(),
            parts: Parts {
                origin: nothing(),
                trust: nothing(),
                limits: nothing(),
                disks: nothing(),
                errors: nothing(),
                config: nothing(),
            },
        };
        let state = AdminState {
            ready: Arc::clone(&ready),
            detail: Arc::new(|| "all is well\n".to_owned()),
            api: api(shown),
            tls: None,
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (shutdown, receiver) = watch::channel(false);
        let server = tokio::spawn(serve(listener, state, receiver));
        Running { address, ready, refreshed, shutdown, server }
    }

    impl Running {
        /// Sends `head` unchanged and reads until the server closes.
        async fn send(&self, head: &str) -> String {
            let mut stream = TcpStream::connect(self.address).await.unwrap();
            stream.write_all(head.as_bytes()).await.unwrap();
            let mut answer = Vec::new();
            // The server may reset the connection after a response if it did not read the whole request.
            let _ = stream.read_to_end(&mut answer).await;
            String::from_utf8(answer).unwrap()
        }

        async fn get(&self, path: &str) -> String {
            self.send(&format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n")).await
        }
    }

    #[tokio::test]
    async fn metrics_are_refreshed_and_rendered() {
        let running = start().await;
        let answer = running.get("/metrics").await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.contains("content-type: text/plain; version=0.0.4"), "{answer}");
        assert!(answer.contains("\nshown_total 3\n"), "{answer}");
        assert!(running.refreshed.load(Ordering::Relaxed) >= 1);
    }

    #[tokio::test]
    async fn openmetrics_is_given_to_whoever_prefers_it() {
        let running = start().await;
        let head = "GET /metrics HTTP/1.1\r\nhost: x\r\naccept: application/openmetrics-text;version=1.0.0;q=0.6,text/plain;q=0.3\r\n\r\n";
        let answer = running.send(head).await;
        let kind = "content-type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n";
        assert!(answer.contains(kind), "{answer}");
        assert!(answer.contains("vary: Accept, Accept-Encoding\r\n"), "{answer}");
        assert!(answer.contains("# TYPE shown counter\nshown_total 3\n"), "{answer}");
        assert!(answer.ends_with("# EOF\n"), "{answer}");
    }

    #[tokio::test]
    async fn ready_follows_the_flag_and_ends_with_the_drain_while_the_rest_goes_on() {
        let running = start().await;
        assert!(running.get("/readyz").await.starts_with("HTTP/1.1 503 "));
        running.ready.store(true, Ordering::Release);
        let answer = running.get("/readyz").await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        assert!(answer.ends_with("\r\n\r\nready\nall is well\n"), "{answer}");

        running.shutdown.send(true).unwrap();
        let answer = running.get("/readyz").await;
        assert!(answer.starts_with("HTTP/1.1 503 ") && answer.ends_with("draining\n"), "{answer}");
        assert!(running.get("/healthz").await.starts_with("HTTP/1.1 200 "));
        assert!(running.get("/metrics").await.starts_with("HTTP/1.1 200 "));

        drop(running.shutdown);
        running.server.await.unwrap();
    }

    #[tokio::test]
    async fn other_methods_paths_and_shapes_are_refused() {
        let running = start().await;
        let head = running.send("HEAD /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await;
        assert!(head.starts_with("HTTP/1.1 200 ") && head.ends_with("\r\n\r\n"), "{head}");
        let post = "POST /metrics HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n";
        let post = running.send(post).await;
        assert!(post.starts_with("HTTP/1.1 405 ") && post.contains("allow: GET, HEAD"), "{post}");
        assert!(running.get("/none").await.starts_with("HTTP/1.1 404 "));
        assert!(running.get("/metrics?x=y").await.starts_with("HTTP/1.1 200 "));
        assert!(running.send("nonsense\r\n\r\n").await.starts_with("HTTP/1.1 400 "));
    }

    #[tokio::test]
    async fn each_connection_answers_one_request() {
        let running = start().await;
        let twice = "GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n".repeat(2);
        assert_eq!(running.send(&twice).await.matches("HTTP/1.1 ").count(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn silent_peers_lose_their_slots_and_others_are_served() {
        let running = start().await;
        let mut silent = Vec::new();
        for _ in 0..CONNECTIONS {
            let mut stream = TcpStream::connect(running.address).await.unwrap();
            stream.write_all(b"GET /healthz HT").await.unwrap();
            silent.push(stream);
        }
        // Time stands still but for waiting: this answer needs the silent ones to be cut off.
        assert!(running.get("/healthz").await.starts_with("HTTP/1.1 200 "));
        for stream in &mut silent {
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest).await;
            assert!(!rest.starts_with(b"HTTP/1.1 200 "));
        }
    }
}
