//! Bytes fetched ahead of clients' requests, used and wasted.

use metrics::{Counter, Unit, counter, describe_counter};

use super::recorder::Registered;

const BYTES: &str = "hotset_read_ahead_bytes_total";

struct Handles {
    used: Counter,
    wasted: Counter,
}

static HANDLES: Registered<Handles> = Registered::none();

/// Describes and registers these metrics with the recorder in scope.
pub(super) fn register() {
    describe_counter!(
        BYTES,
        Unit::Bytes,
        "Bytes fetched ahead of clients that read an object by several requests (cache.predict_reads), by outcome: used by a read that followed, or wasted because none did for a minute"
    );
    let outcome = |outcome| counter!(BYTES, "outcome" => outcome);
    HANDLES.keep(Handles { used: outcome("used"), wasted: outcome("wasted") });
}

/// Counts bytes that were fetched ahead.
pub fn read_ahead(used: u64, wasted: u64) {
    if let Some(handles) = HANDLES.get() {
        handles.used.increment(used);
        handles.wasted.increment(wasted);
    }
}
