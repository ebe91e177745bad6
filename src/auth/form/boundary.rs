//! The boundary delimiter between the parts of a form.

use http::HeaderMap;
use http::header::CONTENT_TYPE;

use super::{params, refusal};
use crate::s3::S3Error;

const FORM: &str = "multipart/form-data";
const LONGEST: usize = 70;

/// The boundary of a request's Content-Type (RFC 2046, section 5.1.1): 1 to 70 characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Boundary {
    delimiter: Vec<u8>,
}

impl Boundary {
    /// Whether a request claims to be a form, well-formed or not.
    pub(super) fn is_announced(headers: &HeaderMap) -> bool {
        headers.get_all(CONTENT_TYPE).iter().any(|value| {
            let start = value.as_bytes().get(..FORM.len());
            start.is_some_and(|start| start.eq_ignore_ascii_case(FORM.as_bytes()))
        })
    }

    /// Returns the boundary of a form.
    ///
    /// # Errors
    /// `MalformedPOSTRequest` unless there is exactly one.
    pub fn of(headers: &HeaderMap) -> Result<Self, S3Error> {
        let mut values = headers.get_all(CONTENT_TYPE).iter();
        let (Some(value), None) = (values.next(), values.next()) else {
            return Err(refusal::malformed());
        };
        let text = value.to_str().map_err(|_| refusal::malformed())?;
        let (media, params) = params::parse(text).ok_or_else(refusal::malformed)?;
        let mut named = params.iter().filter(|(name, _)| name.eq_ignore_ascii_case("boundary"));
        match (named.next(), named.next()) {
            (Some((_, boundary)), None) if media.eq_ignore_ascii_case(FORM) => Self::new(boundary),
            _ => Err(refusal::malformed()),
        }
    }

    /// Creates a boundary from its text.
    ///
    /// # Errors
    /// `MalformedPOSTRequest` for an invalid text.
    pub fn new(text: &str) -> Result<Self, S3Error> {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"'()+_,-./:=? ".contains(&byte);
        let is_one =
            (1..=LONGEST).contains(&text.len()) && text.bytes().all(legal) && !text.ends_with(' ');
        match is_one {
            true => Ok(Self { delimiter: format!("\r\n--{text}").into_bytes() }),
            false => Err(refusal::malformed()),
        }
    }

    /// Returns the delimiter after a part: CRLF, two hyphens and the boundary.
    pub(super) fn delimiter(&self) -> &[u8] {
        &self.delimiter
    }

    /// Returns the shortest end of a form: the delimiter and two hyphens.
    pub(super) fn close(&self) -> Vec<u8> {
        [&*self.delimiter, b"--"].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn of(values: &[&'static str]) -> Option<String> {
        let values = values.iter().map(|value| (CONTENT_TYPE, HeaderValue::from_static(value)));
        let boundary = Boundary::of(&values.collect()).ok()?;
        Some(String::from_utf8(boundary.delimiter[4..].to_vec()).unwrap())
    }

    #[test]
    fn a_boundary_is_a_token_or_quoted() {
        assert_eq!(of(&["multipart/form-data; boundary=a-B.9"]).as_deref(), Some("a-B.9"));
        let quoted = "Multipart/Form-Data; charset=UTF-8; Boundary=\"a b:c\"";
        assert_eq!(of(&[quoted]).as_deref(), Some("a b:c"));
    }

    #[test]
    fn a_form_without_exactly_one_boundary_is_refused() {
        for values in [
            &[][..],
            &["multipart/form-data"],
            &["multipart/form-data; boundary="],
            &["multipart/form-data; boundary=\"\""],
            &["multipart/form-data; boundary=\"a \""],
            &["multipart/form-data; boundary=\"a\\\"b\""],
            &["multipart/form-data; boundary=a; boundary=b"],
            &["multipart/form-data; boundary=a", "multipart/form-data; boundary=a"],
            &["multipart/mixed; boundary=a"],
            &[
                "multipart/form-data; boundary=1234567890123456789012345678901234567890123456789012345678901234567890x",
            ],
        ] {
            assert_eq!(of(values), None, "{values:?}");
        }
    }
}
