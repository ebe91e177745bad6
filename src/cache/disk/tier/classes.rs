//! Disk settings of rules: the share of the disk that their blocks may take, or that their blocks are pinned.
//!
//! A class keeps its number when the rules are replaced, as index entries refer to their class by it.

use std::collections::HashMap;

use twox_hash::XxHash3_64;

use crate::cache::config::RuleConfig;
use crate::cache::disk::config::Share;
use crate::cache::disk::log::index::UNCLASSED;
use crate::glob::FirstMatch;
use crate::s3::ObjectId;

/// Disk settings of one rule.
#[derive(Debug)]
struct Class {
    /// Number of the class; `None`: the rule has no disk settings.
    number: Option<u8>,
    tag: u32,
    pinned: bool,
    share: Option<Share>,
}

/// Disk settings of all rules, in order.
#[derive(Debug, Default)]
pub(in crate::cache::disk) struct Classes {
    rules: Vec<Class>,
    /// Matcher of their patterns.
    first_match: FirstMatch,
    /// Number of each class so far, by its tag, including those of rules that are gone.
    numbers: HashMap<u32, u8>,
}

/// Class and pinning of a block, for the writer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cache::disk) struct Placement {
    pub class: u8,
    /// Hash that stands for the rule in the block's record.
    pub tag: u32,
    pub pinned: bool,
}

impl Classes {
    /// Makes the classes of `rules`. Rules with an invalid pattern are left out: the configuration was checked before.
    pub(in crate::cache::disk) fn new(rules: &[RuleConfig]) -> Self {
        Self::default().replaced_by(rules)
    }

    /// Returns the classes of new rules, which replace these.
    pub(in crate::cache::disk) fn replaced_by(&self, rules: &[RuleConfig]) -> Self {
        let mut numbers = self.numbers.clone();
        let mut class = |rule: &RuleConfig| {
            let tag = tag(&rule.pattern);
            let has_disk_rule = rule.pinned || rule.disk_share.is_some();
            let next = u8::try_from(numbers.len() + 1).ok();
            let number = match numbers.get(&tag) {
                _ if !has_disk_rule => None,
                Some(number) => Some(*number),
                None => next.inspect(|next| {
                    numbers.insert(tag, *next);
                }),
            };
            let glob = rule.glob().ok()?;
            let class = Class { number, tag, pinned: rule.pinned, share: rule.disk_share };
            Some((class, glob))
        };
        let (rules, globs): (Vec<_>, Vec<_>) = rules.iter().filter_map(&mut class).unzip();
        Self { rules, first_match: FirstMatch::new(globs), numbers }
    }

    /// Returns the placement of an object's blocks by the first rule that matches, as for everything else.
    pub(in crate::cache::disk) fn of(&self, id: &ObjectId) -> Placement {
        let none = Placement { class: UNCLASSED, tag: 0, pinned: false };
        if self.numbers.is_empty() {
            return none;
        }
        let first = self.first_match.find(id.bucket().as_str(), id.key().as_str());
        match first.map(|index| &self.rules[index]) {
            Some(Class { number: Some(class), tag, pinned, .. }) => {
                Placement { class: *class, tag: *tag, pinned: *pinned }
            }
            _ => none,
        }
    }

    /// Returns the class of a record that an earlier process wrote; [`UNCLASSED`] if its rule is gone.
    pub(in crate::cache::disk) fn by_tag(&self, tag: u32) -> u8 {
        let rule = self.rules.iter().find(|c| c.tag == tag && c.number.is_some());
        rule.and_then(|c| c.number).unwrap_or(UNCLASSED)
    }

    /// Returns the classes that have a share of `capacity`, and the bytes of each share.
    pub(in crate::cache::disk) fn limits(&self, capacity: u64) -> Vec<(u8, u64)> {
        let limit = |c: &Class| Some((c.number?, c.share?.of(capacity)));
        self.rules.iter().filter_map(limit).collect()
    }
}

fn tag(pattern: &str) -> u32 {
    let hash = XxHash3_64::oneshot(pattern.as_bytes());
    // Zero stands for no rule.
    u32::try_from(hash >> 32).expect("32 bits").max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::s3::testing::id;

    #[test]
    fn a_class_keeps_its_number_when_rules_are_replaced_and_leaves_it_to_no_other() {
        let share = |percent| Some(Share::percent(percent));
        let all = || rule("**", false, None);
        let first =
            Classes::new(&[rule("aaa/**", false, share(10)), rule("bbb/**", true, None), all()]);
        let rules = [rule("ccc/**", false, share(1)), rule("bbb/**", false, share(20)), all()];
        let second = first.replaced_by(&rules);
        assert_eq!(
            second.of(&id("bbb", "k")),
            Placement { pinned: false, ..first.of(&id("bbb", "k")) }
        );
        assert_eq!(second.of(&id("ccc", "k")).class, 3);
        assert_eq!(second.of(&id("aaa", "k")).class, UNCLASSED);
        assert_eq!(second.limits(1000), [(3, 10), (2, 200)]);
        let third = second.replaced_by(&[rule("aaa/**", false, share(30)), all()]);
        assert_eq!(third.of(&id("aaa", "k")).class, 1);
        assert_eq!(third.limits(1000), [(1, 300)]);
    }

    fn rule(pattern: &str, pinned: bool, disk_share: Option<Share>) -> RuleConfig {
        RuleConfig { pattern: pattern.to_owned(), pinned, disk_share, ..RuleConfig::default() }
    }

    #[test]
    fn a_block_belongs_to_the_first_rule_that_matches() {
        let classes = Classes::new(&[
            rule("logs/**", false, Some(Share::percent(10))),
            rule("data/tmp/**", false, None),
            rule("data/**", true, None),
            rule("**", false, None),
        ]);
        assert_eq!(classes.of(&id("logs", "a/b")).class, 1);
        assert_eq!(classes.of(&id("data", "tmp/a")).class, UNCLASSED);
        let pinned = classes.of(&id("data", "a"));
        assert_eq!((pinned.class, pinned.pinned), (2, true));
        assert_eq!(classes.of(&id("other", "a")).class, UNCLASSED);
        assert_eq!(classes.by_tag(pinned.tag), 2);
        assert_eq!(classes.by_tag(99), UNCLASSED);
        assert_eq!(classes.limits(1000), [(1, 100)]);
    }
}
