//! Conversion of Prometheus's text format to OpenMetrics 1.0.
//!
//! They differ in the names of counter families (without `_total`), in the format of bucket bounds, in empty lines, and
//! in the final `# EOF`.

/// `Content-Type` of the text.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Converts a page of Prometheus's text format.
#[must_use]
pub fn from_prometheus(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 1024);
    // HELP comes before TYPE, which says whether the family is a counter's.
    let mut help: Option<&str> = None;
    for line in text.lines().filter(|line| !line.is_empty()) {
        if line.starts_with("# HELP ") {
            help = Some(line);
        } else if let Some((name, kind)) =
            line.strip_prefix("# TYPE ").and_then(|l| l.split_once(' '))
        {
            let family = match kind {
                "counter" => name.strip_suffix("_total").unwrap_or(name),
                _ => name,
            };
            let kind = if kind == "untyped" { "unknown" } else { kind };
            push(&mut out, &["# TYPE ", family, " ", kind]);
            let text =
                help.take().and_then(|line| line.strip_prefix("# HELP ")?.strip_prefix(name));
            if let Some(text) = text {
                push(&mut out, &["# HELP ", family, &text.replace('"', "\\\"")]);
            }
        } else if let Some((before, after)) = line.split_once("le=\"")
            && let Some((bound, rest)) = after.split_once('"')
            && bound.bytes().all(|byte| byte.is_ascii_digit())
            && before.contains("_bucket{")
        {
            push(&mut out, &[before, "le=\"", bound, ".0\"", rest]);
        } else {
            push(&mut out, &[line]);
        }
    }
    out.push_str("# EOF\n");
    out
}

fn push(out: &mut String, pieces: &[&str]) {
    for piece in pieces {
        out.push_str(piece);
    }
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_lose_their_suffix_and_bounds_are_floats() {
        let text = "# HELP a_total As \"quoted\"\n# TYPE a_total counter\na_total{x=\"1\",rule=\"1\"} 2\n\n\
                    # TYPE b histogram\nb_bucket{le=\"1\"} 1\nb_bucket{le=\"0.5\"} 1\nb_bucket{le=\"+Inf\"} 1\n\n";
        assert_eq!(
            from_prometheus(text),
            "# TYPE a counter\n# HELP a As \\\"quoted\\\"\na_total{x=\"1\",rule=\"1\"} 2\n\
             # TYPE b histogram\nb_bucket{le=\"1.0\"} 1\nb_bucket{le=\"0.5\"} 1\nb_bucket{le=\"+Inf\"} 1\n# EOF\n"
        );
    }
}
