//! Limits of the configuration, with their current and their peak use.

use std::sync::atomic::{AtomicU64, Ordering};

use metrics::{Gauge, Unit, describe_gauge, gauge};

use super::recorder::Registered;

const LIMIT: &str = "hotset_limit";
const USED: &str = "hotset_limit_used";
const PEAK: &str = "hotset_limit_peak";

label! {
    /// A limit, by its key in the configuration.
    Limit {
        Connections = "limits.connections",
        Requests = "limits.requests",
        /// In bytes.
        InFlight = "cache.in_flight",
    }
}

struct Handles([OfLimit; Limit::ALL.len()]);

struct OfLimit {
    limit: Gauge,
    used: Gauge,
    peak: Gauge,
    most: AtomicU64,
}

static HANDLES: Registered<Handles> = Registered::none();

impl Handles {
    fn new() -> Self {
        let of = |index: usize| {
            let key = Limit::ALL[index].label();
            let [limit, used, peak] = [LIMIT, USED, PEAK].map(|name| gauge!(name, "limit" => key));
            OfLimit { limit, used, peak, most: AtomicU64::new(0) }
        };
        Self(std::array::from_fn(of))
    }
}

/// Describes and registers these metrics with the recorder in scope.
pub(super) fn register() {
    describe_gauge!(
        LIMIT,
        Unit::Count,
        "Limits, by configuration key; cache.in_flight is in bytes"
    );
    describe_gauge!(USED, Unit::Count, "Current use of each limit");
    describe_gauge!(
        PEAK,
        Unit::Count,
        "Peak use of each limit since the start, sampled every second"
    );
    HANDLES.keep(Handles::new());
}

/// Sets the current use of a limit.
#[allow(clippy::cast_precision_loss, reason = "exact up to 2^53")]
pub fn set(limit: Limit, used: u64, most: u64) {
    let Some(handles) = HANDLES.get() else { return };
    let of = &handles.0[limit as usize];
    of.limit.set(most as f64);
    of.used.set(used as f64);
    of.peak.set(of.most.fetch_max(used, Ordering::Relaxed).max(used) as f64);
}

/// Returns the peak use of a limit.
pub fn peak(limit: Limit) -> u64 {
    HANDLES.get().map_or(0, |handles| handles.0[limit as usize].most.load(Ordering::Relaxed))
}
