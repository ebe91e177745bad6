//! Metrics of hedged requests to the origin, and of the accuracy of the predictions behind them.

use metrics::{Counter, Unit, counter, describe_counter};

use super::recorder::Registered;

const HEDGES: &str = "hotset_origin_hedges_total";
const PREDICTIONS: &str = "hotset_origin_predictions_total";
const EXCEEDED: &str = "hotset_origin_predictions_exceeded_total";
const QUANTILES: [&str; 2] = ["0.5", "0.99"];

label! {
    /// Part of a response that a request waits for.
    Phase {
        /// The response to a HEAD.
        Head = "head",
        /// The head of the response to a GET.
        FirstByte = "first_byte",
        /// The body of such a response.
        Body = "body",
    }
}

label! {
    /// Outcome of a hedge.
    Outcome {
        /// Its response was used.
        Won = "won",
        /// The first request was faster.
        Lost = "lost",
        /// The hedge failed.
        Failed = "failed",
    }
}

struct Handles {
    hedges: [[Counter; Outcome::ALL.len()]; Phase::ALL.len()],
    predictions: [Counter; Phase::ALL.len()],
    exceeded: [[Counter; QUANTILES.len()]; Phase::ALL.len()],
}

static HANDLES: Registered<Handles> = Registered::none();

impl Handles {
    fn new() -> Self {
        let phase = |index: usize| Phase::ALL[index].label();
        let hedges = |index| {
            std::array::from_fn(|outcome| {
                let outcome = Outcome::ALL[outcome].label();
                counter!(HEDGES, "phase" => phase(index), "outcome" => outcome)
            })
        };
        let exceeded = |index| {
            std::array::from_fn(
                |quantile| counter!(EXCEEDED, "phase" => phase(index), "quantile" => QUANTILES[quantile]),
            )
        };
        Self {
            hedges: std::array::from_fn(hedges),
            predictions: std::array::from_fn(
                |index| counter!(PREDICTIONS, "phase" => phase(index)),
            ),
            exceeded: std::array::from_fn(exceeded),
        }
    }
}

/// Describes and registers these metrics with the recorder in scope.
pub(super) fn register() {
    describe();
    HANDLES.keep(Handles::new());
}

fn describe() {
    describe_counter!(
        HEDGES,
        Unit::Count,
        "Requests sent to the origin a second time because the first was late (origin.hedging), by what came of it"
    );
    describe_counter!(
        PREDICTIONS,
        Unit::Count,
        "Answers of the origin whose latency was predicted; copies that lost do not count"
    );
    describe_counter!(
        EXCEEDED,
        Unit::Count,
        "Answers of the origin that took longer than the quantile predicted for them: of an honest prediction half and a hundredth"
    );
}

/// Counts a completed hedge.
pub fn hedged(phase: Phase, outcome: Outcome) {
    if let Some(handles) = HANDLES.get() {
        handles.hedges[phase as usize][outcome as usize].increment(1);
    }
}

/// Counts a response with a predicted latency, and the predicted quantiles that it exceeded.
pub fn predicted(phase: Phase, above_median: bool, above_p99: bool) {
    let Some(handles) = HANDLES.get() else { return };
    handles.predictions[phase as usize].increment(1);
    for (quantile, above) in [above_median, above_p99].into_iter().enumerate() {
        handles.exceeded[phase as usize][quantile].increment(u64::from(above));
    }
}
