//! Metrics of the identities file.

use metrics::{Counter, Gauge, Unit, counter, describe_counter, describe_gauge, gauge};

use super::recorder::Registered;

const IDENTITIES: &str = "hotset_identities";
const RELOADS: &str = "hotset_identities_reloads_total";

label! {
    /// Outcome of reloading the identities file.
    Reload {
        /// The file is in force.
        Loaded = "loaded",
        /// The file is in force, except for identities whose origin keys could not be used.
        Incomplete = "incomplete",
        /// The file was invalid or unreadable, and the previous one stays in force.
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

/// Sets the number of identities in force.
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
