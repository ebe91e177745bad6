use http::Method;
use tokio::sync::mpsc::Receiver;

use super::queue::Message;
use super::span::Value;
use super::*;

const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331";

fn tracer(sample: &str, queue: usize) -> (Tracer, Receiver<Message>) {
    let (spans, queue) = Spans::new(queue);
    (Tracer { sample: sample.parse().unwrap(), spans }, queue)
}

fn with(traceparent: &str) -> HeaderMap {
    let value = HeaderValue::try_from(traceparent).unwrap();
    HeaderMap::from_iter([(context::TRACEPARENT, value)])
}

fn ended(queue: &mut Receiver<Message>) -> Option<Span> {
    match queue.try_recv().ok()? {
        Message::Ended(span) => Some(*span),
        Message::Flush(_) => None,
    }
}

#[test]
fn a_request_is_traced_as_its_senders_or_by_chance() {
    let (all, _queue) = tracer("100%", 1);
    let (hardly_any, _queue) = tracer("0.0001%", 1);
    for tracer in [&all, &hardly_any] {
        let trace = tracer.begin(&with(&format!("{TRACEPARENT}-01"))).unwrap();
        assert_eq!(trace.context.trace, 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c);
        assert_eq!(trace.parent, Some(0xb7ad_6b71_6920_3331));
        assert!(tracer.begin(&with(&format!("{TRACEPARENT}-00"))).is_none());
    }
    let trace = all.begin(&HeaderMap::new()).unwrap();
    assert_eq!(trace.parent, None);
    assert_ne!(trace.context.trace, all.begin(&with("malformed")).unwrap().context.trace);
    let (half, _queue) = tracer("50%", 1);
    let traced = (0..10_000).filter(|_| half.begin(&HeaderMap::new()).is_some()).count();
    assert!((4500..5500).contains(&traced), "{traced}");
}

#[test]
fn a_request_to_the_origin_is_a_child_and_ends_when_it_is_dropped() {
    let (tracer, mut queue) = tracer("100%", 8);
    let trace = tracer.begin(&HeaderMap::new()).unwrap();
    let mut request = tracer.request(trace.context, &Method::GET, "s3:9000", "/b/k?secret=1");
    let context = request.context();
    assert_eq!(header(context).1, format!("00-{:032x}-{:016x}-01", context.trace, context.span));
    request.answered(404, None);
    assert!(ended(&mut queue).is_none());
    drop(request);
    let span = ended(&mut queue).unwrap();
    assert_eq!((span.context, span.parent), (context, Some(trace.context.span)));
    assert!(span.failed && span.kind == Kind::Client);
    let path = Value::Text("/b/k".into());
    assert!(span.attributes.contains(&("url.path", path)), "{span:?}");
}

#[tokio::test]
async fn what_finds_no_room_is_dropped_and_nobody_waits() {
    let (tracer, mut queue) = tracer("100%", 2);
    let trace = tracer.begin(&HeaderMap::new()).unwrap();
    for _ in 0..5 {
        drop(tracer.request(trace.context, &Method::GET, "h", "/"));
    }
    assert!(ended(&mut queue).is_some() && ended(&mut queue).is_some());
    assert!(ended(&mut queue).is_none());
    drop(queue);
    tracer.spans.flush().await;
}
