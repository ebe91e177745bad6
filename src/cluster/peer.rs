//! One other replica: the invalidations that it has not applied yet, and the lease that it grants.

use std::net::SocketAddr;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until};

use super::lease::{Lease, State};
use super::outbox::Outbox;
use crate::cache::boot_time;
use crate::metrics::cluster::{self as metrics, Delivered};

/// The kind of process that answers at an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Replica,
    /// This process.
    Own,
    /// A replica that is known by another address, too.
    Alias,
}

/// A peer, by address.
pub(super) struct Peer {
    pub address: SocketAddr,
    state: Mutex<PeerState>,
    /// Notifies waiters that the state may have changed.
    changed: watch::Sender<()>,
    /// Notifies the link that a message is queued.
    pub queued: Notify,
    /// Notifies the link to request a lease at once.
    pub hurry: Notify,
    /// Whether the peer was removed.
    pub removed: watch::Sender<bool>,
}

pub(super) struct PeerState {
    pub outbox: Outbox,
    pub lease: Lease,
    pub role: Role,
    /// Whether the address is configured; else the peer has contacted this process.
    pub listed: bool,
    /// Whether events are not trusted because of it.
    pub distrusted: bool,
    /// The reason for which it does not respond, as logged.
    pub trouble: Option<String>,
}

impl Peer {
    pub(super) fn new(address: SocketAddr, listed: bool, outbox: Outbox) -> Self {
        let state = PeerState {
            outbox,
            lease: Lease::new(boot_time()),
            role: Role::Replica,
            listed,
            distrusted: false,
            trouble: None,
        };
        Self {
            address,
            state: Mutex::new(state),
            changed: watch::Sender::new(()),
            queued: Notify::new(),
            hurry: Notify::new(),
            removed: watch::Sender::new(false),
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, PeerState> {
        self.state.lock()
    }

    /// Wakes all waiters, which check the state again.
    pub(super) fn notify(&self) {
        self.changed.send_replace(());
    }

    pub(super) fn is_removed(&self) -> bool {
        *self.removed.borrow()
    }

    /// Counts its lease in the metrics if that has expired.
    pub(super) fn count_lapse(&self) {
        let mut state = self.state();
        if state.is_replica() && state.lease.lapsed(boot_time()) {
            metrics::lapsed();
        }
    }

    /// Waits until the peer has applied a message, or is gone and its lease has expired. From `deadline` on, it waits
    /// only until the peer promises not to consider this replica gone, and no longer than `more`.
    pub(super) async fn settled(
        &self,
        number: u64,
        deadline: Instant,
        more: Duration,
    ) -> Delivered {
        let mut changed = self.changed.subscribe();
        loop {
            let now = Instant::now();
            let mut look_again = if now < deadline { deadline } else { deadline + more };
            {
                let mut state = self.state.lock();
                if state.role != Role::Replica || state.outbox.is_confirmed(number) {
                    return Delivered::Applied;
                }
                if state.lease.is_surely_gone(boot_time()) || self.is_removed() {
                    let left = state.outbox.lease_end().saturating_sub(boot_time());
                    if left.is_zero() {
                        state.outbox.owe(number);
                        return Delivered::Unreachable;
                    }
                    look_again = look_again.min(now + left);
                }
                let ends = now >= deadline + more || state.lease.counts_us(boot_time());
                if now >= deadline && ends {
                    state.outbox.owe(number);
                    return Delivered::Late;
                }
            }
            tokio::select! {
                // The sender lives as long as the peer.
                _ = changed.changed() => {}
                () = sleep_until(look_again) => {}
            }
        }
    }
}

impl PeerState {
    /// Whether the peer is another replica.
    pub(super) fn is_replica(&self) -> bool {
        self.role == Role::Replica
    }

    /// Whether its lease holds now.
    pub(super) fn is_live(&self) -> bool {
        let now = boot_time();
        matches!(self.lease.state(), State::Leased { until } if now < until)
    }
}
