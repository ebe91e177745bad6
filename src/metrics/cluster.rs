//! Metrics of invalidations between replicas.

use std::time::Duration;

use metrics::{
    Counter, Gauge, Histogram, Unit, counter, describe_counter, describe_gauge, describe_histogram,
    gauge, histogram,
};

use super::recorder::Registered;

const PEERS: &str = "hotset_peers";
const INVALIDATIONS: &str = "hotset_peer_invalidations_total";
pub(super) const SECONDS: &str = "hotset_peer_invalidation_seconds";
const LAPSES: &str = "hotset_peer_lapses_total";

label! {
    /// State of another replica.
    State {
        /// Its lease is valid: none of its invalidations can be missing here.
        Live = "live",
        /// Its lease is not valid: every read is validated.
        Waiting = "waiting",
        /// The replica is not waited for.
        Gone = "gone",
    }
}

label! {
    /// Outcome of an invalidation sent to another replica.
    Delivered {
        /// Applied by the replica.
        Applied = "applied",
        /// The replica was unreachable: it validates its entries before it uses them.
        Unreachable = "unreachable",
        /// Not acknowledged in time; its lease has expired.
        Late = "late",
    }
}

/// Other replicas by state.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counts {
    pub live: u32,
    pub waiting: u32,
    pub gone: u32,
}

struct Handles {
    peers: [Gauge; State::ALL.len()],
    invalidations: [Counter; Delivered::ALL.len()],
    seconds: Histogram,
    lapses: Counter,
}

static HANDLES: Registered<Handles> = Registered::none();

impl Handles {
    fn new() -> Self {
        let peers = |index: usize| gauge!(PEERS, "state" => State::ALL[index].label());
        let sent =
            |index: usize| counter!(INVALIDATIONS, "result" => Delivered::ALL[index].label());
        Self {
            peers: std::array::from_fn(peers),
            invalidations: std::array::from_fn(sent),
            seconds: histogram!(SECONDS),
            lapses: counter!(LAPSES),
        }
    }
}

/// Describes and registers these metrics with the recorder in scope.
pub(super) fn register() {
    describe();
    HANDLES.keep(Handles::new());
}

#[rustfmt::skip] // A table: one line a metric.
fn describe() {
    describe_gauge!(PEERS, Unit::Count, "Other replicas (cluster.peers), by lease state");
    describe_counter!(INVALIDATIONS, Unit::Count, "Invalidations sent to other replicas, by outcome");
    describe_histogram!(SECONDS, Unit::Seconds, "Time until all other replicas applied an invalidation or the wait timed out");
    describe_counter!(LAPSES, Unit::Count, "Expired leases of other replicas; until the next lease every read asks the origin");
}

/// Sets the number of other replicas.
pub fn set_peers(counts: Counts) {
    if let Some(handles) = HANDLES.get() {
        let counts = [counts.live, counts.waiting, counts.gone];
        for (gauge, count) in handles.peers.iter().zip(counts) {
            gauge.set(f64::from(count));
        }
    }
}

/// Counts an invalidation for one replica.
pub fn delivered(result: Delivered) {
    if let Some(handles) = HANDLES.get() {
        handles.invalidations[result as usize].increment(1);
    }
}

/// Records the time to deliver an invalidation to all replicas.
pub fn took(time: Duration) {
    if let Some(handles) = HANDLES.get() {
        handles.seconds.record(time);
    }
}

/// Counts an expired lease.
pub fn lapsed() {
    if let Some(handles) = HANDLES.get() {
        handles.lapses.increment(1);
    }
}
