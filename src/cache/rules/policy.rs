//! Freshness policy of one read.

use std::time::Duration;

use crate::cache::config::Freshness;
use crate::cache::metadata::clock::Moment;
use crate::cache::metadata::store::Entry;
use crate::config::units::SampleRate;
use crate::metrics::traffic::Traffic;
use crate::origin::{Asked, Class};
use crate::s3::ObjectMeta;

/// Time for which an object is remembered as uncacheable after the last response that said so, since finding it out
/// again costs a second request. Each response that streams through meanwhile is reconsidered.
pub(in crate::cache) const UNCACHEABLE: Duration = Duration::from_hours(1);

/// A rule, and what the client demands, as one read sees them.
#[derive(Debug, Clone, Copy)]
pub struct Policy {
    /// Counters of the rule.
    pub rule: Option<&'static Traffic>,
    /// Freshness lifetime of metadata; `None`: unlimited.
    pub ttl: Option<Duration>,
    /// Longer freshness lifetime while events are proven to arrive (R26).
    pub(in crate::cache) trusted: Option<Trusted>,
    /// Whether to revalidate before every response: `revalidate`, or the client's `no-cache` (R7).
    pub demand: bool,
    /// Whether metadata that is older than its ttl may be served (R14).
    pub(in crate::cache) stale: Staleness,
    /// Freshness lifetime of an absence (R12).
    pub negative: Duration,
    /// Whether `no-store` and `private` objects are not cached (R13).
    pub obey_no_store: bool,
    /// Whether `no-cache` and `max-age=0` objects are revalidated before each response (R13).
    pub(in crate::cache) obey_no_cache: bool,
    /// Moment from which the rule has held for this object; `None`: since the start.
    pub(in crate::cache) in_force: Option<Moment>,
    pub(in crate::cache) fetching: Fetching,
    /// Share of hits that is compared with the origin.
    pub(in crate::cache) verify_hits: SampleRate,
}

/// Parameters of the fetches of a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cache) struct Fetching {
    /// Whether bytes are compared with the checksums that the origin announces.
    pub verify_checksums: bool,
    /// Whether no client waits for the bytes.
    pub is_background: bool,
}

impl Default for Fetching {
    fn default() -> Self {
        Self { verify_checksums: true, is_background: false }
    }
}

impl Fetching {
    /// Returns the priority class of a read that fetches `bytes`.
    pub(in crate::cache) fn class(self, bytes: u64) -> Class {
        if self.is_background { Class::Background } else { Class::of_read(bytes) }
    }

    /// Returns the priority class of read-ahead.
    pub(in crate::cache) fn class_ahead(self) -> Class {
        if self.is_background { Class::Background } else { Class::ReadAhead }
    }

    /// Returns the priority class of the first request of a read.
    pub(in crate::cache) fn class_of(self, asked: &Asked) -> Class {
        self.class(match asked {
            Asked::Range(range) => range.end - range.start,
            Asked::Whole(bytes) | Asked::Suffix(bytes) => *bytes,
            Asked::Part(_) => u64::MAX,
        })
    }
}

/// Limits for serving stale metadata; none is served by default.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::cache) struct Staleness {
    /// Maximum staleness while the origin fails.
    pub max: Duration,
    /// Wait for the origin before stale metadata is served.
    pub after: Duration,
    /// Maximum staleness for serving without waiting for the origin.
    pub while_revalidate: Duration,
}

/// Proof that events arrive.
#[derive(Debug, Clone, Copy)]
pub(in crate::cache) struct Trusted {
    /// Begin of the proof; changes to metadata that was learned before may have been missed.
    pub since: Moment,
    /// Freshness lifetime in any case.
    pub backstop: Duration,
}

impl Policy {
    pub(in crate::cache) fn new(
        freshness: &Freshness,
        trusted: Option<Moment>,
        negative: Duration,
        obey_no_store: bool,
        no_cache: bool,
    ) -> Self {
        let ttl = match freshness {
            Freshness::Ttl(ttl) => Some(ttl.0),
            Freshness::Events(events) => Some(events.ttl.0),
            Freshness::Immutable => None,
            Freshness::Revalidate | Freshness::Bypass => Some(Duration::ZERO),
        };
        let demand = no_cache || matches!(freshness, Freshness::Revalidate | Freshness::Bypass);
        let trusted = match (freshness, trusted) {
            (Freshness::Events(events), Some(since)) => {
                Some(Trusted { since, backstop: events.backstop.0 })
            }
            _ => None,
        };
        let negative = ttl.map_or(negative, |ttl| negative.min(ttl));
        // Under the other rules, age does not decide.
        let obey_no_cache = obey_no_store && matches!(freshness, Freshness::Ttl(_));
        let stale = Staleness::default();
        let (in_force, fetching) = (None, Fetching::default());
        Self {
            rule: None,
            ttl,
            trusted,
            demand,
            stale,
            negative,
            obey_no_store,
            obey_no_cache,
            in_force,
            fetching,
            verify_hits: SampleRate::default(),
        }
    }

    /// Returns the policy with the moment from which its rule has held.
    pub(in crate::cache) fn in_force_since(self, in_force: Option<Moment>) -> Self {
        Self { in_force, ..self }
    }

    /// Returns the policy for a read that no client waits for.
    #[must_use]
    pub fn in_background(self) -> Self {
        Self { fetching: Fetching { is_background: true, ..self.fetching }, ..self }
    }

    /// Returns the policy for a reader that demands the current state (R7).
    #[must_use]
    pub fn demanding(self) -> Self {
        Self { demand: true, stale: Staleness::default(), ..self }
    }

    pub(in crate::cache) fn with_stale(self, stale: Staleness) -> Self {
        Self { stale, ..self }
    }

    /// Whether the object's own `Cache-Control` requires revalidation before each response, and is obeyed (R13).
    pub(in crate::cache) fn confirms_each_read(&self, meta: &ObjectMeta) -> bool {
        self.obey_no_cache && meta.requires_validation()
    }

    pub(in crate::cache) fn is_fresh(&self, entry: &Entry) -> bool {
        let fresh = |ttl| {
            let age = entry.since.age();
            !entry.recalled && (age < ttl || self.trusts(age))
        };
        !self.demand && self.ttl.map_or_else(|| self.was_learned_under_it(entry), fresh)
    }

    /// Whether an entry was learned since the rule has held. One learned under another rule may have changed since, and
    /// is revalidated once before it is served without limit.
    fn was_learned_under_it(&self, entry: &Entry) -> bool {
        let learned_since = |began: Moment| !entry.recalled && entry.since.age() < began.age();
        self.in_force.is_none_or(learned_since)
    }

    /// Whether the entry still counts as uncacheable.
    pub(in crate::cache) fn remembers_uncacheable(&self, entry: &Entry) -> bool {
        let age = entry.since.age();
        age < UNCACHEABLE && self.in_force.is_none_or(|began| age < began.age())
    }

    fn trusts(&self, age: Duration) -> bool {
        self.trusted.is_some_and(|trusted| age < trusted.backstop.min(trusted.since.age()))
    }

    pub(in crate::cache) fn believes_absence(&self, entry: &Entry) -> bool {
        !self.demand && entry.since.age() < self.negative
    }

    pub(in crate::cache) fn allows_stale(&self, entry: &Entry) -> bool {
        self.is_within(entry, self.stale.max)
    }

    /// Whether an entry may be served while its revalidation is under way.
    pub(in crate::cache) fn allows_stale_while_revalidate(&self, entry: &Entry) -> bool {
        self.is_within(entry, self.stale.while_revalidate)
    }

    /// Whether an entry may be served without a response of the origin, for either reason.
    pub(in crate::cache) fn allows_unconfirmed(&self, entry: &Entry) -> bool {
        self.allows_stale(entry) || self.allows_stale_while_revalidate(entry)
    }

    fn is_within(&self, entry: &Entry, more: Duration) -> bool {
        !more.is_zero() && entry.since.age() < self.ttl.unwrap_or_default() + more
    }
}
