//! Parsing of `value; name=token; name="quoted"`, as in Content-Type and Content-Disposition (RFC 9110, section 5.6.6).

use std::borrow::Cow;

use crate::s3::field::is_token;

/// Names and values of parameters, in order.
pub(super) type Params<'a> = Vec<(&'a str, Cow<'a, str>)>;

/// Returns the value before the first `;`, and the parameters; `None` if malformed.
///
/// In a quoted text `\"` is a quote and every other backslash is literal: browsers escape none, and some sent whole
/// paths (`C:\dir\file`).
pub(super) fn parse(text: &str) -> Option<(&str, Params<'_>)> {
    let (value, mut rest) = text.split_at(text.find(';').unwrap_or(text.len()));
    let mut params = Vec::new();
    while let Some(after) = rest.strip_prefix(';') {
        let after = trim(after);
        if after.is_empty() || after.starts_with(';') {
            rest = after;
            continue;
        }
        let (name, value) = after.split_once('=')?;
        let (value, after) = match value.strip_prefix('"') {
            Some(quoted) => unquote(quoted)?,
            None => {
                let (token, after) = value.split_at(value.find(';').unwrap_or(value.len()));
                let token = token.trim_end_matches([' ', '\t']);
                (Some(token).filter(|token| is_token(token.as_bytes())).map(Cow::Borrowed)?, after)
            }
        };
        params.push((Some(name).filter(|name| is_token(name.as_bytes()))?, value));
        rest = trim(after);
    }
    rest.is_empty().then(|| (value.trim_end_matches([' ', '\t']), params))
}

/// Returns the text up to the closing quote, and the text after it.
fn unquote(text: &str) -> Option<(Cow<'_, str>, &str)> {
    let bytes = text.as_bytes();
    let mut at = 0;
    while bytes.get(at).is_some_and(|byte| *byte != b'"') {
        at += if bytes[at] == b'\\' && bytes.get(at + 1) == Some(&b'"') { 2 } else { 1 };
    }
    let (inside, after) = text.split_at_checked(at)?;
    let inside = match inside.contains("\\\"") {
        true => Cow::Owned(inside.replace("\\\"", "\"")),
        false => Cow::Borrowed(inside),
    };
    Some((inside, after.strip_prefix('"')?))
}

fn trim(text: &str) -> &str {
    text.trim_start_matches([' ', '\t'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_tokens_or_quoted() {
        for (text, expected) in [
            ("form-data", vec![]),
            ("form-data; name=a", vec![("name", "a")]),
            ("form-data ;name=\"a b\" ; filename=x.y ", vec![("name", "a b"), ("filename", "x.y")]),
            ("form-data; name=\"a;b=\\\"c\\\"\"", vec![("name", "a;b=\"c\"")]),
            ("form-data; filename=\"C:\\dir\\f\"", vec![("filename", "C:\\dir\\f")]),
            ("form-data; filename=\"\";", vec![("filename", "")]),
        ] {
            let (value, params) = parse(text).unwrap();
            let params: Vec<_> = params.iter().map(|(name, value)| (*name, &**value)).collect();
            assert_eq!((value, params), ("form-data", expected), "{text}");
        }
    }

    #[test]
    fn what_readers_might_read_differently_is_refused() {
        for text in [
            "form-data; name",
            "form-data; name=",
            "form-data; name =a",
            "form-data; name= a",
            "form-data; name=\"a",
            "form-data; name=\"a\\\"",
            "form-data; name=\"a\"b",
            "form-data; name=a b",
            "form-data; =a",
            "form-data; na me=a",
            "form-data; name=\"a\" filename=b",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
