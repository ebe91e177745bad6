//! Two snapshots, and the differences between them.

use serde_json::Value;

/// The last snapshot and the one before it.
pub(super) struct Window {
    before: Option<Value>,
    now: Value,
}

impl Window {
    pub(super) fn new(now: Value) -> Self {
        Self { before: None, now }
    }

    /// Adds a later snapshot. After a restart, which resets counters, the earlier one is dropped.
    pub(super) fn add(&mut self, now: Value) {
        let restarted = number(&now, "/uptime_seconds") <= number(&self.now, "/uptime_seconds");
        let before = std::mem::replace(&mut self.now, now);
        self.before = (!restarted).then_some(before);
    }

    pub(super) fn now(&self) -> &Value {
        &self.now
    }

    pub(super) fn number(&self, pointer: &str) -> f64 {
        number(&self.now, pointer)
    }

    /// Returns the sum of some labels.
    pub(super) fn sum(&self, pointer: &str, labels: &[&str]) -> f64 {
        labels.iter().map(|label| self.number(&format!("{pointer}/{label}"))).sum()
    }

    /// Returns the rate of a counter per second; `None`: there is only one snapshot.
    pub(super) fn rate(&self, of: impl Fn(&Value) -> f64) -> Option<f64> {
        let before = self.before.as_ref()?;
        let elapsed = self.number("/uptime_seconds") - number(before, "/uptime_seconds");
        Some((of(&self.now) - of(before)).max(0.0) / elapsed)
    }

    /// Returns the rate per second of the sum of some labels.
    pub(super) fn rate_of(&self, pointer: &str, labels: &[&str]) -> Option<f64> {
        self.rate(|of| labels.iter().map(|label| number(of, &format!("{pointer}/{label}"))).sum())
    }

    /// Returns the quantile of a histogram, interpolated within its bucket; `None`: no observations between the
    /// snapshots.
    pub(super) fn quantile(&self, histogram: &str, q: f64) -> Option<f64> {
        let list = |of: &Value, name: &str| -> Vec<Option<f64>> {
            let values = of.pointer(&format!("{histogram}/{name}")).and_then(Value::as_array);
            values.into_iter().flatten().map(Value::as_f64).collect()
        };
        let (bounds, now) = (list(&self.now, "le"), list(&self.now, "cumulative"));
        let before = self.before.as_ref().map(|before| list(before, "cumulative"));
        let before = before.unwrap_or_default();
        let at = |index: usize| {
            let before = before.get(index).copied().flatten().unwrap_or_default();
            now.get(index).copied().flatten().unwrap_or_default() - before
        };
        let total = at(now.len().checked_sub(1)?);
        let rank = q * total;
        let bucket = (0..now.len()).find(|index| at(*index) >= rank).filter(|_| total > 0.0)?;
        let below = bucket.checked_sub(1);
        let low = below.and_then(|below| bounds[below]).unwrap_or_default();
        let Some(high) = bounds.get(bucket).copied().flatten() else { return Some(low) };
        let under = below.map_or(0.0, at);
        Some(low + (high - low) * (rank - under) / (at(bucket) - under))
    }
}

/// Returns a number, or 0.
pub(super) fn number(of: &Value, pointer: &str) -> f64 {
    of.pointer(pointer).and_then(Value::as_f64).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn snapshot(uptime: u32, hits: u32, counts: [u32; 3]) -> Value {
        json!({
            "uptime_seconds": uptime, "reads": { "hit": hits },
            "h": { "le": [0.1, 0.2, null], "cumulative": counts },
        })
    }

    fn close(value: Option<f64>, expected: f64) -> bool {
        value.is_some_and(|value| (value - expected).abs() < 1e-9)
    }

    #[test]
    fn rates_and_quantiles_are_of_what_happened_between_two_snapshots() {
        let mut window = Window::new(snapshot(10, 100, [10, 10, 10]));
        assert_eq!(window.rate_of("/reads", &["hit"]), None);
        window.add(snapshot(14, 300, [10, 20, 20]));
        assert!(close(window.rate_of("/reads", &["hit", "none"]), 50.0));
        assert!(close(window.quantile("/h", 0.5), 0.15));
        window.add(snapshot(16, 300, [10, 20, 24]));
        assert!(
            close(window.quantile("/h", 0.99), 0.2),
            "of more than the last bound no more is known"
        );
        window.add(snapshot(18, 300, [10, 20, 24]));
        assert_eq!(window.quantile("/h", 0.99), None);
        assert_eq!(window.quantile("/none", 0.5), None);
    }

    #[test]
    fn counters_of_a_server_that_was_restarted_begin_anew() {
        let mut window = Window::new(snapshot(1000, 500, [0, 0, 0]));
        window.add(snapshot(3, 6, [0, 0, 0]));
        assert_eq!(window.rate_of("/reads", &["hit"]), None);
        window.add(snapshot(5, 10, [0, 0, 0]));
        assert!(close(window.rate_of("/reads", &["hit"]), 2.0));
    }
}
