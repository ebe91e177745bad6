//! The samples of a Prometheus text exposition, summed by label.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Serialize;

/// A sample: one line of an exposition.
pub(super) struct Sample<'a> {
    name: &'a str,
    labels: Vec<(&'a str, Cow<'a, str>)>,
    pub value: f64,
}

/// All samples of one rendering.
pub(super) struct Samples<'a>(Vec<Sample<'a>>);

/// Sums by the value of a label.
pub(super) type ByLabel = BTreeMap<String, f64>;

/// A histogram of seconds, summed over its labels.
#[derive(Debug, Default, PartialEq, Serialize)]
pub(super) struct Histogram {
    /// Upper bounds of the buckets, in seconds; the last, `null` in JSON, is infinity.
    pub le: Vec<Option<f64>>,
    /// Observations at most as large as each bound.
    pub cumulative: Vec<f64>,
    pub sum: f64,
    pub count: f64,
}

impl Sample<'_> {
    /// Returns the value of a label; `None`: the series does not have it.
    pub(super) fn label(&self, name: &str) -> Option<&str> {
        self.labels.iter().find(|(label, _)| *label == name).map(|(_, value)| &**value)
    }
}

impl<'a> Samples<'a> {
    /// Parses an exposition; lines that are not samples are skipped.
    pub(super) fn parse(text: &'a str) -> Self {
        Self(text.lines().filter(|line| !line.starts_with('#')).filter_map(sample).collect())
    }

    /// Iterates over the series of a metric.
    pub(super) fn of(&self, name: &str) -> impl Iterator<Item = &Sample<'a>> {
        self.0.iter().filter(move |sample| sample.name == name)
    }

    /// Returns the sum over all series of a metric; `None`: it has none.
    pub(super) fn find(&self, name: &str) -> Option<f64> {
        self.of(name).map(|sample| sample.value).reduce(|sum, value| sum + value)
    }

    /// Returns the sum over all series of a metric; 0 without any.
    pub(super) fn total(&self, name: &str) -> f64 {
        self.find(name).unwrap_or_default()
    }

    /// Returns the sums by the value of `label`; a series without it does not count.
    pub(super) fn by(&self, name: &str, label: &str) -> ByLabel {
        self.by_where(name, label, |_| true)
    }

    /// As [`Samples::by`], for the series that are `wanted`.
    pub(super) fn by_where(
        &self,
        name: &str,
        label: &str,
        wanted: impl Fn(&Sample<'_>) -> bool,
    ) -> ByLabel {
        let mut sums = ByLabel::new();
        for sample in self.of(name).filter(|sample| wanted(sample)) {
            if let Some(value) = sample.label(label) {
                *sums.entry(value.to_owned()).or_default() += sample.value;
            }
        }
        sums
    }

    /// Returns a histogram, summed over all labels but its bounds; empty without observations.
    pub(super) fn histogram(&self, name: &str) -> Histogram {
        let mut buckets: Vec<(f64, f64)> = Vec::new();
        for sample in self.of(&format!("{name}_bucket")) {
            let Some(bound) = sample.label("le").and_then(|le| le.parse::<f64>().ok()) else {
                continue;
            };
            match buckets.iter_mut().find(|(le, _)| le.total_cmp(&bound).is_eq()) {
                Some((_, count)) => *count += sample.value,
                None => buckets.push((bound, sample.value)),
            }
        }
        buckets.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        Histogram {
            le: buckets.iter().map(|(le, _)| Some(*le).filter(|le| le.is_finite())).collect(),
            cumulative: buckets.iter().map(|(_, count)| *count).collect(),
            sum: self.total(&format!("{name}_sum")),
            count: self.total(&format!("{name}_count")),
        }
    }
}

/// Parses `name{label="value",..} number`.
fn sample(line: &str) -> Option<Sample<'_>> {
    let end = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at(end);
    let mut labels = Vec::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        while !rest.starts_with('}') {
            let (label, after) = rest.split_once("=\"")?;
            let (value, after) = quoted(after)?;
            labels.push((label.trim_start_matches(','), value));
            rest = after;
        }
        rest = &rest[1..];
    }
    let value = rest.split_ascii_whitespace().next()?.parse().ok()?;
    Some(Sample { name, labels, value })
}

/// Returns a label's value up to its closing quotation mark, and the rest.
fn quoted(text: &str) -> Option<(Cow<'_, str>, &str)> {
    let end = text.find(['"', '\\'])?;
    if text.as_bytes()[end] == b'"' {
        return Some((text[..end].into(), &text[end + 1..]));
    }
    let (mut value, mut escaped) = (String::new(), false);
    for (at, character) in text.char_indices() {
        match (escaped, character) {
            (true, 'n') => value.push('\n'),
            (false, '\\') => {}
            (false, '"') => return Some((value.into(), &text[at + 1..])),
            (_, other) => value.push(other),
        }
        escaped = !escaped && character == '\\';
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"# HELP a_total Text with } and "
# TYPE a_total counter
a_total{kind="x",of="1"} 2
a_total{kind="x",of="2"} 3
a_total{kind="y \"\\\n}",of="1"} 4.5
a_total_other 9
h_bucket{of="1",le="0.1"} 1
h_bucket{of="2",le="0.1"} 2
h_bucket{of="1",le="0.05"} 1
h_bucket{of="1",le="+Inf"} 4
h_sum{of="1"} 0.5
h_count{of="1"} 4
broken{of="1
"#;

    #[test]
    fn sums_by_label_and_reads_escaped_values() {
        let samples = Samples::parse(TEXT);
        assert_eq!(samples.find("a_total"), Some(9.5));
        assert_eq!(samples.find("none"), None);
        let by = samples.by("a_total", "kind");
        assert_eq!(by, ByLabel::from([("x".into(), 5.0), ("y \"\\\n}".into(), 4.5)]));
        let first = samples.by_where("a_total", "kind", |s| s.label("of") == Some("1"));
        assert!((first["x"] - 2.0).abs() < 1e-9);
    }

    #[test]
    fn sums_histograms_over_labels_and_sorts_their_bounds() {
        let histogram = Samples::parse(TEXT).histogram("h");
        assert_eq!(histogram.le, [Some(0.05), Some(0.1), None]);
        assert_eq!(histogram.cumulative, [1.0, 3.0, 4.0]);
        assert_eq!((histogram.sum, histogram.count), (0.5, 4.0));
        assert_eq!(Samples::parse(TEXT).histogram("none"), Histogram::default());
    }
}
