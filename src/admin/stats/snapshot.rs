//! The structure of the snapshot, and the metrics that it is built from.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use serde_json::Value;

use super::Parts;
use super::samples::{ByLabel, Histogram, Samples};

/// `GET /api/v1/stats`. Totals are since the start of the process.
#[derive(Serialize)]
pub(in crate::admin) struct Snapshot {
    /// Unix time, in seconds.
    time: f64,
    /// Uptime by the monotonic clock.
    uptime_seconds: f64,
    version: &'static str,
    requests: Requests,
    /// Object reads by cache result.
    reads: ByLabel,
    /// Bytes of bodies sent to clients, by source.
    bytes: ByLabel,
    /// Reads and bytes that the origin did not have to serve.
    saved: Saved,
    /// Time to the first and to the last byte of a response.
    first_byte: Histogram,
    duration: Histogram,
    origin: Origin,
    events: Events,
    memory: Memory,
    disk: Disk,
    warm: Warm,
    limits: Value,
    errors: Value,
}

#[derive(Serialize)]
struct Requests {
    total: f64,
    by_operation: ByLabel,
    by_cache: ByLabel,
    by_status: ByLabel,
    in_flight: f64,
    connections: f64,
    /// Connections and requests refused before S3 handling, by reason.
    refused: ByLabel,
    /// Reads that waited for another read's fetch.
    coalesced: f64,
}

#[derive(Serialize)]
struct Saved {
    requests: f64,
    bytes: f64,
    /// Price of the savings, by `admin.prices`.
    dollars: f64,
}

#[derive(Serialize)]
struct Origin {
    health: Value,
    requests: f64,
    by_kind: ByLabel,
    by_outcome: ByLabel,
    /// Failed attempts by reason.
    errors: ByLabel,
    retries: f64,
    received_bytes: f64,
    first_byte: Histogram,
    /// Unix time; `null`: the credentials do not expire, or there are none.
    credentials_expire: Option<f64>,
}

#[derive(Serialize)]
struct Receiver {
    source: String,
    name: String,
    up: bool,
}

#[derive(Serialize)]
struct Events {
    receivers: Vec<Receiver>,
    by_source: ByLabel,
    by_result: ByLabel,
    /// Unix time of the last applied event, by source.
    last: ByLabel,
    /// Messages waiting in a queue, by receiver.
    queued: ByLabel,
    lag: Histogram,
    trust: Value,
    invalidations: f64,
}

#[derive(Serialize)]
struct Memory {
    bytes: f64,
    capacity_bytes: f64,
    blocks: f64,
    objects: f64,
    /// Memory of the process, by its control group; 0: no limit.
    used_bytes: f64,
    limit_bytes: f64,
    admissions_refused: f64,
}

#[derive(Serialize)]
struct Disk {
    paths: Value,
    bytes: f64,
    blocks: f64,
    objects: f64,
    queued_bytes: f64,
    reads: ByLabel,
    read_bytes: f64,
    written_bytes: f64,
    failures: ByLabel,
    skips: ByLabel,
    segments_reclaimed: f64,
}

#[derive(Serialize)]
struct Warm {
    jobs: f64,
    objects: ByLabel,
    bytes: f64,
}

impl Snapshot {
    pub(super) fn new(samples: &Samples<'_>, parts: &Parts, uptime: Duration) -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let reads = reads(samples);
        let bytes = samples.by("hotset_response_bytes_total", "source");
        Self {
            time: since_epoch.as_secs_f64(),
            uptime_seconds: uptime.as_secs_f64(),
            version: env!("CARGO_PKG_VERSION"),
            requests: requests(samples),
            saved: saved(samples, &reads, &bytes),
            reads,
            bytes,
            first_byte: samples.histogram("hotset_first_byte_seconds"),
            duration: samples.histogram("hotset_request_duration_seconds"),
            origin: origin(samples, parts),
            events: events(samples, parts),
            memory: memory(samples),
            disk: disk(samples, parts),
            warm: Warm {
                jobs: samples.total("hotset_warm_jobs"),
                objects: samples.by("hotset_warm_objects_total", "result"),
                bytes: samples.total("hotset_warm_fetched_bytes_total"),
            },
            limits: (parts.limits)(),
            errors: (parts.errors)(),
        }
    }
}

fn requests(samples: &Samples<'_>) -> Requests {
    const NAME: &str = "hotset_requests_total";
    Requests {
        total: samples.total(NAME),
        by_operation: samples.by(NAME, "operation"),
        by_cache: samples.by(NAME, "cache"),
        by_status: samples.by(NAME, "status"),
        in_flight: samples.total("hotset_requests_in_flight"),
        connections: samples.total("hotset_open_connections"),
        refused: samples.by("hotset_refused_total", "reason"),
        coalesced: samples.total("hotset_coalesced_total"),
    }
}

/// Returns `GetObject` and `HeadObject` by cache result, without bypasses and server errors.
fn reads(samples: &Samples<'_>) -> ByLabel {
    samples.by_where("hotset_requests_total", "cache", |sample| {
        matches!(sample.label("operation"), Some("GetObject" | "HeadObject"))
            && sample.label("cache") != Some("bypass")
            && sample.label("status").is_none_or(|status| !status.starts_with('5'))
    })
}

fn saved(samples: &Samples<'_>, reads: &ByLabel, bytes: &ByLabel) -> Saved {
    let sum = |of: &ByLabel, labels: &[&str]| labels.iter().filter_map(|l| of.get(*l)).sum();
    let requests = samples.find("hotset_saved_requests_total");
    let saved = samples.find("hotset_saved_bytes_total");
    Saved {
        requests: requests.unwrap_or_else(|| sum(reads, &["hit", "stale", "negative"])),
        bytes: saved.unwrap_or_else(|| sum(bytes, &["memory", "disk"])),
        dollars: samples.find("hotset_saved_dollars_total").unwrap_or_default(),
    }
}

fn origin(samples: &Samples<'_>, parts: &Parts) -> Origin {
    const NAME: &str = "hotset_origin_requests_total";
    Origin {
        health: (parts.origin)(),
        requests: samples.total(NAME),
        by_kind: samples.by(NAME, "kind"),
        by_outcome: samples.by(NAME, "outcome"),
        errors: samples.by("hotset_origin_errors_total", "reason"),
        retries: samples.total("hotset_origin_retries_total"),
        received_bytes: samples.total("hotset_origin_received_bytes_total"),
        first_byte: samples.histogram("hotset_origin_first_byte_seconds"),
        credentials_expire: earliest_expiry(samples),
    }
}

/// Returns the time at which the first of all origins' credentials expires; `None`: none do.
fn earliest_expiry(samples: &Samples<'_>) -> Option<f64> {
    let all = samples.of("hotset_credentials_expiry_timestamp_seconds");
    all.map(|sample| sample.value).filter(|at| *at > 0.0).reduce(f64::min)
}

fn events(samples: &Samples<'_>, parts: &Parts) -> Events {
    const NAME: &str = "hotset_events_total";
    let receivers = samples.of("hotset_event_receiver_up").filter_map(|sample| {
        let (source, name) = (sample.label("source")?.to_owned(), sample.label("name")?.to_owned());
        Some(Receiver { source, name, up: sample.value > 0.0 })
    });
    let came = |of: ByLabel| of.into_iter().filter(|(_, value)| *value > 0.0).collect();
    Events {
        receivers: receivers.collect(),
        by_source: came(samples.by(NAME, "source")),
        by_result: samples.by(NAME, "result"),
        last: came(samples.by("hotset_events_last_timestamp_seconds", "source")),
        queued: samples.by("hotset_event_queue_messages", "name"),
        lag: samples.histogram("hotset_event_lag_seconds"),
        trust: (parts.trust)(),
        invalidations: samples.total("hotset_invalidations_total"),
    }
}

fn memory(samples: &Samples<'_>) -> Memory {
    Memory {
        bytes: samples.total("hotset_cache_bytes"),
        capacity_bytes: samples.total("hotset_cache_capacity_bytes"),
        blocks: samples.total("hotset_cache_blocks"),
        objects: samples.total("hotset_metadata_entries"),
        used_bytes: samples.total("hotset_memory_used_bytes"),
        limit_bytes: samples.total("hotset_memory_limit_bytes"),
        admissions_refused: samples.total("hotset_admissions_refused_total"),
    }
}

fn disk(samples: &Samples<'_>, parts: &Parts) -> Disk {
    Disk {
        paths: (parts.disks)(),
        bytes: samples.total("hotset_disk_bytes"),
        blocks: samples.total("hotset_disk_blocks"),
        objects: samples.total("hotset_disk_objects"),
        queued_bytes: samples.total("hotset_disk_queued_bytes"),
        reads: samples.by("hotset_disk_reads_total", "outcome"),
        read_bytes: samples.total("hotset_disk_read_bytes_total"),
        written_bytes: samples.total("hotset_disk_written_bytes_total"),
        failures: samples.by("hotset_disk_failures_total", "reason"),
        skips: samples.by("hotset_disk_skips_total", "reason"),
        segments_reclaimed: samples.total("hotset_disk_segments_reclaimed_total"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_expiry_of_all_origins_is_shown() {
        const NAME: &str = "hotset_credentials_expiry_timestamp_seconds";
        let text = format!(
            "{NAME} 0\n{NAME}{{origin=\"a\"}} 1800000300\n{NAME}{{origin=\"b\"}} 1800000200\n"
        );
        assert_eq!(earliest_expiry(&Samples::parse(&text)), Some(1_800_000_200.0));
        assert_eq!(earliest_expiry(&Samples::parse(&format!("{NAME} 0\n"))), None);
    }
}
