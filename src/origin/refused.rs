//! The error code of a response that passes through, read before any of the response is passed on.
//!
//! A status of 400 or 403 may be about the client's request, or about the keys with which hotset signed it. Only the
//! body tells which, and pingora's proxy passes on the head before there is a body. So the first bytes of such a
//! response are held back until its code arrives: errors are short and come in one piece.

use std::time::Duration;

use memchr::memmem::find;

/// Maximum bytes of a refusal that are held back.
const MOST: usize = 64 * 1024;
/// Maximum time for which a refusal is held back.
pub(super) const LIMIT: Duration = Duration::from_secs(2);
/// Error code after which the body may name the bucket's region.
const REGION_FOLLOWS: &str = "AuthorizationHeaderMalformed";

/// Error code of a response that refuses the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub code: String,
    /// Region of the bucket, if the error names it.
    pub(super) region: Option<String>,
}

/// Classification of a response by its first bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// More bytes are needed.
    Wait,
    /// The response needs no handling and is passed on.
    Pass,
    /// The response is a refusal with this code.
    Refused(Refusal),
}

/// Classifies the first bytes of a response. `to_head`: the request is a HEAD.
pub(super) fn look(bytes: &[u8], to_head: bool) -> Verdict {
    let Some(answer) = after_informational(bytes) else { return Verdict::Wait };
    let Some(status) = answer.get(..12) else { return Verdict::Wait };
    if to_head || !matches!(&status[9..], b"400" | b"401" | b"403") {
        return Verdict::Pass;
    }
    let Some(end) = find(answer, b"\r\n\r\n") else { return wait(bytes) };
    let (head, body) = (&answer[..end], &answer[end + 4..]);
    let code = element(body, "Code");
    let region = element(body, "Region");
    let is_known = |code: &String| code != REGION_FOLLOWS || region.is_some() || ends(body);
    if let Some(code) = code.clone().filter(is_known) {
        return Verdict::Refused(Refusal { code, region });
    }
    let is_whole = match field(head, "content-length") {
        Some(length) => length.parse().is_ok_and(|length: usize| body.len() >= length),
        None => field(head, "transfer-encoding").is_some() && body.ends_with(b"0\r\n\r\n"),
    };
    match (is_whole, code) {
        (true, Some(code)) => Verdict::Refused(Refusal { code, region }),
        (true, None) => Verdict::Pass,
        (false, _) => wait(bytes),
    }
}

fn wait(bytes: &[u8]) -> Verdict {
    if bytes.len() < MOST { Verdict::Wait } else { Verdict::Pass }
}

/// Skips informational (1xx) responses; `None`: the final response has not begun.
fn after_informational(mut bytes: &[u8]) -> Option<&[u8]> {
    while bytes.get(9) == Some(&b'1') {
        bytes = &bytes[find(bytes, b"\r\n\r\n")? + 4..];
    }
    Some(bytes)
}

fn element(body: &[u8], name: &str) -> Option<String> {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    let start = find(body, open.as_bytes())? + open.len();
    let length = find(&body[start..], close.as_bytes())?;
    String::from_utf8(body[start..start + length].to_vec()).ok()
}

fn ends(body: &[u8]) -> bool {
    find(body, b"</Error>").is_some()
}

fn field<'a>(head: &'a [u8], name: &str) -> Option<&'a str> {
    let lines = std::str::from_utf8(head).ok()?.split("\r\n").skip(1);
    let mut fields = lines.filter_map(|line| line.split_once(':'));
    fields.find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    const XML: &str = "<Error><Code>ExpiredToken</Code></Error>";

    fn answer(status: &str, fields: &str, body: &str) -> String {
        format!("HTTP/1.1 {status} X\r\n{fields}\r\n{body}")
    }

    #[test]
    fn a_refusal_is_held_back_until_its_code_is_there() {
        let length = format!("Content-Length: {}\r\n", XML.len());
        for text in [
            answer("403", &length, XML),
            answer("400", "Transfer-Encoding: chunked\r\n", &format!("28\r\n{XML}\r\n0\r\n\r\n")),
            format!("HTTP/1.1 100 Continue\r\n\r\n{}", answer("401", &length, XML)),
        ] {
            let known = text.find("</Code>").unwrap() + "</Code>".len();
            for cut in 0..known {
                assert_eq!(look(&text.as_bytes()[..cut], false), Verdict::Wait, "{cut} of {text}");
            }
            let refused =
                Verdict::Refused(Refusal { code: "ExpiredToken".to_owned(), region: None });
            assert_eq!(look(&text.as_bytes()[..known], false), refused, "{text}");
        }
    }

    #[test]
    fn a_refusal_for_the_region_is_held_back_until_the_region_is_there() {
        let code = "<Error><Code>AuthorizationHeaderMalformed</Code>";
        let length = "Content-Length: 500\r\n";
        let (named, unnamed) =
            (format!("{code}<Region>eu-west-1</Region>"), format!("{code}</Error>"));
        assert_eq!(look(answer("400", length, code).as_bytes(), false), Verdict::Wait);
        for (body, region) in [(named, Some("eu-west-1")), (unnamed, None)] {
            let region = region.map(str::to_owned);
            let code = "AuthorizationHeaderMalformed".to_owned();
            let refused = Verdict::Refused(Refusal { code, region });
            assert_eq!(look(answer("400", length, &body).as_bytes(), false), refused, "{body}");
        }
    }

    #[test]
    fn nothing_else_waits() {
        for (text, to_head) in [
            (answer("200", "Content-Length: 100\r\n", ""), false),
            (answer("404", "", ""), false),
            (answer("503", "", ""), false),
            (answer("403", "Content-Length: 243\r\n", ""), true),
            (answer("403", "content-length:0\r\n", ""), false),
            (answer("403", "Content-Length: 4\r\n", "oops"), false),
            (answer("403", "Transfer-Encoding: chunked\r\n", "4\r\noops\r\n0\r\n\r\n"), false),
            (answer("403", "", &"x".repeat(MOST)), false),
        ] {
            assert_eq!(look(text.as_bytes(), to_head), Verdict::Pass, "{text:.80}");
        }
    }
}
