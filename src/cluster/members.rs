//! All other replicas that are known: those of the configuration, and those that asked.
//!
//! Invariants, all under one lock: each message goes to every replica that is known, and who becomes known later is told
//! of each write that is under way; the cache's certainty is that of the replica with the earliest end of its lease.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::inbox::Inbox;
use super::lease::{Effect, Failure, State};
use super::outbox::{Outbox, Session};
use super::peer::{Peer, PeerState, Role};
use super::wire::{self, Granted, LeaseAnswer, Message};
use crate::cache::{Cache, Rules, boot_time};
use crate::metrics::cluster as metrics;

/// Replicas; of more, further ones are not taken in.
const PEERS_MAX: usize = 64;

/// Numbers of messages, by who is to apply them.
pub(super) type Numbers = Vec<(Arc<Peer>, u64)>;

/// Writes that are under way, as they are told.
type Open = BTreeMap<u64, Arc<str>>;

#[derive(Default)]
struct Table {
    peers: Vec<Arc<Peer>>,
    open: Open,
    /// Something may have been invalidated already.
    serving: bool,
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

    /// From now on something may be invalidated.
    pub(super) fn serve(&self) {
        self.table.lock().serving = true;
    }

    pub(super) fn all(&self) -> Vec<Arc<Peer>> {
        self.table.lock().peers.clone()
    }

    /// Takes in an address, unless it is known; returns it if it is new.
    pub(super) fn add(&self, address: SocketAddr, listed: bool) -> Option<Arc<Peer>> {
        let mut table = self.table.lock();
        if let Some(peer) = table.peers.iter().find(|peer| peer.address == address) {
            peer.state().listed |= listed;
            return None;
        }
        if table.peers.len() >= PEERS_MAX {
            log::warn!(
                "cluster: {address} is not taken in: there are {PEERS_MAX} replicas already"
            );
            return None;
        }
        let outbox = Outbox::new(rand::random(), !table.serving);
        let peer = Arc::new(Peer::new(address, listed, outbox));
        tell_open(&mut peer.state(), &table.open);
        table.peers.push(peer.clone());
        self.refresh(&table);
        Some(peer)
    }

    /// These are all addresses of the configuration. Others stay only as long as they answer.
    pub(super) fn listed(&self, addresses: &[SocketAddr]) {
        let mut table = self.table.lock();
        for peer in &table.peers {
            peer.state().listed = addresses.contains(&peer.address);
        }
        self.remove_gone(&mut table);
    }

    fn remove_gone(&self, table: &mut Table) {
        let stays = |peer: &Arc<Peer>| {
            let mut state = peer.state();
            let stays = state.listed || !state.lease.is_gone() && state.is_replica();
            if !stays {
                self.distrust(&mut state, false);
                if let Some(session) = state.outbox.session() {
                    self.inbox.ended(session);
                }
                peer.removed.send_replace(true);
            }
            stays
        };
        table.peers.retain(stays);
        self.refresh(table);
    }

    /// Queues a message for every replica. `open`: what it does to the writes that are under way.
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
                log::warn!("cluster: more than fits waits for {}: it is given up", peer.address);
            }
            let number = state.outbox.push(text.clone(), now);
            drop(state);
            peer.queued.notify_one();
            numbers.push((peer.clone(), number));
        }
        open(&mut table.open);
        numbers
    }

    /// A lease for the process `session`, if it is known and has applied all. `from`: where its admin port would be.
    pub(super) fn grant(
        &self,
        session: Session,
        from: SocketAddr,
    ) -> Result<Granted, Option<Arc<Peer>>> {
        let table = self.table.lock();
        for peer in &table.peers {
            let mut state = peer.state();
            if state.is_replica() && state.outbox.session() == Some(session) {
                if state.lease.is_gone() {
                    peer.hurry.notify_one();
                }
                if state.outbox.grant(session, boot_time()) {
                    let (stream, complete) = state.outbox.stream();
                    return Ok(Granted { stream, complete });
                }
                return Err(None);
            }
        }
        if let Some(peer) = table.peers.iter().find(|peer| peer.address == from) {
            peer.hurry.notify_one();
            return Err(None);
        }
        drop(table);
        if session == self.own {
            return Err(None);
        }
        Err(self.add(from, false))
    }

    /// A question that was sent at `sent` was answered.
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

    /// A question was not answered.
    pub(super) fn failed(&self, peer: &Arc<Peer>, why: Failure, trouble: &str) {
        let mut table = self.table.lock();
        let mut state = peer.state();
        if !state.is_replica() {
            return;
        }
        let effect = state.lease.failed(why);
        self.follow(effect, peer);
        if state.lease.is_gone() {
            let left = state.lease.state() == State::Left;
            self.distrust(&mut state, why == Failure::Silent && !left);
            if why == Failure::Refused
                && let Some(session) = state.outbox.session()
            {
                self.inbox.ended(session);
            }
            if !left && state.trouble.as_deref() != Some(trouble) {
                match state.outbox.session() {
                    None => {
                        log::info!("cluster: replica {} is not there yet: {trouble}", peer.address);
                    }
                    Some(_) => log::warn!(
                        "cluster: replica {} is unreachable: {trouble}; it is not waited for, and what is cached is \
                         confirmed with the origin once",
                        peer.address
                    ),
                }
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

    /// What the process `session` said was its last.
    pub(super) fn left(&self, session: Session) {
        let table = self.table.lock();
        for peer in &table.peers {
            let mut state = peer.state();
            if state.is_replica() && state.outbox.session() == Some(session) {
                state.lease.left();
                state.outbox.forget_lease();
                log::info!("cluster: replica {} ends", peer.address);
            }
        }
        self.inbox.ended(session);
        self.refresh(&table);
    }

    /// Ends what is kept for processes that are not known.
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
            state.lease = super::lease::Lease::new();
            tell_open(state, &table.open);
        }
    }

    /// The process at an address is known from now on.
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

    /// Whether events are not trusted because of a replica, which may receive some and not pass them on.
    fn distrust(&self, state: &mut PeerState, distrusted: bool) {
        match (std::mem::replace(&mut state.distrusted, distrusted), distrusted) {
            (false, true) => self.rules.receiver_lost("another replica is silent"),
            (true, false) => self.rules.receiver_back(),
            _ => {}
        }
    }

    /// Tells the cache until when nothing can be missing, and the gauges how the replicas are.
    fn refresh(&self, table: &Table) {
        let (mut until, mut counts) = (None, metrics::Counts::default());
        for peer in &table.peers {
            let state = peer.state();
            if !state.is_replica() {
                continue;
            }
            match (state.lease.certain_until(), state.is_live()) {
                (None, _) => counts.gone += 1,
                (Some(_), true) => counts.live += 1,
                (Some(_), false) => counts.waiting += 1,
            }
            let certain = state.lease.certain_until();
            until = [until, certain].into_iter().flatten().min();
        }
        self.cache.set_certain_until(until);
        metrics::set_peers(counts);
    }
}

/// Queues all writes that are under way.
fn tell_open(state: &mut PeerState, open: &Open) {
    for text in open.values() {
        let number = state.outbox.push(text.clone(), boot_time());
        // Whoever passes it on does not know of this replica.
        state.outbox.owe(number);
    }
}
