//! The views as lines of text; they fit 80 columns, and are complete without colours.

use serde_json::Value;

use super::window::{Window, number};
use crate::cli::format::{bytes, count, dollars, percent, seconds, span};
use crate::cli::terminal::Style;
use crate::logging::text::one_line;

/// Cache results that the hit ratio counts as hits: responses without a byte from the origin.
const HITS: &[&str] = &["hit", "stale", "negative", "revalidated"];
const READS: &[&str] = &["hit", "stale", "negative", "revalidated", "partial", "miss"];

/// A view of the statistics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum View {
    Overview,
    Origin,
    Events,
    Room,
    Errors,
}

impl View {
    pub(super) const ALL: [Self; 5] =
        [Self::Overview, Self::Origin, Self::Events, Self::Room, Self::Errors];

    fn title(self) -> &'static str {
        match self {
            Self::Overview => "overview",
            Self::Origin => "origin",
            Self::Events => "events",
            Self::Room => "disks and limits",
            Self::Errors => "errors",
        }
    }

    pub(super) fn next(self) -> Self {
        Self::ALL[(self as usize + 1) % Self::ALL.len()]
    }
}

/// Returns the lines of one view.
pub(super) fn lines(window: &Window, view: View, style: Style) -> Vec<String> {
    let mut lines = match view {
        View::Overview => overview(window, style),
        View::Origin => origin(window, style),
        View::Events => events(window, style),
        View::Room => room(window, style),
        View::Errors => errors(window, style),
    };
    let heading = match view {
        View::Overview => {
            let version = window.now()["version"].as_str().unwrap_or_default();
            format!("hotset {version}, up {}", span(window.number("/uptime_seconds")))
        }
        view => view.title().to_owned(),
    };
    lines.insert(0, style.heading(&heading));
    lines.push(String::new());
    lines
}

/// Returns the last line of the screen.
pub(super) fn keys(view: View, paused: bool, problem: Option<&str>, style: Style) -> String {
    let line = match problem {
        Some(problem) => one_line(problem).into_owned(),
        None => {
            let pause = if paused { "p go on" } else { "p pause" };
            let views = View::ALL.iter().enumerate().map(|(index, of)| match *of == view {
                true => format!("[{} {}]", index + 1, of.title()),
                false => format!("{} {}", index + 1, of.title()),
            });
            format!("{}  {pause}  q quit", views.collect::<Vec<_>>().join("  "))
        }
    };
    let line: String = line.chars().take(style.width).collect();
    style.paint(if problem.is_some() { "31" } else { "2" }, &line)
}

fn rate(value: Option<f64>) -> String {
    value.map_or("-".to_owned(), |value| format!("{}/s", count(value)))
}

fn flow(value: Option<f64>) -> String {
    value.map_or("-".to_owned(), |value| format!("{}/s", bytes(value)))
}

fn overview(window: &Window, style: Style) -> Vec<String> {
    let columns = |head: &str, now: String, all: String, share: String| {
        style.row(head, &format!("{now:>14}  {all:>12}  {share:>8}"))
    };
    let requests = |head: &str, labels: &[&str]| {
        let all = window.number("/requests/total");
        let of = window.sum("/requests/by_cache", labels);
        let now = window.rate_of("/requests/by_cache", labels);
        columns(head, rate(now), count(of), percent(of, all))
    };
    let sent = window.sum("/bytes", &["memory", "disk", "origin", "passthrough"]);
    let tier = |head: &str, label: &str| {
        let of = window.sum("/bytes", &[label]);
        columns(head, flow(window.rate_of("/bytes", &[label])), bytes(of), percent(of, sent))
    };
    let (hits, reads) = (window.sum("/reads", HITS), window.sum("/reads", READS));
    let cached = window.sum("/bytes", &["memory", "disk"]);
    let from_cache_or_origin = cached + window.sum("/bytes", &["origin"]);
    let ratio = |part: Option<f64>, whole: Option<f64>| {
        percent(part.unwrap_or_default(), whole.unwrap_or_default())
    };
    let now = ratio(window.rate_of("/reads", HITS), window.rate_of("/reads", READS));
    let bytes_now = ratio(
        window.rate_of("/bytes", &["memory", "disk"]),
        window.rate_of("/bytes", &["memory", "disk", "origin"]),
    );
    vec![
        columns("", "now".into(), "since start".into(), "share".into()),
        columns(
            "requests",
            rate(window.rate(|s| number(s, "/requests/total"))),
            count(window.number("/requests/total")),
            String::new(),
        ),
        requests("  hit", HITS),
        requests("  partial", &["partial"]),
        requests("  miss", &["miss"]),
        requests("  passed through", &["bypass"]),
        columns(
            "bytes",
            flow(window.rate_of("/bytes", &["memory", "disk", "origin", "passthrough"])),
            bytes(sent),
            String::new(),
        ),
        tier("  memory", "memory"),
        tier("  disk", "disk"),
        tier("  origin", "origin"),
        tier("  passed through", "passthrough"),
        columns("hit ratio", now, percent(hits, reads), String::new()),
        columns("  of bytes", bytes_now, percent(cached, from_cache_or_origin), String::new()),
        columns(
            "saved",
            flow(window.rate(|s| number(s, "/saved/bytes"))),
            bytes(window.number("/saved/bytes")),
            dollars(window.number("/saved/dollars")),
        ),
        percentiles(window, style, "first byte", "/first_byte"),
        percentiles(window, style, "last byte", "/duration"),
        style.row(
            "under way",
            &format!(
                "{} requests, {} connections",
                count(window.number("/requests/in_flight")),
                count(window.number("/requests/connections"))
            ),
        ),
    ]
}

fn percentiles(window: &Window, style: Style, head: &str, histogram: &str) -> String {
    let p = |q| seconds(window.quantile(histogram, q));
    style.row(head, &format!("p50 {:<10} p90 {:<10} p99 {}", p(0.5), p(0.9), p(0.99)))
}

fn origin(window: &Window, style: Style) -> Vec<String> {
    let health = &window.now()["origin"]["health"];
    let state = state_of(health, style);
    let mut lines = vec![
        style.row("endpoint", &text(&health["endpoint"])),
        format!("{}  {state}", style.paint("1", &format!("{:<16}", "state"))),
    ];
    for (head, key) in [("reason", "reason"), ("names", "addresses_old")] {
        if health[key].is_string() {
            lines.push(style.row(head, &text(&health[key])));
        }
    }
    let addresses = health["addresses"].as_array().map(Vec::as_slice).unwrap_or_default();
    let addresses: Vec<_> = addresses.iter().map(text).collect();
    lines.push(style.row("addresses", &addresses.join(", ")));
    for (name, other) in health["named"].as_object().into_iter().flatten() {
        let head = style.paint("1", &format!("{:<16}", text(&Value::from(name.as_str()))));
        let reason = other["reason"]
            .as_str()
            .map_or(String::new(), |_| format!(": {}", text(&other["reason"])));
        lines.push(format!("{head}  {}{reason}", state_of(other, style)));
    }
    let requests = rate(window.rate(|s| number(s, "/origin/requests")));
    lines.push(style.row(
        "requests",
        &format!("{requests:>12}  {} since start", count(window.number("/origin/requests"))),
    ));
    let received = flow(window.rate(|s| number(s, "/origin/received_bytes")));
    lines.push(style.row(
        "received",
        &format!("{received:>12}  {} since start", bytes(window.number("/origin/received_bytes"))),
    ));
    lines.push(percentiles(window, style, "first byte", "/origin/first_byte"));
    lines.push(style.row("outcomes", &labels(&window.now()["origin"]["by_outcome"])));
    lines.push(style.row("failures", &labels(&window.now()["origin"]["errors"])));
    lines.push(style.row("retries", &count(window.number("/origin/retries"))));
    lines
}

/// Returns the state of an origin in words.
fn state_of(health: &Value, style: Style) -> String {
    match health["state"].as_str() {
        Some("fails") => {
            let probed = if health["only_probed"] == true { ", only probed" } else { "" };
            let text = format!("fails for {}{probed}", span(number(health, "/failing_seconds")));
            style.paint("31", &text)
        }
        Some("answers") => style.paint("32", "answers"),
        _ => "not asked yet".to_owned(),
    }
}

fn events(window: &Window, style: Style) -> Vec<String> {
    let events = &window.now()["events"];
    let list = |of: &Value| of.as_array().cloned().unwrap_or_default();
    let mut lines = Vec::new();
    for receiver in list(&events["receivers"]) {
        let state = if receiver["up"] == true { "connected" } else { "not connected" };
        let head = text(&receiver["source"]);
        lines.push(style.row(&head, &format!("{}: {state}", text(&receiver["name"]))));
    }
    if lines.is_empty() {
        lines.push(
            style.row("receivers", "none set: objects are fresh as long as the ttl of their rule"),
        );
    }
    for (source, at) in events["last"].as_object().into_iter().flatten() {
        let ago = span(window.number("/time") - at.as_f64().unwrap_or_default());
        lines.push(style.row("last event", &format!("{}, {ago} ago", one_line(source))));
    }
    lines.push(style.row("results", &labels(&events["by_result"])));
    lines.push(percentiles(window, style, "lag", "/events/lag"));
    for rule in list(&events["trust"]) {
        let buckets: Vec<_> = list(&rule["buckets"]).iter().map(text).collect();
        let trusted = match buckets.is_empty() {
            true => "trusted in no bucket: its ttl applies".to_owned(),
            false => format!("trusted in {}", buckets.join(", ")),
        };
        lines.push(style.row("rule", &format!("{} {trusted}", text(&rule["rule"]))));
    }
    lines.push(
        style.row("invalidated", &format!("{} objects", count(number(events, "/invalidations")))),
    );
    lines
}

/// Shortens the key of a limit for a line: `per_identity.bytes/s`.
fn limit_name(key: &str) -> String {
    let short = key.replace("_per_second", "/s");
    match short.strip_prefix("limits.") {
        Some(rest) if short.len() > 24 => rest.to_owned(),
        _ => short,
    }
}

fn room(window: &Window, style: Style) -> Vec<String> {
    let mut lines = Vec::new();
    let mut meter = |head: &str, used: f64, limit: f64, more: &str, format: fn(f64) -> String| {
        const BAR: usize = 15;
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "0 to BAR"
        )]
        let filled = if limit > 0.0 {
            (used / limit * BAR as f64).clamp(0.0, BAR as f64) as usize
        } else {
            0
        };
        let bar = format!("{}{}", "#".repeat(filled), "-".repeat(BAR - filled));
        let head: String = head.chars().take(24).collect();
        lines.push(format!("{:<24}  [{bar}]  {} of {}{more}", head, format(used), format(limit)));
    };
    let memory = &window.now()["memory"];
    meter("memory", number(memory, "/bytes"), number(memory, "/capacity_bytes"), "", bytes);
    if number(memory, "/limit_bytes") > 0.0 {
        meter(
            "memory of the process",
            number(memory, "/used_bytes"),
            number(memory, "/limit_bytes"),
            "",
            bytes,
        );
    }
    let paths = window.now()["disk"]["paths"].as_array().cloned().unwrap_or_default();
    let all: f64 = paths.iter().map(|path| number(path, "/capacity_bytes")).sum();
    match &paths[..] {
        [] => {}
        [path] => meter(&text(&path["path"]), window.number("/disk/bytes"), all, "", bytes),
        several => {
            meter(
                &format!("{} disks", several.len()),
                window.number("/disk/bytes"),
                all,
                "",
                bytes,
            );
        }
    }
    for limit in window.now()["limits"].as_array().into_iter().flatten() {
        let format = if limit["unit"] == "bytes" { bytes } else { count };
        let (used, most) = (number(limit, "/used"), number(limit, "/limit"));
        let peak = format!(", peak {}", format(number(limit, "/peak")));
        meter(&limit_name(&text(&limit["key"])), used, most, &peak, format);
    }
    if !paths.is_empty() {
        let disk = &window.now()["disk"];
        lines.push(style.row("disk reads", &labels(&disk["reads"])));
        lines.push(style.row("disk failures", &labels(&disk["failures"])));
    }
    lines.push(style.row("refused", &labels(&window.now()["requests"]["refused"])));
    lines
}

fn errors(window: &Window, style: Style) -> Vec<String> {
    let errors = window.now()["errors"].as_array().cloned().unwrap_or_default();
    if errors.is_empty() {
        return vec!["No request has failed since the start.".to_owned()];
    }
    let line = |error: &Value| {
        let ago = span(window.number("/time") - number(error, "/time"));
        let what = format!(
            "{} {} {} {}: {}",
            error["status"],
            text(&error["method"]),
            text(&error["path"]),
            text(&error["code"]),
            text(&error["reason"]),
        );
        style.row(&format!("{ago} ago"), &what)
    };
    errors.iter().map(line).collect()
}

/// Formats the labels with counts other than 0.
fn labels(of: &Value) -> String {
    let pairs = of.as_object().into_iter().flatten();
    let pairs = pairs.filter_map(|(label, value)| {
        let value = value.as_f64().filter(|value| *value > 0.0)?;
        Some(format!("{} {}", one_line(label), count(value)))
    });
    let pairs: Vec<_> = pairs.collect();
    if pairs.is_empty() { "none".to_owned() } else { pairs.join(", ") }
}

/// Returns the server's text, which may contain foreign keys, without control characters.
fn text(value: &Value) -> String {
    one_line(value.as_str().unwrap_or_default()).into_owned()
}

#[cfg(test)]
mod tests;
