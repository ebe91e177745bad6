//! Measures what the origin sends: bytes a second and transfers under way, in steps of a fraction of a second.

use std::time::Duration;

use tokio::time::Instant;

use super::search::Sample;

/// A step is at least so long,
const STEP: Duration = Duration::from_millis(50);
/// of so many bytes,
const BYTES: u64 = 4 << 20;
/// and no longer than it takes, however late the origin answers.
const LATE: Duration = Duration::from_secs(1);
/// Longer than this no transfer is waited for to end.
const SLOW: Duration = Duration::from_secs(5);
/// After so long without a transfer, what was measured before says nothing of now.
const IDLE: Duration = Duration::from_secs(1);
/// The part that one transfer has in the means.
const PART: f64 = 0.1;

/// The transfers of one origin. Only time in which one is under way counts.
#[derive(Debug)]
pub(super) struct Meter {
    under_way: u32,
    /// Until when it is accounted for.
    at: Instant,
    step: Step,
    was_idle: bool,
    /// Usual time to the head of an answer.
    first_byte: Option<Duration>,
    /// Usual time from a request to the last byte.
    transfer: Option<Duration>,
}

#[derive(Debug, Default)]
struct Step {
    /// Time until the width in force shows.
    settling: Duration,
    busy: Duration,
    bytes: u64,
    /// Seconds, summed over the transfers.
    flight: f64,
    held_back: bool,
}

impl Step {
    /// It begins with the first answer.
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
            transfer: None,
        }
    }

    /// Begins a step. `narrower`: transfers have to end before the width in force shows.
    pub(super) fn restart(&mut self, now: Instant, narrower: bool) {
        self.advance(now);
        let settling = match narrower {
            true => self.transfer.unwrap_or_default(),
            false => self.first_byte.unwrap_or_default().mul_f64(1.5),
        };
        self.step = Step { settling: settling.min(SLOW), ..Step::default() };
    }

    /// A read would have more ranges under way if it might.
    pub(super) fn held_back(&mut self) {
        self.step.held_back = true;
    }

    pub(super) fn begins(&mut self, now: Instant) {
        if self.under_way == 0 && now - self.at > IDLE {
            self.was_idle = true;
            self.step = Step::UNANSWERED;
        }
        self.advance(now);
        self.under_way += 1;
    }

    pub(super) fn ends(&mut self, now: Instant, elapsed: Duration) {
        self.advance(now);
        self.under_way -= 1;
        blend(&mut self.transfer, elapsed);
    }

    pub(super) fn answered(&mut self, elapsed: Duration) {
        blend(&mut self.first_byte, elapsed);
        if self.step.settling == Duration::MAX {
            // Those that were sent with it are answered soon.
            self.step.settling = elapsed.min(LATE) / 2;
        }
    }

    /// Whether nothing was under way for long; once.
    pub(super) fn was_idle(&mut self) -> bool {
        std::mem::take(&mut self.was_idle)
    }

    /// Counts what has come. A sample when a step has ended in which some read was held back by the width: the others
    /// say nothing of it.
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

fn blend(mean: &mut Option<Duration>, elapsed: Duration) {
    let known = mean.unwrap_or(elapsed);
    *mean = Some(known.mul_f64(1.0 - PART) + elapsed.mul_f64(PART));
}
