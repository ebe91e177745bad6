//! Limits of the configuration, with their current and peak use.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use metrics::{
    Counter, Gauge, Unit, counter, describe_counter, describe_gauge, gauge, with_local_recorder,
};

use super::recorder::{Registered, recorder};

const LIMIT: &str = "hotset_limit";
const USED: &str = "hotset_limit_used";
const PEAK: &str = "hotset_limit_peak";
const DELAYED: &str = "hotset_limit_delayed_bytes_total";

label! {
    /// A limit, by its key in the configuration.
    Limit {
        Connections = "limits.connections",
        Requests = "limits.requests",
        /// In bytes.
        InFlight = "cache.in_flight",
        IdentityRequestRate = "limits.per_identity.requests_per_second",
        IdentityByteRate = "limits.per_identity.bytes_per_second",
        IdentityRequests = "limits.per_identity.requests",
        AddressRequestRate = "limits.per_address.requests_per_second",
        AddressByteRate = "limits.per_address.bytes_per_second",
        AddressRequests = "limits.per_address.requests",
    }
}

/// Limits that are always in force.
const ALWAYS: [Limit; 3] = [Limit::Connections, Limit::Requests, Limit::InFlight];

/// Series by limit; `None`: never configured.
struct Handles([OnceLock<OfLimit>; Limit::ALL.len()]);

struct OfLimit {
    limit: Gauge,
    used: Gauge,
    peak: Gauge,
    most: AtomicU64,
    /// Delayed bytes, for limits that delay them.
    delayed: Option<Counter>,
}

static HANDLES: Registered<Handles> = Registered::none();

impl Handles {
    fn new() -> Self {
        let handles = Self([const { OnceLock::new() }; Limit::ALL.len()]);
        for limit in ALWAYS {
            handles.0[limit as usize].get_or_init(|| OfLimit::new(limit));
        }
        handles
    }
}

impl OfLimit {
    /// Registers the series with the recorder in scope.
    fn new(of: Limit) -> Self {
        let key = of.label();
        let [limit, used, peak] = [LIMIT, USED, PEAK].map(|name| gauge!(name, "limit" => key));
        let delays = matches!(of, Limit::IdentityByteRate | Limit::AddressByteRate);
        let delayed = delays.then(|| counter!(DELAYED, "limit" => key));
        Self { limit, used, peak, most: AtomicU64::new(0), delayed }
    }
}

/// Describes and registers these metrics with the recorder in scope.
pub(super) fn register() {
    describe_gauge!(
        LIMIT,
        Unit::Count,
        "Limits, by configuration key; in bytes where the key says so, and for cache.in_flight"
    );
    describe_gauge!(
        USED,
        Unit::Count,
        "Current use of each limit; of those per client, by the client that uses most"
    );
    describe_gauge!(
        PEAK,
        Unit::Count,
        "Peak use of each limit since the start, sampled every second"
    );
    describe_counter!(
        DELAYED,
        Unit::Bytes,
        "Body bytes that waited for a limit of bytes a second, by limit"
    );
    HANDLES.keep(Handles::new());
}

/// Returns the series of a limit, which are registered on first use.
fn handles_of(limit: Limit) -> Option<&'static OfLimit> {
    let (handles, recorder) = (HANDLES.get()?, recorder()?);
    let register = || with_local_recorder(recorder, || OfLimit::new(limit));
    Some(handles.0[limit as usize].get_or_init(register))
}

/// Sets the current use of a limit.
#[allow(clippy::cast_precision_loss, reason = "exact up to 2^53")]
pub fn set(limit: Limit, used: u64, most: u64) {
    let Some(of) = handles_of(limit) else { return };
    of.limit.set(most as f64);
    of.used.set(used as f64);
    of.peak.set(of.most.fetch_max(used, Ordering::Relaxed).max(used) as f64);
}

/// Counts body bytes delayed by a limit.
pub fn delayed(limit: Limit, bytes: u64) {
    if let Some(delayed) = handles_of(limit).and_then(|of| of.delayed.as_ref()) {
        delayed.increment(bytes);
    }
}

/// Returns the peak use of a limit.
pub fn peak(limit: Limit) -> u64 {
    let of = HANDLES.get().and_then(|handles| handles.0[limit as usize].get());
    of.map_or(0, |of| of.most.load(Ordering::Relaxed))
}
