//! Fields of a request that a filter compares.

use std::borrow::Cow;

use crate::config::units::{ByteSize, HumanDuration};
use crate::inspect::names;
use crate::inspect::request::Seen;
use crate::metrics::attribution::OriginUse;

/// The type of a field, and so the syntax of its values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holds {
    Text,
    Count,
    Bytes,
    Seconds,
}

/// A field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    Bucket,
    Key,
    Method,
    Operation,
    Status,
    Code,
    Cache,
    Miss,
    Bytes,
    Seconds,
    FirstByte,
    Identity,
    Address,
    Rule,
    RequestId,
    OriginRequests,
    OriginErrors,
    OriginBytes,
    OriginSeconds,
}

impl Field {
    pub(super) const ALL: [(&str, Self, Holds); 19] = [
        ("bucket", Self::Bucket, Holds::Text),
        ("key", Self::Key, Holds::Text),
        ("method", Self::Method, Holds::Text),
        ("operation", Self::Operation, Holds::Text),
        ("status", Self::Status, Holds::Count),
        ("code", Self::Code, Holds::Text),
        ("cache", Self::Cache, Holds::Text),
        ("miss", Self::Miss, Holds::Text),
        ("bytes", Self::Bytes, Holds::Bytes),
        ("seconds", Self::Seconds, Holds::Seconds),
        ("first_byte", Self::FirstByte, Holds::Seconds),
        ("identity", Self::Identity, Holds::Text),
        ("address", Self::Address, Holds::Text),
        ("rule", Self::Rule, Holds::Text),
        ("request_id", Self::RequestId, Holds::Text),
        ("origin_requests", Self::OriginRequests, Holds::Count),
        ("origin_errors", Self::OriginErrors, Holds::Count),
        ("origin_bytes", Self::OriginBytes, Holds::Bytes),
        ("origin_seconds", Self::OriginSeconds, Holds::Seconds),
    ];

    /// Returns the value of a text field; empty: the request does not have it.
    pub(super) fn text<'a>(self, seen: &Seen<'a>) -> Cow<'a, str> {
        let text = match self {
            Self::Bucket => seen.bucket,
            Self::Key => seen.key,
            Self::Method => Some(seen.method),
            Self::Operation => Some(seen.operation),
            Self::Code => seen.code,
            Self::Cache => Some(seen.cache),
            Self::Miss => seen.miss,
            Self::Identity => seen.identity,
            Self::Rule => seen.rule,
            Self::Address => return Cow::Owned(address(seen)),
            Self::RequestId => {
                return Cow::Owned(String::from_utf8_lossy(&seen.request_id).into_owned());
            }
            _ => None,
        };
        Cow::Borrowed(text.unwrap_or_default())
    }

    /// Returns the value of a number field; 0: the request does not have it.
    #[allow(clippy::cast_precision_loss, reason = "exact up to 2^53")]
    pub(super) fn number(self, seen: &Seen<'_>) -> f64 {
        let of_origin = |of: fn(&OriginUse) -> f64| seen.origin.map_or(0.0, of);
        match self {
            Self::Status => f64::from(seen.status),
            Self::Bytes => seen.bytes as f64,
            Self::Seconds => seen.duration.as_secs_f64(),
            Self::FirstByte => seen.first_byte.unwrap_or_default().as_secs_f64(),
            Self::OriginRequests => of_origin(|of| f64::from(of.requests())),
            Self::OriginErrors => of_origin(|of| f64::from(of.errors())),
            Self::OriginBytes => of_origin(|of| of.bytes() as f64),
            Self::OriginSeconds => of_origin(|of| of.first_byte().as_secs_f64()),
            _ => 0.0,
        }
    }
}

fn address(seen: &Seen<'_>) -> String {
    let mut text = String::new();
    if let Some(client) = seen.client {
        names::address(&mut text, client);
    }
    text
}

impl Holds {
    /// Parses a number in the syntax of this type; `None`: the text is not one.
    #[allow(clippy::cast_precision_loss, reason = "exact up to 2^53")]
    pub(super) fn number(self, text: &str) -> Option<f64> {
        match self {
            Self::Text => None,
            Self::Count => text.parse::<u32>().ok().map(f64::from),
            Self::Bytes => text.parse::<ByteSize>().ok().map(|size| size.bytes() as f64),
            Self::Seconds => {
                let plain = text.parse::<f64>().ok().filter(|n| n.is_finite() && *n >= 0.0);
                let span =
                    || text.parse::<HumanDuration>().ok().map(|span| span.get().as_secs_f64());
                plain.or_else(span)
            }
        }
    }

    /// Returns an example of a value of this type.
    pub(super) fn example(self) -> &'static str {
        match self {
            Self::Text => "photos",
            Self::Count => "500",
            Self::Bytes => "1MiB",
            Self::Seconds => "500ms or 0.5",
        }
    }
}
