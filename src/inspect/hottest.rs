//! The hottest objects, prefixes, identities and addresses by recent requests, in bounded memory.
//!
//! Weights halve every [`HALF_LIFE`], so that a list shows what is hot now. Names are counted in sketches of
//! [`COUNTERS`] counters each (see [`super::space_saving`]). Beyond [`SAMPLES`] requests per second, one of N is
//! counted, with N times its weight; a request of many bytes is counted more often, with less. Counting never waits: a
//! request that ends while another thread counts is left out.

use std::fmt::Display;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde::Serialize;

use super::names;
use super::space_saving::SpaceSaving;

/// Half-life of weights.
pub const HALF_LIFE: Duration = Duration::from_secs(30);
/// Counters per sketch: each name with more than 1/256 of the total is listed, and no number is too large by more than
/// that.
pub(super) const COUNTERS: usize = 256;
/// Approximate number of requests counted per second.
const SAMPLES: f64 = 500.0;
/// Binary logarithm of the bytes that double the chance that a request is counted.
const BYTES_SHIFT: u32 = 16;
/// Half-lives after which weights are scaled down, long before a number overflows.
const RESCALE: f64 = 64.0;
/// Minimum weight of a listed name: that of one request more than three minutes ago.
const LEAST: f64 = 0.01;

/// Defines an enum of choices, in the order in which they are shown.
macro_rules! choice {
    ($(#[$doc:meta])* $name:ident { $($(#[$member_doc:meta])* $member:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name { $($(#[$member_doc])* $member,)+ }

        impl $name {
            /// All values.
            pub const ALL: [Self; [$(Self::$member),+].len()] = [$(Self::$member),+];

            /// Returns the name of the value.
            #[must_use]
            pub const fn label(self) -> &'static str {
                match self { $(Self::$member => $text,)+ }
            }
        }
    };
}

choice! {
    /// The kind of name that is listed.
    Kind {
        Objects = "objects",
        /// Folders of the first four levels, the bucket being the first; each request counts for all of its folders.
        Prefixes = "prefixes",
        Identities = "identities",
        /// Addresses of clients, without their ports.
        Addresses = "addresses",
    }
}

choice! {
    /// The amount that names are listed by.
    By {
        Requests = "requests",
        /// Bytes of response bodies sent.
        Bytes = "bytes",
        /// Reads that were not answered from the cache alone.
        Misses = "misses",
        /// Requests with a 4xx or 5xx response, or without one.
        Errors = "errors",
    }
}

/// A finished request, to be counted.
#[derive(Clone, Copy, Default)]
pub struct Counted<'a> {
    /// A number unique in the process and spread evenly over all of `u64`, which decides about sampling.
    pub id: u64,
    pub bucket: Option<&'a str>,
    pub key: Option<&'a str>,
    pub identity: Option<&'a str>,
    /// Client address, with or without a port; `None`: it has none.
    pub address: Option<&'a dyn Display>,
    pub bytes: u64,
    pub is_miss: bool,
    pub is_error: bool,
}

impl Counted<'_> {
    #[allow(clippy::cast_precision_loss, reason = "exact up to 2^53")]
    fn amount(&self, by: By) -> f64 {
        match by {
            By::Requests => 1.0,
            By::Bytes => self.bytes as f64,
            By::Misses => f64::from(u8::from(self.is_miss)),
            By::Errors => f64::from(u8::from(self.is_error)),
        }
    }
}

/// Counts requests by name, one per server.
pub struct Hottest {
    /// Maximum id of requests that are counted.
    threshold: AtomicU64,
    counts: Mutex<Counts>,
}

struct Counts {
    /// Columns by kind and amount.
    columns: Vec<Vec<Column>>,
    started: Instant,
    /// Time at which a weight of one is stored as one.
    landmark: Instant,
    pace: Pace,
    /// Buffer for the name that is being counted.
    name: String,
}

/// The names of a kind by an amount.
struct Column {
    sketch: SpaceSaving,
    /// The total of all requests; a prefix counts in it once, but in the sketch at each level.
    all: f64,
}

/// Number of requests counted since a moment.
struct Pace {
    since: Instant,
    counted: f64,
}

/// The hottest names of a kind.
#[derive(Debug, Serialize)]
pub struct Top {
    pub of: &'static str,
    pub by: &'static str,
    pub half_life_seconds: u64,
    /// Sampling: one of this many requests is counted.
    pub sampled_one_in: u64,
    /// The total per second.
    pub per_second: f64,
    /// Each name with more than this share of the total is listed, and no number is too large by more than it.
    pub error_share: f64,
    pub entries: Vec<TopEntry>,
}

/// One name.
#[derive(Debug, Serialize)]
pub struct TopEntry {
    pub name: String,
    pub per_second: f64,
    /// Share of the total, 0 to 1.
    pub share: f64,
    /// Maximum by which `per_second` may be too large.
    pub error_per_second: f64,
}

impl Default for Hottest {
    fn default() -> Self {
        Self::starting(Instant::now())
    }
}

impl Hottest {
    fn starting(now: Instant) -> Self {
        let column = |_| Column { sketch: SpaceSaving::new(COUNTERS), all: 0.0 };
        let of_kind = || By::ALL.iter().map(column).collect();
        let counts = Counts {
            columns: Kind::ALL.iter().map(|_| of_kind()).collect(),
            started: now,
            landmark: now,
            pace: Pace { since: now, counted: 0.0 },
            name: String::new(),
        };
        Self { threshold: AtomicU64::new(u64::MAX), counts: Mutex::new(counts) }
    }

    /// Counts a finished request, or samples it.
    pub fn count(&self, request: &Counted<'_>) {
        let threshold = self.threshold(request.bytes);
        if request.id <= threshold {
            self.count_sampled(request, threshold, Instant::now());
        }
    }

    fn threshold(&self, bytes: u64) -> u64 {
        self.threshold.load(Ordering::Relaxed).saturating_mul((bytes >> BYTES_SHIFT) + 1)
    }

    #[cold]
    #[allow(clippy::cast_precision_loss, reason = "a weight needs no more")]
    fn count_sampled(&self, request: &Counted<'_>, threshold: u64, now: Instant) {
        let Some(mut counts) = self.counts.try_lock() else { return };
        let counts = &mut *counts;
        if let Some(factor) = counts.pace.counted(now) {
            let threshold = self.threshold.load(Ordering::Relaxed) as f64;
            self.threshold.store(saturating(threshold * factor), Ordering::Relaxed);
        }
        let weight = counts.decay(now) * (u64::MAX as f64 / threshold as f64).max(1.0);
        counts.add(request, weight);
    }

    /// Returns the hottest names of a kind, at most `most`.
    pub fn top(&self, of: Kind, by: By, most: usize) -> Top {
        self.top_at(of, by, most, Instant::now())
    }

    #[allow(clippy::cast_precision_loss, reason = "a share needs no more")]
    fn top_at(&self, of: Kind, by: By, most: usize, now: Instant) -> Top {
        let mut counts = self.counts.lock();
        let now_weighs = counts.decay(now);
        let age = now.duration_since(counts.started).max(Duration::from_secs(1));
        let scale = per_second(age) / now_weighs;
        let Column { sketch, all } = &counts.columns[of as usize][by as usize];
        let (all, bound) = (*all, sketch.total() / COUNTERS as f64);
        let mut entries = sketch.heaviest(most);
        drop(counts);
        entries.retain(|counter| counter.weight >= LEAST * now_weighs);
        let share = |weight: f64| if all > 0.0 { weight / all } else { 0.0 };
        let entries = entries.into_iter().map(|counter| TopEntry {
            name: counter.name.to_string(),
            per_second: counter.weight * scale,
            share: share(counter.weight),
            error_per_second: counter.error * scale,
        });
        Top {
            of: of.label(),
            by: by.label(),
            half_life_seconds: HALF_LIFE.as_secs(),
            sampled_one_in: u64::MAX / self.threshold(0),
            per_second: all * scale,
            error_share: share(bound),
            entries: entries.collect(),
        }
    }
}

/// Returns the factor from weights to amounts per second, after counting for `age`.
fn per_second(age: Duration) -> f64 {
    let half_lives = age.as_secs_f64() / HALF_LIFE.as_secs_f64();
    let seen = 1.0 - (-half_lives).exp2();
    std::f64::consts::LN_2 / HALF_LIFE.as_secs_f64() / seen
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
fn saturating(threshold: f64) -> u64 {
    (threshold as u64).max(1)
}

impl Pace {
    /// Counts one request; returns the factor by which to change the sampling probability, if any.
    fn counted(&mut self, now: Instant) -> Option<f64> {
        self.counted += 1.0;
        let elapsed = now.duration_since(self.since).as_secs_f64();
        if elapsed < 1.0 && self.counted < SAMPLES {
            return None;
        }
        // A burst is thinned out step by step, so that one moment does not decide.
        let factor = SAMPLES * elapsed / self.counted;
        *self = Self { since: now, counted: 0.0 };
        Some(factor.max(0.5))
    }
}

impl Counts {
    /// Returns the weight of one request now.
    fn decay(&mut self, now: Instant) -> f64 {
        let since = now.duration_since(self.landmark).as_secs_f64() / HALF_LIFE.as_secs_f64();
        if since < RESCALE {
            return since.exp2();
        }
        let factor = (-since).exp2();
        for column in self.columns.iter_mut().flatten() {
            column.sketch.scale(factor);
            column.all *= factor;
        }
        self.landmark = now;
        1.0
    }

    fn add(&mut self, request: &Counted<'_>, weight: f64) {
        let Self { columns, name, .. } = self;
        let mut add = |kind: Kind, names: &mut dyn Iterator<Item = &str>| {
            let amounts = By::ALL.map(|by| request.amount(by) * weight);
            let mut is_first = true;
            for name in names {
                for (column, amount) in columns[kind as usize].iter_mut().zip(amounts) {
                    if amount > 0.0 {
                        column.sketch.add(name, amount);
                        column.all += if is_first { amount } else { 0.0 };
                    }
                }
                is_first = false;
            }
        };
        if let Some(bucket) = request.bucket {
            names::object(name, bucket, request.key.unwrap_or_default());
            add(Kind::Prefixes, &mut names::prefixes(name));
            if request.key.is_some() {
                add(Kind::Objects, &mut std::iter::once(name.as_str()));
            }
        }
        if let Some(identity) = request.identity {
            add(Kind::Identities, &mut std::iter::once(identity));
        }
        if let Some(client) = request.address {
            names::address(name, client);
            add(Kind::Addresses, &mut std::iter::once(name.as_str()));
        }
    }
}

#[cfg(test)]
mod tests;
