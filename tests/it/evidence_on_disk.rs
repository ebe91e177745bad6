//! Passed-through responses contradict metadata that is only on disk (R34): it is void before it is recalled, and
//! stays so.

use http::Method;

use crate::support::{
    Client, FakeS3, Fault, Gate, Matcher, Object, Process, Scratch, Times, within,
};

const SIZE: u64 = 100_000;
const KEYS: [&str; 5] = ["a", "b", "dir/c", "e", "f"];
const LISTINGS: [&str; 3] =
    ["/data?list-type=2&encoding-type=url", "/data?encoding-type=url", "/data?versions"];
const IMMUTABLE: &str = "immutable";

async fn start(scratch: &Scratch, s3: &FakeS3, freshness: &str) -> Process {
    let config = format!(
        "listen: [{{ address: 127.0.0.1:0 }}]\nadmin: {{ address: 127.0.0.1:0 }}\n\
         origin: {{ endpoint: '{}', hedging: false }}\nrules: [{{ match: '**', freshness: {freshness} }}]\n\
         cache: {{ memory: 64MiB, admission: first-touch, disk: [{{ path: '{}', capacity: 256MiB }}] }}\n",
        s3.endpoint(),
        scratch.path("cache"),
    );
    Process::serve(&scratch.file("hotset.yaml", &config)).await
}

async fn stop(mut process: Process) {
    process.terminate();
    assert!(process.ended().await.success());
}

async fn get(process: &Process, key: &str) -> Vec<u8> {
    let answer = process.client().get(&format!("/data/{key}")).send().await;
    assert!(answer.status == 200 && answer.complete, "{key}: {answer:?}");
    answer.body.to_vec()
}

/// Starts a process with an empty memory; the objects of [`KEYS`] are on its disk, and the origin's record is empty.
async fn with_objects_on_disk(scratch: &Scratch, s3: &FakeS3, freshness: &str) -> Process {
    for (seed, key) in (1..).zip(KEYS) {
        s3.put("data", key, Object::random(SIZE, seed));
    }
    let process = start(scratch, s3, freshness).await;
    for key in KEYS {
        get(&process, key).await;
    }
    stop(process).await;
    s3.forget_requests();
    start(scratch, s3, freshness).await
}

async fn list(client: &Client, path: &str) {
    let answer = client.get(path).send().await;
    assert!(answer.status == 200 && answer.complete, "{answer:?}");
}

/// Returns the requests for objects, as method and key.
fn asked(s3: &FakeS3) -> Vec<(Method, String)> {
    let requests = s3.requests();
    let objects = requests.iter().filter(|seen| !seen.key.is_empty());
    objects.map(|seen| (seen.method.clone(), seen.key.clone())).collect()
}

#[tokio::test]
async fn r34_a_listing_that_contradicts_the_disk_makes_it_stale_and_nothing_else() {
    for path in LISTINGS {
        let (scratch, s3) = (Scratch::new(), FakeS3::start().await);
        let process = with_objects_on_disk(&scratch, &s3, IMMUTABLE).await;
        let new = Object::random(SIZE, 9);
        s3.put("data", "b", new.clone());
        list(&process.client(), path).await;
        assert!(get(&process, "b").await == new.all(), "{path}");
        for key in KEYS {
            assert!(get(&process, key).await == s3.object_bytes("data", key), "{key}");
        }
        let first = asked(&s3);
        let only_b = first.iter().all(|(_, key)| key == "b");
        // Where comparing the page takes long, it ends while the object is being fetched, whose bytes are not kept then.
        assert!(only_b && first.len() <= 3, "{path} {}", s3.describe());
        for key in KEYS {
            get(&process, key).await;
        }
        assert_eq!(asked(&s3), first, "{path} {}", s3.describe());
    }
}

#[tokio::test]
async fn r34_what_a_listing_contradicts_on_disk_stays_so_after_a_restart() {
    let (scratch, s3) = (Scratch::new(), FakeS3::start().await);
    let process = with_objects_on_disk(&scratch, &s3, IMMUTABLE).await;
    let new = Object::random(SIZE, 9);
    s3.put("data", "b", new.clone());
    list(&process.client(), LISTINGS[0]).await;
    stop(process).await;
    let process = start(&scratch, &s3, IMMUTABLE).await;
    assert!(get(&process, "b").await == new.all());
    get(&process, "a").await;
    assert!(asked(&s3).iter().all(|(_, key)| key == "b"), "{}", s3.describe());
}

/// The received entries of a truncated listing count as evidence.
#[tokio::test]
async fn r34_a_listing_that_is_cut_counts_as_far_as_it_came() {
    let (scratch, s3) = (Scratch::new(), FakeS3::start().await);
    let process = with_objects_on_disk(&scratch, &s3, IMMUTABLE).await;
    let new = Object::random(SIZE, 9);
    s3.put("data", "a", new.clone());
    s3.delete("data", "e");
    let whole = Client::new(s3.addr()).get(LISTINGS[0]).send().await.body.len() as u64;
    s3.fault(Matcher::any().key(""), Times(1), Fault::CutAfter(whole - 5));
    assert!(!process.client().get(LISTINGS[0]).send().await.complete);
    assert!(get(&process, "a").await == new.all());
    assert!(get(&process, "e").await == Object::random(SIZE, 4).all(), "it shows no absence");
}

#[tokio::test]
async fn r34_a_key_that_a_listing_leaves_out_is_confirmed_when_it_is_recalled() {
    let (scratch, s3) = (Scratch::new(), FakeS3::start().await);
    let process = with_objects_on_disk(&scratch, &s3, IMMUTABLE).await;
    s3.delete("data", "b");
    s3.delete("data", "f");
    list(&process.client(), LISTINGS[0]).await;
    let gone = process.client().get("/data/b").send().await;
    assert!(gone.status == 404 && gone.text().contains("<Code>NoSuchKey</Code>"), "{gone:?}");
    s3.forget_requests();
    for key in ["a", "dir/c", "e"] {
        get(&process, key).await;
    }
    // This key is after the last one of the page.
    assert!(get(&process, "f").await == Object::random(SIZE, 5).all());
    assert_eq!(asked(&s3), [], "{}", s3.describe());
}

#[tokio::test]
async fn r34_a_read_that_bypasses_ends_what_it_contradicts_on_disk() {
    for method in [Method::GET, Method::HEAD] {
        let (scratch, s3) = (Scratch::new(), FakeS3::start().await);
        let process = with_objects_on_disk(&scratch, &s3, IMMUTABLE).await;
        let new = Object::random(SIZE, 9);
        s3.put("data", "b", new.clone());
        s3.delete("data", "e");
        for (key, status) in [("a", 200), ("b", 200), ("e", 404)] {
            let path = format!("/data/{key}");
            let read = process.client().request(method.clone(), &path).header("x-amz-test", "1");
            assert_eq!(read.send().await.status, status, "{method} {key}");
        }
        s3.forget_requests();
        assert!(get(&process, "b").await == new.all(), "{method}");
        assert_eq!(process.client().get("/data/e").send().await.status, 404, "{method}");
        get(&process, "a").await;
        let asked = asked(&s3);
        assert!(asked.iter().all(|(_, key)| key != "a"), "{asked:?}");
    }
}

/// Listings are compared every time, but each object is requested only once.
#[tokio::test]
async fn r34_a_listing_that_agrees_with_the_disk_costs_nothing() {
    let (scratch, s3) = (Scratch::new(), FakeS3::start().await);
    let process = with_objects_on_disk(&scratch, &s3, IMMUTABLE).await;
    for path in LISTINGS {
        for _ in 0..2 {
            list(&process.client(), path).await;
            list(&process.client(), &format!("{path}&max-keys=2")).await;
            list(&process.client(), &format!("{path}&delimiter=%2F")).await;
        }
    }
    for key in KEYS {
        get(&process, key).await;
    }
    assert_eq!(asked(&s3), [], "{}", s3.describe());
}

#[tokio::test]
async fn r34_a_record_is_compared_under_a_ttl_too() {
    let (scratch, s3) = (Scratch::new(), FakeS3::start().await);
    let process = with_objects_on_disk(&scratch, &s3, "{ ttl: 1h }").await;
    // Metadata from an earlier process is confirmed once.
    let new = Object::random(SIZE, 9);
    s3.put("data", "b", new.clone());
    list(&process.client(), LISTINGS[0]).await;
    assert!(get(&process, "b").await == new.all());
}

/// Metadata learned while the listing was in flight is newer than the listing.
#[tokio::test]
async fn r34_a_record_that_is_younger_than_a_listing_stays() {
    let (scratch, s3) = (Scratch::new(), FakeS3::start().await);
    let process = with_objects_on_disk(&scratch, &s3, IMMUTABLE).await;
    let gate = Gate::new();
    s3.fault(Matcher::any().key(""), Times(1), Fault::HoldHeader(gate.clone()));
    let listing = tokio::spawn(process.client().get(LISTINGS[0]).send());
    within("the listing to be asked for", gate.wait_reached()).await;
    let new = Object::random(SIZE, 9);
    s3.put("data", "b", new.clone());
    let fresh = process.client().get("/data/b").header("Cache-Control", "no-cache").send().await;
    assert!(fresh.body == new.all());
    gate.open();
    assert!(listing.await.unwrap().complete);
    s3.forget_requests();
    assert!(get(&process, "b").await == new.all());
    assert_eq!(asked(&s3), [], "{}", s3.describe());
}
