//! Configuration of traces, the key `tracing`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::config::units::{HumanDuration, SampleRate, Secret};

/// Traces of requests, sent to an OpenTelemetry collector by OTLP over HTTP, in JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct TracingConfig {
    /// The collector, such as `http://collector:4318`; without a path it is sent to `/v1/traces`. `None`: no traces.
    pub endpoint: Option<String>,
    /// Share of the requests that are traced, of those that name no trace (`traceparent`). Of the others those are traced
    /// whose sender traces them.
    pub sample: SampleRate,
    /// Name of this service in traces (`service.name`).
    pub service: String,
    /// Headers of requests to the collector, such as `authorization`.
    pub headers: BTreeMap<String, Secret>,
    /// PEM file of the certificate authorities to trust for the collector in place of the system's; `None`: the
    /// system's.
    pub ca_file: Option<PathBuf>,
    /// Maximum spans that wait to be sent; more are dropped and counted.
    pub queue: usize,
    /// Maximum spans in a request to the collector.
    pub batch: usize,
    /// Maximum time for which a span waits for others.
    pub interval: HumanDuration,
    /// Timeout of a request to the collector.
    pub timeout: HumanDuration,
}

impl Default for TracingConfig {
    fn default() -> Self {
        Self {
            endpoint: None,
            sample: SampleRate::ONE_PERCENT,
            service: "hotset".to_owned(),
            headers: BTreeMap::new(),
            ca_file: None,
            queue: 4096,
            batch: 512,
            interval: HumanDuration::secs(5),
            timeout: HumanDuration::secs(5),
        }
    }
}
