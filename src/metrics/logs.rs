//! Metrics of the logs that are written for each request.

use std::sync::OnceLock;

use metrics::{Counter, Unit, counter, describe_counter, with_local_recorder};

use super::recorder::{Registered, recorder};

const DROPPED: &str = "hotset_log_lines_dropped_total";

label! {
    /// A log with a line for each request.
    Log {
        /// The access log.
        Access = "access",
        /// The audit log.
        Audit = "audit",
    }
}

struct Handles {
    /// Counters, registered with the log.
    dropped: [OnceLock<Counter>; Log::ALL.len()],
}

static HANDLES: Registered<Handles> = Registered::none();

/// Describes and registers these metrics with the recorder in scope.
pub(super) fn register() {
    describe_counter!(
        DROPPED,
        Unit::Count,
        "Lines that were not written, by log: its reader or its disk is too slow, or is gone"
    );
    HANDLES.keep(Handles { dropped: [const { OnceLock::new() }; Log::ALL.len()] });
}

/// Counts dropped lines; zero registers the series.
pub fn dropped(log: Log, lines: u64) {
    let (Some(handles), Some(recorder)) = (HANDLES.get(), recorder()) else { return };
    handles.dropped[log as usize]
        .get_or_init(|| with_local_recorder(recorder, || counter!(DROPPED, "log" => log.label())))
        .increment(lines);
}
