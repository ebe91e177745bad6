//! Tests of event decoding: each format as a fixture, the table of events, refused messages and random bytes.

mod formats;
mod refused;
mod table;

use super::super::name::ObjectKey;
use super::{EventError, Notification, ObjectEvent, decode};

fn read(json: &str) -> Notification {
    decode(json.as_bytes()).unwrap_or_else(|error| panic!("{error}: {json}"))
}

fn refused(json: &str) -> EventError {
    decode(json.as_bytes()).expect_err(json)
}

/// Returns one of S3's records.
fn record(source: &str, name: &str, key: &str) -> String {
    format!(
        r#"{{"eventVersion":"2.1","eventSource":"{source}","eventTime":"2026-11-23T02:50:11.177Z","eventName":"{name}",
            "s3":{{"bucket":{{"name":"photos"}},"object":{{"key":"{key}","size":5}}}}}}"#
    )
}

fn message(records: &[String]) -> String {
    format!(r#"{{"Records":[{}]}}"#, records.join(","))
}

fn keys(event: &ObjectEvent) -> Vec<&str> {
    event.keys.iter().map(ObjectKey::as_str).collect()
}
