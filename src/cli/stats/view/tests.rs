use serde_json::json;

use super::*;

fn histogram(counts: [u32; 5]) -> Value {
    json!({ "le": [0.001, 0.01, 0.1, 1.0, null], "cumulative": counts, "sum": 1.0, "count": counts[4] })
}

fn snapshot(uptime: u32, hits: u32, misses: u32) -> Value {
    let reads = json!({ "hit": hits, "miss": misses, "bypass": 10 });
    json!({
        "time": 1_800_000_000, "uptime_seconds": uptime, "version": "1.2.3",
        "requests": {
            "total": hits + misses + 10, "by_cache": reads, "in_flight": 3, "connections": 40,
            "refused": { "malformed": 2, "slow_head": 0 },
        },
        "reads": { "hit": hits, "miss": misses },
        "bytes": { "memory": hits * 1000, "disk": hits * 500, "origin": misses * 1500, "passthrough": 0 },
        "saved": { "requests": hits, "bytes": hits * 1500, "dollars": 12.345 },
        "first_byte": histogram([hits, hits + misses / 2, hits + misses, hits + misses, hits + misses]),
        "duration": histogram([0, hits, hits + misses, hits + misses, hits + misses]),
        "origin": {
            "health": {
                "endpoint": "https://s3.example", "state": "fails", "failing_seconds": 75, "only_probed": true,
                "reason": "origin: timed out waiting for the first byte", "addresses": ["10.0.0.1:443"],
                "addresses_old": null,
                "named": { "archive": { "state": "fails", "failing_seconds": 61, "reason": "no connection" } },
            },
            "requests": misses, "received_bytes": misses * 1500, "retries": 4,
            "by_outcome": { "ok": misses, "timeout": 5, "broken": 0 }, "errors": { "timeout": 5 },
            "first_byte": histogram([0, misses, misses, misses, misses]),
        },
        "events": {
            "receivers": [{ "source": "sqs", "name": "queue", "up": false }],
            "last": { "sqs": 1_799_999_940 }, "by_result": { "applied": 7 }, "invalidations": 7,
            "lag": histogram([0, 0, 7, 7, 7]),
            "trust": [{ "rule": "photos/**", "buckets": ["photos"] }, { "rule": "**", "buckets": [] }],
        },
        "memory": { "bytes": 50 << 20, "capacity_bytes": 100 << 20, "limit_bytes": 0 },
        "disk": {
            "paths": [{ "path": "/var/cache/hotset", "capacity_bytes": 10_u64 << 30 }],
            "bytes": 9_u64 << 30, "reads": { "hit": 20, "miss": 0 }, "failures": {},
        },
        "limits": [
            { "key": "limits.requests", "unit": "requests", "used": 3, "peak": 12, "limit": 20_000 },
            { "key": "limits.per_identity.requests_per_second", "unit": "requests", "used": 900, "peak": 1000, "limit": 1000 },
            { "key": "limits.per_address.bytes_per_second", "unit": "bytes", "used": 1_048_000_000, "peak": 1_072_000_000, "limit": 1_073_000_000 },
        ],
        "errors": [{
            "time": 1_799_999_990, "status": 503, "method": "GET", "path": "/photos/\u{1b}[2Ja", "code": "ServiceUnavailable",
            "reason": "The origin fails. Please try again.",
        }],
    })
}

fn window() -> Window {
    let mut window = Window::new(snapshot(100, 1000, 100));
    window.add(snapshot(102, 3000, 200));
    window
}

const PLAIN: Style = Style { width: 80, colours: false };

fn all(style: Style) -> Vec<String> {
    View::ALL.into_iter().flat_map(|view| lines(&window(), view, style)).collect()
}

#[test]
fn the_views_are_as_in_the_golden_file() {
    let text = all(PLAIN).join("\n") + "\n";
    if std::env::var_os("HOTSET_WRITE_GOLDEN").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/cli/stats/view/golden.txt");
        std::fs::write(path, &text).unwrap();
    }
    assert_eq!(text, include_str!("golden.txt"));
}

#[test]
fn they_fit_80_columns_and_have_no_control_characters() {
    for line in all(PLAIN) {
        assert!(line.chars().count() <= 80, "{line}");
        assert!(!line.contains(char::is_control), "{line:?}");
    }
    let keys = keys(View::Overview, false, None, PLAIN);
    assert!(keys.chars().count() <= 80 && keys.ends_with("q quit"), "{keys}");
    let narrow = Style { width: 40, ..PLAIN };
    assert!(lines(&window(), View::Errors, narrow).iter().all(|line| line.chars().count() <= 40));
}

#[test]
fn colours_change_nothing_but_colours() {
    let coloured = all(Style { colours: true, ..PLAIN }).join("\n");
    let mut plain = String::new();
    let mut rest = &*coloured;
    while let Some(at) = rest.find("\x1b[") {
        plain.push_str(&rest[..at]);
        rest = &rest[at + rest[at..].find('m').unwrap() + 1..];
    }
    assert_eq!(plain + rest, all(PLAIN).join("\n"));
    assert!(coloured.contains("\x1b["));
}
