//! Choice of the origin address for the next connection.
//!
//! Addresses that answer are used in turn. One that fails several times in a row is set aside: no request goes there,
//! neither over a new connection nor over an idle one, until a probe has connected to it. So is one that is much slower
//! than the others, each time for longer. If all are set aside, all are used: there is nothing to lose.
//!
//! IPv6 addresses come after IPv4 ones until a connection to one of them has been made: a resolver may return them
//! where no route leads to them.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
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
/// Upper bound of [`Addresses::soon`]: a request cancelled earlier than this does not count against the address.
const SOON: Duration = Duration::from_millis(100);
/// That bound as a multiple of the usual latency of the other addresses: a late request that lost to its hedge does
/// count.
const SOON_OF_USUAL: f64 = 2.0;
const SOONEST: Duration = Duration::from_millis(20);
/// Time within which an address that is slow again is set aside for longer.
const SLOW_AGAIN: Duration = Duration::from_mins(10);
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
    /// Time at which each address was last set aside for slowness, and for how long.
    slow: Mutex<HashMap<SocketAddr, (Instant, Duration)>>,
    ipv6: Ipv6,
}

/// State of IPv6 connectivity.
#[derive(Debug, Default)]
struct Ipv6 {
    works: AtomicBool,
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

    /// Returns those of `known` that are not set aside, the next one first, and one that is due for a probe.
    pub(super) fn choose(&self, known: &[SocketAddr]) -> (Vec<SocketAddr>, Option<SocketAddr>) {
        self.count.store(known.len(), Ordering::Relaxed);
        let (mut good, probe) = self.good(known);
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % good.len().max(1);
        good.rotate_left(turn);
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
        Watch { addresses: Arc::downgrade(self), address, since: Instant::now() }
    }

    /// Records that a connection was made to the address for a request.
    pub(super) fn connected(&self, address: SocketAddr) {
        if address.is_ipv6() && !self.ipv6.works.swap(true, Ordering::Relaxed) {
            log::debug!("origin: IPv6 works");
        }
    }

    /// Restores an address to which a probe has made a connection.
    pub(super) fn admit(&self, address: SocketAddr) {
        self.connected(address);
        self.latencies.lock().forget(address);
        if self.failing.lock().remove(&address).is_some_and(|failing| failing.aside.is_some()) {
            log::info!("origin: {address} is used again");
        }
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
        let (now, mut slow) = (Instant::now(), self.slow.lock());
        slow.retain(|_, (since, pause)| now < *since + *pause + SLOW_AGAIN);
        let pause =
            slow.get(&address).map_or(FIRST_PAUSE, |(_, pause)| (*pause * 2).min(LAST_PAUSE));
        slow.insert(address, (now, pause));
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
            Some(usual) => Duration::from_secs_f64(usual * SOON_OF_USUAL).clamp(SOONEST, SOON),
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
            log::warn!("origin: {address} failed {FAILURES} times in a row and is set aside");
            let (pause, probe_at) = (FIRST_PAUSE, Instant::now() + FIRST_PAUSE);
            of.aside = Some(Aside { probe_at, pause, is_slow: false });
        }
    }
}

impl Ipv6 {
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

    /// Records that the idle connection had been closed, which does not count against the address.
    pub(super) fn was_stale(mut self) {
        self.addresses = Weak::new();
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(addresses) = self.addresses.upgrade()
            && self.since.elapsed() >= addresses.soon(self.address)
        {
            addresses.fails(self.address);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    fn addresses(count: u8) -> Vec<SocketAddr> {
        (1..=count).map(|n| SocketAddr::from(([127, 0, 0, n], 80))).collect()
    }

    fn fail(addresses: &Addresses, address: SocketAddr) {
        (0..FAILURES).for_each(|_| addresses.fails(address));
    }

    #[tokio::test(start_paused = true)]
    async fn the_report_says_which_are_set_aside_and_why() {
        let (all, known) = (Addresses::default(), addresses(4));
        all.choose(&known);
        fail(&all, known[0]);
        all.fails(known[1]);
        all.is_slow(known[2]);
        all.answered(known[3], Duration::from_millis(20));
        let report = all.report(&known);
        let totals: Vec<_> = report.iter().map(|of| of.failures_total).collect();
        assert_eq!(totals, [u64::from(FAILURES), 1, 0, 0]);
        let states: Vec<_> = report.iter().map(|of| (of.state, of.failures)).collect();
        let expected = [
            (AddressState::Failing, FAILURES),
            (AddressState::Used, 1),
            (AddressState::Slow, 0),
            (AddressState::Used, 0),
        ];
        assert_eq!(states, expected);
        assert_eq!(report[0].probe_in_seconds, Some(FIRST_PAUSE.as_secs()));
        assert!(report[3].usual_seconds.is_some_and(|usual| (usual - 0.02).abs() < 1e-9));
        assert_eq!((report[1].usual_seconds, report[1].probe_in_seconds), (None, None));
    }

    #[tokio::test(start_paused = true)]
    async fn all_addresses_are_used_evenly() {
        let (addresses, known) = (Addresses::default(), addresses(4));
        let mut used: HashMap<SocketAddr, u32> = HashMap::new();
        for _ in 0..400 {
            let (chosen, probe) = addresses.choose(&known);
            assert!(chosen.len() == 4 && probe.is_none());
            *used.entry(chosen[0]).or_default() += 1;
        }
        assert!(used.len() == 4 && used.values().all(|count| *count == 100));
    }

    #[tokio::test(start_paused = true)]
    async fn what_fails_is_set_aside_until_a_probe_succeeds() {
        let (addresses, known) = (Addresses::default(), addresses(3));
        addresses.choose(&known);
        addresses.fails(known[1]);
        addresses.fails(known[1]);
        addresses.answers(known[1]);
        addresses.fails(known[1]);
        assert_eq!(addresses.choose(&known).0.len(), 3);
        fail(&addresses, known[1]);
        assert_eq!(addresses.good(&known), (vec![known[0], known[2]], None));
        for pause in [5, 10, 20, 40, 80, 160, 300, 300] {
            advance(Duration::from_secs(pause - 1)).await;
            assert_eq!(addresses.good(&known).1, None);
            advance(Duration::from_secs(1)).await;
            let (good, probe) = addresses.good(&known);
            assert_eq!((good.len(), probe), (2, Some(known[1])));
            addresses.fails(known[1]);
        }
        addresses.answers(known[1]);
        assert_eq!(addresses.choose(&known).0.len(), 3);
    }

    /// Lets each of the addresses answer, the first of them after `slow`.
    fn answer(addresses: &Addresses, known: &[SocketAddr], slow: Duration) {
        for _ in 0..100 {
            for (n, address) in known.iter().enumerate() {
                let usual = Duration::from_millis(30);
                addresses.answered(*address, if n == 0 { slow } else { usual });
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_much_slower_than_the_others_is_set_aside_each_time_for_longer() {
        let (addresses, known) = (Addresses::default(), addresses(4));
        addresses.choose(&known);
        answer(&addresses, &known, Duration::from_millis(60));
        assert_eq!(addresses.choose(&known).0.len(), 4);
        for pause in [5, 10, 20, 40, 80, 160, 300, 300] {
            answer(&addresses, &known, Duration::from_millis(500));
            let (good, probe) = addresses.good(&known);
            assert_eq!((good, probe), (known[1..].to_vec(), None), "whatever it answers meanwhile");
            advance(Duration::from_secs(pause - 1)).await;
            assert_eq!(addresses.good(&known).1, None, "{pause}");
            advance(Duration::from_secs(1)).await;
            assert_eq!(addresses.good(&known).1, Some(known[0]), "{pause}");
            addresses.admit(known[0]);
            assert_eq!(addresses.good(&known).0.len(), 4);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn at_most_half_are_set_aside_for_being_slow() {
        let (addresses, known) = (Addresses::default(), addresses(4));
        addresses.choose(&known);
        for address in &known {
            addresses.is_slow(*address);
        }
        assert_eq!(addresses.choose(&known).0.len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn ipv6_comes_last_until_a_connection_was_made_over_it() {
        let (addresses, mut known) = (Addresses::default(), addresses(2));
        known.insert(0, "[::1]:80".parse().unwrap());
        let mut probes = 0;
        for _ in 0..60 {
            let (chosen, probe) = addresses.choose(&known);
            assert!(chosen.len() == 3 && chosen[2].is_ipv6());
            assert!(probe.is_none_or(|probe| probe.is_ipv6()));
            probes += u32::from(probe.is_some());
            advance(Duration::from_secs(1)).await;
        }
        assert_eq!(probes, 4, "after 0, 5, 15 and 35 s");
        addresses.admit(known[0]);
        let first = |_| addresses.choose(&known).0[0];
        assert_eq!((0..30).map(first).filter(SocketAddr::is_ipv6).count(), 10);
        // An only address is used.
        let only = Addresses::default();
        assert_eq!(only.choose(&known[..1]), (vec![known[0]], None));
    }

    #[tokio::test(start_paused = true)]
    async fn where_all_fail_all_are_used_and_one_alone_is_never_set_aside() {
        let (addresses, known) = (Addresses::default(), addresses(2));
        addresses.choose(&known);
        for address in &known {
            fail(&addresses, *address);
        }
        assert_eq!(addresses.choose(&known).0.len(), 2);
        let alone = Addresses::default();
        alone.choose(&known[..1]);
        fail(&alone, known[0]);
        assert!(alone.failing.lock().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_is_given_up_after_a_while_is_a_failure() {
        let (addresses, known) = (Arc::new(Addresses::default()), addresses(2));
        addresses.choose(&known);
        for _ in 0..10 {
            drop(addresses.watch(known[0]));
            let stale = addresses.watch(known[0]);
            advance(SOON).await;
            stale.was_stale();
        }
        assert_eq!(addresses.choose(&known).0.len(), 2);
        for _ in 0..FAILURES {
            let given_up = addresses.watch(known[0]);
            advance(SOON).await;
            drop(given_up);
        }
        assert_eq!(addresses.choose(&known).0, [known[1]]);
        addresses.watch(known[0]).answered();
        assert_eq!(addresses.choose(&known).0.len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_whose_copy_elsewhere_was_faster_is_a_failure() {
        let (addresses, known) = (Arc::new(Addresses::default()), addresses(4));
        addresses.choose(&known);
        answer(&addresses, &known, Duration::from_millis(30));
        for (waited, left) in [(59, 4), (61, 3)] {
            for _ in 0..FAILURES {
                let copied = addresses.watch(known[0]);
                advance(Duration::from_millis(waited)).await;
                drop(copied);
            }
            assert_eq!(addresses.choose(&known).0.len(), left);
        }
    }
}
