//! Tests of the fake's faults and of its record, which other tests rely on.

use crate::support::*;
use crate::support_test::setup;
use bytes::Bytes;
use http::Method;

#[tokio::test]
async fn broken_answers_are_seen_as_broken() {
    let (s3, client) = setup(Object::random(100_000, 1)).await;
    let all = s3.object_bytes("b", "k");
    for fault in [Fault::CutAfter(70_000), Fault::ResetAfter(70_000)] {
        s3.fault(Matcher::get("k"), Times(1), fault);
        let cut = client.get("/b/k").send().await;
        assert_eq!((cut.complete, cut.body.len()), (false, 70_000));
        assert_eq!(cut.body, all[..70_000]);
        s3.wait_idle().await;
        let seen = s3.requests().pop().unwrap();
        assert_eq!((seen.complete, seen.body_bytes_sent, seen.status), (false, 70_000, 200));
    }
    s3.fault(Matcher::get("k"), Times(1), Fault::CloseBeforeAnswer);
    s3.fault(Matcher::get("k"), Times(1), Fault::ResetBeforeAnswer);
    let closed = client.get("/b/k").try_send().await.unwrap_err();
    assert_eq!(closed.reason, "the peer closed the connection");
    let reset = client.get("/b/k").try_send().await.unwrap_err();
    assert!(reset.reason.contains("reset"), "{reset}");
    assert!(client.get("/b/k").send().await.complete);
    s3.fault(Matcher::get("k"), Times(1), Fault::LongContentLength);
    let long = client.get("/b/k").send().await;
    assert_eq!(
        (long.complete, long.body.len(), long.header("content-length")),
        (false, 100_000, "100001")
    );
    s3.fault(Matcher::get("k"), Times(1), Fault::ShortContentLength);
    let short = client.get("/b/k").range("bytes=0-9").send().await;
    assert_eq!(
        (short.complete, short.body.len(), short.header("content-range")),
        (true, 9, "bytes 0-9/100000")
    );
    s3.fault(Matcher::get("k"), Times(1), Fault::TooManyBytes);
    let raw = client
        .send_raw(b"GET /b/k HTTP/1.1\r\nHost: x\r\nRange: bytes=0-9\r\nConnection: close\r\n\r\n")
        .await;
    assert!(raw.ends_with(&[b'X'; 1000]));
    s3.fault(Matcher::get("k"), Times(1), Fault::Chunked);
    let chunked = client.get("/b/k").send().await;
    assert_eq!(
        (chunked.complete, &chunked.body, chunked.header("content-length")),
        (true, &all, "")
    );
    s3.fault(Matcher::get("k"), Times(1), Fault::All(vec![Fault::Chunked, Fault::CutAfter(5)]));
    let chunked = client.get("/b/k").send().await;
    assert_eq!((chunked.complete, chunked.body.len()), (false, 5));
    s3.fault(Matcher::get("k"), Times(1), Fault::CloseAfterAnswer);
    assert!(client.get("/b/k").send().await.complete);
    s3.wait_idle().await;
}

#[tokio::test]
async fn lying_headers_lie_as_asked() {
    let (s3, client) = setup(Object::random(100, 1)).await;
    let once = |fault| s3.fault(Matcher::any().key("k"), Times(1), fault);
    once(Fault::WrongContentRange);
    let part = client.get("/b/k").range("bytes=0-9").send().await;
    assert_eq!((part.header("content-range"), part.body.len()), ("bytes 1-10/100", 10));
    once(Fault::IgnoreRange);
    let part = client.get("/b/k").range("bytes=0-9").send().await;
    assert_eq!((part.status.as_u16(), part.body.len()), (200, 100));
    once(Fault::IgnoreIfMatch);
    assert_eq!(client.get("/b/k").header("If-Match", "\"x\"").send().await.status, 200);
    once(Fault::WrongETag);
    let wrong = client.head("/b/k").send().await;
    assert_ne!(wrong.header("etag"), s3.object("b", "k").unwrap().etag_value().unwrap());
    once(Fault::All(vec![
        Fault::DropHeader("Last-Modified"),
        Fault::SetHeader("Date", "x".into()),
    ]));
    let edited = client.get("/b/k").send().await;
    assert_eq!((edited.header("last-modified"), edited.header("date")), ("", "x"));
    once(Fault::Status(503, "SlowDown"));
    let slow = client.get("/b/k").send().await;
    assert!(slow.status == 503 && slow.text().contains("<Code>SlowDown</Code>"));
    once(Fault::Status(503, "SlowDown"));
    assert_eq!(client.put("/b/k").body("x").send().await.status, 503);
    assert_eq!(s3.object_bytes("b", "k").len(), 100, "a Status acts on nothing");
    once(Fault::ShortContentLength);
    assert_eq!(client.head("/b/k").send().await.header("content-length"), "99");
}

#[tokio::test]
async fn matchers_select_by_key_range_and_number() {
    let (s3, client) = setup(Object::random(100, 1)).await;
    s3.put("b", "other", Object::bytes("x"));
    s3.fault(Matcher::get("k").nth(2), Always, Fault::Status(500, "InternalError"));
    s3.fault(Matcher::get("k").covering(50), Times(2), Fault::Status(503, "SlowDown"));
    let status = async |range: &str| client.get("/b/k").range(range).send().await.status.as_u16();
    assert_eq!(status("bytes=0-9").await, 206);
    assert_eq!(status("bytes=40-60").await, 500);
    assert_eq!(status("bytes=40-60").await, 503);
    assert_eq!(status("bytes=0-9").await, 206);
    assert_eq!(status("bytes=-60").await, 503);
    assert_eq!(status("bytes=-60").await, 206);
    assert_eq!(client.get("/b/other").send().await.status, 200);
    s3.fault(
        Matcher::any().bucket("b").whole().when(|r| r.connection == 0),
        Always,
        Fault::Status(500, "E"),
    );
    assert_eq!(client.get("/b/k").send().await.status, 500);
    assert_eq!(status("bytes=0-9").await, 206);
    s3.clear_faults();
    assert_eq!(client.get("/b/k").send().await.status, 200);
    s3.forget_requests();
    assert_eq!((s3.requests().len(), s3.bytes_sent()), (0, 0));
    s3.fault(Matcher::get("k").starting_at(10).ranged(), Times(1), Fault::Status(500, "E"));
    assert_eq!(status("bytes=10-19").await, 500);
}

#[tokio::test]
async fn gates_hold_requests_step_by_step() {
    let (s3, client) = setup(Object::bytes("old bytes")).await;
    let (request, header, body) = (Gate::new(), Gate::new(), Gate::new());
    s3.fault(
        Matcher::get("k"),
        Times(1),
        Fault::All(vec![
            Fault::HoldRequest(request.clone()),
            Fault::HoldHeader(header.clone()),
            Fault::HoldBodyAfter(3, body.clone()),
        ]),
    );
    let get = tokio::spawn(client.get("/b/k").open());
    request.wait_reached().await;
    s3.put("b", "k", Object::bytes("new bytes"));
    request.open();
    header.wait_reached().await;
    s3.put("b", "k", Object::bytes("third"));
    assert_eq!(s3.requests()[0].status, 0);
    header.open();
    let mut get = get.await.unwrap();
    assert_eq!(get.read(3).await, "new");
    body.wait_reached().await;
    assert_eq!((s3.requests()[0].body_bytes_sent, s3.requests()[0].done), (3, false));
    body.open();
    assert_eq!(get.finish().await.body, " bytes");

    let gate = Gate::new();
    s3.fault(Matcher::put("k"), Times(1), Fault::HoldRequest(gate.clone()));
    let put = tokio::spawn(client.put("/b/k").body("fourth").send());
    gate.wait_reached().await;
    assert_eq!(s3.object_bytes("b", "k"), "third");
    gate.open();
    assert_eq!(put.await.unwrap().status, 200);
    s3.fault(Matcher::put("k"), Times(1), Fault::ResetBeforeAnswer);
    assert!(client.put("/b/k").body("fifth").try_send().await.is_err());
    assert_eq!(s3.object_bytes("b", "k"), "fifth", "done, though not answered");
    s3.fault(Matcher::get("k"), Times(1), Fault::ChangeObjectAfter(2, Object::bytes("sixth")));
    assert_eq!(client.get("/b/k").send().await.text(), "fifth");
    assert_eq!(client.get("/b/k").send().await.text(), "sixth");
}

#[tokio::test]
async fn a_held_or_stalled_answer_notices_that_its_client_left() {
    let (s3, client) = setup(Object::random(1000, 1)).await;
    s3.fault(Matcher::get("k"), Times(1), Fault::StallAfter(100));
    let mut stream = client.open("/b/k").await;
    assert_eq!(stream.read(100).await.len(), 100);
    assert_eq!(stream.complete(), None);
    stream.abandon();
    s3.wait_for(|r| r[0].done).await;
    let gate = Gate::new();
    s3.fault(Matcher::get("k"), Times(1), Fault::HoldHeader(gate.clone()));
    let get = tokio::spawn(client.get("/b/k").open());
    gate.wait_reached().await;
    get.abort();
    s3.wait_for(|r| r.len() == 2 && r[1].done && !r[1].complete).await;
}

#[tokio::test]
async fn uploads_stream_and_stop_where_told() {
    let s3 = FakeS3::start().await;
    let client = Client::new(s3.addr());
    let gate = Gate::new();
    s3.fault(Matcher::put("k"), Times(1), Fault::HoldRequestAfter(4, gate.clone()));
    let mut upload = client.put("/b/k").start(10).await;
    upload.write(b"01234").await.unwrap();
    gate.wait_reached().await;
    assert_eq!(s3.requests()[0].body_bytes_received, 5);
    gate.open();
    upload.write(b"56789").await.unwrap();
    assert_eq!(upload.finish().await.status, 200);
    assert_eq!(s3.object_bytes("b", "k"), "0123456789");

    let mut upload = client.put("/b/k").start(10).await;
    upload.write(b"abc").await.unwrap();
    s3.wait_for(|r| r.len() == 2 && r[1].body_bytes_received == 3).await;
    upload.abandon();
    s3.wait_idle().await;
    assert_eq!((s3.requests()[1].status, s3.object_bytes("b", "k").len()), (0, 10));

    let mut upload = client.put("/b/k").header("Expect", "100-continue").start(3).await;
    assert!(upload.continued().await);
    upload.write(b"xyz").await.unwrap();
    assert_eq!(upload.finish().await.status, 200);
    s3.fault(Matcher::put("k"), Times(1), Fault::Status(403, "AccessDenied"));
    let mut upload = client.put("/b/k").header("Expect", "100-continue").start(3).await;
    assert!(!upload.continued().await);
    assert_eq!(upload.finish().await.status, 403);

    s3.fault(Matcher::put("k"), Times(1), Fault::RefuseBody(400, "EntityTooLarge"));
    let refused = client.put("/b/k").body(vec![0; 8 << 20]).send().await;
    assert!(refused.status == 400 && refused.complete);
    assert_eq!(s3.object_bytes("b", "k"), "xyz");
    let big = vec![7; 8 << 20];
    assert_eq!(client.put("/b/k").body(big.clone()).send().await.status, 200);
    assert_eq!(s3.object_bytes("b", "k"), big);
    assert!(s3.complaints().is_empty());
}

#[tokio::test]
async fn framing_that_s3_refuses_is_a_complaint() {
    let s3 = FakeS3::start().await;
    let client = Client::new(s3.addr());
    let chunked = client.raw(b"PUT /b/k HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n").await;
    assert_eq!(chunked.status, 501);
    assert_eq!(client.raw(b"PUT /b/k HTTP/1.1\r\nHost: x\r\n\r\n").await.status, 411);
    assert!(client.send_raw(b"NONSENSE\r\n\r\n").await.starts_with(b"HTTP/1.1 400"));
    assert_eq!(s3.complaints().len(), 3);
    assert_eq!(client.raw(b"HEAD /b/k HTTP/1.1\r\nHost: x\r\n\r\n").await.status, 404);
    let two = b"GET /b/1 HTTP/1.1\r\nHost: x\r\n\r\nGET /b/2 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let raw = client.send_raw(two).await;
    let text = String::from_utf8_lossy(&raw);
    assert!(text.contains("<Key>1</Key>") && text.contains("<Key>2</Key>"), "{text}");
}

#[tokio::test]
async fn the_record_tells_who_fetched_what() {
    let (s3, client) = setup(Object::random(1000, 1)).await;
    let other = client.clone();
    let gate = Gate::new();
    s3.fault(Matcher::any(), Always, Fault::HoldHeader(gate.clone()));
    let a =
        tokio::spawn(
            async move { other.get("/b/k?x-id=GetObject").range("bytes=0-499").send().await },
        );
    let b = tokio::spawn(client.get("/b/k").range("bytes=500-").send());
    s3.wait_for(|r| r.len() == 2).await;
    gate.wait_reached_by(2).await;
    gate.open();
    assert!(a.await.unwrap().complete && b.await.unwrap().complete);
    s3.assert_each_byte_sent_once("b", "k");
    assert_eq!((s3.bytes_sent(), s3.connections()), (1000, 2));
    let requests = s3.requests();
    let first = requests.iter().find(|r| r.has_param("x-id")).unwrap();
    assert_eq!(
        (first.param("x-id").as_deref(), first.query.as_str()),
        (Some("GetObject"), "x-id=GetObject")
    );
    assert_ne!(requests[0].connection, requests[1].connection);
    client.get("/b/k").range("bytes=499-").send().await;
    let twice = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        s3.assert_each_byte_sent_once("b", "k");
    }));
    assert!(twice.is_err());
}

#[tokio::test]
async fn an_origin_goes_down_and_comes_back() {
    let (s3, client) = setup(Object::random(1000, 1)).await;
    s3.fault(Matcher::get("k"), Times(1), Fault::StallAfter(10));
    let mut stream = client.open("/b/k").await;
    stream.read(10).await;
    s3.go_down().await;
    assert!(!stream.finish().await.complete);
    assert!(tokio::net::TcpStream::connect(s3.addr()).await.is_err());
    s3.come_back().await;
    assert!(client.get("/b/k").send().await.complete);
}

#[tokio::test]
async fn a_reader_that_does_not_read_holds_the_origin_back() {
    let (s3, _) = setup(Object::random(50 << 40, 1)).await;
    let client = Client::with_receive_buffer(s3.addr(), 64 * 1024);
    let mut stream = client.open("/b/k").await;
    assert_eq!(stream.read(1000).await, Object::random(50 << 40, 1).slice(0..1000));
    stream.abandon();
    s3.wait_idle().await;
    assert!(s3.bytes_sent() < 4 << 20, "{}", s3.bytes_sent());
}

#[tokio::test]
async fn a_large_object_is_served_without_being_held() {
    let (s3, client) = setup(Object::random(1 << 28, 3)).await;
    let body = client.get("/b/k").send().await.body;
    assert_eq!(body.len(), 1 << 28);
    assert_eq!(body.slice(12345..23456), s3.object("b", "k").unwrap().slice(12345..23456));
}

#[tokio::test]
async fn stored_objects_of_many_pieces_are_sent_whole() {
    let bytes: Bytes = (0..300_000u32).map(|n| (n % 251) as u8).collect::<Vec<_>>().into();
    let (_s3, client) = setup(Object::bytes(bytes.clone())).await;
    assert_eq!(client.get("/b/k").send().await.body, bytes);
    assert_eq!(client.get("/b/k").range("bytes=100-299998").send().await.body, bytes[100..299_999]);
}

mod http2 {
    use super::*;
    use hyper::body::{Body, Frame};
    use hyper::service::service_fn;
    use hyper::{Request, Response};
    use hyper_util::rt::{TokioExecutor, TokioIo};
    use std::pin::Pin;
    use std::task::{Context, Poll};

    /// A body of these frames, followed by an error if there is one.
    struct Frames(Vec<Bytes>, Option<Pin<Box<dyn Future<Output = ()> + Send>>>);

    impl Body for Frames {
        type Data = Bytes;
        type Error = std::io::Error;
        fn poll_frame(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
            if let Some(bytes) = self.0.pop() {
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
            match self.1.as_mut().map(|gate| gate.as_mut().poll(context)) {
                None => Poll::Ready(None),
                Some(Poll::Pending) => Poll::Pending,
                Some(Poll::Ready(())) => Poll::Ready(Some(Err(std::io::Error::other("broken")))),
            }
        }
    }

    async fn serve(gate: Gate) -> std::net::SocketAddr {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let gate = gate.clone();
                let service = service_fn(move |request: Request<hyper::body::Incoming>| {
                    let gate = gate.clone();
                    async move {
                        let path = request.uri().path().to_owned();
                        let body = Frames(
                            vec!["hello".into(), "hello".into()],
                            (path == "/broken")
                                .then(|| Box::pin(async move { gate.pass().await }) as _),
                        );
                        let mut response = Response::new(body);
                        if path == "/short" {
                            response.headers_mut().insert("content-length", 11.into());
                        }
                        let method = request.method().as_str().parse().unwrap();
                        response.headers_mut().insert("x-method", method);
                        Ok::<_, std::io::Error>(response)
                    }
                });
                let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                tokio::spawn(builder.serve_connection(TokioIo::new(stream), service));
            }
        });
        addr
    }

    #[tokio::test]
    async fn an_h2_client_tells_whole_from_broken() {
        let gate = Gate::new();
        let client = H2Client::connect(serve(gate.clone()).await).await;
        let (status, headers, body) = client.get("/whole").await;
        assert_eq!((status.as_u16(), body.unwrap()), (200, Bytes::from("hellohello")));
        assert_eq!(headers["x-method"], "GET");
        let mut stream = client.open(&Method::GET, "/broken", &[], Bytes::new()).await.unwrap();
        assert_eq!(stream.next().await.unwrap().unwrap(), "hello");
        gate.wait_reached().await;
        gate.open();
        let broken = stream.rest().await.unwrap_err();
        println!("{broken}");
        let (_, _, body) = client.get("/short").await;
        println!("{body:?}");
        assert!(body.is_err());
        let (_, headers, _) =
            client.send(&Method::PUT, "/whole", &[("x-a", "b")], "body".into()).await;
        assert_eq!(headers["x-method"], "PUT");
        let mut stream = client.open(&Method::GET, "/whole", &[], Bytes::new()).await.unwrap();
        assert_eq!(stream.next().await.unwrap().unwrap(), "hello");
        stream.abandon();
        let many = (0..20).map(|_| tokio::spawn(client.get("/whole"))).collect::<Vec<_>>();
        for get in many {
            assert_eq!(get.await.unwrap().2.unwrap(), "hellohello");
        }
    }
}
