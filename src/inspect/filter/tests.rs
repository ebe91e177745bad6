use super::*;
use crate::inspect::request::tests::seen;
use crate::metrics::attribution::OriginUse;

fn passes(filter: &str) -> bool {
    let origin = OriginUse::default();
    origin.add_bytes(65536);
    Filter::parse(filter).unwrap().passes(&seen("tmp/a b.jpg", &origin))
}

#[test]
fn filters_decide_by_fields_comparisons_and_logic() {
    // The request: GET photos/tmp/a b.jpg by app from 192.0.2.1, 503 SlowDown after 1.5 s, 300 bytes, a miss.
    for filter in [
        "",
        "status>=500 and bucket=photos",
        "status=503",
        "status==503 && status!=500 && status<504 && status<=503 && status>502",
        "bucket=data or bucket=photos",
        "bucket = data || bucket = 'photos'",
        "key=tmp/**",
        "key=\"tmp/a b.*\"",
        "key='tmp/a b.jpg'",
        "bucket={photos,videos}",
        "key!=logs/**",
        "not key=logs/** and not bucket=data",
        "!(bucket=data or status<500)",
        "NOT bucket=data AND method=GET",
        "bytes>=300 and bytes<1KiB",
        "seconds>500ms and seconds<2 and seconds=1.5",
        "first_byte=0",
        "identity=app and address=192.0.2.* and rule=\"**\"",
        "cache=miss and miss=new and code=SlowDown and operation=GetObject",
        "request_id=00000000000000AF",
        "origin_bytes=64KiB and origin_requests=0 and origin_errors=0 and origin_seconds<1s",
        // `and` binds tighter than `or`.
        "status=503 or status=1 and status=2",
        "(bucket=photos)",
        "identity!=''",
    ] {
        assert!(passes(filter), "{filter}");
        assert!(filter.is_empty() || !passes(&format!("not ({filter})")), "{filter}");
    }
    for filter in [
        "status<500",
        "bucket=photo",
        "bucket=data and status=503",
        "(status=503 or status=1) and status=2",
        "key=tmp/*.png",
        "key=*",
        "bytes>300",
        "seconds<=1s",
        "code=''",
        "not not bucket=data",
    ] {
        assert!(!passes(filter), "{filter}");
    }
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    let fields = "bucket, key, method, operation, status, code, cache, miss, bytes, seconds, first_byte, identity, address, \
        rule, request_id, origin_requests, origin_errors, origin_bytes, origin_seconds";
    for (filter, expected) in [
        ("bukcet=photos", format!("1: `bukcet` is none of {fields}")),
        ("status>=500 and", "16: expected a field, not or `(`, found the end".into()),
        ("status", "7: expected =, !=, <, <=, > or >=, found the end".into()),
        ("status=", "8: expected a value such as 500, found the end".into()),
        ("status=5xx", "8: `5xx` is no number for status, such as 500".into()),
        ("seconds>fast", "9: `fast` is no number for seconds, such as 500ms or 0.5".into()),
        ("bytes>=1Mib and bytes<x", "23: `x` is no number for bytes, such as 1MiB".into()),
        ("ü=1", format!("1: `ü` is none of {fields}")),
        ("bucket='ü' key=a", "12: expected and, or, or the end, found `key=a`".into()),
        ("(status=500", "12: expected and, or, or `)`, found the end".into()),
        ("status=500)", "11: expected and, or, or the end, found `)`".into()),
        ("key='a", "5: the ' is not closed".into()),
        ("key>a", "4: key is a text, and compared with = and != only".into()),
        ("key=a[", "5: `a[` has a `[` that is not closed".into()),
        ("and", "1: expected a field, not or `(`, found `and`".into()),
        ("seconds=-1", "9: `-1` is no number for seconds, such as 500ms or 0.5".into()),
        (&"(".repeat(40), "33: it is nested too deep".into()),
        (&"!".repeat(1000), "33: it is nested too deep".into()),
        (&"x".repeat(2001), "2000: it is longer than 2000 bytes".into()),
    ] {
        let wrong = Filter::parse(filter).unwrap_err().to_string();
        assert_eq!(wrong, format!("filter: at character {expected}"), "{filter}");
    }
}

#[test]
fn long_chains_are_no_deeper_than_short_ones() {
    let chain = vec!["key!=b"; 150].join(" and ");
    assert!(passes(&chain));
    assert!(passes(&vec!["bucket=photos"; 100].join(" or ")));
}
