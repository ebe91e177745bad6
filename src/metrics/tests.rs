use std::time::Duration;

use super::cache::{
    ADMISSIONS_REFUSED, CACHE_BLOCKS, CACHE_BYTES, COALESCED, COALESCED_WAITERS, IN_FLIGHT_BYTES,
    IN_FLIGHT_LIMIT, METADATA_ENTRIES,
};
use super::origin::{BYTES as ORIGIN_BYTES, RETRIES as ORIGIN_RETRIES};
use super::requests::{OPEN_CONNECTIONS, REQUESTS_IN_FLIGHT};
use super::*;

mod reference;

/// Returns the value of the series that begins with `series`, labels included.
fn value(series: &str) -> Option<f64> {
    render(&install()).lines().find_map(|line| {
        let rest = line.strip_prefix(series)?.strip_prefix(' ')?;
        Some(rest.parse().unwrap())
    })
}

/// Records a request that took 3 ms, and 80 us to its first byte, and sent 7 bytes from the cache.
fn end(operation: Operation, cache: CacheResult, status: u16) {
    requests::ended(&requests::Ended {
        operation,
        cache,
        status,
        duration: Duration::from_millis(3),
        first_byte: Some(Duration::from_micros(80)),
        from_cache: 7,
    });
}

// Other tests of this binary may record at the same time: numbers are compared with `>=`.

#[test]
fn each_recording_function_moves_its_own_metric() {
    let _handle = install();
    let before = value(ORIGIN_BYTES).unwrap();
    end(Operation::Other, CacheResult::Negative, 599);
    end(Operation::Other, CacheResult::Negative, 0);
    response_bytes(Source::PassThrough, 5);
    origin_request(None, OriginKind::PassThrough, Outcome::Changed);
    origin_bytes(7);
    origin_first_byte(OriginKind::Get, Duration::from_secs(20));
    origin_retry();
    admission_refused();
    cache::invalidation(cache::InvalidationCause::Event);
    cache::miss(cache::MissReason::Evicted);
    cache::evicted(cache::Eviction::Disk, 2);
    set_cache_bytes(1 << 40);
    set_cache_blocks(2);
    set_metadata_entries(3);
    set_in_flight_bytes(4);
    set_in_flight_limit(5);
    disk::DiskPath::new("/t").skipped(disk::Skip::NotAdmitted);

    let requests = r#"hotset_requests_total{operation="other",cache="negative",status="#;
    assert!(value(&format!("{requests}\"5xx\"}}")).unwrap() >= 1.0);
    assert!(value(&format!("{requests}\"none\"}}")).unwrap() >= 1.0);
    assert!(value(r#"hotset_response_bytes_total{source="passthrough"}"#).unwrap() >= 5.0);
    let origin = r#"hotset_origin_requests_total{kind="passthrough",outcome="changed"}"#;
    assert!(value(origin).unwrap() >= 1.0);
    assert!(value(ORIGIN_BYTES).unwrap() >= before + 7.0);
    for counter in [
        ORIGIN_RETRIES,
        ADMISSIONS_REFUSED,
        r#"hotset_invalidations_total{cause="event"}"#,
        r#"hotset_misses_total{reason="evicted"}"#,
        r#"hotset_cache_evictions_total{tier="disk",reason="capacity"}"#,
    ] {
        assert!(value(counter).unwrap() >= 1.0, "{counter}");
    }
    let of = r#"operation="other",cache="negative""#;
    let duration = format!("hotset_request_duration_seconds_bucket{{{of},le=\"0.005\"}}");
    assert!(value(&duration).unwrap() >= 2.0);
    let first = format!("hotset_first_byte_seconds_bucket{{{of},le=\"0.0001\"}}");
    assert!(value(&first).unwrap() >= 2.0);
    let first = r#"hotset_origin_first_byte_seconds_sum{kind="get"}"#;
    assert!(value(first).unwrap() >= 20.0);
    let exact = r#"hotset_responses_total{operation="other",code="599"}"#;
    assert!(value(exact).unwrap() >= 1.0);
    assert!(value("hotset_saved_requests_total").unwrap() >= 2.0);
    assert!(value("hotset_saved_bytes_total").unwrap() >= 14.0);
    cache::evicted_blocks(cache::Eviction::Memory, 1, Duration::from_secs(30));
    cache::evicted_blocks(cache::Eviction::Disk, 3, Duration::from_secs(30));
    let ages = |tier: &str| {
        value(&format!("hotset_cache_eviction_age_seconds_bucket{{tier=\"{tier}\",le=\"60\"}}"))
    };
    assert!(ages("memory").unwrap() >= 1.0 && ages("disk").unwrap() >= 3.0);
    limits::set(limits::Limit::Requests, 7, 10);
    limits::set(limits::Limit::Requests, 3, 10);
    for (name, expected) in [("", 10.0), ("_used", 3.0), ("_peak", 7.0)] {
        let series = format!("hotset_limit{name}{{limit=\"limits.requests\"}}");
        assert!((value(&series).unwrap() - expected).abs() < 0.1, "{series}");
    }
    assert!(value(r#"hotset_disk_skips_total{path="/t",reason="not_admitted"}"#).unwrap() >= 1.0);
    for gauge in [CACHE_BYTES, CACHE_BLOCKS, METADATA_ENTRIES, IN_FLIGHT_BYTES, IN_FLIGHT_LIMIT] {
        assert!(value(gauge).unwrap() >= 0.0, "{gauge}");
    }
}

#[test]
fn a_guard_counts_while_it_is_held() {
    let _handle = install();
    for (hold, gauge) in [
        (connection_open as fn() -> GaugeGuard, OPEN_CONNECTIONS),
        (request_in_flight, REQUESTS_IN_FLIGHT),
        (coalesced, COALESCED_WAITERS),
    ] {
        let held: Vec<GaugeGuard> = (0..1000).map(|_| hold()).collect();
        let during = value(gauge).unwrap();
        assert!(during >= 1000.0, "{gauge}");
        drop(held);
        assert!(value(gauge).unwrap() <= during - 900.0, "{gauge}");
    }
    assert!(value(COALESCED).unwrap() >= 1000.0);
}

#[test]
fn every_metric_has_help_and_a_name_with_its_unit() {
    let _handle = install();
    end(Operation::GetObject, CacheResult::Hit, 200);
    origin_request(None, OriginKind::Get, Outcome::Ok);
    requests::error("NoSuchKey");
    wire::set_certificate_expiry("/a.pem", 1);
    origin::set_up(None, true);
    origin::failed_over("replica");
    disk::set_capacity("/a", 1);
    let holds = disk::Holds { device_bytes: 1, blocks: 1, objects: Some(1), queued_bytes: 1 };
    disk::DiskPath::new("/a").set_holds(holds);
    logs::dropped(logs::Log::Audit, 0);
    events::set_trusted_buckets("**", 1);
    traffic::identity("someone", 200);
    limits::set(limits::Limit::AddressByteRate, 0, 1);
    requests::set_prices(400_000, 0);
    tracing::spans(tracing::Outcome::Sent, 0);
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], 1));
    let health = addresses::AddressHealth { origin: None, address, is_used: true, failures: 0 };
    addresses::set(vec![health]);
    let text = render(&install());
    let mut kinds = 0;
    for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (name, kind) = line.split_once(' ').unwrap();
        assert!(text.contains(&format!("# HELP {name} ")), "{name} has no help");
        assert!(name.starts_with("hotset_") || name.starts_with("process_"), "{name}");
        assert_eq!(name.ends_with("_total"), kind == "counter", "{name} is a {kind}");
        let is_moment = name.ends_with("_timestamp_seconds") || name.ends_with("_time_seconds");
        assert_eq!(
            name.ends_with("_seconds") && !is_moment,
            kind == "histogram",
            "{name} is a {kind}"
        );
        kinds += 1;
    }
    assert_eq!(kinds, 101);
}

#[test]
fn each_label_has_a_series_of_its_own() {
    assert_eq!(Source::ALL.iter().map(|s| *s as usize).collect::<Vec<_>>(), [0, 1, 2, 3]);
    assert_eq!(Outcome::Changed as usize, Outcome::ALL.len() - 1);
    assert_eq!(CacheResult::Revalidated as usize, CacheResult::ALL.len() - 1);
}
