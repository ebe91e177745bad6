//! Messages that one peer has not confirmed yet: a state machine without a clock or a socket.
//!
//! Messages have rising numbers, and are resent, in order, until they are confirmed. A lease is granted to the peer
//! only while no message has waited for long, and no operation of a waiting message has proceeded without it. So a
//! lease that holds means that the peer has applied all operations that have proceeded here. Invariant: a dropped
//! message is replaced by one that reports the loss.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::lease::{LEASE, PENDING_MAX};

/// Maximum number of messages, and of their bytes, that wait for one peer; beyond it, all are dropped.
const MESSAGES_MAX: usize = 1 << 14;
const BYTES_MAX: usize = 32 << 20;
/// Maximum number of messages, and of their bytes, in one request.
const BATCH_MESSAGES: usize = 512;
const BATCH_BYTES: usize = 1 << 20;

/// Random id of a process, which distinguishes it from an earlier one at the same address.
pub(super) type Session = u64;

struct Message {
    number: u64,
    text: Arc<str>,
    since: Duration,
}

/// Messages for one peer.
pub(super) struct Outbox {
    /// Random id of the stream; a new stream begins for each new process of the peer.
    stream: u64,
    /// The number of the stream's first message.
    base: u64,
    /// Whether the stream holds all invalidations ever made here.
    complete: bool,
    session: Option<Session>,
    queue: VecDeque<Message>,
    bytes: usize,
    next: u64,
    confirmed: u64,
    granted: Option<Duration>,
    /// Number of the last message whose operation proceeded without the peer.
    owed: u64,
}

/// Messages in order, to be sent in one request.
pub(super) struct Batch {
    pub stream: u64,
    pub base: u64,
    pub first: u64,
    pub texts: Vec<Arc<str>>,
}

impl Outbox {
    /// Creates an outbox. `complete`: nothing was invalidated here so far. `stream`: a random number.
    pub(super) fn new(stream: u64, complete: bool) -> Self {
        Self {
            stream,
            base: 1,
            complete,
            session: None,
            queue: VecDeque::new(),
            bytes: 0,
            next: 1,
            confirmed: 0,
            granted: None,
            owed: 0,
        }
    }

    pub(super) fn stream(&self) -> (u64, bool) {
        (self.stream, self.complete)
    }

    pub(super) fn session(&self) -> Option<Session> {
        self.session
    }

    /// Whether no more messages fit: see [`Outbox::give_up`].
    pub(super) fn is_full(&self) -> bool {
        self.queue.len() >= MESSAGES_MAX || self.bytes >= BYTES_MAX
    }

    /// Queues a message; returns its number.
    pub(super) fn push(&mut self, text: Arc<str>, now: Duration) -> u64 {
        let number = self.next;
        self.next += 1;
        self.bytes += text.len();
        self.queue.push_back(Message { number, text, since: now });
        number
    }

    /// Drops all waiting messages. The caller pushes a message that reports the loss.
    pub(super) fn give_up(&mut self) {
        self.queue.clear();
        self.bytes = 0;
    }

    /// Notes that the peer is the process `session`. `true`: it is a new process, which needs no earlier messages: they
    /// are dropped, and a new stream, `stream`, begins.
    pub(super) fn met(&mut self, session: Session, stream: u64) -> bool {
        match self.session.replace(session) {
            None => false,
            Some(before) if before == session => false,
            Some(_) => {
                self.give_up();
                (self.stream, self.base) = (stream, self.next);
                self.confirmed = self.next - 1;
                self.complete = false;
                true
            }
        }
    }

    /// Returns the next batch to send; `None`: nothing waits, or the peer's session is not known yet.
    pub(super) fn batch(&self) -> Option<Batch> {
        self.session?;
        let first = self.queue.front()?.number;
        let (mut texts, mut bytes) = (Vec::new(), 0);
        for message in self.queue.iter().take(BATCH_MESSAGES) {
            bytes += message.text.len();
            if !texts.is_empty() && bytes > BATCH_BYTES {
                break;
            }
            texts.push(message.text.clone());
        }
        Some(Batch { stream: self.stream, base: self.base, first, texts })
    }

    /// Notes that the peer has applied all messages of `stream` up to this number.
    pub(super) fn confirm(&mut self, stream: u64, number: u64) {
        if stream != self.stream {
            return;
        }
        let number = number.min(self.next - 1);
        self.confirmed = self.confirmed.max(number);
        while let Some(front) = self.queue.front()
            && front.number <= number
        {
            self.bytes -= front.text.len();
            self.queue.pop_front();
        }
    }

    /// Whether the peer has applied this message.
    pub(super) fn is_confirmed(&self, number: u64) -> bool {
        self.confirmed >= number
    }

    /// Records that a write proceeded before the peer applied this message: no lease is granted until it is applied.
    pub(super) fn owe(&mut self, number: u64) {
        self.owed = self.owed.max(number);
    }

    /// Grants a lease to the process `session`, if it may have one; returns whether it did.
    pub(super) fn grant(&mut self, session: Session, now: Duration) -> bool {
        let waits = self.queue.front().is_some_and(|front| {
            front.number <= self.owed || now.saturating_sub(front.since) >= PENDING_MAX
        });
        let may = self.session == Some(session) && !waits;
        if may {
            self.granted = self.granted.max(Some(now));
        }
        may
    }

    /// Forgets the granted lease of a peer that serves nothing any more.
    pub(super) fn forget_lease(&mut self) {
        self.granted = None;
    }

    /// Returns the end of the last granted lease.
    pub(super) fn lease_end(&self) -> Duration {
        self.granted.map_or(Duration::ZERO, |granted| granted + LEASE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(100);

    fn met() -> Outbox {
        let mut outbox = Outbox::new(7, true);
        assert!(!outbox.met(1, 8));
        outbox
    }

    #[test]
    fn messages_are_sent_again_until_they_are_confirmed() {
        let mut outbox = Outbox::new(7, true);
        assert_eq!(outbox.push("a".into(), NOW), 1);
        assert!(outbox.batch().is_none(), "nobody knows who is there");
        assert!(!outbox.met(1, 8));
        outbox.push("b".into(), NOW);
        let sent = |outbox: &Outbox| outbox.batch().map(|b| (b.first, b.texts.len()));
        assert_eq!(sent(&outbox), Some((1, 2)));
        outbox.confirm(7, 1);
        assert_eq!(sent(&outbox), Some((2, 1)));
        outbox.confirm(6, 2);
        assert!(!outbox.is_confirmed(2), "of another stream");
        outbox.confirm(7, 99);
        assert!(outbox.is_confirmed(2) && !outbox.is_confirmed(3));
        assert!(outbox.batch().is_none());
    }

    #[test]
    fn no_lease_is_granted_while_a_message_waits_for_long() {
        let mut outbox = met();
        assert!(!outbox.grant(2, NOW), "to somebody else");
        assert!(outbox.grant(1, NOW));
        outbox.push("a".into(), NOW);
        assert!(outbox.grant(1, NOW + PENDING_MAX / 2));
        assert!(!outbox.grant(1, NOW + PENDING_MAX));
        assert_eq!(outbox.lease_end(), NOW + PENDING_MAX / 2 + LEASE);
        outbox.confirm(7, 1);
        assert!(outbox.grant(1, NOW + PENDING_MAX));
    }

    #[test]
    fn no_lease_is_granted_before_what_went_on_without_the_peer_is_applied() {
        let mut outbox = met();
        let number = outbox.push("a".into(), NOW);
        assert!(outbox.grant(1, NOW), "it is waited for");
        outbox.owe(number);
        outbox.push("b".into(), NOW);
        assert!(!outbox.grant(1, NOW));
        outbox.confirm(7, number);
        assert!(outbox.grant(1, NOW), "the other one is waited for");
    }

    #[test]
    fn another_process_at_the_same_address_begins_anew() {
        let mut outbox = met();
        let number = outbox.push("a".into(), NOW);
        assert!(!outbox.met(1, 8) && !outbox.is_confirmed(number));
        assert!(outbox.met(2, 8));
        assert!(outbox.is_confirmed(number), "nobody waits for it");
        assert_eq!(outbox.stream(), (8, false));
        outbox.push("b".into(), NOW);
        let batch = outbox.batch().unwrap();
        assert_eq!((batch.base, batch.first, batch.stream), (2, 2, 8));
    }

    #[test]
    fn what_waits_is_bounded() {
        let mut outbox = met();
        while !outbox.is_full() {
            outbox.push("a".into(), NOW);
        }
        assert_eq!(outbox.queue.len(), MESSAGES_MAX);
        outbox.give_up();
        outbox.push("missed".into(), NOW);
        let batch = outbox.batch().unwrap();
        assert_eq!((batch.first, batch.texts.len()), (MESSAGES_MAX as u64 + 1, 1), "a gap shows");
        let mut outbox = met();
        let large: Arc<str> = "x".repeat(BATCH_BYTES).into();
        outbox.push(large.clone(), NOW);
        outbox.push(large, NOW);
        assert_eq!(outbox.batch().unwrap().texts.len(), 1);
    }
}
