//! Which rule holds for a key: the first whose pattern matches `bucket/key`.

use std::time::Duration;

use globset::GlobMatcher;

use crate::cache::{Freshness, Policy, RuleConfig};
use crate::s3::{BucketName, ObjectId, VersionId};

struct Rule {
    /// `None` matches everything.
    pattern: Option<GlobMatcher>,
    freshness: Freshness,
    max_stale: Duration,
    negative: Duration,
    obey_no_store: bool,
    lists: Option<Duration>,
}

/// All rules, in order.
pub struct Rules(Vec<Rule>);

impl Rules {
    /// # Errors
    /// The pattern that is not a glob, and why.
    pub fn new(configs: &[RuleConfig]) -> Result<Self, globset::Error> {
        let rules = configs.iter().map(|config| {
            let all = config.pattern == RuleConfig::MATCH_ALL;
            Ok(Rule {
                pattern: if all { None } else { Some(config.matcher()?) },
                freshness: config.freshness,
                max_stale: config.max_stale.map_or(Duration::ZERO, |d| d.0),
                negative: config.negative.0,
                obey_no_store: config.obey_no_store,
                lists: config.lists.map(|lists| lists.0),
            })
        });
        rules.collect::<Result<_, _>>().map(Self)
    }

    /// Whether any rule has lists kept.
    pub fn keep_lists(&self) -> bool {
        self.0.iter().any(|rule| rule.lists.is_some())
    }

    /// For how long a list of the keys under `prefix` is kept: the first rule that matches it as it would a key.
    pub fn lists(&self, bucket: &BucketName, prefix: &str) -> Option<Duration> {
        let path = format!("{bucket}/{prefix}");
        let mut rules = self.0.iter();
        rules.find(|rule| rule.pattern.as_ref().is_none_or(|p| p.is_match(&path)))?.lists
    }

    /// The policy for a read of `id`; `None` when its rule is `bypass`.
    ///
    /// A version is kept as the object is: its bytes cannot change, but it can be deleted, and its tags and locks
    /// can be set. The version `null` can be written, under any rule: the origin is asked before every answer.
    pub fn policy(&self, id: &ObjectId, no_cache: bool) -> Option<Policy> {
        let path = || format!("{}/{}", id.bucket().as_str(), id.key().as_str());
        let rule =
            self.0.iter().find(|rule| rule.pattern.as_ref().is_none_or(|p| p.is_match(path())))?;
        if rule.freshness == Freshness::Bypass {
            return None;
        }
        let Rule { freshness, max_stale, negative, obey_no_store, .. } = rule;
        let null = id.version().is_some_and(VersionId::is_null);
        Some(Policy::new(freshness, *max_stale, *negative, *obey_no_store, no_cache || null))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::units::HumanDuration;
    use crate::s3::{ObjectKey, Realm};

    fn id(bucket: &str, key: &str) -> ObjectId {
        let realm = Realm::new("http://origin", "default");
        ObjectId::new(&realm, BucketName::new(bucket).unwrap(), ObjectKey::new(key).unwrap())
    }

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
        // Of more than the rule's keys.
        assert_eq!(lists("data", "log"), None);
        assert_eq!(lists("data", ""), None);
        assert_eq!(lists("other", ""), Some(Duration::from_secs(5)));
        assert!(rules.keep_lists());
        assert!(!Rules::new(&[RuleConfig::default()]).unwrap().keep_lists());
    }
}
