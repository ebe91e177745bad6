//! Construction of all origins from `origin`, `origins` and `buckets`.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::Config;
use crate::glob::InvalidGlob;
use crate::origin::{
    AccessPoint, BucketConfig, DEFAULT_ORIGIN, Mapping, Origin, OriginConfig, Origins, in_region,
};
use crate::s3::BucketName;

const ORIGINS: &str = "origins.";

/// The settings of each origin but the default one, by the key that it is made for.
pub(super) fn settings(config: &Config) -> Vec<(String, OriginConfig)> {
    let named = config.origins.iter();
    let named = named.map(|(name, settings)| (key_of_origin(name), settings.clone()));
    let buckets = config.buckets.iter().filter_map(|(pattern, bucket)| {
        let settings = own_settings(settings_of(config, bucket), bucket)?;
        Some((key_of_bucket(pattern), settings))
    });
    named.chain(buckets).collect()
}

/// The origins and mappings of a configuration that was checked. `made`: those of [`settings`], by key.
///
/// # Errors
/// A pattern that is no glob.
pub(super) fn assemble(
    config: &Config,
    default: &Arc<Origin>,
    made: BTreeMap<String, Origin>,
) -> Result<Origins, InvalidGlob> {
    let beside = |(key, origin): (String, Origin)| {
        let name = key.strip_prefix(ORIGINS).unwrap_or(&key);
        let origin = Arc::new(origin.beside(default, name));
        (key, origin)
    };
    let made: BTreeMap<String, Arc<Origin>> = made.into_iter().map(beside).collect();
    let mapping = |(pattern, bucket): (&String, &BucketConfig)| {
        let name = bucket.origin.clone().filter(|name| name != DEFAULT_ORIGIN);
        let own = made.get(&key_of_bucket(pattern));
        let named = name.as_ref().and_then(|name| made.get(&key_of_origin(name)));
        let origin = own.or(named).unwrap_or(default).clone();
        let bucket = bucket.bucket.as_deref().and_then(|bucket| BucketName::new(bucket).ok());
        Mapping { pattern: pattern.clone(), name, origin, bucket }
    };
    let mappings = config.buckets.iter().map(mapping).collect();
    let named = config.origins.keys();
    let named =
        named.filter_map(|name| Some((name.clone(), made.get(&key_of_origin(name))?.clone())));
    Origins::new(default.clone(), named.collect(), mappings)
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

/// The settings of a bucket that has a region, credentials or an endpoint of its own: nothing of its origin's is shared with it.
fn own_settings(origin: &OriginConfig, bucket: &BucketConfig) -> Option<OriginConfig> {
    let access_point = bucket.bucket.as_deref().and_then(|arn| AccessPoint::parse(arn).ok());
    let mut settings = match (&access_point, &bucket.region) {
        (Some(access_point), _) => access_point.settings(origin),
        (None, Some(region)) => in_region(origin, region),
        (None, None) if bucket.credentials.is_none() => return None,
        (None, None) => origin.clone(),
    };
    if let Some(credentials) = &bucket.credentials {
        settings.credentials = credentials.clone();
    }
    Some(settings)
}
