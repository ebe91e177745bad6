//! The known replicas: those of the configuration, and those that have contacted this one.
//!
//! Invariants, all under one lock: each message goes to every known replica, and a replica that becomes known later is
//! sent each write under way. The cache's certainty ends with the earliest end of a lease, and requires that this
//! process was not paused, and has found the other replicas.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::inbox::Inbox;
use super::lease::{Effect, Failure, PAUSE_MAX, State};
use super::outbox::{Outbox, Session};
use super::peer::{Peer, PeerState, Role};
use super::wire::{self, Granted, LeaseAnswer, Message};
use crate::cache::{Cache, Rules, boot_time};
use crate::metrics::cluster as metrics;

/// Maximum number of replicas; further ones are not added.
const PEERS_MAX: usize = 64;
/// Time without certainty after a pause of this process: by then each replica that wrote meanwhile has contacted it.
pub(super) const HEAR_OTHERS: Duration = Duration::from_secs(1);
/// Time without certainty after a start while no configured name resolves to this process: longer than DNS updates
/// take.
const FIND_OTHERS: Duration = Duration::from_mins(1);

/// Numbers of messages, by the peer that has to apply them.
pub(super) type Numbers = Vec<(Arc<Peer>, u64)>;

/// Messages of the writes under way, by number of the write.
type Open = BTreeMap<u64, Arc<str>>;

#[derive(Default)]
struct Table {
    peers: Vec<Arc<Peer>>,
    open: Open,
    /// Whether this process may have invalidated something already.
    serving: bool,
    own: Own,
}

/// Identity of this process within the cluster.
#[derive(Default)]
struct Own {
    /// Time of its last clock check.
    awake: Option<Duration>,
    /// Time before which nothing is certain.
    certain_from: Duration,
    /// Time before which nothing is certain, unless a configured address turns out to be this process.
    found_from: Duration,
    /// Whether there are more replicas than [`PEERS_MAX`].
    crowded: bool,
}

/// Response to the lease request of another replica.
#[derive(Default)]
pub(super) struct Asked {
    pub granted: Option<Granted>,
    pub promised: bool,
    /// The requester, if it was added as a new peer.
    pub new: Option<Arc<Peer>>,
}

pub(super) struct Members {
    own: Session,
    cache: Arc<Cache>,
    rules: Arc<Rules>,
    pub inbox: Inbox,
    table: Mutex<Table>,
}

impl Members {
    pub(super) fn new(cache: Arc<Cache>, rules: Arc<Rules>) -> Self {
        let inbox = Inbox::new(cache.clone(), rules.clone());
        Self { own: rand::random(), cache, rules, inbox, table: Mutex::default() }
    }

    pub(super) fn own(&self) -> Session {
        self.own
    }

    /// Notes that this process may invalidate something from now on.
    pub(super) fn serve(&self) {
        self.table.lock().serving = true;
    }

    pub(super) fn all(&self) -> Vec<Arc<Peer>> {
        self.table.lock().peers.clone()
    }

    /// Adds an address, and returns its peer if it is new.
    pub(super) fn add(&self, address: SocketAddr, listed: bool) -> Option<Arc<Peer>> {
        let mut table = self.table.lock();
        if let Some(peer) = table.peers.iter().find(|peer| peer.address == address) {
            peer.state().listed |= listed;
            return None;
        }
        if table.peers.len() >= PEERS_MAX {
            if !std::mem::replace(&mut table.own.crowded, true) {
                log::warn!(
                    "cluster: {address} is not taken in: there are {PEERS_MAX} replicas already; every read asks the \
                     origin"
                );
            }
            self.refresh(&table);
            return None;
        }
        let outbox = Outbox::new(rand::random(), !table.serving);
        let peer = Arc::new(Peer::new(address, listed, outbox));
        tell_open(&mut peer.state(), &table.open);
        table.peers.push(peer.clone());
        self.refresh(&table);
        Some(peer)
    }

    /// Sets all addresses of the configuration. Other peers stay only as long as they respond.
    pub(super) fn listed(&self, addresses: &[SocketAddr]) {
        let mut table = self.table.lock();
        for peer in &table.peers {
            peer.state().listed = addresses.contains(&peer.address);
        }
        let is_known =
            |address: &SocketAddr| table.peers.iter().any(|peer| peer.address == *address);
        table.own.crowded = !addresses.iter().all(is_known);
        self.remove_gone(&mut table);
    }

    /// Notes that names of replicas are resolved from now on: there may be replicas that are not found yet.
    pub(super) fn looks_for_others(&self) {
        let mut table = self.table.lock();
        table.own.found_from = boot_time() + FIND_OTHERS;
        self.refresh(&table);
    }

    /// Whether there may be replicas that are not found yet.
    pub(super) fn is_looking(&self) -> bool {
        self.table.lock().is_looking(boot_time())
    }

    /// Detects pauses of this process; call it at short intervals. After a long pause, the others may have considered
    /// it gone, or started without it.
    pub(super) fn is_awake(&self) {
        let mut table = self.table.lock();
        let now = boot_time();
        let before = table.own.awake.replace(now).unwrap_or(now);
        let paused = now.saturating_sub(before);
        if paused > PAUSE_MAX {
            table.own.certain_from = now + HEAR_OTHERS;
            self.inbox.missed(&format_args!("this process was paused for {paused:.1?}"));
        }
        self.refresh(&table);
    }

    fn remove_gone(&self, table: &mut Table) {
        let stays = |peer: &Arc<Peer>| {
            let mut state = peer.state();
            let stays = state.listed || !state.lease.is_gone() && state.is_replica();
            if !stays {
                self.distrust(&mut state, false);
                // The writes of a silent replica may yet happen: see `Inbox::forget_silent`.
                if let Some(session) = state.outbox.session()
                    && !matches!(state.lease.state(), State::Gone { why: Failure::Silent })
                {
                    self.inbox.ended(session);
                }
                peer.removed.send_replace(true);
            }
            stays
        };
        table.peers.retain(stays);
        self.refresh(table);
    }

    /// Queues a message for every replica. `open`: updates the writes under way.
    pub(super) fn announce(&self, text: &Arc<str>, open: impl FnOnce(&mut Open)) -> Numbers {
        let mut table = self.table.lock();
        let now = boot_time();
        let mut numbers = Vec::with_capacity(table.peers.len());
        for peer in &table.peers {
            let mut state = peer.state();
            if !state.is_replica() {
                continue;
            }
            if state.outbox.is_full() {
                state.outbox.give_up();
                let number = state.outbox.push(wire::text(&Message::Missed).into(), now);
                state.outbox.owe(number);
                tell_open(&mut state, &table.open);
                log::warn!(
                    "cluster: the queue of messages for {} is full: its messages are dropped",
                    peer.address
                );
            }
            let number = state.outbox.push(text.clone(), now);
            drop(state);
            peer.queued.notify_one();
            numbers.push((peer.clone(), number));
        }
        open(&mut table.open);
        numbers
    }

    /// Answers a lease request of the process `session`: it gets a lease if it is known and has applied all messages.
    /// `from`: the presumed address of its admin port.
    pub(super) fn asked(&self, session: Session, from: SocketAddr) -> Asked {
        // A request of this process to one of its own addresses: hurrying with the next one would never end.
        if session == self.own {
            return Asked::default();
        }
        let table = self.table.lock();
        for peer in &table.peers {
            let mut state = peer.state();
            if state.is_replica() && state.outbox.session() == Some(session) {
                let now = boot_time();
                let was_gone = state.lease.is_gone();
                let promised = state.lease.promise(now);
                let granted = state.outbox.grant(session, now).then(|| {
                    let (stream, complete) = state.outbox.stream();
                    Granted { stream, complete }
                });
                drop(state);
                if was_gone {
                    // Before the peer receives the promise.
                    self.refresh(&table);
                    peer.hurry.notify_one();
                }
                return Asked { granted, promised, new: None };
            }
        }
        if let Some(peer) = table.peers.iter().find(|peer| peer.address == from) {
            peer.hurry.notify_one();
            return Asked::default();
        }
        drop(table);
        Asked { new: self.add(from, false), ..Asked::default() }
    }

    /// Applies the response to a request that was sent at `sent`.
    pub(super) fn answered(&self, peer: &Arc<Peer>, sent: Duration, answer: &LeaseAnswer) {
        let table = self.table.lock();
        let mut state = peer.state();
        let role = self.role(&table, peer, answer.session);
        if role != state.role {
            self.change_role(&mut state, role, &table);
        }
        if role == Role::Replica {
            let is_first = state.outbox.session().is_none();
            self.meet(&mut state, answer.session, &table.open);
            state.lease.promised(sent, answer.promised);
            let effect = match &answer.granted {
                Some(Granted { stream, complete }) => state.lease.granted(sent, *stream, *complete),
                None => {
                    state.lease.withheld();
                    Effect::Nothing
                }
            };
            self.follow(effect, peer);
            self.distrust(&mut state, false);
            if state.trouble.take().is_some() || is_first {
                log::info!("cluster: replica {} is reachable", peer.address);
            }
        }
        drop(state);
        peer.notify();
        peer.queued.notify_one();
        self.refresh(&table);
    }

    /// Applies the failure of a request that was sent at `sent`.
    pub(super) fn failed(&self, peer: &Arc<Peer>, why: Failure, sent: Duration, trouble: &str) {
        let mut table = self.table.lock();
        let mut state = peer.state();
        if !state.is_replica() {
            return;
        }
        let effect = state.lease.failed(why, sent, boot_time());
        self.follow(effect, peer);
        if state.lease.is_gone() || state.lease.is_denied() {
            let left = state.lease.state() == State::Left;
            self.distrust(&mut state, why != Failure::Refused && !left);
            if why == Failure::Refused
                && let Some(session) = state.outbox.session()
            {
                self.inbox.ended(session);
            }
            if !left && state.trouble.as_deref() != Some(trouble) {
                log_trouble(&state, peer, trouble);
                state.trouble = Some(trouble.to_owned());
            }
        }
        let removable = state.lease.is_gone() && !state.listed && why == Failure::Refused;
        drop(state);
        peer.notify();
        match removable {
            true => self.remove_gone(&mut table),
            false => self.refresh(&table),
        }
    }

    /// Marks the process `session` as shut down: its last message was received.
    pub(super) fn left(&self, session: Session) {
        let table = self.table.lock();
        for peer in &table.peers {
            let mut state = peer.state();
            if state.is_replica() && state.outbox.session() == Some(session) {
                state.lease.left(boot_time());
                state.outbox.forget_lease();
                log::info!("cluster: replica {} ends", peer.address);
            }
        }
        self.inbox.ended(session);
        self.refresh(&table);
    }

    /// Drops the message streams of silent, unknown processes.
    pub(super) fn forget_silent(&self) {
        let peers = self.all();
        let known: Vec<_> = peers.iter().filter_map(|peer| peer.state().outbox.session()).collect();
        self.inbox.forget_silent(|session| known.contains(&session));
    }

    fn role(&self, table: &Table, peer: &Arc<Peer>, session: Session) -> Role {
        if session == self.own {
            return Role::Own;
        }
        let is_other = |other: &&Arc<Peer>| {
            !Arc::ptr_eq(other, peer) && {
                let state = other.state();
                state.is_replica() && state.outbox.session() == Some(session)
            }
        };
        if table.peers.iter().any(|other| is_other(&other)) { Role::Alias } else { Role::Replica }
    }

    fn change_role(&self, state: &mut PeerState, role: Role, table: &Table) {
        state.role = role;
        self.distrust(state, false);
        state.outbox = Outbox::new(rand::random(), false);
        if role == Role::Replica {
            state.lease = super::lease::Lease::new(boot_time());
            tell_open(state, &table.open);
        }
    }

    /// Notes the process at an address, which may have replaced an earlier one.
    fn meet(&self, state: &mut PeerState, session: Session, open: &Open) {
        let before = state.outbox.session();
        if state.outbox.met(session, rand::random()) {
            tell_open(state, open);
            if let Some(before) = before {
                self.inbox.ended(before);
            }
        }
    }

    fn follow(&self, effect: Effect, peer: &Peer) {
        if effect == Effect::Confirm {
            self.inbox.missed(&format_args!(
                "what replica {} wrote lately may not be known here",
                peer.address
            ));
        }
    }

    /// Sets whether events are not trusted because of a replica, which may receive some and not forward them.
    fn distrust(&self, state: &mut PeerState, distrusted: bool) {
        match (std::mem::replace(&mut state.distrusted, distrusted), distrusted) {
            (false, true) => self.rules.receiver_lost("another replica is silent"),
            (true, false) => self.rules.receiver_back(),
            _ => {}
        }
    }

    /// Updates the end of certainty in the cache, and the gauges of replicas.
    fn refresh(&self, table: &Table) {
        let mut until = table.certain_until(boot_time());
        let mut counts = metrics::Counts::default();
        for peer in &table.peers {
            let state = peer.state();
            if !state.is_replica() {
                continue;
            }
            match (state.lease.is_gone(), state.is_live()) {
                (true, _) => counts.gone += 1,
                (false, true) => counts.live += 1,
                (false, false) => counts.waiting += 1,
            }
            until = until.min(state.lease.certain_until());
        }
        self.cache.set_certain_until(Some(until));
        metrics::set_peers(counts);
    }
}

impl Table {
    /// Returns the time until which no invalidation of an unknown replica can be missing.
    fn certain_until(&self, now: Duration) -> Duration {
        if self.own.crowded || now < self.own.certain_from || self.is_looking(now) {
            return Duration::ZERO;
        }
        self.own.awake.map_or(Duration::ZERO, |awake| awake + PAUSE_MAX)
    }

    /// Whether there may be replicas not found yet; once a name resolves to this process, it resolves to all that
    /// started before.
    fn is_looking(&self, now: Duration) -> bool {
        now < self.own.found_from && !self.peers.iter().any(|p| p.state().role == Role::Own)
    }
}

fn log_trouble(state: &PeerState, peer: &Peer, trouble: &str) {
    let address = peer.address;
    if state.lease.is_denied() {
        log::warn!(
            "cluster: replica {address} takes no part: {trouble}; every read asks the origin (all replicas need \
             `cluster.peers` and the same `admin.token` or `admin.token_file`)"
        );
    } else if state.outbox.session().is_none() {
        log::info!("cluster: replica {address} is not there yet: {trouble}");
    } else {
        log::warn!(
            "cluster: replica {address} is unreachable: {trouble}; it is not waited for, and what is cached is \
             confirmed with the origin once"
        );
    }
}

/// Queues the messages of all writes under way.
fn tell_open(state: &mut PeerState, open: &Open) {
    for text in open.values() {
        let number = state.outbox.push(text.clone(), boot_time());
        // The write does not wait for this replica, so no lease is granted before the message is applied.
        state.outbox.owe(number);
    }
}
