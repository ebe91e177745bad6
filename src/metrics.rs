//! Every metric: its name, unit, help and the one function that records it.
//!
//! Handles are looked up once and kept, so that recording is an atomic addition without a registry lookup. Until
//! [`install`] is called nothing is recorded and nothing is kept: a histogram whose samples are never drained would
//! grow for ever. This module imports no other module of hotset; published names never change.

use metrics::with_local_recorder;
use metrics_exporter_prometheus::{
    Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder,
};

#[macro_use]
mod label;
mod computed;
mod operation;
mod process;
mod recorder;
pub mod traffic;

pub mod addresses;
pub mod attribution;
pub mod cache;
pub mod cluster;
pub mod config;
pub mod connections;
pub mod disk;
pub mod events;
pub mod hedging;
pub mod identities;
pub mod integrity;
pub mod limits;
pub mod logs;
pub mod memory;
pub mod openmetrics;
pub mod origin;
pub mod read_ahead;
pub mod requests;
pub mod tracing;
pub mod warm;
pub mod webhook;
pub mod wire;

pub use cache::{
    admission_refused, coalesced, set_cache_blocks, set_cache_bytes, set_in_flight_bytes,
    set_in_flight_limit, set_metadata_entries,
};
pub use operation::Operation;
pub use origin::{
    OriginKind, Outcome, origin_bytes, origin_first_byte, origin_request, origin_retry,
};
pub use recorder::GaugeGuard;
pub use requests::{CacheResult, Source, connection_open, request_in_flight, response_bytes};

/// Upper bounds of the histograms' buckets, in seconds: a hit from memory takes a tenth of a
/// millisecond, an origin in trouble tens of seconds.
const SECONDS: [f64; 18] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0, 30.0, 60.0,
];

/// Starts recording, once; later calls return the same handle. The holder must call [`PrometheusHandle::run_upkeep`]
/// every few seconds (`admin::serve` does), or samples of histograms accumulate.
#[must_use]
pub fn install() -> PrometheusHandle {
    recorder::install_once(|| {
        let recorder = build();
        with_local_recorder(&recorder, register);
        recorder
    })
}

/// Returns all metrics in Prometheus's text format: those of `handle` and computed ones, some of them from `/proc`.
#[must_use]
pub fn render(handle: &PrometheusHandle) -> String {
    let mut text = handle.render();
    process::write(&mut text);
    requests::write(&mut text);
    connections::write(&mut text);
    traffic::write(&mut text);
    addresses::write(&mut text);
    text
}

fn build() -> PrometheusRecorder {
    PrometheusBuilder::new()
        .set_buckets(&SECONDS)
        .and_then(|builder| {
            let lag = Matcher::Full(events::LAG.to_owned());
            builder.set_buckets_for_metric(lag, &events::LAG_SECONDS)
        })
        .and_then(|builder| {
            let age = Matcher::Full(cache::EVICTION_AGE.to_owned());
            builder.set_buckets_for_metric(age, &cache::AGES)
        })
        .expect("the lists of buckets are not empty")
        .build_recorder()
}

/// Describes and registers all metrics with the recorder in scope.
fn register() {
    addresses::describe();
    cache::register();
    cluster::register();
    config::register();
    connections::describe();
    disk::describe();
    events::register();
    hedging::register();
    identities::register();
    integrity::register();
    limits::register();
    logs::register();
    memory::register();
    origin::register();
    process::describe();
    traffic::describe();
    read_ahead::register();
    requests::register();
    tracing::register();
    warm::register();
    webhook::register();
    wire::register();
}

#[cfg(test)]
mod tests;
