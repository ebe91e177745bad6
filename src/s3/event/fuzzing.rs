//! Properties of event decoding, checked by a fuzzer and by a test.

use super::super::etag::ETag;
use super::sns::Envelope;
use super::{MAX_RECORDS, decode};

/// Decodes bytes as a message and as an SNS envelope.
///
/// # Panics
/// A decoded part exceeds the limits of a message in number or length.
pub fn any_message(bytes: &[u8]) {
    if let Some(envelope) = Envelope::parse(bytes) {
        let _ = envelope.signed_text();
    }
    let Ok(notification) = decode(bytes) else { return };
    let said = notification.events.len() + notification.others + notification.bad.len();
    assert!(said <= MAX_RECORDS, "{said} records");
    assert!(said <= bytes.len(), "more records than bytes");
    for event in &notification.events {
        assert!((1..=3).contains(&event.keys.len()), "{event:?}");
        assert!(event.name.len() <= 128, "{event:?}");
        assert!(event.etag.as_ref().is_none_or(ETag::is_strong_quoted), "{event:?}");
        let twice = event.keys.iter().enumerate().any(|(at, key)| event.keys[..at].contains(key));
        assert!(!twice, "{event:?}");
    }
}
