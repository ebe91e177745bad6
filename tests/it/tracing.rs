//! Traces: the spans that arrive at an OpenTelemetry collector; a slow collector does not delay requests.

#![allow(clippy::float_cmp, reason = "metrics that are whole numbers")]

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use http::Method;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::Notify;

use crate::support::*;

const SENT: &str = "hotset_trace_spans_total{outcome=\"sent\"}";
const DROPPED: &str = "hotset_trace_spans_total{outcome=\"dropped\"}";
const FAILED: &str = "hotset_trace_spans_total{outcome=\"failed\"}";
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

/// A collector, and the batches that it received.
struct Collector {
    url: String,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    batches: Mutex<Vec<(String, String, Value)>>,
    came: Notify,
    /// Status to answer with instead of 200.
    status: Mutex<Option<u16>>,
    /// Gate that holds its responses.
    gate: Mutex<Option<Gate>>,
}

impl Collector {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::<State>::default();
        let shared = state.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let state = shared.clone();
                let service = service_fn(move |request| receive(state.clone(), request));
                let connection =
                    http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                tokio::spawn(async move { drop(connection.await) });
            }
        });
        Self { url, state }
    }

    /// Returns its spans, once there are `count` of them.
    async fn spans(&self, count: usize) -> Vec<Span> {
        within("spans", async {
            loop {
                let came = self.state.came.notified();
                let spans = self.received();
                if spans.len() >= count {
                    return spans;
                }
                came.await;
            }
        })
        .await
    }

    fn received(&self) -> Vec<Span> {
        let batches = self.state.batches.lock().unwrap();
        let all = batches.iter().flat_map(|(_, _, batch)| {
            batch["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().unwrap().clone()
        });
        all.map(Span).collect()
    }
}

async fn receive(
    state: Arc<State>,
    request: Request<Incoming>,
) -> Result<Response<Empty<Bytes>>, Infallible> {
    let header = |name: &str| {
        let value = request.headers().get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    let (kind, token) = (header("content-type"), header("authorization"));
    let what = format!("{} {} {kind}", request.method(), request.uri());
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let gate = state.gate.lock().unwrap().clone();
    if let Some(gate) = gate {
        gate.pass().await;
    }
    let mut response = Response::new(Empty::new());
    if let Some(status) = *state.status.lock().unwrap() {
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        return Ok(response);
    }
    let batch = serde_json::from_slice(&body).expect("JSON");
    state.batches.lock().unwrap().push((what, token, batch));
    state.came.notify_waiters();
    Ok(response)
}

#[derive(Debug, Clone)]
struct Span(Value);

impl Span {
    fn text(&self, name: &str) -> &str {
        self.0[name].as_str().unwrap_or_default()
    }

    fn attribute(&self, name: &str) -> Option<String> {
        let all = self.0["attributes"].as_array().unwrap();
        let value = &all.iter().find(|attribute| attribute["key"] == name)?["value"];
        let value = value.as_object().unwrap().values().next().unwrap();
        Some(value.as_str().map_or_else(|| value.to_string(), str::to_owned))
    }

    fn is_server(&self) -> bool {
        self.0["kind"] == 2
    }
}

fn children<'a>(spans: &'a [Span], of: &Span) -> Vec<&'a Span> {
    let id = of.text("spanId");
    spans.iter().filter(|span| span.text("parentSpanId") == id).collect()
}

struct Traced {
    s3: FakeS3,
    process: Process,
    _scratch: Scratch,
}

impl Traced {
    async fn start(endpoint: &str, more: &str) -> Self {
        Self::start_with(endpoint, "10ms", more).await
    }

    async fn start_with(endpoint: &str, interval: &str, more: &str) -> Self {
        let (scratch, s3) = (Scratch::new(), FakeS3::start().await);
        s3.put("data", "k", Object::random(100_000, 1));
        let config = format!(
            "listen: [{{ address: 127.0.0.1:0 }}]\nadmin: {{ address: 127.0.0.1:0 }}\n\
             origin: {{ endpoint: '{}', hedging: false, backoff: {{ base: 1ms, cap: 10ms }} }}\n\
             tracing: {{ endpoint: '{endpoint}', interval: {interval}{more} }}\n",
            s3.endpoint()
        );
        let process = Process::serve(&scratch.file("hotset.yaml", &config)).await;
        Self { s3, process, _scratch: scratch }
    }

    async fn read(&self, traceparent: Option<&str>) {
        let mut get = self.process.client().get("/data/k?x-id=GetObject");
        if let Some(traceparent) = traceparent {
            get = get.header("traceparent", traceparent);
        }
        let read = get.send().await;
        assert_eq!((read.status.as_u16(), read.complete), (200, true), "{}", read.text());
        assert_eq!(read.body, self.s3.object_bytes("data", "k"));
    }
}

fn sampled(flag: &str) -> String {
    format!("00-{TRACE}-{PARENT}-{flag}")
}

#[tokio::test]
async fn a_miss_with_its_retries_and_a_hit_arrive_as_spans() {
    let collector = Collector::start().await;
    let more = ", sample: 100%, service: test, headers: { authorization: Bearer made-up }";
    let server = Traced::start(&collector.url, more).await;
    let fault = Fault::Status(500, "InternalError");
    server.s3.fault(Matcher::get("k"), Times(1), fault);
    server.read(None).await;
    let spans = collector.spans(3).await;
    let request = spans.iter().find(|span| span.is_server()).unwrap();
    assert_eq!((request.text("name"), request.text("parentSpanId")), ("GetObject", ""));
    for (name, value) in [
        ("http.request.method", "GET"),
        ("http.response.status_code", "200"),
        ("url.path", "/data/k"),
        ("aws.s3.bucket", "data"),
        ("aws.s3.key", "k"),
        ("hotset.cache", "miss"),
        ("hotset.miss_reason", "new"),
        ("http.response.body.size", "100000"),
    ] {
        assert_eq!(request.attribute(name).as_deref(), Some(value), "{name}");
    }
    let tries = children(&spans, request);
    assert_eq!(tries.len(), 2, "{spans:?}");
    let of = |status: &str| {
        let has =
            |span: &&&Span| span.attribute("http.response.status_code").as_deref() == Some(status);
        *tries.iter().find(has).unwrap()
    };
    let (refused, answered) = (of("500"), of("206"));
    assert_eq!(refused.0["status"]["code"], 2);
    assert_eq!(answered.0.get("status"), None);
    assert_eq!(answered.attribute("http.request.resend_count").as_deref(), Some("1"));
    assert_eq!(answered.attribute("http.response.body.size").as_deref(), Some("100000"));
    let port = server.s3.addr().port().to_string();
    assert_eq!(answered.attribute("network.peer.port"), Some(port));
    for span in &spans {
        assert_eq!(span.text("traceId"), request.text("traceId"));
        let time = |name| span.text(name).parse::<u128>().unwrap();
        assert!(time("startTimeUnixNano") <= time("endTimeUnixNano"), "{span:?}");
    }
    let sent = server.s3.requests();
    let named: Vec<_> = sent.iter().map(|seen| seen.header("traceparent").to_owned()).collect();
    let name = |span: &Span| format!("00-{}-{}-01", span.text("traceId"), span.text("spanId"));
    assert_eq!(named, [name(refused), name(answered)]);

    server.read(None).await;
    let spans = collector.spans(4).await;
    let hit = spans
        .iter()
        .rev()
        .find(|span| span.is_server() && span.text("spanId") != request.text("spanId"));
    let hit = hit.unwrap();
    assert_eq!(hit.attribute("hotset.cache").as_deref(), Some("hit"));
    assert_ne!(hit.text("traceId"), request.text("traceId"));
    assert!(children(&spans, hit).is_empty());

    let batches = collector.state.batches.lock().unwrap().clone();
    for (what, token, batch) in &batches {
        assert_eq!(what, "POST /v1/traces application/json");
        assert_eq!(token, "Bearer made-up");
        let service = &batch["resourceSpans"][0]["resource"]["attributes"][0];
        assert_eq!(service["value"]["stringValue"], "test");
    }
    assert_eq!(server.process.wait_for_metric(SENT, |sent| sent >= 4.0).await, 4.0);
}

#[tokio::test]
async fn a_request_is_traced_as_its_sender_says_and_its_trace_is_passed_on() {
    let collector = Collector::start().await;
    let server = Traced::start(&collector.url, ", sample: 0.0001%").await;
    let put = async |key: &str, flag: &str| {
        let put = server.process.client().request(Method::PUT, &format!("/data/{key}"));
        let put = put.header("traceparent", &sampled(flag)).header("tracestate", "a=b");
        assert_eq!(put.body("x").send().await.status.as_u16(), 200);
    };
    put("not", "00").await;
    put("yes", "01").await;
    let spans = collector.spans(2).await;
    assert_eq!(spans.len(), 2, "the other one is not traced: {spans:?}");
    let request = spans.iter().find(|span| span.is_server()).unwrap();
    assert_eq!((request.text("traceId"), request.text("parentSpanId")), (TRACE, PARENT));
    assert_eq!(request.text("name"), "PutObject");
    let forwarded = children(&spans, request);
    assert_eq!(forwarded.len(), 1);
    let seen = server.s3.requests();
    let sent = |key: &str| seen.iter().find(|seen| seen.path.ends_with(key)).unwrap();
    let ours = format!("00-{TRACE}-{}-01", forwarded[0].text("spanId"));
    assert_eq!(sent("yes").header("traceparent"), ours);
    assert_eq!(sent("yes").header("tracestate"), "a=b");
    assert_eq!(sent("not").header("traceparent"), sampled("00"));
    assert!(server.s3.complaints().is_empty(), "{:?}", server.s3.complaints());
}

#[tokio::test]
async fn without_tracing_the_clients_header_passes_through_as_it_came() {
    let (scratch, s3) = (Scratch::new(), FakeS3::start().await);
    let config = format!(
        "listen: [{{ address: 127.0.0.1:0 }}]\nadmin: {{ address: 127.0.0.1:0 }}\n\
         origin: {{ endpoint: '{}' }}\n",
        s3.endpoint()
    );
    let process = Process::serve(&scratch.file("hotset.yaml", &config)).await;
    let put = process.client().request(Method::PUT, "/data/k");
    put.header("traceparent", &sampled("01")).body("x").send().await;
    let seen = s3.requests();
    assert_eq!(seen[0].header("traceparent"), sampled("01"));
    let api = process.admin().get("/metrics").send().await;
    assert!(!api.text().contains("hotset_trace_spans_total{"), "it is not set up");
}

#[tokio::test]
async fn a_collector_that_is_dead_or_refuses_holds_up_nothing_and_what_it_misses_is_counted() {
    let collector = Collector::start().await;
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dead = format!("http://{}", nobody.local_addr().unwrap());
    drop(nobody);
    *collector.state.status.lock().unwrap() = Some(400);
    for url in [dead, collector.url.clone()] {
        let mut server = Traced::start(&url, ", sample: 100%, timeout: 1s").await;
        for _ in 0..20 {
            server.read(None).await;
        }
        server.process.wait_for_metric(FAILED, |failed| failed >= 1.0).await;
        let line = server.process.logged("does not take spans").await;
        assert!(line.contains("tracing.endpoint"), "{line}");
    }
    assert!(collector.received().is_empty());
}

#[tokio::test]
async fn a_collector_that_is_slow_holds_up_nothing_and_the_queue_is_bounded() {
    let (collector, gate) = (Collector::start().await, Gate::new());
    *collector.state.gate.lock().unwrap() = Some(gate.clone());
    let more = ", sample: 100%, queue: 4, batch: 2, timeout: 30s";
    let server = Traced::start(&collector.url, more).await;
    for _ in 0..30 {
        server.read(None).await;
    }
    // Thirty-one spans: two in flight, a few in the queue, and no room for the others.
    let dropped = server.process.wait_for_metric(DROPPED, |dropped| dropped >= 20.0).await;
    assert!(dropped < 31.0, "{dropped}");
    gate.open();
    server.process.wait_for_metric(SENT, |sent| sent >= 2.0).await;
}

#[tokio::test]
async fn what_is_left_is_sent_at_the_end() {
    let collector = Collector::start().await;
    let mut server = Traced::start_with(&collector.url, "1h", ", sample: 100%").await;
    server.read(None).await;
    assert!(collector.received().is_empty());
    server.process.terminate();
    assert!(server.process.ended().await.success());
    assert_eq!(collector.received().len(), 2);
}
