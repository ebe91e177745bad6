//! Metrics of the configuration and its reloads.

use std::time::{SystemTime, UNIX_EPOCH};

use metrics::{Counter, Gauge, Unit, counter, describe_counter, describe_gauge, gauge};

use super::recorder::Registered;

const SUCCESSFUL: &str = "hotset_config_last_reload_successful";
const TIMESTAMP: &str = "hotset_config_last_reload_timestamp_seconds";
const RELOADS: &str = "hotset_config_reloads_total";

label! {
    /// Result of reloading the configuration.
    Reload {
        /// The configuration is in force, except for keys that need a restart.
        Success = "success",
        /// The configuration was invalid or unreadable, and the previous one stays in force.
        Failure = "failure",
    }
}

struct Handles {
    successful: Gauge,
    timestamp: Gauge,
    reloads: [Counter; Reload::ALL.len()],
}

static HANDLES: Registered<Handles> = Registered::none();

impl Handles {
    fn new() -> Self {
        let result = |index: usize| counter!(RELOADS, "result" => Reload::ALL[index].label());
        Self {
            successful: gauge!(SUCCESSFUL),
            timestamp: gauge!(TIMESTAMP),
            reloads: std::array::from_fn(result),
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
    describe_gauge!(SUCCESSFUL, Unit::Count, "Whether the last load of the configuration, at the start or later, succeeded: 1 or 0");
    describe_gauge!(TIMESTAMP, Unit::Seconds, "Time at which the configuration in force was loaded, since the Unix epoch");
    describe_counter!(RELOADS, Unit::Count, "Reloads of the configuration, by result");
}

/// Records that a configuration is in force.
pub fn loaded() {
    let Some(handles) = HANDLES.get() else { return };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    handles.successful.set(1.0);
    handles.timestamp.set(now.as_secs_f64());
}

/// Counts a reload.
pub fn reloaded(result: Reload) {
    let Some(handles) = HANDLES.get() else { return };
    handles.reloads[result as usize].increment(1);
    match result {
        Reload::Success => loaded(),
        Reload::Failure => handles.successful.set(0.0),
    }
}
