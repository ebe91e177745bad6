//! Human-readable numbers.

/// Formats a count, such as `950`, `12.3K`, `4.5M`.
pub(super) fn count(value: f64) -> String {
    let units = ["", "K", "M", "G", "T", "P"];
    let (value, unit) = scaled(value, 1000.0, units.len());
    match unit {
        0 if value < 10.0 && value.fract() > 0.0 => format!("{value:.1}"),
        0 => format!("{value:.0}"),
        _ => format!("{}{}", three_digits(value), units[unit]),
    }
}

/// Formats bytes, such as `950 B`, `12.3 MiB`.
pub(super) fn bytes(value: f64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let (value, unit) = scaled(value, 1024.0, units.len());
    match unit {
        0 => format!("{value:.0} B"),
        _ => format!("{} {}", three_digits(value), units[unit]),
    }
}

/// Formats seconds, such as `177 us`, `22.0 ms`, `1.50 s`.
pub(super) fn seconds(value: Option<f64>) -> String {
    match value {
        None => "-".to_owned(),
        Some(value) if value < 0.001 => format!("{:.0} us", value * 1e6),
        Some(value) if value < 1.0 => format!("{} ms", three_digits(value * 1e3)),
        Some(value) => format!("{} s", three_digits(value)),
    }
}

/// Formats dollars, such as `$0.42`, `$12.3K`; less than a cent is distinguished from zero.
pub(super) fn dollars(value: f64) -> String {
    match value {
        value if value > 0.0 && value < 0.01 => "<$0.01".to_owned(),
        value if value < 999.995 => format!("${value:.2}"),
        value => format!("${}", count(value)),
    }
}

/// Formats a percentage, such as `97.3 %`.
pub(super) fn percent(part: f64, whole: f64) -> String {
    if whole > 0.0 { format!("{:.1} %", part / whole * 100.0) } else { "-".to_owned() }
}

/// Formats an uptime, such as `3d 4h`, `12m 5s`.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "seconds of an uptime")]
pub(super) fn span(seconds: f64) -> String {
    let whole = seconds.max(0.0) as u64;
    let parts =
        [(whole / 86400, 'd'), (whole / 3600 % 24, 'h'), (whole / 60 % 60, 'm'), (whole % 60, 's')];
    let first = parts.iter().position(|(value, _)| *value > 0).unwrap_or(3);
    let shown = parts[first..].iter().take(2).map(|(value, unit)| format!("{value}{unit}"));
    shown.collect::<Vec<_>>().join(" ")
}

fn scaled(mut value: f64, base: f64, units: usize) -> (f64, usize) {
    let mut unit = 0;
    // A value that would be rounded up to the base takes the next unit.
    while value >= base - 0.5 && unit + 1 < units {
        value /= base;
        unit += 1;
    }
    (value, unit)
}

fn three_digits(value: f64) -> String {
    match value {
        value if value >= 99.95 => format!("{value:.0}"),
        value if value >= 9.995 => format!("{value:.1}"),
        value => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits_and_a_unit() {
        assert_eq!(
            [0.0, 0.5, 7.0, 950.4, 999.9, 12_345.0, 4.5e6].map(count).join(" "),
            "0 0.5 7 950 1.00K 12.3K 4.50M"
        );
        assert_eq!(
            [0.0, 1023.9, 10_240.0, 1e9].map(bytes).join(", "),
            "0 B, 1.00 KiB, 10.0 KiB, 954 MiB"
        );
        let times = [177e-6, 0.022, 1.5].map(|value| seconds(Some(value)));
        assert_eq!(times.join(", "), "177 us, 22.0 ms, 1.50 s");
        assert_eq!([5.0, 725.0, 270_000.0].map(span).join(", "), "5s, 12m 5s, 3d 3h");
        let prices = [0.0, 0.001, 0.425, 999.0, 12_345.0].map(dollars);
        assert_eq!(prices.join(", "), "$0.00, <$0.01, $0.42, $999.00, $12.3K");
        assert_eq!((percent(1.0, 3.0), percent(0.0, 0.0)), ("33.3 %".to_owned(), "-".to_owned()));
    }
}
