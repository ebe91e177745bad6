//! The socket addresses behind the origin's name.
//!
//! One lookup runs at a time, in the background once any address is known: only the first requests wait for DNS. All that
//! wait for one lookup share its outcome, also a failure. When lookups fail, the last good addresses remain in use for as
//! long as it takes.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, timeout};

use super::OriginError;
use crate::metrics::origin::{self as failures, OriginFailure};
use crate::pacing::RateLimit;

/// Time after which resolved addresses are looked up again. S3 returns several and changes them often.
const RESOLVE_TTL: Duration = Duration::from_secs(5);
/// Time for which an address is used after a lookup last returned it.
const KEEP: Duration = Duration::from_mins(5);
/// Maximum number of addresses in use.
const MOST: usize = 256;
/// Minimum time between two warnings.
const EVERY: Duration = Duration::from_mins(1);

type Found = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>>;
/// Resolves a host and a port.
type LookUp = dyn Fn(String, u16) -> Found + Send + Sync;

/// The addresses of one name.
pub(super) struct Resolver {
    host: String,
    port: u16,
    /// Time for which an address is used after a lookup last returned it.
    keep: Duration,
    look_up: Box<LookUp>,
    known: Mutex<Known>,
    /// Held during a lookup.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct Known {
    addresses: Option<Arc<[SocketAddr]>>,
    /// Time at which a lookup last returned each address.
    given: HashMap<SocketAddr, Instant>,
    /// Start or end of the last lookup.
    looked_up: Option<Instant>,
    failing: Option<Failing>,
    warnings: RateLimit,
}

/// Failed lookups since the last successful one.
#[derive(Debug)]
struct Failing {
    since: Instant,
    /// Their number.
    count: u64,
    /// The last one's failure.
    failure: Failure,
}

/// Failure of one lookup.
#[derive(Debug, Clone)]
enum Failure {
    TimedOut,
    Refused(String),
}

impl Failure {
    fn to_error(&self) -> OriginError {
        match self {
            Self::TimedOut => OriginError::Timeout("name resolution"),
            Self::Refused(problem) => OriginError::Connect(OriginFailure::Name, problem.clone()),
        }
    }
}

impl std::fmt::Debug for Resolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resolver").field("host", &self.host).finish_non_exhaustive()
    }
}

impl Resolver {
    /// Resolves by the system's resolver. With TLS (`is_tls`), where a certificate proves the peer's identity, an
    /// address is used for a while after a lookup last returned it: S3 returns a few of many, and others each time.
    pub(super) fn new(host: &str, port: u16, is_tls: bool) -> Arc<Self> {
        let name = host.trim_start_matches('[').trim_end_matches(']');
        let keep = if is_tls { KEEP } else { Duration::ZERO };
        Self::with(name, port, keep, |name, port| {
            Box::pin(async move { Ok(tokio::net::lookup_host((name, port)).await?.collect()) })
        })
    }

    /// Resolves to the given addresses.
    pub(super) fn fixed(host: &str, to: &[IpAddr], port: u16) -> Arc<Self> {
        let to: Vec<SocketAddr> = to.iter().map(|ip| SocketAddr::new(*ip, port)).collect();
        Self::with(host, port, Duration::ZERO, move |_, _| {
            let to = to.clone();
            Box::pin(async move { Ok(to) })
        })
    }

    fn with(
        name: &str,
        port: u16,
        keep: Duration,
        look_up: impl Fn(String, u16) -> Found + Send + Sync + 'static,
    ) -> Arc<Self> {
        let known = Known {
            addresses: None,
            given: HashMap::new(),
            looked_up: None,
            failing: None,
            warnings: RateLimit::new(EVERY),
        };
        Arc::new(Self {
            host: name.to_owned(),
            port,
            keep,
            look_up: Box::new(look_up),
            known: Mutex::new(known),
            turn: tokio::sync::Mutex::default(),
        })
    }

    /// Returns the known addresses; for a name that was never resolved, after a lookup of at most `limit`, for whose
    /// turn it waits no longer than that.
    ///
    /// # Errors
    /// [`OriginError::Connect`] or [`OriginError::Timeout`] when no address was ever found.
    pub(super) async fn addresses(
        self: &Arc<Self>,
        limit: Duration,
    ) -> Result<Arc<[SocketAddr]>, OriginError> {
        if let Some(addresses) = self.known(limit) {
            return Ok(addresses);
        }
        let before = self.failures();
        let Ok(_turn) = timeout(limit, self.turn.lock()).await else {
            return Err(Failure::TimedOut.to_error());
        };
        if let Some(addresses) = self.known(limit) {
            return Ok(addresses);
        }
        // A lookup that failed during the wait is shared.
        match self.failed_after(before) {
            Some(error) => Err(error),
            None => self.refresh(limit).await,
        }
    }

    /// Returns the failure of the last lookup, if there were more than `before` failed ones.
    fn failed_after(&self, before: u64) -> Option<OriginError> {
        let known = self.known.lock();
        let failing = known.failing.as_ref().filter(|failing| failing.count > before)?;
        Some(failing.failure.to_error())
    }

    /// Returns the number of lookups that failed since the last successful one.
    fn failures(&self) -> u64 {
        self.known.lock().failing.as_ref().map_or(0, |failing| failing.count)
    }

    /// Returns the cached addresses, and refreshes them in the background if they are old.
    fn known(self: &Arc<Self>, limit: Duration) -> Option<Arc<[SocketAddr]>> {
        let mut known = self.known.lock();
        let addresses = known.addresses.clone()?;
        let now = Instant::now();
        if known.looked_up.is_none_or(|at| now - at >= RESOLVE_TTL) {
            known.looked_up = Some(now);
            let this = self.clone();
            tokio::spawn(async move {
                if let Ok(_turn) = this.turn.try_lock() {
                    let _ = this.refresh(limit).await;
                }
            });
        }
        Some(addresses)
    }

    /// Performs a lookup. The caller must hold the turn.
    async fn refresh(&self, limit: Duration) -> Result<Arc<[SocketAddr]>, OriginError> {
        let found = match timeout(limit, (self.look_up)(self.host.clone(), self.port)).await {
            Err(_) => Err(Failure::TimedOut),
            Ok(Err(error)) => Err(Failure::Refused(format!("{}: {error}", self.host))),
            Ok(Ok(found)) if found.is_empty() => {
                Err(Failure::Refused(format!("{} has no address", self.host)))
            }
            Ok(Ok(found)) => Ok(found),
        };
        let mut known = self.known.lock();
        let now = Instant::now();
        known.looked_up = Some(now);
        match found {
            Ok(found) => {
                let addresses = known.add(found, now, self.keep);
                known.addresses = Some(addresses.clone());
                if let Some(failing) = known.failing.take()
                    && known.warnings.last().is_some_and(|warned| warned >= failing.since)
                {
                    known.warnings.reset();
                    let seconds = failing.since.elapsed().as_secs();
                    log::info!("origin: {} is resolved again, after {seconds} s", self.host);
                }
                Ok(addresses)
            }
            Err(failure) => {
                let error = failure.to_error();
                let before = known.failing.take();
                let (since, count) =
                    before.map_or((now, 0), |failing| (failing.since, failing.count));
                known.failing = Some(Failing { since, count: count + 1, failure });
                // If none are known, the failing request logs it.
                if known.addresses.is_some() {
                    failures::failed(OriginFailure::Name);
                    self.warn(&mut known, &error);
                }
                Err(error)
            }
        }
    }

    fn warn(&self, known: &mut Known, error: &OriginError) {
        if known.warnings.allow() {
            log::warn!(
                "{error}; the addresses that {} had last are used; look at the host in origin.endpoint, and at the \
                 resolver",
                self.host
            );
        }
    }

    /// Returns the addresses in use; empty before the first lookup.
    pub(super) fn known_addresses(&self) -> Vec<SocketAddr> {
        self.known.lock().addresses.as_deref().unwrap_or_default().to_vec()
    }

    /// Explains in words why the addresses are old, if they are.
    pub(super) fn describe(&self) -> Option<String> {
        let known = self.known.lock();
        let failing = known.failing.as_ref().filter(|_| known.addresses.is_some())?;
        let seconds = failing.since.elapsed().as_secs();
        Some(format!(
            "its name is not resolved for {seconds} s, its last addresses are used: {}",
            failing.failure.to_error()
        ))
    }
}

impl Known {
    /// Adds addresses that were found, and returns them with those found within `keep` before.
    fn add(&mut self, found: Vec<SocketAddr>, now: Instant, keep: Duration) -> Arc<[SocketAddr]> {
        self.given.extend(found.into_iter().map(|address| (address, now)));
        self.given.retain(|_, given| now - *given <= keep);
        let mut addresses: Vec<_> =
            self.given.iter().map(|(address, given)| (*address, *given)).collect();
        // The latest, in an order that does not change.
        addresses.sort_unstable_by_key(|(address, given)| (std::cmp::Reverse(*given), *address));
        addresses.truncate(MOST);
        let mut addresses: Vec<_> = addresses.into_iter().map(|(address, _)| address).collect();
        addresses.sort_unstable();
        addresses.into()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::{Notify, Semaphore};
    use tokio::time::advance;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(2);

    fn address(n: u8) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, n], 80))
    }

    /// A name server controlled by a test.
    #[derive(Default)]
    struct Server {
        answer: Mutex<Option<Vec<SocketAddr>>>,
        asked: AtomicUsize,
        done: Notify,
        /// Delays the answers; `None`: it answers at once.
        gate: Option<Semaphore>,
        keep: Duration,
    }

    impl Server {
        fn answers(&self, with: &[SocketAddr]) {
            *self.answer.lock() = Some(with.to_vec());
        }

        fn fails(&self) {
            *self.answer.lock() = None;
        }

        fn asked(&self) -> usize {
            self.asked.load(Ordering::Relaxed)
        }

        fn resolver(self: &Arc<Self>) -> Arc<Resolver> {
            let server = self.clone();
            Resolver::with("s3.example", 80, self.keep, move |_, _| {
                let server = server.clone();
                Box::pin(async move {
                    server.asked.fetch_add(1, Ordering::Relaxed);
                    if let Some(gate) = &server.gate {
                        gate.acquire().await.unwrap().forget();
                    }
                    let answer = server.answer.lock().clone();
                    server.done.notify_one();
                    answer.ok_or_else(|| io::Error::other("SERVFAIL"))
                })
            })
        }
    }

    /// Waits until the background lookup ends.
    async fn after_refresh(server: &Server) {
        server.done.notified().await;
        for _ in 0..3 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_good_addresses_are_used_for_as_long_as_look_ups_fail() {
        let server = Arc::new(Server::default());
        server.answers(&[address(1)]);
        let resolver = server.resolver();
        assert_eq!(*resolver.addresses(LIMIT).await.unwrap(), [address(1)]);
        server.done.notified().await;
        server.fails();
        for hours in 0..48 {
            assert_eq!(*resolver.addresses(LIMIT).await.unwrap(), [address(1)], "{hours}");
            if hours > 0 {
                after_refresh(&server).await;
                let line = resolver.describe().expect("it fails");
                assert!(line.contains("SERVFAIL") && line.contains("s3.example"), "{line}");
            }
            advance(Duration::from_hours(1)).await;
        }
        server.answers(&[address(2)]);
        assert_eq!(*resolver.addresses(LIMIT).await.unwrap(), [address(1)], "nothing waits");
        after_refresh(&server).await;
        assert_eq!(*resolver.addresses(LIMIT).await.unwrap(), [address(2)]);
        assert_eq!(resolver.describe(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn one_looks_up_and_all_others_use_what_it_finds() {
        let server = Arc::new(Server { gate: Some(Semaphore::new(0)), ..Server::default() });
        server.answers(&[address(1)]);
        let resolver = server.resolver();
        let ask = || {
            let resolver = resolver.clone();
            tokio::spawn(async move { resolver.addresses(LIMIT).await.unwrap() })
        };
        let first: Vec<_> = (0..100).map(|_| ask()).collect();
        tokio::task::yield_now().await;
        server.gate.as_ref().unwrap().add_permits(1);
        for one in first {
            assert_eq!(*one.await.unwrap(), [address(1)]);
        }
        assert_eq!(server.asked(), 1);
        advance(RESOLVE_TTL).await;
        for one in (0..100).map(|_| ask()).collect::<Vec<_>>() {
            assert_eq!(*one.await.unwrap(), [address(1)], "not even the one that looks up waits");
        }
        tokio::task::yield_now().await;
        assert_eq!(server.asked(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_first_look_up_that_fails_is_shared_by_all_that_wait_for_it() {
        for answers in [false, true] {
            let server = Arc::new(Server { gate: Some(Semaphore::new(0)), ..Server::default() });
            let (resolver, began) = (server.resolver(), Instant::now());
            let ask = || {
                let resolver = resolver.clone();
                tokio::spawn(async move { resolver.addresses(LIMIT).await.unwrap_err() })
            };
            let waiting: Vec<_> = (0..100).map(|_| ask()).collect();
            tokio::task::yield_now().await;
            server.gate.as_ref().unwrap().add_permits(usize::from(answers));
            for one in waiting {
                let error = one.await.unwrap();
                let is_timeout = matches!(error, OriginError::Timeout("name resolution"));
                assert!(is_timeout != answers, "{error}");
                assert_eq!(error.to_string().contains("s3.example: SERVFAIL"), answers, "{error}");
            }
            assert_eq!(server.asked(), 1);
            assert!(began.elapsed() <= LIMIT * 2, "{:?}", began.elapsed());
            // A later request asks again.
            server.answers(&[address(1)]);
            server.gate.as_ref().unwrap().add_permits(1);
            assert_eq!(*resolver.addresses(LIMIT).await.unwrap(), [address(1)]);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_that_was_never_resolved_is_an_error_that_says_why() {
        let server = Arc::new(Server::default());
        let resolver = server.resolver();
        let error = resolver.addresses(LIMIT).await.unwrap_err().to_string();
        assert!(error.contains("s3.example: SERVFAIL"), "{error}");
        assert_eq!(resolver.describe(), None, "the requests that fail say so");
        server.answers(&[]);
        let error = resolver.addresses(LIMIT).await.unwrap_err().to_string();
        assert!(error.contains("s3.example has no address"), "{error}");
        let silent = Arc::new(Server { gate: Some(Semaphore::new(0)), ..Server::default() });
        let error = silent.resolver().addresses(LIMIT).await.unwrap_err();
        assert!(matches!(error, OriginError::Timeout("name resolution")), "{error}");
    }

    #[tokio::test(start_paused = true)]
    async fn addresses_add_up_and_are_dropped_when_they_are_not_given_any_more() {
        let server = Arc::new(Server { keep: KEEP, ..Server::default() });
        server.answers(&[address(1)]);
        let resolver = server.resolver();
        resolver.addresses(LIMIT).await.unwrap();
        server.done.notified().await;
        for n in 2..=4 {
            advance(Duration::from_mins(2)).await;
            server.answers(&[address(n)]);
            resolver.addresses(LIMIT).await.unwrap();
            after_refresh(&server).await;
        }
        let known = resolver.addresses(LIMIT).await.unwrap();
        assert_eq!(*known, [address(2), address(3), address(4)]);
    }
}
