//! Leases of one peer, and how far they vouch for what is known here: a state machine without a clock or a socket.
//!
//! A lease is asked for, and counts from when the question was sent. While it holds, nothing that the peer invalidates
//! can be missing: the peer lets no write, purge or event go on before this replica has applied it, or the last lease
//! that it granted has run out. A peer that is silent for longer is *gone*: then what is known is confirmed once, and
//! served by its rules from there on.

use std::time::Duration;

/// Duration of a lease.
pub(super) const LEASE: Duration = Duration::from_millis(400);
/// No lease is granted while a message has waited for longer.
pub(super) const PENDING_MAX: Duration = Duration::from_millis(50);
/// Longest wait of a write: by then each lease that could be granted has run out.
pub(super) const WRITE_WAIT: Duration = Duration::from_millis(500);
/// Questions in a row without an answer, each of which was waited for, after which a peer is gone. A replica that was
/// frozen itself waited for one of them at most.
const UNANSWERED: u32 = 3;

const _: () = assert!(LEASE.as_millis() + PENDING_MAX.as_millis() < WRITE_WAIT.as_millis());

/// Why a question was not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// Nobody listens there.
    Refused,
    Silent,
}

/// Consequence for what is known here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(super) enum Effect {
    Nothing,
    /// Something may have been missed: all of it is confirmed once.
    Confirm,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// It has not granted a lease yet, or not since it was gone: every read asks the origin.
    Joining,
    /// So does every read after this.
    Leased { until: Duration },
    /// It is not waited for any more.
    Gone { why: Failure },
    /// It said that it ends, and had nothing more to say.
    Left,
}

/// The lease that one peer grants.
#[derive(Debug)]
pub(super) struct Lease {
    state: State,
    /// The last one of its messages.
    stream: Option<u64>,
    /// Nothing of it was missed so far, whatever it says next.
    intact: bool,
    unanswered: u32,
    lapse_counted: bool,
}

impl Lease {
    pub(super) fn new() -> Self {
        let (state, stream, intact) = (State::Joining, None, true);
        Self { state, stream, intact, unanswered: 0, lapse_counted: true }
    }

    pub(super) fn state(&self) -> State {
        self.state
    }

    pub(super) fn is_gone(&self) -> bool {
        matches!(self.state, State::Gone { .. } | State::Left)
    }

    /// Until when nothing of this peer can be missing; `None`: it is not waited for.
    pub(super) fn certain_until(&self) -> Option<Duration> {
        match self.state {
            State::Joining => Some(Duration::ZERO),
            State::Leased { until } => Some(until),
            State::Gone { .. } | State::Left => None,
        }
    }

    /// The peer granted a lease to a question that was sent at `sent`. All of `stream` was applied here before;
    /// `complete`: it holds all that the peer ever invalidated.
    pub(super) fn granted(&mut self, sent: Duration, stream: u64, complete: bool) -> Effect {
        let unbroken = self.stream == Some(stream) || self.intact && complete;
        self.stream = Some(stream);
        self.intact = false;
        self.unanswered = 0;
        self.lapse_counted = false;
        self.state = State::Leased { until: sent + LEASE };
        if unbroken { Effect::Nothing } else { Effect::Confirm }
    }

    /// The peer is alive, and grants none yet. What it had granted holds.
    pub(super) fn withheld(&mut self) {
        self.unanswered = 0;
        if self.is_gone() {
            self.state = State::Joining;
        }
    }

    /// A question was not answered.
    pub(super) fn failed(&mut self, why: Failure) -> Effect {
        self.unanswered += if why == Failure::Refused { UNANSWERED } else { 1 };
        match self.state {
            State::Left => Effect::Nothing,
            State::Gone { .. } => {
                self.state = State::Gone { why };
                Effect::Nothing
            }
            State::Joining | State::Leased { .. } if self.unanswered < UNANSWERED => {
                Effect::Nothing
            }
            State::Joining | State::Leased { .. } => {
                self.state = State::Gone { why };
                // Where nobody ever answered nobody wrote.
                if self.stream.is_none() && why == Failure::Refused {
                    return Effect::Nothing;
                }
                self.intact = false;
                Effect::Confirm
            }
        }
    }

    /// The peer said that nothing will come of it any more.
    pub(super) fn left(&mut self) {
        self.state = State::Left;
        self.intact = true;
    }

    /// Whether the lease has run out since the last call.
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
        let mut lease = Lease::new();
        assert_eq!(lease.certain_until(), Some(Duration::ZERO), "nobody knows yet");
        assert_eq!(lease.granted(at(100), 1, true), Effect::Nothing);
        assert_eq!(lease.certain_until(), Some(at(500)));
        assert!(!lease.lapsed(at(499)));
        assert!(lease.lapsed(at(500)) && !lease.lapsed(at(501)), "counted once");
    }

    #[test]
    fn a_lease_that_ran_out_and_is_granted_again_on_an_unbroken_stream_costs_nothing() {
        let mut lease = Lease::new();
        let _ = lease.granted(at(0), 1, false);
        assert_eq!(lease.failed(Failure::Silent), Effect::Nothing);
        assert_eq!(lease.granted(at(60_000), 1, false), Effect::Nothing, "it was frozen itself");
    }

    #[test]
    fn a_peer_that_is_gone_is_not_waited_for_and_costs_one_confirmation() {
        for why in [Failure::Silent, Failure::Refused] {
            let mut lease = Lease::new();
            let _ = lease.granted(at(0), 1, true);
            let mut effects = (0..10).map(|_| lease.failed(why));
            assert_eq!(effects.find(|effect| *effect == Effect::Confirm), Some(Effect::Confirm));
            assert!(effects.all(|effect| effect == Effect::Nothing), "once");
            assert_eq!(lease.certain_until(), None);
            lease.withheld();
            assert_eq!(lease.certain_until(), Some(Duration::ZERO), "it is alive");
            assert_eq!(lease.granted(at(9000), 2, true), Effect::Confirm, "another process");
        }
    }

    #[test]
    fn a_peer_that_left_and_its_successor_cost_nothing() {
        let mut lease = Lease::new();
        let _ = lease.granted(at(0), 1, true);
        lease.left();
        assert_eq!(lease.failed(Failure::Refused), Effect::Nothing);
        assert_eq!(lease.certain_until(), None);
        lease.withheld();
        assert_eq!(lease.granted(at(9000), 2, true), Effect::Nothing);
        lease.left();
        assert_eq!(
            lease.granted(at(9000), 3, false),
            Effect::Confirm,
            "it wrote before it knew us"
        );
    }

    #[test]
    fn nothing_is_confirmed_for_a_peer_that_never_was() {
        let mut lease = Lease::new();
        assert_eq!(lease.failed(Failure::Refused), Effect::Nothing);
        assert_eq!(lease.certain_until(), None);
        assert_eq!(lease.granted(at(0), 1, true), Effect::Nothing);
    }
}
