//! The metrics of the identities file.

use metrics::{Counter, Gauge, Unit, counter, describe_counter, describe_gauge, gauge};

use super::recorder::Registered;

const IDENTITIES: &str = "hotset_identities";
const RELOADS: &str = "hotset_identities_reloads_total";

label! {
    /// Outcome of reloading the identities file.
    Reload {
        /// It holds.
        Loaded = "loaded",
        /// It holds, but for identities whose keys for the origin could not be taken.
        Incomplete = "incomplete",
        /// It was wrong or could not be read, and the one before it holds.
        Refused = "refused",
    }
}

struct Handles {
    identities: Gauge,
    reloads: [Counter; Reload::ALL.len()],
}

static HANDLES: Registered<Handles> = Registered::none();

impl Handles {
    fn new() -> Self {
        let outcome = |index: usize| counter!(RELOADS, "outcome" => Reload::ALL[index].label());
        Self { identities: gauge!(IDENTITIES), reloads: std::array::from_fn(outcome) }
    }
}

/// Describes and registers these metrics with the recorder in scope.
pub(super) fn register() {
    describe();
    HANDLES.keep(Handles::new());
}

#[rustfmt::skip] // A table: one line a metric.
fn describe() {
    describe_gauge!(IDENTITIES, Unit::Count, "Identities loaded");
    describe_counter!(RELOADS, Unit::Count, "Reloads of the identities file, by outcome");
}

/// Sets the number of identities that hold.
#[allow(clippy::cast_precision_loss, reason = "exact up to 2^53")]
pub fn set_loaded(identities: usize) {
    if let Some(handles) = HANDLES.get() {
        handles.identities.set(identities as f64);
    }
}

/// Counts a change of the file.
pub fn reloaded(outcome: Reload) {
    if let Some(handles) = HANDLES.get() {
        handles.reloads[outcome as usize].increment(1);
    }
}
