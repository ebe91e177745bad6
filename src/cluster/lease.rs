//! Leases of one peer, and the certainty that follows from them: a state machine without a clock or a socket.
//!
//! A lease is requested, and counts from the time at which the request was sent. While it holds, no invalidation of the
//! peer can be missing: the peer lets no write, purge or event proceed before this replica has applied it, or the last
//! lease that it granted has expired. A peer that is silent for longer is *gone*: then cached metadata is revalidated
//! once, and served by its rules from there on.
//!
//! A response also promises not to consider the requester gone for a while. A write proceeds without a replica only
//! while that has promised this, or when it is gone itself. So a replica that reads by its rules, since it considers
//! the writer gone, is waited for as long as the writer can reach it.

use std::time::Duration;

/// Duration of a lease.
pub(super) const LEASE: Duration = Duration::from_millis(400);
/// No lease is granted while a message has waited for longer.
pub(super) const PENDING_MAX: Duration = Duration::from_millis(50);
/// Maximum wait of a write: by then each lease that could be granted has expired.
pub(super) const WRITE_WAIT: Duration = Duration::from_millis(500);
/// Additional wait of a write for a replica that responds without a promise.
pub(super) const UNPROMISED_WAIT: Duration = Duration::from_millis(1500);
/// Interval between lease requests; [`ANSWER`] is the maximum wait for a response.
pub(super) const EVERY: Duration = Duration::from_millis(100);
pub(super) const ANSWER: Duration = Duration::from_millis(300);
/// Number of consecutive requests without a response, each of which was waited for, after which a peer is gone. A
/// replica that was frozen itself waited for at most one of them.
const UNANSWERED: u32 = 4;
/// Time after a response for which the requester is not considered gone.
pub(super) const PROMISE: Duration = Duration::from_millis(1400);
/// Maximum pause of this process in which no other replica can have come to consider it gone.
pub(super) const PAUSE_MAX: Duration = Duration::from_millis(800);

/// Milliseconds after which the others consider a frozen replica gone; a request may be old by then.
const GONE_AFTER: u128 = UNANSWERED as u128 * ANSWER.as_millis();
const _: () = assert!(LEASE.as_millis() + PENDING_MAX.as_millis() < WRITE_WAIT.as_millis());
// A write waits for a frozen replica until that is gone, or its wait is over while the promise holds still.
const _: () = assert!(GONE_AFTER + EVERY.as_millis() <= PROMISE.as_millis() - EVERY.as_millis());
const _: () = assert!(PAUSE_MAX.as_millis() + EVERY.as_millis() <= GONE_AFTER - ANSWER.as_millis());

/// The reason for which a lease request got no response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// The connection was refused: nobody listens there.
    Refused,
    Silent,
    /// The peer is alive, and wants another token or has no `cluster.peers`.
    Denied,
}

/// Consequence for cached metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(super) enum Effect {
    Nothing,
    /// An invalidation may have been missed: all metadata is revalidated once.
    Confirm,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// The peer has not granted a lease yet, or not since it was gone: every read is revalidated.
    Joining,
    /// The peer granted a lease; after `until`, every read is revalidated.
    Leased { until: Duration },
    /// The peer is not waited for any more.
    Gone { why: Failure },
    /// The peer announced its shutdown, and had no more messages.
    Left,
}

/// The lease that one peer grants.
#[derive(Debug)]
pub(super) struct Lease {
    state: State,
    /// The peer's last message stream.
    stream: Option<u64>,
    /// Whether no message of the peer can have been missed so far.
    intact: bool,
    unanswered: u32,
    lapse_counted: bool,
    /// Time until which the peer is not considered gone.
    promised: Duration,
    /// Time until which the peer does not consider this replica gone.
    counted_until: Duration,
    /// Whether the peer rejects messages, and so is not certain of anything itself.
    denied: bool,
    /// Time until which the peer counts as gone: an observation becomes outdated while this process is paused.
    gone_until: Duration,
}

impl Lease {
    /// Creates the lease of a new peer. An earlier process at this address may have made a promise just before `now`.
    pub(super) fn new(now: Duration) -> Self {
        Self {
            state: State::Joining,
            stream: None,
            intact: true,
            unanswered: 0,
            lapse_counted: true,
            promised: now + PROMISE,
            counted_until: Duration::ZERO,
            denied: false,
            gone_until: Duration::ZERO,
        }
    }

    pub(super) fn state(&self) -> State {
        self.state
    }

    pub(super) fn is_gone(&self) -> bool {
        matches!(self.state, State::Gone { .. } | State::Left)
    }

    /// Whether the peer is gone by a recent observation, and is not waited for.
    pub(super) fn is_surely_gone(&self, now: Duration) -> bool {
        self.is_gone() && now < self.gone_until
    }

    /// Returns the time until which no invalidation of this peer can be missing.
    pub(super) fn certain_until(&self) -> Duration {
        match self.state {
            State::Joining => Duration::ZERO,
            State::Leased { until } => until,
            State::Gone { .. } | State::Left => self.gone_until,
        }
    }

    /// Applies a lease that the peer granted to a request sent at `sent`. All of `stream` was applied here before;
    /// `complete`: it holds all invalidations the peer ever made.
    pub(super) fn granted(&mut self, sent: Duration, stream: u64, complete: bool) -> Effect {
        let unbroken = self.stream == Some(stream) || self.intact && complete;
        self.stream = Some(stream);
        self.intact = false;
        self.unanswered = 0;
        self.lapse_counted = false;
        self.state = State::Leased { until: sent + LEASE };
        if unbroken { Effect::Nothing } else { Effect::Confirm }
    }

    /// Notes that the peer is alive, and grants no lease yet. An earlier lease still holds.
    pub(super) fn withheld(&mut self) {
        self.unanswered = 0;
        if self.is_gone() {
            self.state = State::Joining;
        }
    }

    /// Notes a request of the peer, which shows that it is alive: it is not considered gone for [`PROMISE`]. `false`:
    /// it has announced its shutdown.
    pub(super) fn promise(&mut self, now: Duration) -> bool {
        match self.state {
            State::Left => return false,
            State::Gone { .. } => self.withheld(),
            State::Joining | State::Leased { .. } => {}
        }
        self.promised = now + PROMISE;
        true
    }

    /// Notes whether the response to a request sent at `sent` promised not to consider this replica gone.
    pub(super) fn promised(&mut self, sent: Duration, promised: bool) {
        self.denied = false;
        self.counted_until = if promised { sent + PROMISE } else { Duration::ZERO };
    }

    /// Whether the peer does not consider this replica gone.
    pub(super) fn counts_us(&self, now: Duration) -> bool {
        now < self.counted_until || self.denied
    }

    /// Whether the peer is alive and rejects this replica.
    pub(super) fn is_denied(&self) -> bool {
        self.denied
    }

    /// Notes that a request sent at `sent` got no response.
    pub(super) fn failed(&mut self, why: Failure, sent: Duration, now: Duration) -> Effect {
        self.denied = why == Failure::Denied;
        if self.denied {
            self.withheld();
            return Effect::Nothing;
        }
        if self.is_gone() && sent >= self.gone_until {
            // Another process may have run there since the last observation.
            self.state = State::Joining;
            self.unanswered = 0;
        }
        self.gone_until = sent + PAUSE_MAX;
        self.unanswered += if why == Failure::Refused { UNANSWERED } else { 1 };
        match self.state {
            State::Left => Effect::Nothing,
            State::Gone { .. } => {
                self.state = State::Gone { why };
                Effect::Nothing
            }
            // A process that has ended sends nothing any more, whatever was promised.
            State::Joining | State::Leased { .. }
                if self.unanswered < UNANSWERED
                    || why == Failure::Silent && now < self.promised =>
            {
                Effect::Nothing
            }
            State::Joining | State::Leased { .. } => {
                self.state = State::Gone { why };
                // Where nobody ever responded, nobody wrote.
                if self.stream.is_none() && why == Failure::Refused {
                    return Effect::Nothing;
                }
                self.intact = false;
                Effect::Confirm
            }
        }
    }

    /// Notes that the peer announced its shutdown.
    pub(super) fn left(&mut self, now: Duration) {
        self.state = State::Left;
        self.intact = true;
        self.gone_until = now + PAUSE_MAX;
    }

    /// Whether the lease has expired since the last call.
    pub(super) fn lapsed(&mut self, now: Duration) -> bool {
        let lapsed = matches!(self.state, State::Leased { until } if until <= now);
        lapsed && !std::mem::replace(&mut self.lapse_counted, true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_lease_counts_from_when_it_was_asked_for() {
        let mut lease = Lease::new(Duration::ZERO);
        assert_eq!(lease.certain_until(), Duration::ZERO, "nobody knows yet");
        assert_eq!(lease.granted(at(100), 1, true), Effect::Nothing);
        assert_eq!(lease.certain_until(), at(500));
        assert!(!lease.lapsed(at(499)));
        assert!(lease.lapsed(at(500)) && !lease.lapsed(at(501)), "counted once");
    }

    #[test]
    fn a_lease_that_ran_out_and_is_granted_again_on_an_unbroken_stream_costs_nothing() {
        let mut lease = Lease::new(Duration::ZERO);
        let _ = lease.granted(at(0), 1, false);
        assert_eq!(lease.failed(Failure::Silent, at(900), at(900)), Effect::Nothing);
        assert_eq!(lease.granted(at(60_000), 1, false), Effect::Nothing, "it was frozen itself");
    }

    #[test]
    fn a_peer_that_is_gone_is_not_waited_for_and_costs_one_confirmation() {
        for why in [Failure::Silent, Failure::Refused] {
            let mut lease = Lease::new(Duration::ZERO);
            let _ = lease.granted(at(0), 1, true);
            let mut effects = (0..10).map(|_| lease.failed(why, at(1400), at(1400)));
            assert_eq!(effects.find(|effect| *effect == Effect::Confirm), Some(Effect::Confirm));
            assert!(effects.all(|effect| effect == Effect::Nothing), "once");
            assert!(lease.is_surely_gone(at(2199)) && !lease.is_surely_gone(at(2200)));
            assert_eq!(lease.certain_until(), at(2200), "what was seen grows old");
            lease.withheld();
            assert_eq!(lease.certain_until(), Duration::ZERO, "it is alive");
            assert_eq!(lease.granted(at(9000), 2, true), Effect::Confirm, "another process");
        }
    }

    #[test]
    fn a_peer_that_left_and_its_successor_cost_nothing() {
        let mut lease = Lease::new(Duration::ZERO);
        let _ = lease.granted(at(0), 1, true);
        lease.left(at(0));
        assert_eq!(lease.failed(Failure::Refused, at(100), at(100)), Effect::Nothing);
        assert!(lease.is_surely_gone(at(899)));
        lease.withheld();
        assert_eq!(lease.granted(at(9000), 2, true), Effect::Nothing);
        lease.left(at(0));
        assert_eq!(
            lease.granted(at(9000), 3, false),
            Effect::Confirm,
            "it wrote before it knew us"
        );
    }

    #[test]
    fn a_peer_that_wants_another_token_is_alive_and_so_every_read_asks_the_origin() {
        let mut lease = Lease::new(Duration::ZERO);
        for turn in 0..10 {
            assert_eq!(lease.failed(Failure::Denied, at(turn), at(turn)), Effect::Nothing);
        }
        assert_eq!(lease.certain_until(), Duration::ZERO);
        assert!(lease.is_denied() && lease.counts_us(at(99)), "writes do not wait for long");
        lease.promised(at(100), false);
        assert!(!lease.is_denied() && !lease.counts_us(at(101)));
    }

    #[test]
    fn nothing_is_confirmed_for_a_peer_that_never_was() {
        let mut lease = Lease::new(Duration::ZERO);
        assert_eq!(lease.failed(Failure::Refused, at(100), at(100)), Effect::Nothing);
        assert!(lease.is_surely_gone(at(899)));
        assert_eq!(lease.granted(at(0), 1, true), Effect::Nothing);
    }

    #[test]
    fn a_peer_that_was_promised_so_is_not_taken_for_gone_yet() {
        let mut lease = Lease::new(Duration::ZERO);
        let _ = lease.granted(at(0), 1, true);
        assert!(lease.promise(at(100)));
        for ms in (400..1500).step_by(100) {
            assert_eq!(lease.failed(Failure::Silent, at(ms), at(ms)), Effect::Nothing, "at {ms}");
            assert_eq!(lease.certain_until(), at(400), "every read asks the origin");
        }
        assert_eq!(lease.failed(Failure::Silent, at(1500), at(1500)), Effect::Confirm);
        assert!(lease.promise(at(1700)));
        assert_eq!(lease.certain_until(), Duration::ZERO, "it asks: it is alive");
        assert_eq!(
            lease.failed(Failure::Refused, at(1800), at(1800)),
            Effect::Confirm,
            "it has ended"
        );
    }

    #[test]
    fn a_promise_counts_from_the_question_and_until_it_is_not_repeated() {
        let mut lease = Lease::new(Duration::ZERO);
        assert!(!lease.counts_us(at(0)), "nobody promised anything");
        lease.promised(at(100), true);
        assert!(lease.counts_us(at(1499)) && !lease.counts_us(at(1500)));
        lease.promised(at(200), false);
        assert!(!lease.counts_us(at(300)));
    }

    #[test]
    fn a_peer_that_was_gone_before_this_process_stood_still_is_asked_again() {
        for left in [false, true] {
            let mut lease = Lease::new(Duration::ZERO);
            let _ = lease.granted(at(0), 1, true);
            match left {
                true => lease.left(at(100)),
                false => {
                    assert_eq!(lease.failed(Failure::Refused, at(100), at(100)), Effect::Confirm);
                }
            }
            assert_eq!(lease.failed(Failure::Silent, at(400), at(700)), Effect::Nothing);
            assert!(lease.is_surely_gone(at(1199)) && !lease.is_surely_gone(at(9000)));
            // Sent before the pause.
            assert_eq!(lease.failed(Failure::Silent, at(1100), at(9000)), Effect::Nothing);
            assert!(!lease.is_surely_gone(at(9000)));
            for ms in [9001, 9301, 9601] {
                assert_eq!(lease.failed(Failure::Silent, at(ms), at(ms + 300)), Effect::Nothing);
                assert!(!lease.is_surely_gone(at(ms + 300)));
            }
            assert_eq!(lease.failed(Failure::Silent, at(9901), at(10_201)), Effect::Confirm);
            assert!(lease.is_surely_gone(at(10_202)));
        }
    }
}
