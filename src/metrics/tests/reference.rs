//! Generator of the metrics reference, `docs/reference/metrics.md`, from the described and registered metrics.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use metrics::{
    Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit,
    with_local_recorder,
};
use parking_lot::Mutex;

use super::end;
use crate::metrics::limits::Limit;
use crate::metrics::requests::STATUS_CLASSES;
use crate::metrics::{
    CacheResult, Operation, OriginKind, Outcome, disk, events, install, register,
};

const FILE: &str = "docs/reference/metrics.md";

const HEAD: &str = "\
<!-- Generated from src/metrics by `make generate`: change the help there. -->

# Metrics reference

`GET /metrics` on the admin port answers in the text format of Prometheus. Names that were released stay.
[Troubleshooting](../troubleshooting.md) says which of them to look at when.

A counter only grows, from 0 at the start of the process. A histogram has the series `_bucket`, `_sum` and `_count`.
";

type Labels = BTreeMap<String, Vec<String>>;

/// Returns the labels of metrics whose series are registered on first use, each with its values; none: any.
#[allow(clippy::too_many_lines, reason = "a table")]
fn late_labels() -> BTreeMap<&'static str, Labels> {
    let words = |words: Vec<&str>| words.into_iter().map(str::to_owned).collect::<Vec<_>>();
    let label = |name: &str, values: Vec<&str>| (name.to_owned(), words(values));
    let operations = || Operation::ALL.iter().map(|label| label.label()).collect::<Vec<_>>();
    let results = || CacheResult::ALL.iter().map(|label| label.label()).collect::<Vec<_>>();
    let kinds = || OriginKind::ALL.iter().map(|label| label.label()).collect::<Vec<_>>();
    let computed = [
        "process_cpu_seconds_total",
        "process_max_fds",
        "process_open_fds",
        "process_resident_memory_bytes",
        "process_start_time_seconds",
        "process_threads",
        "process_virtual_memory_bytes",
        "hotset_saved_requests_total",
        "hotset_saved_bytes_total",
        "hotset_saved_dollars_total",
    ];
    let sources = || events::Source::ALL.iter().map(|source| source.label()).collect::<Vec<_>>();
    let mut late = BTreeMap::from([
        (
            "hotset_requests_total",
            Labels::from([
                label("operation", operations()),
                label("cache", results()),
                label("status", STATUS_CLASSES.to_vec()),
            ]),
        ),
        (
            "hotset_request_duration_seconds",
            Labels::from([label("operation", operations()), label("cache", results())]),
        ),
        (
            "hotset_first_byte_seconds",
            Labels::from([label("operation", operations()), label("cache", results())]),
        ),
        (
            "hotset_responses_total",
            Labels::from([label("operation", operations()), label("code", vec![])]),
        ),
        (
            "hotset_origin_connections",
            Labels::from([label("address", vec![]), label("state", vec!["idle", "in_use"])]),
        ),
        ("hotset_log_lines_dropped_total", Labels::from([label("log", vec!["access", "audit"])])),
        ("hotset_origin_up", Labels::from([label("origin", vec![])])),
        ("hotset_origin_breaker_open", Labels::from([label("origin", vec![])])),
        (
            "hotset_origin_address_up",
            Labels::from([label("address", vec![]), label("origin", vec![])]),
        ),
        (
            "hotset_origin_address_failures_total",
            Labels::from([label("address", vec![]), label("origin", vec![])]),
        ),
        (
            "hotset_trace_spans_total",
            Labels::from([label("outcome", vec!["sent", "dropped", "failed"])]),
        ),
        ("hotset_failover_reads_total", Labels::from([label("origin", vec![])])),
        ("hotset_rule_trusted_buckets", Labels::from([label("rule", vec![])])),
        (
            "hotset_bucket_requests_total",
            Labels::from([label("bucket", vec![]), label("cache", results())]),
        ),
        (
            "hotset_bucket_response_bytes_total",
            Labels::from([label("bucket", vec![]), label("source", vec!["cache", "origin"])]),
        ),
        (
            "hotset_rule_requests_total",
            Labels::from([label("rule", vec![]), label("cache", results())]),
        ),
        (
            "hotset_rule_response_bytes_total",
            Labels::from([label("rule", vec![]), label("source", vec!["cache", "origin"])]),
        ),
        (
            "hotset_identity_requests_total",
            Labels::from([label("identity", vec![]), label("code", vec![])]),
        ),
        (
            "hotset_cache_eviction_age_seconds",
            Labels::from([label("tier", vec!["memory", "disk"])]),
        ),
        ("hotset_errors_total", Labels::from([label("code", vec![])])),
        ("hotset_build_info", Labels::from([label("version", vec![]), label("features", vec![])])),
        ("hotset_origin_first_byte_seconds", Labels::from([label("kind", kinds())])),
        ("hotset_disk_capacity_bytes", Labels::from([label("path", vec![])])),
        (
            "hotset_certificate_expiry_timestamp_seconds",
            Labels::from([label("certificate", vec![])]),
        ),
        (
            "hotset_origin_requests_total",
            Labels::from([
                label("kind", kinds()),
                label("outcome", Outcome::ALL.iter().map(|label| label.label()).collect()),
                label("origin", vec![]),
            ]),
        ),
        (
            "hotset_event_lag_seconds",
            Labels::from([label("source", sources()), label("bucket", vec![])]),
        ),
        (
            "hotset_event_receiver_up",
            Labels::from([label("source", sources()), label("name", vec![])]),
        ),
        (
            "hotset_event_queue_messages",
            Labels::from([label("source", sources()), label("name", vec![])]),
        ),
    ]);
    for name in ["read_bytes_total", "written_bytes_total", "segments_reclaimed_total", "bytes"] {
        late.insert(format!("hotset_disk_{name}").leak(), Labels::from([label("path", vec![])]));
    }
    for name in ["blocks", "objects", "queued_bytes"] {
        late.insert(format!("hotset_disk_{name}").leak(), Labels::from([label("path", vec![])]));
    }
    for (name, of, values) in [
        (
            "hotset_disk_reads_total",
            "outcome",
            disk::Outcome::ALL.iter().map(|l| l.label()).collect(),
        ),
        (
            "hotset_disk_failures_total",
            "reason",
            disk::Failure::ALL.iter().map(|l| l.label()).collect(),
        ),
        (
            "hotset_disk_skips_total",
            "reason",
            disk::Skip::ALL.iter().map(|l| l.label()).collect::<Vec<_>>(),
        ),
    ] {
        late.insert(name, Labels::from([label("path", vec![]), label(of, values)]));
    }
    let limits = || Limit::ALL.iter().map(|limit| limit.label()).collect::<Vec<_>>();
    for name in ["hotset_limit", "hotset_limit_used", "hotset_limit_peak"] {
        late.insert(name, Labels::from([label("limit", limits())]));
    }
    let delays = [Limit::IdentityByteRate, Limit::AddressByteRate].map(Limit::label).to_vec();
    late.insert("hotset_limit_delayed_bytes_total", Labels::from([label("limit", delays)]));
    late.extend(computed.map(|name| (name, Labels::new())));
    late
}

/// A described metric, and the labels of its series.
struct Metric {
    kind: &'static str,
    unit: Option<Unit>,
    help: SharedString,
    labels: Labels,
    /// Whether it has series from the start.
    registered: bool,
}

/// A recorder that stores descriptions and registrations, and no values.
#[derive(Default)]
struct Catalogue(Mutex<BTreeMap<String, Metric>>);

impl Catalogue {
    fn describe(&self, kind: &'static str, name: &KeyName, unit: Option<Unit>, help: SharedString) {
        let metric = Metric { kind, unit, help, labels: Labels::new(), registered: false };
        self.0.lock().insert(name.as_str().to_owned(), metric);
    }

    fn register(&self, key: &Key) {
        let mut metrics = self.0.lock();
        let metric = metrics.get_mut(key.name());
        let metric = metric.unwrap_or_else(|| panic!("{} is not described", key.name()));
        metric.registered = true;
        for label in key.labels() {
            let values = metric.labels.entry(label.key().to_owned()).or_default();
            if !values.iter().any(|value| value == label.value()) {
                values.push(label.value().to_owned());
            }
        }
    }
}

impl Recorder for Catalogue {
    fn describe_counter(&self, name: KeyName, unit: Option<Unit>, help: SharedString) {
        self.describe("counter", &name, unit, help);
    }

    fn describe_gauge(&self, name: KeyName, unit: Option<Unit>, help: SharedString) {
        self.describe("gauge", &name, unit, help);
    }

    fn describe_histogram(&self, name: KeyName, unit: Option<Unit>, help: SharedString) {
        self.describe("histogram", &name, unit, help);
    }

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        self.register(key);
        Counter::noop()
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        self.register(key);
        Gauge::noop()
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        self.register(key);
        Histogram::noop()
    }
}

/// Returns every metric by its name.
fn metrics() -> BTreeMap<String, Metric> {
    // Recording goes on with the handles of the first registration.
    let _handle = install();
    let catalogue = Catalogue::default();
    with_local_recorder(&catalogue, register);
    let mut metrics = catalogue.0.into_inner();
    let mut late = late_labels();
    for (name, metric) in &mut metrics {
        match late.remove(name.as_str()) {
            // Some of its series may be there from the start.
            Some(labels) => {
                assert!(metric.labels.keys().all(|label| labels.contains_key(label)), "{name}");
                metric.labels = labels;
            }
            None => assert!(metric.registered, "add the labels of {name} to late_labels"),
        }
    }
    assert!(late.is_empty(), "not described: {:?}", late.keys());
    metrics
}

/// Returns the page.
fn page() -> String {
    let mut page = HEAD.to_owned();
    for (name, Metric { kind, unit, help, labels, .. }) in metrics() {
        let unit = match unit {
            Some(Unit::Count) | None => "",
            Some(unit) => &format!(", in {}", unit.as_str()),
        };
        write!(page, "\n## `{name}`\n\nA {kind}{unit}. {}.\n", help.trim_end_matches('.')).unwrap();
        if !labels.is_empty() {
            page.push('\n');
        }
        for (label, values) in labels {
            let values = values.iter().map(|value| format!("`{value}`")).collect::<Vec<_>>();
            match values.is_empty() {
                true => writeln!(page, "- `{label}`: a name").unwrap(),
                false => writeln!(page, "- `{label}`: {}", values.join(", ")).unwrap(),
            }
        }
    }
    page
}

#[test]
fn the_reference_of_the_metrics_is_that_of_the_registry() {
    crate::generated::assert_current(FILE, &page());
}

#[test]
fn series_that_are_registered_late_have_the_labels_of_the_reference() {
    let _handle = install();
    end(Operation::GetObject, CacheResult::Hit, 200);
    crate::metrics::origin_request(None, OriginKind::Get, Outcome::Ok);
    let happened = Some(std::time::SystemTime::now());
    events::applied(events::Source::Sqs, "a-bucket", happened);
    let text = install().render();
    let mut seen = 0;
    for (name, labels) in late_labels() {
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let Some((series, rest)) = line.split_once('{') else { continue };
            if series != name && series.strip_suffix("_bucket") != Some(name) {
                continue;
            }
            let shown = rest.split_once('}').unwrap().0.split("\",");
            let mut shown: Vec<&str> = shown.map(|pair| pair.split_once('=').unwrap().0).collect();
            shown.retain(|label| *label != "le");
            shown.sort_unstable();
            // The default origin has no name.
            let is_shown = |label: &&String| *label != "origin" || shown.contains(&"origin");
            assert_eq!(shown, labels.keys().filter(is_shown).collect::<Vec<_>>(), "{name}");
            seen += 1;
        }
    }
    assert!(seen >= 3, "{seen} series");
}
