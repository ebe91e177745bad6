//! Measures the origin's throughput: bytes per second and concurrent transfers, in steps of a fraction of a second.

use std::time::Duration;

use tokio::time::Instant;

use super::range_size;
use super::search::Sample;

/// Minimum length of a step.
const STEP: Duration = Duration::from_millis(50);
/// Minimum bytes of a step.
const BYTES: u64 = 4 << 20;
/// Upper bound of the usual time to the response head, in computing the length of a step.
const LATE: Duration = Duration::from_secs(1);
/// Maximum time for which a step waits until older transfers end.
const SLOW: Duration = Duration::from_secs(5);
/// Time without transfers after which earlier measurements are void.
const IDLE: Duration = Duration::from_secs(1);
/// Weight of one transfer in the means.
const PART: f64 = 0.1;

/// Measurement of the transfers of one origin. Only time with transfers under way counts.
#[derive(Debug)]
pub(super) struct Meter {
    under_way: u32,
    /// Number of steps begun.
    begun: u64,
    /// Transfers under way that began before the step, while they matter.
    older: u32,
    /// Time up to which the transfers are accounted for.
    at: Instant,
    step: Step,
    was_idle: bool,
    /// Usual time to the response head.
    first_byte: Option<Duration>,
    /// Usual time that a byte of a body takes, in seconds.
    pace: Option<f64>,
}

#[derive(Debug, Default)]
struct Step {
    /// Time until the width in force takes effect.
    settling: Duration,
    busy: Duration,
    bytes: u64,
    /// Transfer time in seconds, summed over all transfers.
    flight: f64,
    held_back: bool,
}

impl Step {
    /// A step that begins with the first answer.
    const UNANSWERED: Self = Self {
        settling: Duration::MAX,
        busy: Duration::ZERO,
        bytes: 0,
        flight: 0.0,
        held_back: false,
    };
}

impl Meter {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            under_way: 0,
            at: now,
            step: Step::UNANSWERED,
            was_idle: false,
            first_byte: None,
            begun: 0,
            older: 0,
            pace: None,
        }
    }

    /// Begins a step. `narrower`: older transfers must end before the width in force takes effect.
    pub(super) fn restart(&mut self, now: Instant, narrower: bool) {
        self.advance(now);
        self.begun += 1;
        self.older = if narrower { self.under_way } else { 0 };
        let settling = match narrower {
            true if self.older > 0 => SLOW,
            true => Duration::ZERO,
            false => self.first_byte.unwrap_or_default().mul_f64(1.5).min(SLOW),
        };
        self.step = Step { settling, ..Step::default() };
    }

    /// Records that a read was held back by the width.
    pub(super) fn held_back(&mut self) {
        self.step.held_back = true;
    }

    /// Counts a transfer that begins. Returns the number of the step.
    pub(super) fn begins(&mut self, now: Instant) -> u64 {
        if self.under_way == 0 && now - self.at > IDLE {
            self.was_idle = true;
            (self.step, self.older) = (Step::UNANSWERED, 0);
        }
        self.advance(now);
        self.under_way += 1;
        self.begun
    }

    /// Counts a transfer that ends; `step`: in which it began.
    pub(super) fn ends(&mut self, now: Instant, step: u64) {
        self.advance(now);
        self.under_way -= 1;
        if self.older > 0 && step < self.begun {
            self.older -= 1;
            if self.older <= self.under_way / 8 {
                (self.older, self.step.settling) = (0, Duration::ZERO);
            }
        }
    }

    pub(super) fn answered(&mut self, elapsed: Duration) {
        let known = self.first_byte.unwrap_or(elapsed);
        self.first_byte = Some(known.mul_f64(1.0 - PART) + elapsed.mul_f64(PART));
        if self.step.settling == Duration::MAX {
            // Requests sent together are answered soon after.
            self.step.settling = elapsed.min(LATE) / 2;
        }
    }

    /// Records that a whole body of `bytes` bytes took `elapsed`.
    pub(super) fn transferred(&mut self, bytes: u64, elapsed: Duration) {
        #[allow(clippy::cast_precision_loss, reason = "far below 2^52 bytes")]
        let pace = elapsed.as_secs_f64() / bytes as f64;
        let known = self.pace.unwrap_or(pace);
        self.pace = Some(known * (1.0 - PART) + pace * PART);
    }

    /// Returns the bytes that a connection brings in the time to a response head; 0: unknown, or too few to matter.
    pub(super) fn worth(&self) -> u64 {
        let (Some(first_byte), Some(pace)) = (self.first_byte, self.pace) else { return 0 };
        range_size::worth(first_byte, 1.0 / pace)
    }

    /// Returns and clears whether no transfer was under way for long.
    pub(super) fn was_idle(&mut self) -> bool {
        std::mem::take(&mut self.was_idle)
    }

    /// Counts bytes that arrived. Returns a sample when a step ends in which a read was held back by the width; other
    /// steps do not measure it.
    pub(super) fn received(&mut self, bytes: u64, now: Instant) -> Option<Sample> {
        self.advance(now);
        if !self.step.settling.is_zero() {
            return None;
        }
        self.step.bytes += bytes;
        let least = STEP.max(self.first_byte.unwrap_or_default().min(LATE) * 2);
        if self.step.busy < least || self.step.bytes < BYTES {
            return None;
        }
        let Step { busy, bytes, flight, held_back, .. } = std::mem::take(&mut self.step);
        let seconds = busy.as_secs_f64();
        #[allow(clippy::cast_precision_loss, reason = "far below 2^52 bytes")]
        let rate = bytes as f64 / seconds;
        held_back.then_some(Sample { rate, flight: flight / seconds })
    }

    fn advance(&mut self, now: Instant) {
        let elapsed = now - self.at;
        self.at = now;
        if self.under_way == 0 {
            return;
        }
        let step = &mut self.step;
        if !step.settling.is_zero() {
            if step.settling < Duration::MAX {
                step.settling = step.settling.saturating_sub(elapsed);
            }
            return;
        }
        step.busy += elapsed;
        step.flight += elapsed.as_secs_f64() * f64::from(self.under_way);
    }
}
