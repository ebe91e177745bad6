//! Checks of `origins` and `buckets`.

use super::endpoint_kind::{check_arn, check_directory_bucket};
use super::origin;
use super::values::wrong;
use crate::auth::AuthMode;
use crate::cache::Freshness;
use crate::config::{Config, ConfigError};
use crate::glob::Glob;
use crate::origin::DirectoryBucket;
use crate::origin::config::{BucketConfig, DEFAULT_ORIGIN};
use crate::s3::BucketName;

/// Maximum number of named origins.
const MOST_ORIGINS: usize = 64;
/// Maximum number of mapped buckets, or globs over them.
const MOST_BUCKETS: usize = 1024;
/// Maximum length of an origin's name in bytes: it is a label of metrics.
const LONGEST: usize = 63;

pub(super) fn check(config: &Config) -> Result<(), ConfigError> {
    if config.origins.len() > MOST_ORIGINS {
        return wrong("origins", format_args!("more than {MOST_ORIGINS}"));
    }
    for (name, settings) in &config.origins {
        let key = format!("origins.{name}");
        let is_legal =
            |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_');
        if name.is_empty() || name.len() > LONGEST || !name.bytes().all(is_legal) {
            return wrong(key, "the name of an origin is lower-case letters, digits, `-` and `_`");
        }
        if name == DEFAULT_ORIGIN {
            return wrong(key, "is the name of `origin`");
        }
        origin::check(settings).map_err(|error| error.renamed("origin", &key))?;
    }
    if config.buckets.len() > MOST_BUCKETS {
        return wrong("buckets", format_args!("more than {MOST_BUCKETS}"));
    }
    if !config.buckets.is_empty() && config.auth.mode == AuthMode::Transparent {
        return wrong(
            "buckets",
            "not valid with auth.mode: transparent, where clients sign for the origin",
        );
    }
    config
        .buckets
        .iter()
        .try_for_each(|(pattern, bucket)| check_bucket(config, pattern, bucket))?;
    check_failovers(config)?;
    check_receivers(config)
}

/// Checks the origins that receivers of events name.
fn check_receivers(config: &Config) -> Result<(), ConfigError> {
    for (receiver, name) in config.events.origins() {
        if name != DEFAULT_ORIGIN && !config.origins.contains_key(name) {
            let key = format!("events.{receiver}.origin");
            return wrong(key, format_args!("`{name}` is not in `origins`"));
        }
    }
    Ok(())
}

/// Checks `rules[].failover`.
fn check_failovers(config: &Config) -> Result<(), ConfigError> {
    for (index, rule) in config.rules.iter().enumerate() {
        let Some(failover) = &rule.failover else { continue };
        let key = |name: &str| format!("rules[{index}].failover{name}");
        let name = &failover.origin;
        if name.is_empty() {
            return wrong(key(".origin"), "is needed: the name of another origin");
        }
        if name != DEFAULT_ORIGIN && !config.origins.contains_key(name) {
            return wrong(key(".origin"), format_args!("`{name}` is not in `origins`"));
        }
        if rule.freshness == Freshness::Bypass {
            return wrong(
                key(""),
                "not valid with freshness: bypass, of which nothing is read by the cache",
            );
        }
        if config.auth.mode == AuthMode::Transparent {
            return wrong(
                key(""),
                "not valid with auth.mode: transparent, where S3 decides each read",
            );
        }
        let Some(bucket) = &failover.bucket else { continue };
        if DirectoryBucket::is_one(bucket) {
            return wrong(
                key(".bucket"),
                "is a directory bucket, which is read by `buckets` alone",
            );
        }
        if let Err(error) = BucketName::new(bucket) {
            return wrong(key(".bucket"), format_args!("`{bucket}` is no bucket's name: {error}"));
        }
        let of = rule.pattern.split('/').next().unwrap_or_default();
        if Glob::has_wildcard(of) {
            return wrong(
                key(".bucket"),
                format_args!("`{}` is of several buckets, which are not all in one", rule.pattern),
            );
        }
    }
    Ok(())
}

fn check_bucket(config: &Config, pattern: &str, bucket: &BucketConfig) -> Result<(), ConfigError> {
    let key = |name: &str| format!("buckets.{pattern}{name}");
    let is_glob = Glob::has_wildcard(pattern);
    if is_glob {
        if let Err(error) = Glob::new(pattern) {
            return wrong(key(""), error);
        }
        if pattern.contains('/') {
            return wrong(key(""), "is a glob over names of buckets, which have no `/`");
        }
    } else if let Err(error) = BucketName::new(pattern) {
        return wrong(key(""), format_args!("neither the name of a bucket nor a glob: {error}"));
    }
    if let Some(name) = &bucket.origin
        && name != DEFAULT_ORIGIN
        && !config.origins.contains_key(name)
    {
        return wrong(key(".origin"), format_args!("`{name}` is not in `origins`"));
    }
    let origin = bucket.origin.as_ref().and_then(|name| config.origins.get(name));
    let origin = origin.unwrap_or(&config.origin);
    let real = bucket.bucket.as_deref().unwrap_or(pattern);
    if DirectoryBucket::is_one(real) {
        let key = key(if bucket.bucket.is_some() { ".bucket" } else { "" });
        if is_glob {
            return wrong(key, "directory buckets have an endpoint each: name them one by one");
        }
        let credentials = bucket.credentials.as_ref().unwrap_or(&origin.credentials);
        check_directory_bucket(&key, real, (origin, credentials.anonymous))?;
    }
    if real.starts_with("arn:") && !is_glob {
        check_arn(&key(".bucket"), real, origin)?;
    }
    let named = bucket.bucket.as_deref().filter(|real| is_glob || !real.starts_with("arn:"));
    match named.map(|real| (real, BucketName::new(real))) {
        Some((_, Ok(_))) if is_glob => {
            return wrong(key(".bucket"), "a glob cannot be mapped to one bucket");
        }
        Some((_, Ok(real))) if real.without_tenant().is_some() => {
            return wrong(key(".bucket"), "a bucket of a tenant cannot have another name");
        }
        Some((real, Err(error))) => {
            return wrong(key(".bucket"), format_args!("`{real}` is no bucket's name: {error}"));
        }
        Some((_, Ok(_))) | None => {}
    }
    if let Some(region) = &bucket.region
        && (region.is_empty() || region.chars().any(|c| c.is_control() || c.is_whitespace()))
    {
        return wrong(key(".region"), "must be non-empty and contain no whitespace");
    }
    match &bucket.credentials {
        None => Ok(()),
        Some(credentials) => origin::check_credentials(credentials)
            .map_err(|error| error.renamed("origin", &key(""))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(yaml: &str) -> String {
        let config: Config = crate::yaml::from_str(yaml).unwrap();
        config.check().map_or_else(|error| error.to_string(), |()| String::new())
    }

    #[test]
    fn what_is_wrong_is_told_with_its_key() {
        for (yaml, expected) in [
            ("origins: { X: {} }", "origins.X: the name of an origin is lower-case letters"),
            ("origins: { default: {} }", "origins.default: is the name of `origin`"),
            (
                "origins: { x: { endpoint: ftp://h } }",
                "origins.x.endpoint: `ftp://h` is not http://",
            ),
            ("origins: { x: { attempts: 0 } }", "origins.x.attempts: "),
            (
                "origins: { x: { endpoint: 'http://127.0.0.1:9000' } }",
                "origins.x.endpoint: 127.0.0.1:9000 is one of",
            ),
            ("buckets: { ab: {} }", "buckets.ab: neither the name of a bucket nor a glob"),
            ("buckets: { 'a/*': {} }", "buckets.a/*: is a glob over names of buckets"),
            ("buckets: { 'a[': {} }", "buckets.a[: has a `[`"),
            ("buckets: { abc: { origin: x } }", "buckets.abc.origin: `x` is not in `origins`"),
            ("buckets: { 'a*': { bucket: abc } }", "buckets.a*.bucket: a glob cannot be"),
            ("buckets: { abc: { bucket: a/b } }", "buckets.abc.bucket: `a/b` is no bucket's name"),
            ("buckets: { abc: { bucket: 't:abc' } }", "buckets.abc.bucket: a bucket of a tenant"),
            ("buckets: { a--x-s3: {} }", "buckets.a--x-s3: `a--x-s3` ends as a directory bucket"),
            (
                "origin: { endpoint: 'http://minio:9000' }\nbuckets: { abc: { bucket: a--z--x-s3 } }",
                "buckets.abc.bucket: `a--z--x-s3` is a directory bucket, which only AWS has",
            ),
            (
                "buckets: { a--z--x-s3: { credentials: { anonymous: true } } }",
                "buckets.a--z--x-s3: `a--z--x-s3` is a directory bucket, which is not read without",
            ),
            ("buckets: { '*--z--x-s3': {} }", "buckets.*--z--x-s3: directory buckets have"),
            (
                "buckets: { abc: { bucket: 'arn:aws:s3:::b' } }",
                "buckets.abc.bucket: `arn:aws:s3:::b` is not",
            ),
            (
                "buckets: { 'a*': { bucket: 'arn:aws:s3:r:1:accesspoint/a' } }",
                "buckets.a*.bucket: ",
            ),
            ("buckets: { abc: { region: 'a b' } }", "buckets.abc.region: must be"),
            (
                "buckets: { abc: { credentials: { external_id: x } } }",
                "buckets.abc.credentials.external_id: only valid with buckets.abc.credentials.role_arn",
            ),
            (
                "events: { sqs: [{ queue: 'https://sqs.eu-west-1.amazonaws.com/1/q', origin: y }] }",
                "events.sqs[0].origin: `y` is not in `origins`",
            ),
            (
                "events: { webhook: { origin: y } }",
                "events.webhook.origin: `y` is not in `origins`",
            ),
            #[cfg(feature = "receivers")]
            (
                "events: { nats: { servers: [nats://n], stream: S, origin: y } }",
                "events.nats.origin: `y` is not in `origins`",
            ),
            #[cfg(feature = "receivers")]
            (
                "events: { amqp: { url: amqp://h, queue: q, origin: y } }",
                "events.amqp.origin: `y` is not in `origins`",
            ),
            #[cfg(feature = "receivers")]
            (
                "events: { kafka: { brokers: [b:9092], topics: [t], origin: y } }",
                "events.kafka.origin: `y` is not in `origins`",
            ),
            #[cfg(feature = "receivers")]
            (
                "events: { redis: { url: redis://h, list: l, origin: y } }",
                "events.redis.origin: `y` is not in `origins`",
            ),
            (
                "buckets: { abc: {} }\nauth: { mode: transparent }",
                "buckets: not valid with auth.mode",
            ),
        ] {
            let problem = problem(yaml);
            assert!(problem.starts_with(expected), "{yaml}: {problem}");
        }
        for (rule, expected) in [
            ("match: '**', failover: {}", ".origin: is needed"),
            ("match: '**', failover: { origin: y }", ".origin: `y` is not in `origins`"),
            ("match: '**', failover: { origin: x, bucket: abc }", ".bucket: `**` is of several"),
            (
                "match: '**', freshness: bypass, failover: { origin: x }",
                ": not valid with freshness",
            ),
        ] {
            let problem = problem(&format!("origins: {{ x: {{}} }}\nrules: [{{ {rule} }}]"));
            let expected = format!("rules[0].failover{expected}");
            assert!(problem.starts_with(&expected), "{rule}: {problem}");
        }
        assert_eq!(
            problem("origins: { x: {} }\nbuckets: { my.bucket: { origin: x, bucket: b.c } }"),
            ""
        );
    }
}
