//! Fields of log lines, appended to a buffer that is reused for each line.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

/// Appends bytes in nginx's escaping: quotes, backslashes, control bytes and all beyond ASCII as `\xHH`, so that a
/// request cannot end its field or line, or control a terminal.
pub(crate) fn escaped(out: &mut Vec<u8>, bytes: &[u8]) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    if bytes.iter().all(|&byte| is_plain(byte)) {
        out.extend_from_slice(bytes);
        return;
    }
    for &byte in bytes {
        match is_plain(byte) {
            true => out.push(byte),
            false => {
                let (high, low) = (HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]);
                out.extend_from_slice(&[b'\\', b'x', high, low]);
            }
        }
    }
}

/// Appends bytes as a JSON string, in quotes; invalid UTF-8 becomes U+FFFD, and control characters `\u00HH`.
pub(crate) fn json_string(out: &mut Vec<u8>, bytes: &[u8]) {
    if bytes.iter().all(|&byte| is_plain(byte)) {
        out.push(b'"');
        out.extend_from_slice(bytes);
        out.push(b'"');
        return;
    }
    let json = serde_json::Value::from(String::from_utf8_lossy(bytes)).to_string();
    // DEL and the controls of C1, which JSON may hold as they are.
    let mut text = String::with_capacity(json.len() + 16);
    for character in json.chars() {
        match character.is_control() {
            true => drop(write!(text, "\\u{:04x}", u32::from(character))),
            false => text.push(character),
        }
    }
    out.extend_from_slice(text.as_bytes());
}

fn is_plain(byte: u8) -> bool {
    matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\'
}

/// Appends a request target without the secrets of a presigned URL, each piece by `piece`.
pub(crate) fn public_target(raw: &[u8], mut piece: impl FnMut(&[u8])) {
    const SECRET: [&[u8]; 3] = [b"x-amz-signature", b"x-amz-security-token", b"x-amz-credential"];
    let Some(start) = memchr::memchr(b'?', raw) else { return piece(raw) };
    let (path, query) = raw.split_at(start + 1);
    piece(path);
    for (index, pair) in query.split(|byte| *byte == b'&').enumerate() {
        if index > 0 {
            piece(b"&");
        }
        let name = pair.split(|byte| *byte == b'=').next().unwrap_or_default();
        if SECRET.iter().any(|secret| secret.eq_ignore_ascii_case(name)) {
            piece(name);
            piece(b"=REDACTED");
        } else {
            piece(pair);
        }
    }
}

pub(crate) fn number(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Appends seconds with six decimals.
pub(crate) fn seconds(out: &mut Vec<u8>, time: Duration) {
    number(out, time.as_secs());
    let mut micros = time.subsec_micros();
    let mut digits = *b".000000";
    for digit in digits[1..].iter_mut().rev() {
        *digit = b'0' + u8::try_from(micros % 10).expect("one digit");
        micros /= 10;
    }
    out.extend_from_slice(&digits);
}

/// Appends the date in HTTP's format (RFC 9110 section 5.6.7), formatted once a second by each thread.
pub(crate) fn http_date(out: &mut Vec<u8>, now: SystemTime) {
    thread_local! {
        static LAST: Cell<(u64, [u8; 29])> = const { Cell::new((u64::MAX, [0; 29])) };
    }
    let second = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (made, mut date) = LAST.get();
    if made != second {
        date = httpdate::fmt_http_date(now).as_bytes().try_into().expect("a fixed form");
        LAST.set((second, date));
    }
    out.extend_from_slice(&date);
}

/// Appends the time in RFC 3339, in milliseconds; the seconds are formatted once each by each thread.
pub(crate) fn timestamp(out: &mut Vec<u8>, now: SystemTime) {
    const LENGTH: usize = "1970-01-01T00:00:00".len();
    thread_local! {
        static LAST: Cell<(u64, [u8; LENGTH])> = const { Cell::new((u64::MAX, [0; LENGTH])) };
    }
    let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let (made, mut date) = LAST.get();
    if made != since.as_secs() {
        let text =
            chrono::DateTime::<chrono::Utc>::from(now).format("%Y-%m-%dT%H:%M:%S").to_string();
        // Years beyond 9999 are longer.
        date = text.as_bytes().get(..LENGTH).and_then(|text| text.try_into().ok()).unwrap_or(date);
        LAST.set((since.as_secs(), date));
    }
    out.extend_from_slice(&date);
    let millis = since.subsec_millis();
    let digit = |unit: u32| b'0' + u8::try_from(millis / unit % 10).expect("one digit");
    out.extend_from_slice(&[b'.', digit(100), digit(10), digit(1), b'Z']);
}

/// Appends bytes percent-encoded as in a URI path: all but unreserved characters and slashes as `%HH`.
pub(crate) fn percent_encoded(out: &mut Vec<u8>, bytes: &[u8]) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for &byte in bytes {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                out.push(byte);
            }
            _ => out.extend_from_slice(&[
                b'%',
                HEX[usize::from(byte >> 4)],
                HEX[usize::from(byte & 15)],
            ]),
        }
    }
}

/// Removes control characters: keys, headers and servers' responses occur in messages, and none of them may start a
/// line of its own or control a terminal.
pub(crate) fn one_line(text: &str) -> Cow<'_, str> {
    if !text.contains(char::is_control) {
        return text.into();
    }
    let mut line = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        match character.is_control() {
            true => drop(write!(line, "\\x{:02X}", u32::from(character))),
            false => line.push(character),
        }
    }
    line.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn public(raw: &[u8]) -> String {
        let mut out = Vec::new();
        public_target(raw, |piece| out.extend_from_slice(piece));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn secrets_of_presigned_urls_are_not_logged() {
        assert_eq!(
            public(b"/b/k?X-Amz-Credential=AKIA%2F1&x-id=GetObject&X-Amz-Signature=abc"),
            "/b/k?X-Amz-Credential=REDACTED&x-id=GetObject&X-Amz-Signature=REDACTED"
        );
        assert_eq!(public(b"/b/k"), "/b/k");
        assert_eq!(public(b"/b/k?"), "/b/k?");
    }

    #[test]
    fn seconds_have_six_digits_after_the_point() {
        let shown = |time| {
            let mut out = Vec::new();
            seconds(&mut out, time);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(shown(Duration::ZERO), "0.000000");
        assert_eq!(shown(Duration::from_micros(12)), "0.000012");
        assert_eq!(shown(Duration::from_nanos(61_999_999_999)), "61.999999");
    }

    #[test]
    fn the_date_is_that_of_each_second() {
        for second in [0, 1, 1, 1_445_412_480, 0] {
            let now = SystemTime::UNIX_EPOCH + Duration::from_secs(second);
            let mut out = Vec::new();
            http_date(&mut out, now);
            assert_eq!(String::from_utf8(out).unwrap(), httpdate::fmt_http_date(now));
        }
    }

    #[test]
    fn timestamps_are_those_of_rfc_3339() {
        for millis in [0, 999, 1_000, 1_445_412_480_007, 1_445_412_480_123] {
            let now = SystemTime::UNIX_EPOCH + Duration::from_millis(millis);
            let mut out = Vec::new();
            timestamp(&mut out, now);
            let expected =
                chrono::DateTime::<chrono::Utc>::from(now).format("%Y-%m-%dT%H:%M:%S%.3fZ");
            assert_eq!(String::from_utf8(out).unwrap(), expected.to_string());
        }
    }
}
