//! The state shown by the admin port, from the modules that own it.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::error::RunError;
use super::reload::Reloader;
use crate::admin::stats::{Parts, Stats};
use crate::admin::{Api, Reload, Token};
use crate::cache::{Cache, Rules};
use crate::cluster::Cluster;
use crate::config::Config;
use crate::inspect::Inspect;
use crate::logging::audit::AuditLogger;
use crate::metrics;
use crate::metrics::addresses::{self, AddressHealth};
use crate::metrics::cache::{Eviction, evicted_blocks};
use crate::metrics::events::set_trusted_buckets;
use crate::metrics::limits::{self, Limit};
use crate::origin::{AddressState, Origins};
use crate::proxy::{Admission, RecentErrors};
use crate::s3::BucketName;
use crate::warm::Warmer;

/// The modules that the admin port shows and controls.
pub(super) struct Observed {
    pub cache: Arc<Cache>,
    pub origin: Origins,
    pub rules: Arc<Rules>,
    pub admission: Arc<Admission>,
    pub errors: Arc<RecentErrors>,
    pub inspect: Arc<Inspect>,
    pub warmer: Arc<Warmer>,
    pub cluster: Option<Arc<Cluster>>,
    pub reloader: Arc<Reloader>,
    pub audit: AuditLogger,
}

#[derive(Serialize)]
struct TrustOfRule<'a> {
    rule: &'a str,
    buckets: Vec<&'a str>,
}

/// A limit, and its use.
#[allow(clippy::struct_field_names, reason = "as it is called in JSON")]
#[derive(Serialize)]
struct LimitInUse {
    key: &'static str,
    /// `bytes`, or the name of the counted things.
    unit: &'static str,
    used: u64,
    /// Maximum use since the start, sampled every second.
    peak: u64,
    limit: u64,
}

/// Builds the API of the admin port.
///
/// # Errors
/// The token file contains no valid token. An unreadable one may appear later; until then the API is closed.
pub(super) fn api(
    config: &Config,
    observed: Observed,
    token: Token,
    on_loopback: bool,
) -> Result<Api, RunError> {
    if let Err((key, error)) = token.check()
        && error.kind() == std::io::ErrorKind::InvalidData
    {
        return Err(RunError::AdminToken(key, error));
    }
    let (cache, warmer) = (observed.cache.clone(), observed.warmer.clone());
    let (rules, mode) = (observed.rules.clone(), config.auth.mode);
    let (cluster, reloader) = (observed.cluster.clone(), observed.reloader.clone());
    let reload: Reload = Box::new(move |dry_run| Box::pin(reloader.clone().answer(dry_run)));
    let (audit, inspect) = (observed.audit.clone(), observed.inspect.clone());
    let stats = stats(config, observed);
    Ok(Api {
        cache,
        warmer,
        rules,
        mode,
        token,
        on_loopback,
        cluster,
        audit,
        inspect,
        stats,
        reload,
    })
}

fn stats(config: &Config, observed: Observed) -> Stats {
    let Observed { cache, origin, rules, admission, errors, reloader, .. } = observed;
    let disks = &config.cache.disk;
    let prices = &config.admin.prices;
    metrics::requests::set_prices(prices.requests.0, prices.gigabyte.0);
    for disk in disks {
        metrics::disk::set_capacity(&disk.path.display().to_string(), disk.capacity.0);
        evicted_blocks(Eviction::Disk, 0, Duration::ZERO);
    }
    let disks = disks.iter().map(|d| json!({ "path": d.path, "capacity_bytes": d.capacity.0 }));
    let disks: Value = disks.collect();
    let (limits_of, trust_of, admitted) = (cache.clone(), rules.clone(), admission.clone());
    let asked = origin.clone();
    Stats {
        handle: metrics::install(),
        refresh: Arc::new(move || {
            refresh(&cache);
            refresh_limits(&admitted, &cache);
            refresh_addresses(&asked);
            asked.set_connection_gauges();
            for (rule, buckets) in trust_of.trusted() {
                set_trusted_buckets(&rule, buckets.len());
            }
        }),
        started: Instant::now(),
        parts: Parts {
            origin: Box::new(move || json!(origin.report())),
            trust: Box::new(move || trust(&rules)),
            limits: Box::new(move || limits_now(&admission, &limits_of)),
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

/// Returns each limit with its unit, its use and its value.
fn limits_in_use(admission: &Admission, cache: &Cache) -> Vec<(Limit, &'static str, u64, u64)> {
    let count = |limit, unit, (used, most): (usize, usize)| (limit, unit, used as u64, most as u64);
    let usage = cache.usage();
    let mut limits = vec![
        count(Limit::Requests, "requests", admission.requests()),
        count(Limit::Connections, "connections", admission.connections()),
        (Limit::InFlight, "bytes", usage.in_flight_bytes, usage.in_flight_limit),
    ];
    let of_clients = admission.client_limits().into_iter();
    limits.extend(of_clients.map(|(limit, used, most)| {
        let unit = match limit {
            Limit::IdentityByteRate | Limit::AddressByteRate => "bytes",
            _ => "requests",
        };
        (limit, unit, used, most)
    }));
    limits
}

fn limits_now(admission: &Admission, cache: &Cache) -> Value {
    let shown = limits_in_use(admission, cache).into_iter().map(|(of, unit, used, limit)| {
        let peak = limits::peak(of).max(used);
        json!(LimitInUse { key: of.label(), unit, used, peak, limit })
    });
    shown.collect()
}

fn refresh_limits(admission: &Admission, cache: &Cache) {
    for (limit, _, used, most) in limits_in_use(admission, cache) {
        limits::set(limit, used, most);
    }
}

fn refresh_addresses(origins: &Origins) {
    let report = origins.report();
    let named = report.named.into_iter().map(|(name, of)| (Some(name), of));
    let all = std::iter::once((None, report.default)).chain(named);
    let addresses = all.flat_map(|(origin, of)| {
        of.by_address.into_iter().map(move |of| AddressHealth {
            origin: origin.clone(),
            address: of.address,
            is_used: of.state == AddressState::Used,
            failures: of.failures_total,
        })
    });
    addresses::set(addresses.collect());
}

/// Sets the gauges that are not updated on change.
pub(super) fn refresh(cache: &Cache) {
    let usage = cache.usage();
    metrics::set_cache_bytes(usage.block_bytes + usage.metadata_bytes);
    metrics::set_cache_blocks(usage.blocks);
    metrics::memory::set_cache_capacity(cache.block_capacity().1);
    metrics::set_metadata_entries(usage.metadata_entries);
    metrics::set_in_flight_bytes(usage.in_flight_bytes);
    metrics::set_in_flight_limit(usage.in_flight_limit);
    cache.set_disk_gauges();
}

/// Describes each rule that trusts events for `/readyz`, one line each.
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
