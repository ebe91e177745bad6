//! Warnings about unused entries of `origins` and `buckets`.

use std::collections::BTreeMap;

use crate::auth::AuthMode;
use crate::config::Config;
use crate::glob::{Glob, Text};
use crate::origin::BucketConfig;

/// Returns the warnings, one line each, which begins with the key.
pub(super) fn of(config: &Config) -> Vec<String> {
    let mut found = unused_origins(config);
    found.extend(unmet(&config.buckets));
    found.extend(rules_by_other_names(config));
    found.extend(not_readable(config));
    found
}

fn unused_origins(config: &Config) -> Vec<String> {
    let is_failover = |name: &str| {
        config.rules.iter().any(|r| r.failover.as_ref().is_some_and(|to| to.origin == name))
    };
    let is_mapped = |name: &str| config.buckets.values().any(|b| b.origin.as_deref() == Some(name));
    let is_used = |name: &str| is_mapped(name) || is_failover(name);
    let unused = config.origins.keys().filter(|name| !is_used(name));
    unused.map(|name| format!("origins.{name}: no bucket is mapped to it, see `buckets`")).collect()
}

/// Returns warnings about globs that match no bucket, because another one is tried first and covers them.
fn unmet(buckets: &BTreeMap<String, BucketConfig>) -> Vec<String> {
    let globs = buckets.keys().filter(|pattern| Glob::has_wildcard(pattern));
    let globs = globs.filter_map(|pattern| Glob::new(pattern).ok());
    let mut globs: Vec<Glob> = globs.collect();
    let length = |glob: &Glob| std::cmp::Reverse(glob.literal().len());
    globs.sort_by(|a, b| (length(a), a.as_str()).cmp(&(length(b), b.as_str())));
    let mut found = Vec::new();
    for (at, later) in globs.iter().enumerate() {
        let covers = |earlier: &&Glob| {
            let is_prefix =
                matches!(earlier.as_str().strip_prefix(earlier.literal()), Some("*" | "**"));
            is_prefix && later.literal().starts_with(earlier.literal())
        };
        if let Some(earlier) = globs[..at].iter().find(covers) {
            let (later, earlier) = (later.as_str(), earlier.as_str());
            found.push(format!(
                "buckets.{later}: is never met: buckets.{earlier} has all of it, and is tried before"
            ));
        }
    }
    found
}

/// Returns warnings about rules that name a bucket as its origin does, while clients use another name.
fn rules_by_other_names(config: &Config) -> Vec<String> {
    let aliases = config.buckets.iter().filter_map(|(name, b)| Some((name, b.bucket.as_ref()?)));
    let aliases: Vec<_> = aliases.filter(|(_, real)| !config.buckets.contains_key(*real)).collect();
    let mut found = Vec::new();
    for (index, rule) in config.rules.iter().enumerate() {
        let bucket = rule.pattern.split('/').next().unwrap_or_default();
        let named = |(_, real): &&(&String, &String)| real.as_str() == bucket;
        if let Some((name, _)) = aliases.iter().find(named) {
            found.push(format!(
                "rules[{index}].match: `{}` names a bucket as its origin does; rules see the name of clients, `{name}`",
                rule.pattern
            ));
        }
    }
    found
}

/// Returns warnings about mapped buckets that `auth.buckets` excludes.
fn not_readable(config: &Config) -> Vec<String> {
    let Some(allowed) =
        config.auth.buckets.as_ref().filter(|_| config.auth.mode == AuthMode::Trust)
    else {
        return Vec::new();
    };
    let is_allowed = |name: &str| {
        allowed.iter().any(|allowed| Glob::new(allowed).is_ok_and(|g| g.matches(Text::new(name))))
    };
    let names = config.buckets.keys().filter(|name| !Glob::has_wildcard(name));
    let left_out = names.filter(|name| !is_allowed(name));
    left_out
        .map(|name| format!("buckets.{name}: is not in auth.buckets, so that nobody may use it"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(yaml: &str) -> Vec<String> {
        let config: Config = crate::yaml::from_str(yaml).unwrap();
        config.check().unwrap();
        of(&config)
    }

    #[test]
    fn what_is_never_used_is_told() {
        assert_eq!(
            told("origins: { x: {}, y: {} }\nbuckets: { a-bucket: { origin: x } }"),
            ["origins.y: no bucket is mapped to it, see `buckets`"]
        );
        assert_eq!(
            told(
                "origins: { x: {} }\nbuckets: { 'logs-*': { origin: x }, 'logs-?': { origin: x } }"
            ),
            ["buckets.logs-?: is never met: buckets.logs-* has all of it, and is tried before"]
        );
        assert_eq!(
            told(
                "buckets: { mine: { bucket: real } }\nrules: [{ match: 'real/**' }, { match: '**' }]"
            ),
            [
                "rules[0].match: `real/**` names a bucket as its origin does; rules see the name of clients, `mine`"
            ]
        );
        assert!(told("buckets: { 'logs-*': { region: a }, 'logs-e*': { region: b } }").is_empty());
    }
}
