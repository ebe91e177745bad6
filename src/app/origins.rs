//! Construction of all origins from `origin`, `origins` and `buckets`.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::Config;
use crate::glob::{Glob, InvalidGlob, Text};
use crate::origin::{
    AccessPoint, BucketConfig, DEFAULT_ORIGIN, DirectoryBucket, Mapping, Origin, OriginConfig,
    OriginSet, in_region,
};
use crate::s3::BucketName;

const ORIGINS: &str = "origins.";

/// An origin to be made.
pub(super) struct Planned {
    /// Key in the configuration.
    pub key: String,
    pub settings: OriginConfig,
    /// Whether it is a directory bucket.
    pub has_sessions: bool,
}

/// Returns each origin but the default one.
pub(super) fn planned(config: &Config) -> Vec<Planned> {
    let named = config.origins.iter();
    let named = named.map(|(name, settings)| {
        let (key, settings) = (key_of_origin(name), settings.clone());
        Planned { key, settings, has_sessions: false }
    });
    let buckets = config.buckets.iter().filter_map(|(pattern, bucket)| {
        let has_sessions = DirectoryBucket::is_one(real_name(pattern, bucket));
        let settings = own_settings(settings_of(config, bucket), pattern, bucket)?;
        Some(Planned { key: key_of_bucket(pattern), settings, has_sessions })
    });
    named.chain(buckets).collect()
}

/// An origin to check without serving.
pub struct ToCheck {
    /// Its key in the configuration: `origin`, `origins.NAME`, or `buckets.NAME` of one with settings of its own.
    pub key: String,
    /// The configuration with this one as the key `origin`.
    pub config: Config,
    /// Name of one of its buckets at the origin; `None`: unknown.
    pub bucket: Option<BucketName>,
    pub(super) has_sessions: bool,
}

/// Returns each origin of a validated configuration, the default one first. `bucket`: the bucket to request, by its
/// client name.
pub fn origins_to_check(config: &Config, bucket: Option<&BucketName>) -> Vec<ToCheck> {
    let keys: Vec<_> = planned(config).into_iter().map(|planned| planned.key).collect();
    let key_of = |pattern: &str, bucket: &BucketConfig| {
        let named = bucket.origin.as_ref().filter(|name| *name != DEFAULT_ORIGIN);
        let own = Some(key_of_bucket(pattern)).filter(|key| keys.contains(key));
        own.unwrap_or_else(|| named.map_or("origin".to_owned(), |name| key_of_origin(name)))
    };
    let wanted = bucket.map(|client| match mapping_of(config, client) {
        Some((pattern, mapped)) => {
            let real = mapped.bucket.as_deref().and_then(|real| BucketName::new(real).ok());
            (key_of(pattern, mapped), real.unwrap_or_else(|| client.clone()))
        }
        None => ("origin".to_owned(), client.clone()),
    });
    let bucket_of = |key: &str| match &wanted {
        Some((of, real)) if of == key => Some(real.clone()),
        _ => config.buckets.iter().find_map(|(pattern, bucket)| {
            let is_of_it = key != "origin" && key_of(pattern, bucket) == key;
            is_of_it.then(|| BucketName::new(real_name(pattern, bucket)).ok())?
        }),
    };
    let default =
        Planned { key: "origin".to_owned(), settings: config.origin.clone(), has_sessions: false };
    let all = std::iter::once(default).chain(planned(config));
    all.map(|Planned { key, settings, has_sessions }| ToCheck {
        bucket: bucket_of(&key),
        config: Config { origin: settings, ..config.clone() },
        key,
        has_sessions,
    })
    .collect()
}

/// Returns the entry of `buckets` for a client's bucket: its own, or that of the glob with the longest text before a
/// wildcard.
fn mapping_of<'a>(config: &'a Config, client: &BucketName) -> Option<(&'a str, &'a BucketConfig)> {
    if let Some((pattern, bucket)) = config.buckets.get_key_value(client.as_str()) {
        return Some((pattern, bucket));
    }
    let matching = config.buckets.iter().filter_map(|(pattern, bucket)| {
        let glob = Glob::new(pattern).ok().filter(|_| Glob::has_wildcard(pattern))?;
        let matches = glob.matches(Text::new(client.as_str()));
        matches.then(|| (glob.literal().len(), pattern.as_str(), bucket))
    });
    // Of several globs as long, the first by alphabet applies: `max_by_key` returns the last.
    let longest = matching.collect::<Vec<_>>().into_iter().rev().max_by_key(|(length, ..)| *length);
    longest.map(|(_, pattern, bucket)| (pattern, bucket))
}

/// Builds the set of origins of a validated configuration. `made`: those of [`planned`], by key.
///
/// # Errors
/// A pattern is not a valid glob.
pub(super) fn assemble(
    config: &Config,
    default: Arc<Origin>,
    made: BTreeMap<String, Arc<Origin>>,
) -> Result<OriginSet, InvalidGlob> {
    let mapping = |(pattern, bucket): (&String, &BucketConfig)| {
        let name = bucket.origin.clone().filter(|name| name != DEFAULT_ORIGIN);
        let own = made.get(&key_of_bucket(pattern));
        let named = name.as_ref().and_then(|name| made.get(&key_of_origin(name)));
        let origin = own.or(named).unwrap_or(&default).clone();
        let bucket = bucket.bucket.as_deref().and_then(|bucket| BucketName::new(bucket).ok());
        Mapping { pattern: pattern.clone(), name, origin, bucket }
    };
    let mappings = config.buckets.iter().map(mapping).collect();
    let named = config.origins.keys();
    let named =
        named.filter_map(|name| Some((name.clone(), made.get(&key_of_origin(name))?.clone())));
    let named = named.collect();
    Ok(OriginSet::new(default, named, mappings)?.with_made(made))
}

/// Returns the name of an origin in metrics.
pub(super) fn name_of(key: &str) -> &str {
    key.strip_prefix(ORIGINS).unwrap_or(key)
}

/// Whether `new` may find objects in other places, or reads them with other credentials, than `before`.
pub(super) fn moves(before: &Config, new: &Config) -> bool {
    let is_same_by_name = before.origins.len() == new.origins.len()
        && before.origins.iter().all(|(name, origin)| {
            new.origins.get(name).is_some_and(|other| origin.is_same_store(other))
        });
    !before.origin.is_same_store(&new.origin) || !is_same_by_name || before.buckets != new.buckets
}

fn key_of_origin(name: &str) -> String {
    format!("{ORIGINS}{name}")
}

fn key_of_bucket(pattern: &str) -> String {
    format!("buckets.{pattern}")
}

fn settings_of<'a>(config: &'a Config, bucket: &BucketConfig) -> &'a OriginConfig {
    let named = bucket.origin.as_ref().and_then(|name| config.origins.get(name));
    named.unwrap_or(&config.origin)
}

/// Returns the name of a bucket at its origin.
fn real_name<'a>(pattern: &'a str, bucket: &'a BucketConfig) -> &'a str {
    bucket.bucket.as_deref().unwrap_or(pattern)
}

/// Returns the settings of a bucket with a region, credentials or an endpoint of its own, which shares nothing with its
/// origin.
fn own_settings(
    origin: &OriginConfig,
    pattern: &str,
    bucket: &BucketConfig,
) -> Option<OriginConfig> {
    let directory_bucket = DirectoryBucket::parse(real_name(pattern, bucket));
    let access_point = bucket.bucket.as_deref().and_then(|arn| AccessPoint::parse(arn).ok());
    let mut settings = match (&access_point, &bucket.region) {
        (Some(access_point), _) => access_point.settings(origin),
        (None, Some(region)) => in_region(origin, region),
        (None, None) if bucket.credentials.is_none() && directory_bucket.is_none() => return None,
        (None, None) => origin.clone(),
    };
    if let Some(directory_bucket) = directory_bucket {
        settings = directory_bucket.settings(&settings);
    }
    if let Some(credentials) = &bucket.credentials {
        settings.credentials = credentials.clone();
    }
    Some(settings)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::units::HumanDuration;

    #[test]
    fn objects_move_with_what_says_where_they_are_and_not_with_what_tunes() {
        let with = |change: fn(&mut Config)| {
            let mut config = Config::default();
            config.origins.insert("x".to_owned(), OriginConfig::default());
            change(&mut config);
            config
        };
        let before = with(|_| {});
        let tuned: [fn(&mut Config); 3] = [
            |_| {},
            |config| config.origin.connect_timeout = HumanDuration::secs(9),
            |config| {
                let x = config.origins.get_mut("x").expect("it is there");
                (x.attempts, x.hedging, x.connections) = (1, false, 7);
            },
        ];
        assert!(tuned.iter().all(|change| !moves(&before, &with(*change))));
        let moved: [fn(&mut Config); 6] = [
            |config| config.origin.endpoint = "http://other".to_owned(),
            |config| config.origin.credentials.anonymous = true,
            |config| config.origin.addresses.push([127, 0, 0, 1].into()),
            |config| config.origins.get_mut("x").expect("it is there").region = "eu".to_owned(),
            |config| config.origins.clear(),
            |config| drop(config.buckets.insert("b".to_owned(), BucketConfig::default())),
        ];
        assert!(moved.iter().all(|change| moves(&before, &with(*change))));
    }
}
