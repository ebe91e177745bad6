//! The rule for a key, which is the first whose pattern matches `bucket/key`, and the rules whose events are trusted.
//!
//! The rules can be replaced while reads are under way: a read takes its [`Policy`] from one set and keeps it to its
//! end. Cached entries record only when they were learned, so that each read of them obeys the rules in force at its
//! start.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use serde::Serialize;

use super::failover::Failover;
use super::policy::{Fetching, Policy, Staleness};
use super::trust::Trust;
use crate::cache::config::{Freshness, PrefetchConfig, RuleConfig};
use crate::cache::metadata::clock::Moment;
use crate::config::units::SampleRate;
use crate::glob::{FirstMatch, InvalidGlob};
use crate::metrics::traffic::{self, Traffic};
use crate::s3::{BucketName, ObjectId, ObjectKey, VersionId, spelling};

struct Rule {
    /// The pattern as written.
    text: String,
    traffic: &'static Traffic,
    freshness: Freshness,
    stale: Staleness,
    negative: Duration,
    obey_no_store: bool,
    verify_checksums: bool,
    verify_hits: SampleRate,
    failover: Option<Failover>,
    lists: Option<Duration>,
    prefetch: Option<PrefetchConfig>,
    /// Moment from which the rule has held for its keys; `None`: since the start.
    since: Option<Moment>,
}

/// The rule that matches an object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MatchedRule {
    /// Index from 1, in the order of `rules`.
    pub number: usize,
    pub of: usize,
    /// Its pattern.
    #[serde(rename = "match")]
    pub pattern: String,
    pub freshness: Freshness,
    /// The reason for the match, in words.
    pub because: String,
}

/// All rules, in order.
struct RuleSet {
    ordered: Vec<Rule>,
    /// Matcher of their patterns.
    first_match: FirstMatch,
    /// Number of the set: trust in rules of one set does not carry over to another by their indexes.
    number: u64,
}

/// The rules in force.
pub struct Rules {
    current: ArcSwap<RuleSet>,
    trust: Trust,
    /// Whether the origin compares keys byte by byte.
    exact_keys: AtomicBool,
}

impl RuleSet {
    fn new(configs: &[RuleConfig]) -> Result<Self, InvalidGlob> {
        let globs = configs.iter().map(RuleConfig::glob).collect::<Result<Vec<_>, _>>()?;
        let rule = |config: &RuleConfig| Rule {
            text: config.pattern.clone(),
            traffic: traffic::rule(&config.pattern),
            freshness: config.freshness,
            stale: Staleness {
                max: config.max_stale.map_or(Duration::ZERO, |d| d.0),
                after: config.stale_after.0,
                while_revalidate: config.stale_while_revalidate.map_or(Duration::ZERO, |d| d.0),
            },
            negative: config.negative.0,
            obey_no_store: config.obey_no_store,
            verify_checksums: config.verify_checksums,
            verify_hits: config.verify_hits.unwrap_or_default(),
            failover: config
                .failover
                .as_ref()
                .map(|failover| Failover::new(failover, config.freshness == Freshness::Revalidate)),
            lists: config.lists.map(|lists| lists.0),
            prefetch: config.prefetch,
            since: None,
        };
        let ordered = configs.iter().map(rule).collect();
        Ok(Self { ordered, first_match: FirstMatch::new(globs), number: 0 })
    }

    /// Returns the number of leading rules with the same patterns, and so the same keys, in both sets.
    fn same_keys(&self, other: &Self) -> usize {
        let pairs = self.ordered.iter().zip(&other.ordered);
        pairs.take_while(|(one, other)| one.text == other.text).count()
    }

    /// Returns this set as the successor of `old`.
    fn after(mut self, old: &Self) -> Self {
        self.number = old.number + 1;
        let (same, now) = (self.same_keys(old), Moment::now());
        for (index, rule) in self.ordered.iter_mut().enumerate() {
            let before = old.ordered.get(index).filter(|before| {
                index < same
                    && before.freshness == rule.freshness
                    && before.obey_no_store == rule.obey_no_store
            });
            rule.since = before.map_or(Some(now), |before| before.since);
        }
        self
    }

    fn rule(&self, bucket: &BucketName, key: &ObjectKey) -> Option<(usize, &Rule)> {
        let index = self.first_match.find(bucket.as_str(), key.as_str())?;
        Some((index, &self.ordered[index]))
    }

    fn say(&self, ended: &[(usize, BucketName)], why: &str) {
        for (index, bucket) in ended {
            let rule = self.ordered.get(*index).map_or("", |rule| &rule.text);
            log::warn!(
                "events: rule `{rule}` is not trusted in bucket {bucket} any more, its ttl applies: {why}"
            );
        }
    }
}

impl Rules {
    /// # Errors
    /// The first pattern that is not a valid glob.
    pub fn new(configs: &[RuleConfig]) -> Result<Self, InvalidGlob> {
        let current = ArcSwap::from_pointee(RuleSet::new(configs)?);
        Ok(Self { current, trust: Trust::default(), exact_keys: AtomicBool::new(false) })
    }

    /// Sets whether the origin is known to compare keys exactly: then no key [is ambiguous](spelling::is_ambiguous).
    #[must_use]
    pub fn with_exact_keys(self, exact_keys: bool) -> Self {
        self.set_exact_keys(exact_keys);
        self
    }

    /// As [`Rules::with_exact_keys`], from now on.
    pub fn set_exact_keys(&self, exact_keys: bool) {
        self.exact_keys.store(exact_keys, Ordering::Release);
    }

    /// Replaces the rules for each read that begins from now on. Cached entries obey them at once.
    ///
    /// Events stay trusted for rules that have the same keys and freshness as before.
    ///
    /// # Errors
    /// The first pattern that is not a valid glob; the rules stay as they are.
    pub fn replace(&self, configs: &[RuleConfig]) -> Result<(), InvalidGlob> {
        let new = RuleSet::new(configs)?;
        let ended = self.trust.renumber(|| {
            let old = self.current.load_full();
            let new = Arc::new(new.after(&old));
            let same = new.same_keys(&old);
            self.current.store(new.clone());
            move |index: usize| {
                index < same && old.ordered[index].freshness == new.ordered[index].freshness
            }
        });
        self.current.load().say(&ended, "the rules changed");
        Ok(())
    }

    fn is_ambiguous(&self, key: &str) -> bool {
        !self.exact_keys.load(Ordering::Acquire) && spelling::is_ambiguous(key)
    }

    /// Whether any rule has listings cached.
    pub fn keep_lists(&self) -> bool {
        self.current.load().ordered.iter().any(|rule| rule.lists.is_some())
    }

    /// Returns how long a listing of the keys under `prefix` is cached, by the first rule that matches the prefix as a
    /// key. `None` also for a prefix that a server may take for another, whose changes would not be noticed.
    pub fn lists(&self, bucket: &BucketName, prefix: &str) -> Option<Duration> {
        if self.is_ambiguous(prefix) {
            return None;
        }
        let rules = self.current.load();
        rules.ordered[rules.first_match.find(bucket.as_str(), prefix)?].lists
    }

    /// Returns the policy for a read of `id`; `None` if its rule is `bypass`.
    ///
    /// A version is cached as the object is: its bytes cannot change, but it can be deleted, and its tags and locks can
    /// be set. The version `null` can be overwritten, and an object with an ambiguous key can be overwritten by another
    /// key: under any rule, both are revalidated before every response.
    pub fn policy(&self, id: &ObjectId, no_cache: bool) -> Option<Policy> {
        let rules = self.current.load();
        let (index, rule) = rules.rule(id.bucket(), id.key())?;
        if rule.freshness == Freshness::Bypass {
            return None;
        }
        let Rule { freshness, stale, negative, obey_no_store, since, .. } = rule;
        let null = id.version().is_some_and(VersionId::is_null);
        let trusted = match freshness {
            Freshness::Events(_) => self.trust.since(rules.number, index, id.bucket()),
            _ => None,
        };
        let demand = no_cache || null || self.is_ambiguous(id.key().as_str());
        let verify_checksums = rule.verify_checksums;
        let fetching = Fetching { verify_checksums, ..Fetching::default() };
        let policy = Policy::new(freshness, trusted, *negative, *obey_no_store, demand);
        let policy = policy.in_force_since(*since);
        let verify_hits = rule.verify_hits;
        let policy = Policy { fetching, verify_hits, rule: Some(rule.traffic), ..policy };
        // A reader that demands the current state, or reads an object that may change unnoticed, gets no stale
        // response.
        Some(if demand { policy } else { policy.with_stale(*stale) })
    }

    /// Returns the failover for reads of a key while its origin is down.
    pub fn failover(&self, bucket: &BucketName, key: &ObjectKey) -> Option<Failover> {
        self.current.load().rule(bucket, key)?.1.failover.clone()
    }

    /// Returns the counters of the rule for a key.
    pub fn traffic(&self, bucket: &BucketName, key: &ObjectKey) -> Option<&'static Traffic> {
        Some(self.current.load().rule(bucket, key)?.1.traffic)
    }

    /// Returns the rule for a key, with the reason for the match.
    ///
    /// # Panics
    /// Without a rule that matches everything, which a checked configuration has.
    pub fn matched(&self, bucket: &BucketName, key: &ObjectKey) -> MatchedRule {
        let rules = self.current.load();
        let (index, rule) = rules.rule(bucket, key).expect("the last rule matches everything");
        let because = match index {
            0 => format!("it matches {bucket}/{key}"),
            _ => format!("it is the first that matches {bucket}/{key}"),
        };
        MatchedRule {
            number: index + 1,
            of: rules.ordered.len(),
            pattern: rule.text.clone(),
            freshness: rule.freshness,
            because,
        }
    }

    /// Whether any rule has new objects prefetched.
    pub fn prefetches(&self) -> bool {
        self.current.load().ordered.iter().any(|rule| rule.prefetch.is_some())
    }

    /// Returns the prefetch configuration for an object that was created.
    pub fn prefetch(&self, bucket: &BucketName, key: &ObjectKey) -> Option<PrefetchConfig> {
        self.current.load().rule(bucket, key)?.1.prefetch
    }

    /// Notes that an event of this key was applied in time, which proves that events of its rule in its bucket arrive.
    pub fn prove(&self, bucket: &BucketName, key: &ObjectKey) {
        let rules = self.current.load();
        if let Some((index, rule)) = rules.rule(bucket, key)
            && let Freshness::Events(events) = rule.freshness
            && self.trust.prove(rules.number, index, bucket, events.proof.0)
        {
            log::info!("events: rule `{}` is trusted in bucket {bucket} from now on", rule.text);
        }
    }

    /// Ends the trust in events of a bucket, which arrive too late or not at all, until there is new proof.
    pub fn distrust(&self, bucket: &BucketName, why: &str) {
        let ended = self.trust.end(|_, of| of == bucket);
        self.current.load().say(&ended, why);
    }

    /// As [`Rules::distrust`], for every bucket.
    pub fn distrust_all(&self, why: &str) {
        let ended = self.trust.end(|_, _| true);
        self.current.load().say(&ended, why);
    }

    /// Ends the trust in the rule of a key whose canary did not come back.
    pub fn distrust_rule(&self, bucket: &BucketName, key: &ObjectKey, why: &str) {
        let rules = self.current.load();
        if let Some((index, _)) = rules.rule(bucket, key) {
            let ended = self.trust.end_rule(rules.number, index, bucket);
            rules.say(&ended, why);
        }
    }

    /// Ends the trust in rules without recent proof, and logs it. Call it periodically; reads do not trust expired
    /// proof in the meantime either.
    pub fn expire_trust(&self) {
        self.current.load().say(&self.trust.expire(), "no event came for too long");
    }

    /// Notes that a receiver lost its connection; no events are trusted before [`Rules::receiver_back`].
    pub fn receiver_lost(&self, why: &str) {
        if self.trust.receiver_lost() > 0 {
            log::warn!(
                "events: no rule trusts events any more, and each rule's ttl applies: {why}"
            );
        }
    }

    /// Notes that a receiver has its connection again.
    pub fn receiver_back(&self) {
        self.trust.receiver_back();
    }

    /// Returns each rule that uses events, with the buckets in which it is trusted now.
    pub fn trusted(&self) -> Vec<(String, Vec<BucketName>)> {
        let rules = self.current.load();
        let pairs = self.trust.pairs(rules.number);
        let rules = rules.ordered.iter().enumerate();
        let rules = rules.filter(|(_, rule)| matches!(rule.freshness, Freshness::Events(_)));
        rules
            .map(|(index, rule)| {
                let of = pairs.iter().filter(|(of, _)| *of == index);
                let mut buckets: Vec<_> = of.map(|(_, bucket)| bucket.clone()).collect();
                buckets.sort_unstable();
                (rule.text.clone(), buckets)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::units::HumanDuration;
    use crate::s3::testing::id;

    #[test]
    fn the_first_rule_that_matches_wins() {
        let rule = |pattern: &str, freshness| RuleConfig {
            pattern: pattern.to_owned(),
            freshness,
            ..RuleConfig::default()
        };
        let rules = Rules::new(&[
            rule("photos/static/**", Freshness::Immutable),
            rule("photos/live/*.json", Freshness::Bypass),
            rule("**", Freshness::Revalidate),
        ])
        .unwrap();
        assert_eq!(rules.policy(&id("photos", "static/a/b.png"), false).unwrap().ttl, None);
        assert!(rules.policy(&id("photos", "live/now.json"), false).is_none());
        assert!(rules.policy(&id("photos", "live/deep/now.json"), false).unwrap().demand);
        assert!(rules.policy(&id("other", "static/a"), false).unwrap().demand);
    }

    #[test]
    fn r8_ambiguous_keys_are_confirmed_on_every_read_unless_keys_are_exact() {
        let rules = || Rules::new(&[RuleConfig::default()]).unwrap();
        for (key, ambiguous) in [("/k", true), ("a//b", true), ("a/../b", true), ("a/b/", false)] {
            let id = id("data", key);
            assert_eq!(rules().policy(&id, false).unwrap().demand, ambiguous, "{key}");
            let exact = rules().with_exact_keys(true);
            assert!(!exact.policy(&id, false).unwrap().demand, "{key}");
        }
    }

    #[test]
    fn r27_lists_are_kept_by_the_rule_of_their_prefix() {
        let rule = |pattern: &str, lists| RuleConfig {
            pattern: pattern.to_owned(),
            lists,
            ..RuleConfig::default()
        };
        let some = Some(HumanDuration::secs(5));
        let rules = [rule("data/logs/**", some), rule("other/**", some), rule("**", None)];
        let rules = Rules::new(&rules).unwrap();
        let lists = |bucket, prefix| rules.lists(&BucketName::new(bucket).unwrap(), prefix);
        assert_eq!(lists("data", "logs/"), Some(Duration::from_secs(5)));
        assert_eq!(lists("data", "logs/2026"), Some(Duration::from_secs(5)));
        // The prefix covers more than the rule's keys.
        assert_eq!(lists("data", "log"), None);
        assert_eq!(lists("data", ""), None);
        assert_eq!(lists("other", ""), Some(Duration::from_secs(5)));
        assert!(rules.keep_lists());
        assert!(!Rules::new(&[RuleConfig::default()]).unwrap().keep_lists());
    }
}
