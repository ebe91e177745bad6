//! The header `traceparent` (W3C Trace Context, version 00).

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::metrics::attribution::SpanContext;

pub(super) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// Flag of a trace that its sender records.
const SAMPLED: u8 = 1;

/// The sender's span, and whether it is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Parent {
    pub span: SpanContext,
    pub is_sampled: bool,
}

impl Parent {
    /// Parses the sender's span; `None`: there is none, there are several, or it is malformed.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(TRACEPARENT).iter();
        let (value, more) = (values.next()?, values.next());
        more.is_none().then(|| Self::parse(value.as_bytes()))?
    }

    fn parse(text: &[u8]) -> Option<Self> {
        let mut parts = text.split(|byte| *byte == b'-');
        let (version, trace) = (number(parts.next()?, 2)?, number(parts.next()?, 32)?);
        let (span, flags) = (number(parts.next()?, 16)?, number(parts.next()?, 2)?);
        // Later versions may add fields.
        let is_legal = version < 0xff && (version > 0 || parts.next().is_none());
        let span = SpanContext { trace, span: u64::try_from(span).ok()? };
        let is_sampled = u8::try_from(flags).ok()? & SAMPLED != 0;
        (is_legal && trace != 0 && span.span != 0).then_some(Self { span, is_sampled })
    }
}

/// Returns the header for requests made within a recorded span.
pub(super) fn header(of: SpanContext) -> HeaderValue {
    let text = format!("00-{:032x}-{:016x}-{SAMPLED:02x}", of.trace, of.span);
    HeaderValue::try_from(text).expect("digits and dashes are legal")
}

/// Parses a number with exactly `count` hex digits in lower case.
fn number(digits: &[u8], count: usize) -> Option<u128> {
    let is_legal = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if digits.len() != count || !digits.iter().all(is_legal) {
        return None;
    }
    u128::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

    fn parse(text: &str) -> Option<Parent> {
        Parent::parse(text.as_bytes())
    }

    #[test]
    fn a_traceparent_is_read_as_it_is_written() {
        let text = format!("00-{TRACE}-b7ad6b7169203331-01");
        let parent = parse(&text).unwrap();
        assert!(parent.is_sampled);
        assert_eq!(header(parent.span), text);
        assert!(!parse(&format!("00-{TRACE}-b7ad6b7169203331-00")).unwrap().is_sampled);
        assert!(parse(&format!("00-{TRACE}-b7ad6b7169203331-03")).unwrap().is_sampled);
        assert_eq!(parse(&format!("cc-{TRACE}-b7ad6b7169203331-01-more")), Some(parent));
    }

    #[test]
    fn a_malformed_one_is_none() {
        for text in [
            String::new(),
            format!("00-{TRACE}-b7ad6b7169203331"),
            format!("00-{TRACE}-b7ad6b7169203331-01-more"),
            format!("ff-{TRACE}-b7ad6b7169203331-01"),
            format!("00-{}-b7ad6b7169203331-01", TRACE.to_uppercase()),
            format!("00-{TRACE}-0000000000000000-01"),
            format!("00-{}-b7ad6b7169203331-01", "0".repeat(32)),
            format!("00-{TRACE}-b7ad6b716920333-01"),
            format!("00-+{}-b7ad6b7169203331-01", &TRACE[1..]),
        ] {
            assert_eq!(parse(&text), None, "{text}");
        }
        let value = HeaderValue::try_from(format!("00-{TRACE}-b7ad6b7169203331-01")).unwrap();
        let mut headers = HeaderMap::new();
        headers.append(TRACEPARENT, value.clone());
        assert!(Parent::of(&headers).is_some());
        headers.append(TRACEPARENT, value);
        assert_eq!(Parent::of(&headers), None, "which of two is not known");
    }
}
