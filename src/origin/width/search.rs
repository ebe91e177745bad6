//! Search for the smallest width at which the origin delivers its full throughput.
//!
//! A trial compares one step with the step before: a wider one must deliver 5 % more in total, and nearly as much over
//! each connection; a narrower one must deliver nearly as much in total. First the width is doubled or halved, then
//! changed by a quarter. When no trial pays any more, the width is kept for a while, for longer each time.

use std::time::Duration;

use tokio::time::Instant;

/// Initial width.
pub(super) const START: usize = 8;
/// Width that throttling leaves: with one request at a time, each refused one would stop its whole read for a backoff.
pub(super) const FLOOR: usize = 2;
/// Factor by which the total must grow for a wider read to pay.
const GROWTH: f64 = 1.05;
/// Share of its throughput that each connection must keep for a wider read to pay.
const KEPT_EACH: f64 = 0.9;
/// Share of the total that must remain for a narrower read to pay.
const KEPT: f64 = 0.95;
/// Relative change in the number of reads beyond which two steps are not compared.
const READERS: f64 = 0.5;
/// Time for which a found width is kept, at first and at most.
const HOLD: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(30));
/// Time for which a throttled width is not tried again.
const CEILING: Duration = Duration::from_secs(30);
/// Time within which refusals count as one, because the requests were sent together.
const REFUSALS: Duration = Duration::from_secs(1);

/// Result of one step.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sample {
    /// Bytes per second, of all transfers together.
    pub(super) rate: f64,
    /// Average number of concurrent transfers.
    pub(super) flight: f64,
}

impl Sample {
    fn each(&self) -> f64 {
        self.rate / self.flight.max(1.0)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trial {
    /// No trial; the width is kept until this time.
    None(Option<Instant>),
    Wider(Pace),
    Narrower(Pace),
}

/// Size of the change of the width in a trial.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pace {
    /// By a factor of two.
    Fast,
    /// By a quarter.
    Slow,
}

#[derive(Debug)]
pub(super) struct Search {
    width: usize,
    most: usize,
    /// The width that trials are compared with, and its sample.
    base: Option<(usize, Sample)>,
    /// Bytes per second that a narrower read must nearly reach: about the maximum since trials began.
    peak: f64,
    trial: Trial,
    hold: Duration,
    throttled: Option<Instant>,
    /// Upper limit of the width after throttling, and the time at which it ends.
    ceiling: Option<(usize, Instant)>,
}

impl Search {
    pub(super) fn new(most: usize) -> Self {
        Self {
            width: START.min(most),
            most,
            base: None,
            peak: 0.0,
            trial: Trial::None(None),
            hold: HOLD.0,
            throttled: None,
            ceiling: None,
        }
    }

    /// Returns the width in force.
    pub(super) fn width(&self) -> usize {
        self.width
    }

    /// Whether the width is limited since the origin throttled.
    pub(super) fn is_throttled(&self, now: Instant) -> bool {
        self.ceiling.is_some_and(|(_, until)| now < until)
    }

    /// Ends the trial after idle time: the width is kept, and measured anew.
    pub(super) fn was_idle(&mut self) {
        if let Some((width, _)) = self.base.take() {
            self.width = width;
        }
        if !matches!(self.trial, Trial::None(_)) {
            self.trial = Trial::None(None);
        }
    }

    /// Records throttling. Returns `false` if the refused request was sent before the last reduction.
    pub(super) fn throttled(&mut self, now: Instant) -> bool {
        if self.throttled.is_some_and(|last| now - last < REFUSALS) {
            return false;
        }
        self.throttled = Some(now);
        let floor = FLOOR.min(self.width);
        self.ceiling = Some(((self.width * 7 / 8).max(floor), now + CEILING));
        self.width = (self.width / 2).max(floor);
        self.base = None;
        self.hold = HOLD.0;
        self.trial = Trial::None(Some(now + self.hold));
        true
    }

    /// Evaluates a step at the width in force, which ended with `sample`.
    pub(super) fn step(&mut self, sample: Sample, now: Instant) {
        let Some((width, base)) = self.base else {
            self.base = Some((self.width, sample));
            if let Trial::None(None) = self.trial {
                self.begin(sample);
            }
            return;
        };
        if self.ceiling.is_some_and(|(_, until)| now >= until) {
            self.ceiling = None;
        }
        if let Trial::None(until) = self.trial {
            let others = has_other_readers((self.width, sample), (width, base));
            self.base = Some((self.width, sample));
            // The best width for many readers differs from that for one.
            if others && self.throttled.is_none() || until.is_none_or(|until| now >= until) {
                self.begin(sample);
            }
            return;
        }
        if has_other_readers((self.width, sample), (width, base)) {
            (self.width, self.base) = (width, None);
            self.trial = Trial::None(Some(now + HOLD.0));
            return;
        }
        let pays = match self.trial {
            Trial::Narrower(_) => sample.rate >= self.peak * KEPT,
            _ => sample.rate >= base.rate * GROWTH && sample.each() >= base.each() * KEPT_EACH,
        };
        if sample.rate > self.peak {
            // Half of the way, since single samples vary by several per cent.
            self.peak = f64::midpoint(self.peak, sample.rate);
        }
        if pays {
            self.base = Some((self.width, sample));
            self.hold = HOLD.0;
        } else {
            self.width = width;
            self.trial = self.next(now);
        }
        self.apply(now);
    }

    /// Begins trials at the width in force.
    fn begin(&mut self, sample: Sample) {
        self.peak = sample.rate;
        // A width that was throttled recently is approached in small steps.
        let pace = if self.throttled.is_some() { Pace::Slow } else { Pace::Fast };
        self.trial = Trial::Wider(pace);
        self.width = self.tried();
        if self.base.is_some_and(|(width, _)| width == self.width) {
            self.trial = Trial::Narrower(Pace::Fast);
            self.width = self.tried();
        }
    }

    /// Returns the trial that follows one which did not pay.
    fn next(&mut self, now: Instant) -> Trial {
        match self.trial {
            Trial::Wider(Pace::Fast) => Trial::Wider(Pace::Slow),
            Trial::Wider(Pace::Slow) => Trial::Narrower(Pace::Fast),
            Trial::Narrower(Pace::Fast) => Trial::Narrower(Pace::Slow),
            Trial::Narrower(Pace::Slow) | Trial::None(_) => {
                let until = now + self.hold;
                self.hold = (self.hold * 2).min(HOLD.1);
                self.throttled = None;
                Trial::None(Some(until))
            }
        }
    }

    /// Puts the width of the trial in force, or that of the next trial which changes it.
    fn apply(&mut self, now: Instant) {
        let from = self.width;
        while !matches!(self.trial, Trial::None(_)) {
            self.width = self.tried();
            if self.width != from {
                return;
            }
            self.trial = self.next(now);
        }
    }

    /// Returns the width of the current trial.
    fn tried(&self) -> usize {
        let (width, quarter) = (self.width, (self.width / 4).max(1));
        let tried = match self.trial {
            Trial::None(_) => width,
            Trial::Wider(Pace::Fast) => width * 2,
            Trial::Wider(Pace::Slow) => width + quarter,
            Trial::Narrower(Pace::Fast) => width / 2,
            Trial::Narrower(Pace::Slow) => width - quarter,
        };
        let most = self.ceiling.map_or(self.most, |(ceiling, _)| ceiling.max(width));
        tried.clamp(1, most)
    }
}

/// Whether the number of readers changed between two steps, which makes them incomparable.
fn has_other_readers(one: (usize, Sample), other: (usize, Sample)) -> bool {
    #[allow(clippy::cast_precision_loss, reason = "small numbers")]
    let readers = |(width, sample): (usize, Sample)| sample.flight / width as f64;
    let ratio = readers(one) / readers(other).max(f64::MIN_POSITIVE);
    !(1.0 - READERS..=1.0 + READERS).contains(&ratio)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(rate: f64, flight: f64) -> Sample {
        Sample { rate, flight }
    }

    #[tokio::test(start_paused = true)]
    async fn a_wider_read_pays_only_if_its_connections_keep_their_throughput() {
        for (rate, pays) in [(200.0, true), (182.0, true), (150.0, false), (102.0, false)] {
            let (mut search, now) = (Search::new(64), Instant::now());
            search.step(sample(100.0, 8.0), now);
            assert_eq!(search.width(), 2 * START, "tried");
            search.step(sample(rate, 16.0), now);
            let base = if pays { 4 * START } else { START + START / 4 };
            assert_eq!(search.width(), base, "{rate}");
        }
    }
}
