//! Accounting of a request in metrics, in the access log and in `Cache-Status`: by what happened, and not by what
//! seemed likely when it began.

use crate::support::{FakeS3, Fault, Gate, Matcher, Object, Process, Scratch, Times};

const MIB: u64 = 1 << 20;

/// Starts hotset; `cache` are keys of the `cache` section.
async fn start(scratch: &Scratch, s3: &FakeS3, cache: &str) -> Process {
    let config = format!(
        "listen: [{{ address: 127.0.0.1:0 }}]\nadmin: {{ address: 127.0.0.1:0 }}\nlog: {{ access: plain }}\n\
         origin: {{ endpoint: '{}', attempts: 1 }}\ncache: {{ {cache} }}\n",
        s3.endpoint(),
    );
    Process::serve(&scratch.file("hotset.yaml", &config)).await
}

async fn requests(process: &Process, operation: &str, cache: &str, status: &str) -> f64 {
    let labels = format!("operation=\"{operation}\",cache=\"{cache}\",status=\"{status}\"");
    process.metric(&format!("hotset_requests_total{{{labels}}}")).await
}

#[tokio::test]
async fn a_read_that_finds_a_part_of_its_bytes_counts_as_partial_and_claims_no_hit() {
    let (scratch, s3) = (Scratch::new(), FakeS3::start().await);
    let mut process = start(&scratch, &s3, "").await;
    s3.put("data", "key", Object::random(64 * MIB, 1));
    let first = process.client().get("/data/key").range("bytes=0-1048575").send().await;
    assert_eq!(first.header("cache-status"), "hotset; fwd=uri-miss; detail=new");
    let whole = process.client().get("/data/key").send().await;
    assert_eq!(whole.header("cache-status"), "hotset; fwd=partial; detail=new");
    let line = process.printed("\"GET /data/key\" 200 67108864 ").await;
    assert!(line.contains(" partial "), "{line}");
    let again = process.client().get("/data/key").send().await;
    assert_eq!(again.header("cache-status"), "hotset; hit");
    let line = process.printed(" hit ").await;
    assert!(line.contains("\"GET /data/key\" 200 67108864 "), "{line}");
    for (cache, count) in [("miss", 1.0), ("partial", 1.0), ("hit", 1.0)] {
        assert!(requests(&process, "GetObject", cache, "2xx").await >= count, "{cache}");
    }
    assert!(requests(&process, "GetObject", "hit", "2xx").await < 2.0);
    let bytes = async |source: &str| {
        process.metric(&format!("hotset_response_bytes_total{{source=\"{source}\"}}")).await
    };
    #[allow(clippy::cast_precision_loss, reason = "small")]
    let mib = MIB as f64;
    let (memory, origin) = (bytes("memory").await, bytes("origin").await);
    assert!(origin >= 64.0 * mib && memory >= 65.0 * mib, "{memory} {origin}");
}

#[tokio::test]
async fn operations_have_s3s_names_in_metrics_and_log() {
    let (scratch, s3) = (Scratch::new(), FakeS3::start().await);
    let mut process = start(&scratch, &s3, "").await;
    let client = process.client();
    assert_eq!(client.put("/data/key").body("text").send().await.status, 200);
    assert_eq!(client.get("/data?list-type=2").send().await.status, 200);
    assert_eq!(client.head("/data/key").send().await.status, 200);
    assert_eq!(client.delete("/data/key").send().await.status, 204);
    for (operation, cache) in [
        ("PutObject", "bypass"),
        ("ListObjectsV2", "bypass"),
        ("HeadObject", "miss"),
        ("DeleteObject", "bypass"),
    ] {
        process.printed(&format!(" operation={operation}")).await;
        assert!(requests(&process, operation, cache, "2xx").await > 0.0, "{operation}");
    }
}

#[tokio::test]
async fn a_client_that_disconnects_is_a_499_and_no_error_of_the_server() {
    let (scratch, s3) = (Scratch::new(), FakeS3::start().await);
    let mut process = start(&scratch, &s3, "").await;
    s3.put("data", "early", Object::random(4 * MIB, 1));
    s3.put("data", "late", Object::random(8 * MIB, 2));
    let gate = Gate::new();
    s3.fault(Matcher::get("early"), Times(1), Fault::HoldHeader(gate.clone()));
    let reader = process.client().get("/data/early").start(0).await;
    gate.wait_reached().await;
    reader.abandon();
    let line = process.printed("/data/early").await;
    assert!(line.contains("\"GET /data/early\" 499 "), "{line}");
    s3.fault(Matcher::get("late"), Times(1), Fault::HoldBodyAfter(200_000, Gate::new()));
    let mut reader = process.client().open("/data/late").await;
    assert_eq!(reader.read(200_000).await.len(), 200_000);
    reader.abandon();
    let line = process.printed("/data/late").await;
    assert!(line.contains("\"GET /data/late\" 499 "), "{line}");
    // A request that streams through.
    let upload = process.client().put("/data/sent").start(10_000).await;
    upload.abandon();
    let line = process.printed("/data/sent").await;
    assert!(line.contains("\"PUT /data/sent\" 499 "), "{line}");
    let page = process.admin().get("/metrics").send().await.text();
    let of_requests = |line: &&str| line.starts_with("hotset_requests_total");
    let wrong = |line: &str| line.contains("5xx") || line.contains("none");
    let counted: Vec<&str> = page.lines().filter(of_requests).collect();
    assert!(!counted.iter().any(|line| wrong(line)), "{counted:?}");
    let output = process.output();
    assert!(!output.contains("ERROR"), "{output}");
}

#[tokio::test]
async fn what_the_origin_refuses_is_not_counted_as_ok() {
    let (scratch, s3) = (Scratch::new(), FakeS3::start().await);
    let process = start(&scratch, &s3, "").await;
    s3.put("data", "key", Object::random(5000, 1));
    let client = process.client();
    assert_eq!(client.get("/data/absent?X-Amz-Unknown=1").send().await.status, 404);
    let put = client.put("/data/key").header("if-none-match", "*").body("text").send().await;
    assert_eq!(put.status, 412);
    for (outcome, count) in [("not_found", 1.0), ("refused", 1.0), ("ok", 0.0)] {
        let series =
            format!("hotset_origin_requests_total{{kind=\"passthrough\",outcome=\"{outcome}\"}}");
        let counted = process.metric(&series).await;
        assert!((counted - count).abs() < 0.5, "{outcome}: {counted}");
    }
}

#[tokio::test]
async fn a_block_that_is_not_admitted_to_disk_is_no_failure_of_the_disk() {
    let (scratch, s3) = (Scratch::new(), FakeS3::start().await);
    let folder = scratch.path("cache");
    let cache = format!("memory: 8MiB, disk: [{{ path: '{folder}', capacity: 256MiB }}]");
    let process = start(&scratch, &s3, &cache).await;
    let page = process.admin().get("/metrics").send().await.text();
    for reason in ["not_admitted", "queue_full"] {
        let label = format!("reason=\"{reason}\"");
        let named: Vec<_> = page.lines().filter(|line| line.contains(&label)).collect();
        let path = format!("hotset_disk_skips_total{{path=\"{folder}\",{label}}} 0");
        assert_eq!(named, [path]);
    }
}
