//! Choice of the origin address for the next connection.
//!
//! Addresses that answer are used in turn. One that fails several times in a row is set aside: no request goes there,
//! neither over a new connection nor over an idle one, until a probe has connected to it. So is one that is much slower
//! than the others; either each time for longer. If all are set aside, all are used: there is nothing to lose.
//!
//! IPv6 addresses come after IPv4 ones until a connection to one of them has been made, and again once several
//! connections in a row failed: a resolver may return them where no route leads to them.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;
use tokio::time::Instant;

use super::latencies::Latencies;

/// Consecutive failures after which an address is set aside.
const FAILURES: u32 = 3;
/// The first pause before a probe; it doubles up to `LAST_PAUSE`.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
const LAST_PAUSE: Duration = Duration::from_mins(5);
/// A request cancelled earlier than this does not count against the address, if the usual latency is unknown.
const SOON: Duration = Duration::from_millis(100);
/// That bound as a multiple of the usual latency of the other addresses: a late request that lost to its hedge does
/// count.
const SOON_OF_USUAL: f64 = 2.0;
const SOONEST: Duration = Duration::from_millis(20);
/// Time after its return within which an address is set aside for longer than the last time.
const AGAIN: Duration = Duration::from_mins(10);
/// Number of addresses with recorded failures or slowness beyond which no more are recorded.
const MOST: usize = 1024;

/// Health of the origin's addresses.
#[derive(Debug, Default)]
pub(super) struct Addresses {
    turn: AtomicUsize,
    /// Number of the addresses.
    count: AtomicUsize,
    failing: Mutex<HashMap<SocketAddr, Failing>>,
    latencies: Mutex<Latencies>,
    /// Total of failed requests and connection attempts by address.
    failures: Mutex<HashMap<SocketAddr, u64>>,
    /// Time at which a probe restored each address, and the pause if it is set aside again.
    restored: Mutex<HashMap<SocketAddr, (Instant, Duration)>>,
    ipv6: Ipv6,
}

/// State of IPv6 connectivity.
#[derive(Debug, Default)]
struct Ipv6 {
    works: AtomicBool,
    /// Consecutive failed connections.
    failures: AtomicU32,
    /// Time of the next probe, and the pause after it.
    probe: Mutex<Option<(Instant, Duration)>>,
}

#[derive(Debug)]
struct Failing {
    in_a_row: u32,
    aside: Option<Aside>,
}

#[derive(Debug)]
struct Aside {
    probe_at: Instant,
    pause: Duration,
    /// Set aside for slowness: it answers, so a single answer does not restore it.
    is_slow: bool,
}

/// A request under way to an address, until its response begins. Dropped before that, it counts as cancelled.
#[derive(Debug)]
pub(super) struct Watch {
    addresses: Weak<Addresses>,
    address: SocketAddr,
    since: Instant,
    /// Time before which it does not count as cancelled; `None`: as [`Addresses::soon`].
    at_least: Option<Duration>,
}

/// The health of one address.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AddressReport {
    pub address: SocketAddr,
    pub state: AddressState,
    /// Consecutive failed requests.
    pub failures: u32,
    /// Failed requests in total.
    pub failures_total: u64,
    /// Time until the next probe, if the address is set aside.
    pub probe_in_seconds: Option<u64>,
    /// Usual time to the response head; `None`: the address is the only one, or has not answered yet.
    pub usual_seconds: Option<f64>,
}

/// Whether requests are sent to an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AddressState {
    Used,
    /// Set aside because it fails.
    Failing,
    /// Set aside because it is much slower than the others.
    Slow,
}

impl Addresses {
    /// Returns the health of each of these addresses.
    pub(super) fn report(&self, known: &[SocketAddr]) -> Vec<AddressReport> {
        let (failing, latencies, now) =
            (self.failing.lock(), self.latencies.lock(), Instant::now());
        let failures = self.failures.lock();
        let of = |address: &SocketAddr| {
            let failing = failing.get(address);
            let aside = failing.and_then(|failing| failing.aside.as_ref());
            AddressReport {
                address: *address,
                state: match aside {
                    None => AddressState::Used,
                    Some(aside) if aside.is_slow => AddressState::Slow,
                    Some(_) => AddressState::Failing,
                },
                failures: failing.map_or(0, |failing| failing.in_a_row),
                failures_total: failures.get(address).copied().unwrap_or_default(),
                probe_in_seconds: aside
                    .map(|aside| aside.probe_at.saturating_duration_since(now).as_secs()),
                usual_seconds: latencies.usual(*address),
            }
        };
        known.iter().map(of).collect()
    }

    /// Returns those of `known` that are not set aside, the next one first, and one that is due for a probe. For a
    /// retry (`is_retry`), those come last whose last request failed.
    pub(super) fn choose(
        &self,
        known: &[SocketAddr],
        is_retry: bool,
    ) -> (Vec<SocketAddr>, Option<SocketAddr>) {
        self.count.store(known.len(), Ordering::Relaxed);
        let (mut good, probe) = self.good(known);
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % good.len().max(1);
        good.rotate_left(turn);
        if is_retry {
            let failing = self.failing.lock();
            good.sort_by_key(|address| failing.get(address).is_some_and(|of| of.in_a_row > 0));
        }
        let is_mixed =
            known.iter().any(SocketAddr::is_ipv4) && known.iter().any(SocketAddr::is_ipv6);
        if !is_mixed || self.ipv6.works.load(Ordering::Relaxed) {
            return (good, probe);
        }
        good.sort_by_key(SocketAddr::is_ipv6);
        let probe = probe.or_else(|| {
            let address = good.iter().copied().find(SocketAddr::is_ipv6)?;
            self.ipv6.is_due().then_some(address)
        });
        (good, probe)
    }

    fn good(&self, known: &[SocketAddr]) -> (Vec<SocketAddr>, Option<SocketAddr>) {
        let mut failing = self.failing.lock();
        if failing.is_empty() {
            return (known.to_vec(), None);
        }
        failing.retain(|address, _| known.contains(address));
        let now = Instant::now();
        let (mut good, mut probe) = (Vec::with_capacity(known.len()), None);
        for address in known {
            match failing.get_mut(address).and_then(|failing| failing.aside.as_mut()) {
                None => good.push(*address),
                Some(aside) if probe.is_none() && aside.probe_at <= now => {
                    aside.pause = (aside.pause * 2).min(LAST_PAUSE);
                    aside.probe_at = now + aside.pause;
                    probe = Some(*address);
                }
                Some(_) => {}
            }
        }
        if good.is_empty() { (known.to_vec(), probe) } else { (good, probe) }
    }

    /// Tracks a request to `address`.
    pub(super) fn watch(self: &Arc<Self>, address: SocketAddr) -> Watch {
        self.watch_from(address, None)
    }

    /// Tracks a request to `address` whose response takes its time: cancelled earlier than `at_least`, it does not
    /// count.
    pub(super) fn watch_for(self: &Arc<Self>, address: SocketAddr, at_least: Duration) -> Watch {
        self.watch_from(address, Some(at_least))
    }

    fn watch_from(self: &Arc<Self>, address: SocketAddr, at_least: Option<Duration>) -> Watch {
        Watch { addresses: Arc::downgrade(self), address, since: Instant::now(), at_least }
    }

    /// Records that a connection was made to the address for a request.
    pub(super) fn connected(&self, address: SocketAddr) {
        if address.is_ipv6() {
            self.ipv6.connected();
        }
    }

    /// Records that a connection to the address for a request failed.
    pub(super) fn connect_failed(&self, address: SocketAddr) {
        if address.is_ipv6() {
            self.ipv6.fails();
        }
        self.fails(address);
    }

    /// Restores an address to which a probe has made a connection.
    pub(super) fn admit(&self, address: SocketAddr) {
        self.connected(address);
        self.latencies.lock().forget(address);
        let failing = self.failing.lock().remove(&address);
        if let Some(aside) = failing.and_then(|failing| failing.aside) {
            self.restored.lock().insert(address, (Instant::now(), aside.pause));
            log::info!("origin: {address} is used again");
        }
    }

    /// Returns the pause of an address that is set aside now.
    fn first_pause(&self, address: SocketAddr, now: Instant) -> Duration {
        let mut restored = self.restored.lock();
        restored.retain(|_, (since, _)| now < *since + AGAIN);
        restored.get(&address).map_or(FIRST_PAUSE, |(_, pause)| *pause)
    }

    /// Records a response after `elapsed`.
    fn answered(&self, address: SocketAddr, elapsed: Duration) {
        if self.count.load(Ordering::Relaxed) > 1 && self.latencies.lock().record(address, elapsed)
        {
            self.is_slow(address);
        }
        self.answers(address);
    }

    /// Sets a slow address aside, unless most addresses are set aside already.
    fn is_slow(&self, address: SocketAddr) {
        let mut failing = self.failing.lock();
        let aside = failing.values().filter(|failing| failing.aside.is_some()).count();
        let is_aside = failing.get(&address).is_some_and(|failing| failing.aside.is_some());
        if is_aside || (aside + 1) * 2 > self.count.load(Ordering::Relaxed) {
            return;
        }
        let now = Instant::now();
        let pause = self.first_pause(address, now);
        log::warn!(
            "origin: {address} is much slower than the other addresses and is set aside for {} s",
            pause.as_secs()
        );
        let aside = Some(Aside { probe_at: now + pause, pause, is_slow: true });
        failing.insert(address, Failing { in_a_row: 0, aside });
    }

    fn answers(&self, address: SocketAddr) {
        let mut failing = self.failing.lock();
        let is_slow = |failing: &Failing| failing.aside.as_ref().is_some_and(|aside| aside.is_slow);
        if failing.get(&address).is_none_or(is_slow) {
            return;
        }
        if failing.remove(&address).is_some_and(|failing| failing.aside.is_some()) {
            log::info!("origin: {address} answers again");
        }
    }

    fn count_failure(&self, address: SocketAddr) {
        let mut failures = self.failures.lock();
        // Names whose addresses keep changing leave nothing behind but these.
        if failures.len() < MOST || failures.contains_key(&address) {
            *failures.entry(address).or_default() += 1;
        }
    }

    /// Returns the time before which a cancelled request does not count against the address.
    fn soon(&self, address: SocketAddr) -> Duration {
        match self.latencies.lock().usual_of_others(address, Instant::now()) {
            Some(usual) => Duration::from_secs_f64(usual * SOON_OF_USUAL).max(SOONEST),
            None => SOON,
        }
    }

    /// Records a failed request to the address.
    pub(super) fn fails(&self, address: SocketAddr) {
        self.count_failure(address);
        if self.count.load(Ordering::Relaxed) < 2 {
            return;
        }
        let mut failing = self.failing.lock();
        if failing.len() >= MOST && !failing.contains_key(&address) {
            return;
        }
        let of = failing.entry(address).or_insert(Failing { in_a_row: 0, aside: None });
        of.in_a_row += 1;
        if of.in_a_row >= FAILURES && of.aside.is_none() {
            let now = Instant::now();
            let pause = self.first_pause(address, now);
            log::warn!(
                "origin: {address} failed {FAILURES} times in a row and is set aside for {} s",
                pause.as_secs()
            );
            of.aside = Some(Aside { probe_at: now + pause, pause, is_slow: false });
        }
    }
}

impl Ipv6 {
    fn connected(&self) {
        self.failures.store(0, Ordering::Relaxed);
        if !self.works.swap(true, Ordering::Relaxed) {
            log::debug!("origin: IPv6 works");
        }
    }

    fn fails(&self) {
        let in_a_row = self.failures.fetch_add(1, Ordering::Relaxed) + 1;
        if in_a_row >= FAILURES && self.works.swap(false, Ordering::Relaxed) {
            *self.probe.lock() = Some((Instant::now() + FIRST_PAUSE, FIRST_PAUSE * 2));
            log::warn!(
                "origin: {in_a_row} connections over IPv6 failed in a row; IPv4 comes first"
            );
        }
    }

    /// Whether a probe of IPv6 is due.
    fn is_due(&self) -> bool {
        let (now, mut probe) = (Instant::now(), self.probe.lock());
        let (at, pause) = probe.unwrap_or((now, FIRST_PAUSE));
        if now < at {
            return false;
        }
        *probe = Some((now + pause, (pause * 2).min(LAST_PAUSE)));
        true
    }
}

impl Watch {
    /// Records that the response began.
    pub(super) fn answered(mut self) {
        if let Some(addresses) = std::mem::take(&mut self.addresses).upgrade() {
            addresses.answered(self.address, self.since.elapsed());
        }
    }

    /// Records that the response began, of a kind whose latency is not compared with that of other addresses.
    pub(super) fn began(mut self) {
        if let Some(addresses) = std::mem::take(&mut self.addresses).upgrade() {
            addresses.answers(self.address);
        }
    }

    /// Records that no response came, however soon that was known.
    pub(super) fn failed(mut self) {
        if let Some(addresses) = std::mem::take(&mut self.addresses).upgrade() {
            addresses.fails(self.address);
        }
    }

    /// Records that the idle connection had been closed, which does not count against the address.
    pub(super) fn was_stale(mut self) {
        self.addresses = Weak::new();
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(addresses) = self.addresses.upgrade()
            && self.since.elapsed() >= self.at_least.unwrap_or_else(|| addresses.soon(self.address))
        {
            addresses.fails(self.address);
        }
    }
}

#[cfg(test)]
mod tests;
