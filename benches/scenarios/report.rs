//! Figures, their bars, and the table with the verdicts.

use std::fmt::Write as _;

/// Bound that a figure has to meet.
#[derive(Clone, Copy)]
pub enum Bar {
    AtLeast(f64),
    AtMost(f64),
    /// No bound: the figure is informative only.
    None,
}

impl Bar {
    fn met(self, value: f64) -> bool {
        match self {
            Self::AtLeast(bar) => value >= bar,
            Self::AtMost(bar) => value <= bar,
            Self::None => true,
        }
    }
}

/// One row of the table.
pub struct Row {
    scenario: &'static str,
    figure: String,
    measured: String,
    against: String,
    value: f64,
    unit: &'static str,
    bar: Bar,
}

impl Row {
    /// Makes a row for the ratio of `measured` to `against`.
    pub fn ratio(
        scenario: &'static str,
        figure: impl Into<String>,
        (measured, against): (String, String),
        value: f64,
        bar: Bar,
    ) -> Self {
        Self { scenario, figure: figure.into(), measured, against, value, unit: "x", bar }
    }

    /// Makes a row for a difference or an amount, in `unit`.
    pub fn amount(
        scenario: &'static str,
        figure: impl Into<String>,
        (measured, against): (String, String),
        (value, unit): (f64, &'static str),
        bar: Bar,
    ) -> Self {
        Self { scenario, figure: figure.into(), measured, against, value, unit, bar }
    }

    /// Whether the bar was met.
    pub fn passed(&self) -> bool {
        self.bar.met(self.value)
    }

    fn cells(&self) -> [String; 7] {
        let (bar, verdict) = match self.bar {
            Bar::AtLeast(bar) => (format!(">= {bar}"), self.passed()),
            Bar::AtMost(bar) => (format!("<= {bar}"), self.passed()),
            Bar::None => ("-".into(), true),
        };
        let verdict = match (self.bar, verdict) {
            (Bar::None, _) => "-",
            (_, true) => "pass",
            (_, false) => "FAIL",
        };
        [
            self.scenario.into(),
            self.figure.clone(),
            self.measured.clone(),
            self.against.clone(),
            format!("{:.3} {}", self.value, self.unit),
            bar,
            verdict.into(),
        ]
    }
}

/// Formats the table of all rows.
pub fn table(rows: &[Row]) -> String {
    let head = ["scenario", "figure", "measured", "against", "ratio or value", "bar", "verdict"];
    let mut lines = vec![head.map(str::to_owned)];
    lines.extend(rows.iter().map(Row::cells));
    let width: [usize; 7] = std::array::from_fn(|column| {
        lines.iter().map(|cells| cells[column].chars().count()).max().unwrap_or_default()
    });
    let mut text = String::new();
    for (index, cells) in lines.iter().enumerate() {
        for (cell, width) in cells.iter().zip(width) {
            write!(text, "| {cell:width$} ").expect("a string takes everything");
        }
        text.push_str("|\n");
        if index == 0 {
            for width in width {
                write!(text, "|{:-<1$}", "", width + 2).expect("a string takes everything");
            }
            text.push_str("|\n");
        }
    }
    text
}

/// Returns the median of some figures; of an even number, the upper of the two in the middle.
///
/// # Panics
/// Without figures.
pub fn median<T: Copy + PartialOrd>(mut figures: Vec<T>) -> T {
    figures.sort_by(|a, b| a.partial_cmp(b).expect("figures compare"));
    figures[figures.len() / 2]
}
