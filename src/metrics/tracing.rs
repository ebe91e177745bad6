//! Metrics of traces.

use std::sync::OnceLock;

use metrics::{Counter, Unit, counter, describe_counter, with_local_recorder};

use super::recorder::{Registered, recorder};

const SPANS: &str = "hotset_trace_spans_total";

label! {
    /// The outcome of a span.
    Outcome {
        /// Accepted by the collector.
        Sent = "sent",
        /// Dropped, because the queue was full.
        Dropped = "dropped",
        /// Not accepted by the collector.
        Failed = "failed",
    }
}

struct Handles {
    /// Counters, registered when tracing is set up.
    spans: [OnceLock<Counter>; Outcome::ALL.len()],
}

static HANDLES: Registered<Handles> = Registered::none();

/// Describes these metrics with the recorder in scope.
pub(super) fn register() {
    describe_counter!(
        SPANS,
        Unit::Count,
        "Spans of traces (tracing.endpoint), by outcome: sent, dropped (the queue was full), failed (the collector did not take them)"
    );
    HANDLES.keep(Handles { spans: [const { OnceLock::new() }; Outcome::ALL.len()] });
}

/// Counts spans; zero registers the series.
pub fn spans(outcome: Outcome, count: u64) {
    let (Some(handles), Some(recorder)) = (HANDLES.get(), recorder()) else { return };
    let register = || counter!(SPANS, "outcome" => outcome.label());
    handles.spans[outcome as usize]
        .get_or_init(|| with_local_recorder(recorder, register))
        .increment(count);
}
