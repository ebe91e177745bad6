//! Which of the origin's addresses the next connection goes to.
//!
//! In turn, all of those that answer. One that fails several times in a row is set aside: no request goes there, neither
//! over a new connection nor over a kept one, until a probe has made a connection to it. Where all are set aside, all are
//! used: there is nothing to lose.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Failures in a row that set an address aside.
const FAILURES: u32 = 3;
/// The first pause before a probe; it doubles up to `LAST_PAUSE`.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
const LAST_PAUSE: Duration = Duration::from_mins(5);
/// A request given up earlier, since it was not wanted any more, says nothing of the address.
const SOON: Duration = Duration::from_millis(100);
/// Of more addresses than this the healthy ones are forgotten.
const MOST: usize = 1024;

/// What is known of the origin's addresses.
#[derive(Debug, Default)]
pub(super) struct Addresses {
    turn: AtomicUsize,
    /// How many there are.
    count: AtomicUsize,
    failing: Mutex<HashMap<SocketAddr, Failing>>,
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
}

/// A request on its way to an address, until its answer begins. Dropped without one it was given up.
#[derive(Debug)]
pub(super) struct Watch {
    addresses: Weak<Addresses>,
    address: SocketAddr,
    since: Instant,
}

impl Addresses {
    /// Those of `known` that are not set aside, the next one first; and one that is to be probed.
    pub(super) fn choose(&self, known: &[SocketAddr]) -> (Vec<SocketAddr>, Option<SocketAddr>) {
        self.count.store(known.len(), Ordering::Relaxed);
        let (mut good, probe) = self.good(known);
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % good.len().max(1);
        good.rotate_left(turn);
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

    /// Watches a request to `address`.
    pub(super) fn watch(self: &Arc<Self>, address: SocketAddr) -> Watch {
        Watch { addresses: Arc::downgrade(self), address, since: Instant::now() }
    }

    /// It answered, or a connection to it was made.
    pub(super) fn answers(&self, address: SocketAddr) {
        let mut failing = self.failing.lock();
        if failing.is_empty() {
            return;
        }
        if failing.remove(&address).is_some_and(|failing| failing.aside.is_some()) {
            log::info!("origin: {address} answers again");
        }
    }

    /// It did not answer.
    pub(super) fn fails(&self, address: SocketAddr) {
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
            of.aside = Some(Aside { probe_at, pause });
        }
    }
}

impl Watch {
    /// The answer began.
    pub(super) fn answered(mut self) {
        if let Some(addresses) = std::mem::take(&mut self.addresses).upgrade() {
            addresses.answers(self.address);
        }
    }

    /// The connection had been kept, and was closed meanwhile: that says nothing of the address.
    pub(super) fn was_stale(mut self) {
        self.addresses = Weak::new();
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(addresses) = self.addresses.upgrade()
            && self.since.elapsed() >= SOON
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
}
