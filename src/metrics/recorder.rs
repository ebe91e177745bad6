//! The recorder of the process, and the handles registered with it.

use std::sync::OnceLock;

use metrics::Gauge;
use metrics_exporter_prometheus::{PrometheusHandle, PrometheusRecorder};

static RECORDER: OnceLock<PrometheusRecorder> = OnceLock::new();

/// Installs the recorder that `build` returns; later calls return the handle of the first one.
pub(super) fn install_once(build: impl FnOnce() -> PrometheusRecorder) -> PrometheusHandle {
    RECORDER.get_or_init(build).handle()
}

/// Returns the installed recorder, for series that are registered when they are first recorded.
pub(super) fn recorder() -> Option<&'static PrometheusRecorder> {
    RECORDER.get()
}

/// The handles of one module's metrics, once they are registered.
pub(super) struct Registered<H>(OnceLock<H>);

impl<H: 'static> Registered<H> {
    pub(super) const fn none() -> Self {
        Self(OnceLock::new())
    }

    /// Stores the first handles: those of the installed recorder.
    pub(super) fn keep(&self, handles: H) {
        // Tests register once more, with a recorder of their own.
        let _ = self.0.set(handles);
    }

    pub(super) fn get(&'static self) -> Option<&'static H> {
        self.0.get()
    }

    #[allow(clippy::cast_precision_loss, reason = "exact up to 2^53, eight pebibytes")]
    pub(super) fn set(&'static self, gauge: impl FnOnce(&'static H) -> &'static Gauge, value: u64) {
        if let Some(handles) = self.get() {
            gauge(handles).set(value as f64);
        }
    }

    /// Increments a gauge until the guard is dropped.
    pub(super) fn hold(
        &'static self,
        gauge: impl FnOnce(&'static H) -> &'static Gauge,
    ) -> GaugeGuard {
        let gauge = self.get().map(gauge);
        if let Some(gauge) = gauge {
            gauge.increment(1.0);
        }
        GaugeGuard(gauge)
    }
}

/// Guard of an incremented gauge, which is decremented on drop.
#[derive(Debug)]
#[must_use = "it is taken back as soon as this is dropped"]
pub struct GaugeGuard(Option<&'static Gauge>);

impl Drop for GaugeGuard {
    fn drop(&mut self) {
        if let Some(gauge) = self.0 {
            gauge.decrement(1.0);
        }
    }
}
