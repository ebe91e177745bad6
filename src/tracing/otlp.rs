//! Encoding of spans in OTLP JSON (OpenTelemetry Protocol 1.x, `ExportTraceServiceRequest`): identifiers in
//! hexadecimal, integers of 64 bits as strings, enumerations as numbers.

use std::time::{Duration, SystemTime};

use serde_json::{Value as Json, json};

use super::span::{Kind, Span, Value};

/// Encodes a request to the collector with these spans of a service.
pub(super) fn request(service: &str, spans: &[Span]) -> Vec<u8> {
    let spans: Vec<Json> = spans.iter().map(json_of).collect();
    let resource = [
        text("service.name", service),
        text("service.version", env!("CARGO_PKG_VERSION")),
        text("service.instance.id", &std::process::id().to_string()),
        text("telemetry.sdk.language", "rust"),
    ];
    let scope = json!({ "name": "hotset", "version": env!("CARGO_PKG_VERSION") });
    let request = json!({ "resourceSpans": [{
        "resource": { "attributes": resource },
        "scopeSpans": [{ "scope": scope, "spans": spans }],
    }] });
    request.to_string().into_bytes()
}

fn json_of(span: &Span) -> Json {
    let attributes: Vec<Json> = span.attributes.iter().map(attribute).collect();
    let kind = match span.kind {
        Kind::Server => 2,
        Kind::Client => 3,
    };
    let mut json = json!({
        "traceId": format!("{:032x}", span.context.trace),
        "spanId": format!("{:016x}", span.context.span),
        "name": span.name,
        "kind": kind,
        "startTimeUnixNano": nanoseconds(span.began, Duration::ZERO),
        "endTimeUnixNano": nanoseconds(span.began, span.took),
        "attributes": attributes,
        "flags": 1,
    });
    if let Some(parent) = span.parent {
        json["parentSpanId"] = format!("{parent:016x}").into();
    }
    if span.failed {
        json["status"] = json!({ "code": 2 });
    }
    json
}

fn attribute((name, value): &(&'static str, Value)) -> Json {
    match value {
        Value::Text(value) => text(name, value),
        Value::Number(number) => {
            json!({ "key": name, "value": { "intValue": number.to_string() } })
        }
        Value::Seconds(seconds) => json!({ "key": name, "value": { "doubleValue": seconds } }),
    }
}

fn text(name: &str, value: &str) -> Json {
    json!({ "key": name, "value": { "stringValue": value } })
}

fn nanoseconds(began: SystemTime, after: Duration) -> String {
    let since = began.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default() + after;
    since.as_nanos().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::attribution::SpanContext;

    #[test]
    fn a_span_is_written_as_otlp_has_it() {
        let mut span = Span {
            context: SpanContext { trace: 0xab << 120, span: 7 },
            parent: Some(0xcd),
            name: "GetObject".into(),
            kind: Kind::Server,
            began: SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000),
            took: Duration::from_nanos(1_500),
            attributes: Vec::new(),
            failed: true,
        };
        span.text("aws.s3.key", "ä\"/k");
        span.number("http.response.status_code", 503);
        span.seconds("hotset.first_byte_seconds", Duration::from_millis(2));
        let json: Json = serde_json::from_slice(&request("cache", &[span])).unwrap();
        let resource = &json["resourceSpans"][0];
        let service = json!({ "key": "service.name", "value": { "stringValue": "cache" } });
        assert_eq!(resource["resource"]["attributes"][0], service);
        let expected = json!({
            "traceId": format!("ab{}", "0".repeat(30)),
            "spanId": "0000000000000007",
            "parentSpanId": "00000000000000cd",
            "name": "GetObject",
            "kind": 2,
            "startTimeUnixNano": "1700000000000000000",
            "endTimeUnixNano": "1700000000000001500",
            "attributes": [
                { "key": "aws.s3.key", "value": { "stringValue": "ä\"/k" } },
                { "key": "http.response.status_code", "value": { "intValue": "503" } },
                { "key": "hotset.first_byte_seconds", "value": { "doubleValue": 0.002 } },
            ],
            "flags": 1,
            "status": { "code": 2 },
        });
        assert_eq!(resource["scopeSpans"][0]["spans"][0], expected);
    }
}
