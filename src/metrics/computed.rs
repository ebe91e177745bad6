//! Families of metrics whose samples are computed when they are read, not recorded.

use std::fmt::Write as _;

use metrics::{Unit, describe_counter, describe_gauge};

/// The kind of a family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Counter,
    Gauge,
}

/// Name, kind, unit and help of a family.
pub(super) struct Family {
    pub name: &'static str,
    pub kind: Kind,
    pub unit: Unit,
    pub help: &'static str,
}

impl Family {
    pub(super) fn describe(&self) {
        match self.kind {
            Kind::Counter => describe_counter!(self.name, self.unit, self.help),
            Kind::Gauge => describe_gauge!(self.name, self.unit, self.help),
        }
    }

    /// Appends the family with its samples: labels and values.
    pub(super) fn write<'a>(
        &self,
        out: &mut String,
        samples: impl IntoIterator<Item = (Vec<(&'a str, &'a str)>, f64)>,
    ) {
        let Self { name, kind, help, .. } = self;
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        };
        let _ = write!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
        for (labels, value) in samples {
            out.push_str(name);
            for (index, (label, value)) in labels.iter().enumerate() {
                out.push(if index == 0 { '{' } else { ',' });
                out.push_str(label);
                out.push_str("=\"");
                escape(out, value);
                out.push('"');
            }
            if !labels.is_empty() {
                out.push('}');
            }
            let _ = writeln!(out, " {value}");
        }
        out.push('\n');
    }
}

/// Appends a label's value, escaped for the text format.
fn escape(out: &mut String, value: &str) {
    for character in value.chars() {
        match character {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            other => out.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped() {
        let family = Family { name: "a_bytes", kind: Kind::Gauge, unit: Unit::Bytes, help: "As" };
        let mut out = String::new();
        family.write(&mut out, [(vec![("x", "a\"b\\c\nd"), ("y", "")], 1.5), (vec![], 2.0)]);
        assert_eq!(
            out,
            "# HELP a_bytes As\n# TYPE a_bytes gauge\na_bytes{x=\"a\\\"b\\\\c\\nd\",y=\"\"} 1.5\na_bytes 2\n\n"
        );
    }
}
