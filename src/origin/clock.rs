//! The origin's clock, by which requests are signed (R15).

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use http::HeaderMap;
use http::header::DATE;

/// Offset between the origin's clock and the local one.
#[derive(Debug, Default)]
pub(super) struct OriginClock {
    /// Seconds by which the origin's clock is ahead.
    skew: AtomicI64,
}

impl OriginClock {
    /// Returns the current time by the origin's clock.
    pub(super) fn now(&self) -> SystemTime {
        let skew = self.skew.load(Ordering::Relaxed);
        let shift = Duration::from_secs(skew.unsigned_abs());
        if skew < 0 { SystemTime::now() - shift } else { SystemTime::now() + shift }
    }

    /// Adopts the `Date` of a response that refuses a signature for its time.
    pub(super) fn learn(&self, headers: &HeaderMap) {
        let date = headers.get(DATE).and_then(|v| v.to_str().ok());
        let Some(theirs) = date.and_then(|d| httpdate::parse_http_date(d).ok()) else { return };
        let seconds = |d: Duration| i64::try_from(d.as_secs()).unwrap_or(0);
        let skew = match theirs.duration_since(SystemTime::now()) {
            Ok(ahead) => seconds(ahead),
            Err(behind) => -seconds(behind.duration()),
        };
        log::warn!(
            "origin: its clock differs by {skew} s from ours; requests are signed with its time"
        );
        self.skew.store(skew, Ordering::Relaxed);
    }
}
