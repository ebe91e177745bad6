//! An origin whose headers and bytes contradict each other: a client gets the true bytes or a broken transfer. A
//! response that cannot be admitted (R2) may be streamed through unchanged: then it is as broken as without hotset.

use crate::support::{Always, Client, FakeS3, Fault, Matcher, Object, TestProxy, Times};

const MIB: u64 = 1 << 20;

/// Starts hotset with small blocks, so that one object takes many origin requests.
async fn setup() -> (FakeS3, TestProxy, Client) {
    let s3 = FakeS3::start().await;
    let proxy = TestProxy::start_with(&s3, |config| {
        config.cache.block = hotset::config::units::ByteSize::kib(64);
        config.cache.fetch = hotset::config::units::ByteSize::kib(256);
        config.origin.attempts = 3;
        config.origin.idle_timeout.0 = std::time::Duration::from_millis(300);
        config.origin.first_byte_timeout.0 = std::time::Duration::from_millis(300);
    })
    .await;
    let client = proxy.client();
    (s3, proxy, client)
}

fn lies() -> Vec<(&'static str, Fault)> {
    let range = |value: &str| Fault::SetHeader("Content-Range", value.to_owned());
    let length = |value: &str| Fault::SetHeader("Content-Length", value.to_owned());
    vec![
        ("long", Fault::LongContentLength),
        ("short", Fault::ShortContentLength),
        ("range", Fault::WrongContentRange),
        ("extra", Fault::TooManyBytes),
        ("no-range", Fault::DropHeader("Content-Range")),
        ("nonsense", range("bytes nonsense")),
        ("elsewhere", range("bytes 0-9/1048576")),
        ("unknown-size", range("bytes 0-262143/*")),
        ("other-size", range("bytes 0-262143/2000000")),
        ("zero", length("0")),
        ("chunked", Fault::Chunked),
        ("whole", Fault::IgnoreRange),
    ]
}

#[tokio::test]
async fn a_lie_that_is_told_once_never_reaches_a_client() {
    let (s3, _proxy, client) = setup().await;
    for (n, (name, lie)) in (0..).zip(lies()) {
        for (place, matcher) in [
            ("first", Matcher::any()),
            ("later", Matcher::any().covering(600_000)),
            ("resumed", Matcher::any().starting_at(100_000)),
        ] {
            let key = format!("{name}-{place}");
            let object = Object::random(MIB, 100 + n);
            s3.put("data", &key, object.clone());
            s3.fault(matcher.key(&key), Times(1), lie.clone());
            s3.fault(Matcher::get(&key).starting_at(0), Times(1), Fault::CutAfter(100_000));
            for _ in 0..2 {
                let answer = client.get(&format!("/data/{key}")).send().await;
                let mine = answer.body == object.slice(0..(answer.body.len() as u64).min(MIB));
                assert!(mine, "{key}: other bytes");
                let visible =
                    answer.status != 200 || !answer.complete || answer.body.len() as u64 == MIB;
                assert!(visible, "{key}: {} bytes as if they were all", answer.body.len());
            }
            s3.clear_faults();
            let answer = client.get(&format!("/data/{key}")).send().await;
            if name != "other-size" {
                assert!(answer.complete && answer.body == object.all(), "{key}: {}", answer.status);
            }
        }
    }
}

#[tokio::test]
async fn a_lie_that_is_repeated_never_reaches_a_client() {
    let (s3, _proxy, client) = setup().await;
    for (n, (name, lie)) in (0..).zip(lies()) {
        let object = Object::random(MIB, 200 + n);
        s3.put("data", name, object.clone());
        // The first response has the true size.
        assert_eq!(client.head(&format!("/data/{name}")).send().await.status, 200);
        s3.fault(Matcher::get(name), Always, lie);
        let answer = client.get(&format!("/data/{name}")).send().await;
        if answer.status == 200 {
            let got = answer.body.len() as u64;
            assert!(got <= MIB && answer.body == object.slice(0..got), "{name}: other bytes");
            assert!(got == MIB || !answer.complete, "{name}: {}", s3.describe());
        } else {
            assert_eq!(answer.status, 503, "{name}");
        }
        s3.clear_faults();
        if name == "other-size" {
            // A wrong size that was always the same was believed; the true one is a change, and the next read is
            // right.
            assert!(!client.get("/data/other-size").send().await.complete);
        }
        let answer = client.get(&format!("/data/{name}")).send().await;
        assert!(answer.complete && answer.body == object.all(), "{name}: {}", answer.status);
    }
}

#[tokio::test]
async fn bytes_behind_an_answer_are_not_taken_for_the_next_one() {
    let (s3, _proxy, client) = setup().await;
    for (n, key) in (0..).zip(["a", "b", "c", "d", "e"]) {
        s3.put("data", key, Object::random(5000 + n, 300 + n));
    }
    s3.fault(Matcher::any(), Always, Fault::TooManyBytes);
    for key in ["a", "b", "c", "d", "e"] {
        let answer = client.get(&format!("/data/{key}")).send().await;
        assert!(answer.complete && answer.body == s3.object_bytes("data", key), "{key}");
        let passed = client.get(&format!("/data/{key}?torrent")).send().await;
        assert!(passed.complete && passed.text().ends_with("<Subresource/>"), "{key}");
    }
}

#[tokio::test]
async fn another_etag_on_a_later_range_breaks_the_transfer() {
    let (s3, _proxy, client) = setup().await;
    let object = Object::random(MIB, 301);
    s3.put("data", "key", object.clone());
    s3.fault(Matcher::get("key").covering(600_000), Always, Fault::WrongETag);
    let answer = client.get("/data/key").send().await;
    assert!(answer.status == 200 && !answer.complete);
    assert_eq!(answer.body, object.slice(0..answer.body.len() as u64));
    assert!(answer.body.len() as u64 <= 600_000);
    s3.clear_faults();
    let answer = client.get("/data/key").send().await;
    assert!(answer.complete && answer.body == object.all());
}

#[tokio::test]
async fn r2_a_200_to_a_range_is_used_from_its_start_and_closed_when_enough_has_come() {
    let (s3, _proxy, client) = setup().await;
    let object = Object::random(32 * MIB, 302);
    s3.put("data", "key", object.clone());
    s3.fault(Matcher::get("key"), Always, Fault::IgnoreRange);
    let answer = client.get("/data/key").range("bytes=100-199").send().await;
    assert!(answer.status == 206 && answer.body == object.slice(100..200));
    s3.wait_idle().await;
    assert!(s3.bytes_sent() < 4 * MIB, "{}", s3.describe());
    let answer = client.get("/data/key").range("bytes=1000000-1000099").send().await;
    assert!(answer.status == 206 && answer.body == object.slice(1_000_000..1_000_100));
    assert!(answer.header("content-range").ends_with("/33554432"));
}
