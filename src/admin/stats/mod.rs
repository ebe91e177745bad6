//! A snapshot of the server as JSON: counters, gauges, and their time.
//!
//! All counts come from the metrics, so that the page, `hotset stats` and Prometheus show the same numbers; the rest
//! comes from [`Parts`]. Clients compute rates: the difference of two snapshots divided by that of their
//! `uptime_seconds`.

mod samples;
mod snapshot;

use std::sync::Arc;

use metrics_exporter_prometheus::PrometheusHandle;
use serde_json::Value;
use tokio::time::Instant;

use snapshot::Snapshot;

use crate::metrics;

/// A part of the snapshot that its owner serialises. It must be quick and must not block.
pub type Part = Box<dyn Fn() -> Value + Send + Sync>;

/// State that is not in the metrics, by the module that owns it.
pub struct Parts {
    /// The health of the origin.
    pub origin: Part,
    /// The buckets in which each rule with `freshness: events` trusts events.
    pub trust: Part,
    /// Each limit with its current use.
    pub limits: Part,
    /// Paths of the disk tier with their capacity.
    pub disks: Part,
    /// The last requests that failed, newest first.
    pub errors: Part,
    /// Each key of the effective configuration, without secrets.
    pub config: Part,
}

/// The source of snapshots.
pub struct Stats {
    /// The metrics, from `metrics::install`.
    pub handle: PrometheusHandle,
    /// Called before each rendering, to set gauges that are not updated on change. It must be quick and must not block.
    pub refresh: Arc<dyn Fn() + Send + Sync>,
    pub parts: Parts,
    pub started: Instant,
}

impl Stats {
    /// Returns the current metrics in Prometheus's format.
    pub(super) fn render(&self) -> String {
        (self.refresh)();
        metrics::render(&self.handle)
    }

    /// Returns a snapshot of the server.
    pub(super) fn snapshot(&self) -> Snapshot {
        let text = self.render();
        Snapshot::new(&samples::Samples::parse(&text), &self.parts, self.started.elapsed())
    }

    /// Returns the effective configuration.
    pub(super) fn config(&self) -> Value {
        (self.parts.config)()
    }
}
