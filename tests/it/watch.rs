//! `hotset log` and `GET /api/v1/requests`: the requests of a running server, as they end.

use hotset::logging::config::AccessLog;
use http::Method;
use serde_json::{Value, json};

use crate::support::*;

const SIZE: u64 = 3 << 20;

async fn start(s3: &FakeS3) -> TestProxy {
    TestProxy::start_with(s3, |config| {
        config.log.access = AccessLog::Off;
        config.origin.backoff.base = hotset::config::units::HumanDuration::millis(1);
    })
    .await
}

/// Starts to watch requests, and waits until the watch is active.
async fn watch(proxy: &TestProxy, filter: &str) -> ResponseStream {
    let path = format!(
        "/api/v1/requests?filter={}",
        filter.replace(' ', "+").replace('=', "%3D").replace('>', "%3E")
    );
    let mut stream = Client::new(proxy.admin).open(&path).await;
    assert_eq!(
        (stream.status.as_u16(), stream.headers["content-type"].to_str().unwrap()),
        (200, "application/x-ndjson")
    );
    assert_eq!(&stream.read(1).await[..], b"\n", "it has begun");
    stream
}

/// Returns the next reported request.
async fn next(stream: &mut ResponseStream) -> Value {
    let mut line = Vec::new();
    loop {
        let byte = stream.read(1).await;
        assert_eq!(byte.len(), 1, "the stream ended after {}", String::from_utf8_lossy(&line));
        match byte[0] {
            b'\n' if line.is_empty() => {}
            b'\n' => return serde_json::from_slice(&line).expect("JSON"),
            other => line.push(other),
        }
    }
}

#[tokio::test]
async fn requests_are_told_as_they_end_with_what_the_origin_was_asked_for_them() {
    let s3 = FakeS3::start().await;
    s3.put("data", "k", Object::random(SIZE, 1));
    let proxy = start(&s3).await;
    let mut seen = watch(&proxy, "").await;
    let client = proxy.client();

    s3.fault(Matcher::get("k"), Times(1), Fault::Status(500, "InternalError"));
    assert!(client.get("/data/k?x-id=GetObject&X-Amz-Signature=secret").send().await.complete);
    let miss = next(&mut seen).await;
    let path = "/data/k?x-id=GetObject&X-Amz-Signature=REDACTED";
    assert_eq!(
        (&miss["method"], &miss["path"], &miss["status"]),
        (&json!("GET"), &json!(path), &json!(200))
    );
    assert_eq!(
        (&miss["bucket"], &miss["key"], &miss["cache"]),
        (&json!("data"), &json!("k"), &json!("miss"))
    );
    assert_eq!((&miss["bytes"], &miss["bytes_from"]["origin"]), (&json!(SIZE), &json!(SIZE)));
    let origin = &miss["origin"];
    assert_eq!(
        (&origin["outcomes"]["server_error"], &origin["retries"]),
        (&json!(1), &json!(1)),
        "{miss}"
    );
    assert_eq!(origin["bytes"], SIZE, "{miss}");
    let asked = s3.count(|_| true) as u64;
    assert_eq!(origin["requests"], asked, "{miss} {}", s3.describe());
    let [first, all] =
        [&origin["first_byte_seconds"], &miss["seconds"]].map(|n| n.as_f64().unwrap());
    assert!(first > 0.0 && all >= first, "{miss}");

    assert!(client.get("/data/k").range("bytes=0-99").send().await.complete);
    let hit = next(&mut seen).await;
    assert_eq!(
        (&hit["cache"], &hit["bytes"], &hit["origin"]),
        (&json!("hit"), &json!(100), &Value::Null)
    );
    client.request(Method::PUT, "/data/new").body("x").send().await;
    let put = next(&mut seen).await;
    assert_eq!(
        (&put["operation"], &put["origin"]["outcomes"]),
        (&json!("PutObject"), &json!({ "ok": 1 }))
    );
    s3.fault(Matcher::get("none"), Always, Fault::Status(403, "AccessDenied"));
    client.get("/data/none").send().await;
    let denied = next(&mut seen).await;
    assert_eq!(
        (&denied["status"], &denied["code"]),
        (&json!(403), &json!("AccessDenied")),
        "{denied}"
    );
}

#[tokio::test]
async fn each_watcher_gets_what_passes_its_filter() {
    let s3 = FakeS3::start().await;
    for key in ["a.jpg", "tmp/b.jpg", "c.txt"] {
        s3.put("photos", key, Object::random(1000, 1));
    }
    s3.put("data", "a.jpg", Object::random(1000, 1));
    let proxy = start(&s3).await;
    let mut photos = watch(&proxy, "bucket=photos and key=*.jpg").await;
    let mut errors = watch(&proxy, "status>=400 and not bucket=data").await;
    let client = proxy.client();
    for path in [
        "/data/a.jpg",
        "/data/none",
        "/photos/c.txt",
        "/photos/none",
        "/photos/tmp/b.jpg",
        "/photos/a.jpg",
    ] {
        client.get(path).send().await;
    }
    assert_eq!(next(&mut photos).await["key"], "a.jpg");
    assert_eq!(next(&mut errors).await["key"], "none");
    let api = Api::new(proxy.admin);
    for (query, why) in [
        ("filter=bukcet%3Da", "filter: at character 1: `bukcet` is none of bucket, "),
        (
            "filter=status%3D500+and",
            "filter: at character 15: expected a field, not or `(`, found the end",
        ),
        ("seconds=-1", "seconds: it is a number from 0 to 2592000"),
        ("follow=1", "follow: there are only filter and seconds"),
    ] {
        let (status, body) = api.get(&format!("/api/v1/requests?{query}")).await;
        let said = body["error"].as_str().unwrap();
        assert!(status == 400 && said.starts_with(why), "{query}: {said}");
    }
}

#[tokio::test]
async fn watchers_are_few_and_one_that_goes_away_makes_room() {
    let s3 = FakeS3::start().await;
    let proxy = start(&s3).await;
    let mut watchers = Vec::new();
    for _ in 0..8 {
        watchers.push(watch(&proxy, "").await);
    }
    let (status, body) = Api::new(proxy.admin).get("/api/v1/requests").await;
    assert_eq!(
        (status, body["error"].as_str()),
        (429, Some("8 others watch already, which is the most"))
    );
    watchers.pop().unwrap().abandon();
    let admitted = async {
        while Client::new(proxy.admin).open("/api/v1/requests?seconds=0").await.status != 200 {
            tokio::task::yield_now().await;
        }
    };
    within("the place of a client that went away", admitted).await;
    // A request after that is reported to the remaining watchers.
    proxy.client().get("/data/none").send().await;
    for watcher in &mut watchers {
        assert_eq!(next(watcher).await["status"], 404);
    }
}

#[tokio::test]
async fn hotset_log_shows_requests_of_a_running_server() {
    let s3 = FakeS3::start().await;
    s3.put("photos", "k", Object::random(1000, 1));
    let proxy = start(&s3).await;
    let admin = format!("http://{}", proxy.admin);
    let log = |more: &[&str]| {
        let command = hotset(&[&["log", "--admin", &admin], more].concat());
        tokio::task::spawn_blocking(move || run(command))
    };
    // Requests are sent until the watcher has seen enough.
    let shown = async |more: &[&str]| {
        let mut log = log(more);
        let client = proxy.client();
        let ended = async {
            loop {
                tokio::select! {
                    biased;
                    ended = &mut log => return ended.expect("it does not panic"),
                    () = async {
                        client.get("/photos/k").send().await;
                        client.get("/photos/none").send().await;
                    } => {}
                }
            }
        };
        within("hotset log", ended).await
    };
    let filter = "status=404 and bucket=photos";
    let (code, out, err) = shown(&["--follow", "--limit", "2", "--filter", filter]).await;
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    let requests: Vec<_> =
        out.lines().filter(|line| line.contains(" 404 GET /photos/none ")).collect();
    assert_eq!(requests.len(), 2, "{out}");
    assert!(requests.iter().all(|line| line.contains(" code=NoSuchKey ")), "{out}");
    let (_, out, _) = shown(&["--json", "--limit", "1", "--filter", "status=200"]).await;
    let request: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&request["key"], &request["status"]), (&json!("k"), &json!(200)));

    let (code, out, err) = log(&["--filter", "status=5xx"]).await.unwrap();
    let why = "hotset: filter: at character 8: `5xx` is no number for status, such as 500\n";
    assert_eq!((code, out.as_str(), err.as_str()), (2, "", why));
    let (code, out, _) = log(&["--seconds", "1", "--filter", "status=299"]).await.unwrap();
    assert_eq!((code, out.as_str()), (3, ""));
}
