//! Traffic by bucket, by rule and by identity, in a bounded number of series.
//!
//! Names are found by their hash in tables that only grow, up to a limit, so that counting takes no lock and does not
//! allocate. The tracked buckets and rules with the most recent traffic have series of their own; the counts of the
//! others go to `other`, so that no series ever falls.

use std::hash::BuildHasher as _;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use foldhash::fast::FixedState;
use metrics::Unit;
use parking_lot::{Mutex, RwLock};

use super::computed::{Family, Kind};
use super::requests::CacheResult;

const BUCKET_REQUESTS: Family = Family {
    name: "hotset_bucket_requests_total",
    kind: Kind::Counter,
    unit: Unit::Count,
    help: "Requests by bucket and cache result; the 100 buckets with the most traffic have series, others are counted as `other`",
};
const BUCKET_BYTES: Family = Family {
    name: "hotset_bucket_response_bytes_total",
    kind: Kind::Counter,
    unit: Unit::Bytes,
    help: "Bytes of response bodies by bucket and source (cache or origin)",
};
const RULE_REQUESTS: Family = Family {
    name: "hotset_rule_requests_total",
    kind: Kind::Counter,
    unit: Unit::Count,
    help: "Requests for objects by the pattern of the rule that matches and cache result; 100 rules have series, others are counted as `other`",
};
const RULE_BYTES: Family = Family {
    name: "hotset_rule_response_bytes_total",
    kind: Kind::Counter,
    unit: Unit::Bytes,
    help: "Bytes of response bodies by rule and source (cache or origin)",
};
const IDENTITY_REQUESTS: Family = Family {
    name: "hotset_identity_requests_total",
    kind: Kind::Counter,
    unit: Unit::Count,
    help: "Requests by identity and exact status, those that it was refused included; 100 identities have series, others are counted as `other`",
};

/// Maximum names with series of their own.
const TOP: usize = 100;
/// Maximum names tracked.
const TRACKED: usize = 1000;
/// Slots of a table, and the number of slots probed for a name.
const SLOTS: usize = 4096;
const PROBES: usize = 16;
/// Time in which the weight of traffic halves.
const HALF_LIFE: Duration = Duration::from_mins(10);
/// Bytes as which a request counts, whatever its response.
const REQUEST: f64 = 4096.0;
/// Factor by which a name's traffic must exceed that of the name that it replaces.
const MARGIN: f64 = 2.0;
/// Maximum names replaced in one rendering.
const CHANGES: usize = 10;

const RESULTS: usize = CacheResult::ALL.len();
/// Requests by cache result, then bytes from the cache and from the origin.
type Amounts = [u64; RESULTS + 2];

/// The counters of a bucket or a rule.
#[derive(Debug)]
pub struct Traffic {
    name: Box<str>,
    amounts: [AtomicU64; RESULTS + 2],
}

impl Traffic {
    fn new(name: &str) -> Self {
        Self { name: name.into(), amounts: [const { AtomicU64::new(0) }; RESULTS + 2] }
    }

    /// Returns the name of the bucket, or the pattern of the rule.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Counts a completed request, and its bytes from the cache and from the origin.
    pub fn count(&self, cache: CacheResult, from_cache: u64, from_origin: u64) {
        self.amounts[cache as usize].fetch_add(1, Ordering::Relaxed);
        for (index, bytes) in [(RESULTS, from_cache), (RESULTS + 1, from_origin)] {
            if bytes > 0 {
                self.amounts[index].fetch_add(bytes, Ordering::Relaxed);
            }
        }
    }

    fn now(&self) -> Amounts {
        std::array::from_fn(|index| self.amounts[index].load(Ordering::Relaxed))
    }
}

/// Hash table by name, which only grows.
struct Table<T: 'static> {
    slots: Box<[OnceLock<&'static T>]>,
    /// Entries in the order of their insertion.
    all: RwLock<Vec<&'static T>>,
    limit: usize,
    other: T,
}

impl<T> Table<T> {
    fn new(limit: usize, other: T) -> Self {
        let slots = std::iter::repeat_with(OnceLock::new).take(SLOTS).collect();
        Self { slots, all: RwLock::default(), limit, other }
    }

    /// Returns the entry with this name; `other` if it is not tracked, and either `add` is false or there is no room.
    fn find(
        &'static self,
        name: &str,
        add: bool,
        name_of: fn(&T) -> &str,
        new: fn(&str) -> T,
    ) -> &'static T {
        // No sender gains from collisions: the probes are bounded.
        let hash = usize::try_from(FixedState::default().hash_one(name) >> 32).unwrap_or_default();
        for probe in 0..PROBES {
            let slot = &self.slots[(hash + probe) % SLOTS];
            let found = match slot.get() {
                Some(found) => found,
                None if !add => break,
                None => {
                    let mut all = self.all.write();
                    if all.len() >= self.limit {
                        break;
                    }
                    slot.get_or_init(|| {
                        let made: &'static T = Box::leak(Box::new(new(name)));
                        all.push(made);
                        made
                    })
                }
            };
            if name_of(found) == name {
                return found;
            }
        }
        &self.other
    }
}

fn buckets() -> &'static Table<Traffic> {
    static BUCKETS: OnceLock<Table<Traffic>> = OnceLock::new();
    BUCKETS.get_or_init(|| Table::new(TRACKED, Traffic::new("other")))
}

fn rules() -> &'static Table<Traffic> {
    static RULES: OnceLock<Table<Traffic>> = OnceLock::new();
    RULES.get_or_init(|| Table::new(TRACKED, Traffic::new("other")))
}

fn identities() -> &'static Table<ByStatus> {
    static IDENTITIES: OnceLock<Table<ByStatus>> = OnceLock::new();
    IDENTITIES.get_or_init(|| Table::new(TOP, ByStatus::new("other")))
}

/// Returns the counters of a bucket. `known`: it exists, so that invented names take no slot.
pub fn bucket(name: &str, known: bool) -> &'static Traffic {
    buckets().find(name, known, Traffic::name, Traffic::new)
}

/// Returns the counters of the rule with this pattern.
pub fn rule(pattern: &str) -> &'static Traffic {
    rules().find(pattern, true, Traffic::name, Traffic::new)
}

/// Counts a request of an identity, which may have been refused.
pub fn identity(name: &str, status: u16) {
    let of = identities().find(name, true, |of| &of.name, ByStatus::new);
    of.statuses[usize::from(status).min(of.statuses.len() - 1)].fetch_add(1, Ordering::Relaxed);
}

/// Requests by status; the last counter is for invalid statuses.
struct ByStatus {
    name: Box<str>,
    statuses: Box<[AtomicU64]>,
}

impl ByStatus {
    fn new(name: &str) -> Self {
        Self { name: name.into(), statuses: (0..=600).map(|_| AtomicU64::new(0)).collect() }
    }
}

/// Names with series, and the values of their series.
#[derive(Default)]
struct Shown {
    entries: Vec<Entry>,
    other: Amounts,
    at: Option<Instant>,
}

struct Entry {
    of: &'static Traffic,
    last: Amounts,
    total: Amounts,
    /// Recent traffic in bytes.
    weight: f64,
    is_shown: bool,
}

impl Shown {
    /// Adds the counts since the last call, and replaces names by others with more traffic.
    fn update(&mut self, table: &'static Table<Traffic>, now: Instant) {
        let elapsed = self.at.replace(now).map_or(Duration::ZERO, |at| now.duration_since(at));
        let decay = (-elapsed.as_secs_f64() / HALF_LIFE.as_secs_f64()).exp2();
        for of in table.all.read().iter().skip(self.entries.len()) {
            let (last, total) = (Amounts::default(), Amounts::default());
            let is_shown = self.entries.len() < TOP;
            self.entries.push(Entry { of, last, total, weight: 0.0, is_shown });
        }
        for entry in &mut self.entries {
            let now = entry.of.now();
            let delta: Amounts = std::array::from_fn(|index| now[index] - entry.last[index]);
            entry.last = now;
            let to = if entry.is_shown { &mut entry.total } else { &mut self.other };
            to.iter_mut().zip(delta).for_each(|(total, delta)| *total += delta);
            entry.weight = entry.weight * decay + weight(&delta);
        }
        for _ in 0..CHANGES {
            if !self.exchange() {
                break;
            }
        }
    }

    /// Replaces the shown name with the least traffic by the hidden name with the most.
    fn exchange(&mut self) -> bool {
        let by_weight = |a: &(usize, f64), b: &(usize, f64)| a.1.total_cmp(&b.1);
        let of = |shown| {
            let entries = self.entries.iter().enumerate();
            entries.filter(move |(_, e)| e.is_shown == shown).map(|(at, e)| (at, e.weight))
        };
        let (Some(most), Some(least)) = (of(false).max_by(by_weight), of(true).min_by(by_weight))
        else {
            return false;
        };
        if most.1 <= least.1 * MARGIN {
            return false;
        }
        self.entries[most.0].is_shown = true;
        self.entries[least.0].is_shown = false;
        true
    }
}

#[allow(clippy::cast_precision_loss, reason = "a rank needs no more")]
fn weight(delta: &Amounts) -> f64 {
    let requests: u64 = delta[..RESULTS].iter().sum();
    requests as f64 * REQUEST + (delta[RESULTS] + delta[RESULTS + 1]) as f64
}

pub(super) fn describe() {
    for family in [BUCKET_REQUESTS, BUCKET_BYTES, RULE_REQUESTS, RULE_BYTES, IDENTITY_REQUESTS] {
        family.describe();
    }
}

/// Appends all of these metrics.
pub(super) fn write(out: &mut String) {
    static BUCKETS: Mutex<Option<Shown>> = Mutex::new(None);
    static RULES: Mutex<Option<Shown>> = Mutex::new(None);
    let now = Instant::now();
    for (shown, table, label, families) in [
        (&BUCKETS, buckets(), "bucket", [BUCKET_REQUESTS, BUCKET_BYTES]),
        (&RULES, rules(), "rule", [RULE_REQUESTS, RULE_BYTES]),
    ] {
        let mut shown = shown.lock();
        let shown = shown.get_or_insert_default();
        shown.update(table, now);
        let untracked = table.other.now();
        let other: Amounts = std::array::from_fn(|index| shown.other[index] + untracked[index]);
        let entries = shown.entries.iter().filter(|entry| entry.is_shown);
        let named: Vec<_> = entries.map(|entry| (&*entry.of.name, &entry.total)).collect();
        write_traffic(out, label, &families, &named, &other);
    }
    write_identities(out);
}

#[allow(clippy::cast_precision_loss, reason = "exact up to 2^53")]
fn write_traffic(
    out: &mut String,
    label: &'static str,
    families: &[Family; 2],
    named: &[(&str, &Amounts)],
    other: &Amounts,
) {
    let of_all = named.iter().copied().map(|of| (of, true));
    let all = || of_all.clone().chain(std::iter::once((("other", other), false)));
    let requests = all().flat_map(|((name, amounts), is_named)| {
        CacheResult::ALL.iter().filter_map(move |result| {
            let count = amounts[*result as usize];
            let always = is_named && matches!(result, CacheResult::Hit | CacheResult::Miss);
            let labels = vec![(label, name), ("cache", result.label())];
            (always || count > 0).then_some((labels, count as f64))
        })
    });
    families[0].write(out, requests);
    let bytes = all().flat_map(|((name, amounts), is_named)| {
        [("cache", RESULTS), ("origin", RESULTS + 1)].into_iter().filter_map(move |(source, at)| {
            let labels = vec![(label, name), ("source", source)];
            (is_named || amounts[at] > 0).then_some((labels, amounts[at] as f64))
        })
    });
    families[1].write(out, bytes);
}

#[allow(clippy::cast_precision_loss, reason = "exact up to 2^53")]
fn write_identities(out: &mut String) {
    let all = identities().all.read();
    let mut rows = Vec::new();
    for of in all.iter().copied().chain(std::iter::once(&identities().other)) {
        for (status, count) in of.statuses.iter().enumerate() {
            let count = count.load(Ordering::Relaxed);
            if count > 0 {
                let code = match status {
                    100..600 => status.to_string(),
                    _ => "none".to_owned(),
                };
                rows.push((&*of.name, code, count));
            }
        }
    }
    if !rows.is_empty() {
        let samples = rows.iter().map(|(name, code, count)| {
            (vec![("identity", *name), ("code", code.as_str())], *count as f64)
        });
        IDENTITY_REQUESTS.write(out, samples);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> &'static Table<Traffic> {
        Box::leak(Box::new(Table::new(TRACKED, Traffic::new("other"))))
    }

    fn find(table: &'static Table<Traffic>, name: &str, add: bool) -> &'static Traffic {
        table.find(name, add, Traffic::name, Traffic::new)
    }

    #[test]
    fn names_beyond_the_bound_and_unknown_ones_share_one() {
        let table = table();
        for index in 0..2 * TRACKED {
            find(table, &format!("bucket-{index}"), true).count(CacheResult::Hit, 1, 0);
        }
        assert!(table.all.read().len() <= TRACKED);
        let named: u64 = table.all.read().iter().map(|of| of.now()[0]).sum();
        assert_eq!(named + table.other.now()[0], 2 * TRACKED as u64);
        assert_eq!(find(table, "bucket-0", false).name(), "bucket-0");
        assert_eq!(find(self::table(), "made-up", false).name(), "other");
    }

    #[test]
    fn the_most_used_are_shown_and_no_series_falls() {
        let (table, mut shown, mut now) = (table(), Shown::default(), Instant::now());
        let all: Vec<_> = (0..2 * TOP).map(|n| find(table, &format!("b{n}"), true)).collect();
        let mut before = [0; 2 * TOP];
        let (mut other, mut counted) = (0, 0);
        for round in 0..40 {
            // The second half becomes the busy one.
            let busy = if round < 5 { &all[..TOP] } else { &all[TOP..] };
            for of in busy {
                of.count(CacheResult::Hit, 1 << 20, 0);
            }
            counted += busy.len() as u64;
            now += Duration::from_mins(5);
            shown.update(table, now);
            for (entry, before) in shown.entries.iter().zip(&mut before) {
                assert!(entry.total[0] >= *before, "{}", entry.of.name);
                *before = entry.total[0];
            }
            assert!(shown.other[0] >= other);
            other = shown.other[0];
            assert_eq!(shown.entries.iter().filter(|entry| entry.is_shown).count(), TOP);
            assert_eq!(before.iter().sum::<u64>() + other, counted, "nothing is lost");
        }
        let shown: Vec<_> = shown.entries.iter().map(|entry| entry.is_shown).collect();
        assert!(shown[TOP..].iter().all(|is_shown| *is_shown), "{shown:?}");
    }

    #[test]
    fn a_page_has_rules_from_the_start_and_identities_by_status() {
        rule("t-a\"b/**");
        identity("t-someone", 403);
        identity("t-someone", 0);
        bucket("t-bucket", true).count(CacheResult::Miss, 0, 7);
        let mut page = String::new();
        write(&mut page);
        for line in [
            "hotset_rule_requests_total{rule=\"t-a\\\"b/**\",cache=\"hit\"} 0\n",
            "hotset_identity_requests_total{identity=\"t-someone\",code=\"403\"} 1\n",
            "hotset_identity_requests_total{identity=\"t-someone\",code=\"none\"} 1\n",
            "hotset_bucket_requests_total{bucket=\"t-bucket\",cache=\"miss\"} 1\n",
            "hotset_bucket_response_bytes_total{bucket=\"t-bucket\",source=\"origin\"} 7\n",
        ] {
            assert!(page.contains(line), "{line} is not in {page}");
        }
    }
}
