//! The state that the admin port shows, from the modules that own it.

use std::sync::Arc;

use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::error::RunError;
use super::reload::Reloader;
use crate::admin::stats::{Parts, Stats};
use crate::admin::{Api, Reload, Token};
use crate::cache::{Cache, DiskUsage, Rules};
use crate::cluster::Cluster;
use crate::config::Config;
use crate::metrics;
use crate::metrics::cache::{Eviction, evicted};
use crate::origin::Origin;
use crate::proxy::{Admission, RecentErrors};
use crate::s3::BucketName;
use crate::warm::Warmer;

/// The modules that the admin port shows and steers.
pub(super) struct Observed {
    pub cache: Arc<Cache>,
    pub origin: Arc<Origin>,
    pub rules: Arc<Rules>,
    pub admission: Arc<Admission>,
    pub errors: Arc<RecentErrors>,
    pub warmer: Arc<Warmer>,
    pub cluster: Option<Arc<Cluster>>,
    pub reloader: Arc<Reloader>,
}

#[derive(Serialize)]
struct TrustOfRule<'a> {
    rule: &'a str,
    buckets: Vec<&'a str>,
}

/// A bound, and how much of it is used.
#[allow(clippy::struct_field_names, reason = "as it is called in JSON")]
#[derive(Serialize)]
struct Limit {
    key: &'static str,
    /// `bytes`, or the things that are counted.
    unit: &'static str,
    used: u64,
    limit: u64,
}

/// The API of the admin port.
///
/// # Errors
/// The file of the token holds none. One that cannot be read may come later, and opens nothing until then.
pub(super) fn api(
    config: &Config,
    observed: Observed,
    token: Token,
    on_loopback: bool,
) -> Result<Api, RunError> {
    if let Err(error) = token.read()
        && error.kind() == std::io::ErrorKind::InvalidData
    {
        return Err(RunError::AdminToken(error));
    }
    let (cache, warmer) = (observed.cache.clone(), observed.warmer.clone());
    let (rules, mode) = (observed.rules.clone(), config.auth.mode);
    let (cluster, reloader) = (observed.cluster.clone(), observed.reloader.clone());
    let reload: Reload = Box::new(move |dry_run| Box::pin(reloader.clone().answer(dry_run)));
    let stats = stats(config, observed);
    Ok(Api { cache, warmer, rules, mode, token, on_loopback, cluster, stats, reload })
}

fn stats(config: &Config, observed: Observed) -> Stats {
    let Observed { cache, origin, rules, admission, errors, reloader, .. } = observed;
    let disks = &config.cache.disk;
    for disk in disks {
        metrics::disk::set_capacity(&disk.path.display().to_string(), disk.capacity.0);
        evicted(Eviction::Disk, 0);
    }
    let disks = disks.iter().map(|d| json!({ "path": d.path, "capacity_bytes": d.capacity.0 }));
    let disks: Value = disks.collect();
    let limits_of = cache.clone();
    Stats {
        handle: metrics::install(),
        refresh: Arc::new(move || refresh(&cache)),
        started: Instant::now(),
        parts: Parts {
            origin: Box::new(move || json!(origin.report())),
            trust: Box::new(move || trust(&rules)),
            limits: Box::new(move || limits(&admission, &limits_of)),
            disks: Box::new(move || disks.clone()),
            errors: Box::new(move || json!(errors.newest_first())),
            config: Box::new(move || reloader.describe()),
        },
    }
}

fn trust(rules: &Rules) -> Value {
    let trusted = rules.trusted();
    let rules = trusted.iter().map(|(rule, buckets)| {
        json!(TrustOfRule { rule, buckets: buckets.iter().map(BucketName::as_str).collect() })
    });
    rules.collect()
}

fn limits(admission: &Admission, cache: &Cache) -> Value {
    let count = |key, unit, (used, limit): (usize, usize)| {
        json!(Limit { key, unit, used: used as u64, limit: limit as u64 })
    };
    let usage = cache.usage();
    json!([
        count("limits.requests", "requests", admission.requests()),
        count("limits.connections", "connections", admission.connections()),
        Limit {
            key: "cache.in_flight",
            unit: "bytes",
            used: usage.in_flight_bytes,
            limit: usage.in_flight_limit,
        },
    ])
}

/// Sets the gauges that nobody sets as they change.
pub(super) fn refresh(cache: &Cache) {
    let usage = cache.usage();
    metrics::set_cache_bytes(usage.block_bytes + usage.metadata_bytes);
    metrics::set_cache_blocks(usage.blocks);
    metrics::memory::set_cache_capacity(cache.block_capacity().1);
    metrics::set_metadata_entries(usage.metadata_entries);
    metrics::set_in_flight_bytes(usage.in_flight_bytes);
    metrics::set_in_flight_limit(usage.in_flight_limit);
    if let Some(disk) = cache.disk_usage() {
        let DiskUsage { device_bytes, blocks, objects, queued_bytes, .. } = disk;
        let holds = metrics::disk::Holds { device_bytes, blocks, objects, queued_bytes };
        metrics::disk::set_holds(holds);
    }
}

/// For `/readyz`: one line for each rule that trusts events.
pub(super) fn describe_trust(rules: &Rules) -> String {
    let rules = rules.trusted().into_iter();
    let lines = rules.map(|(rule, buckets)| match buckets.is_empty() {
        true => format!("events: rule {rule:?} is trusted in no bucket, its ttl applies\n"),
        false => {
            let named: Vec<&str> = buckets.iter().map(BucketName::as_str).collect();
            format!("events: rule {rule:?} is trusted in {}\n", named.join(", "))
        }
    });
    lines.collect()
}
