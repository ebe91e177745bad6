//! The head of one part of a form (RFC 7578, section 4).

use super::params;
use crate::s3::field::is_token;

/// Parsed head of a form part.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub name: String,
    pub file: FilePart,
}

/// Description of the file in a form part.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FilePart {
    /// The file's name as sent by the client, with or without a path.
    pub name: Option<String>,
    pub content_type: Option<String>,
}

impl Part {
    /// Parses lines that each end in CRLF; `None` if another parser could read them differently.
    pub(super) fn parse(lines: &[u8]) -> Option<Self> {
        let lines = std::str::from_utf8(lines).ok()?;
        let (mut disposition, mut content_type) = (None, None);
        for line in lines.split_terminator("\r\n") {
            if line.bytes().any(|byte| byte.is_ascii_control() && byte != b'\t') {
                return None;
            }
            let (name, value) = line.split_once(':')?;
            if !is_token(name.as_bytes()) {
                return None;
            }
            let value = value.trim_matches([' ', '\t']);
            let place = match name {
                _ if name.eq_ignore_ascii_case("content-disposition") => &mut disposition,
                _ if name.eq_ignore_ascii_case("content-type") => &mut content_type,
                _ if name.eq_ignore_ascii_case("content-transfer-encoding") => {
                    let plain = ["7bit", "8bit", "binary"];
                    if !plain.iter().any(|encoding| value.eq_ignore_ascii_case(encoding)) {
                        return None;
                    }
                    continue;
                }
                // Others must not be there, and must be ignored.
                _ => continue,
            };
            if place.replace(value).is_some() {
                return None;
            }
        }
        let (kind, params) = params::parse(disposition?)?;
        let of = |wanted: &str| {
            let mut named = params.iter().filter(|(name, _)| name.eq_ignore_ascii_case(wanted));
            let first = named.next().map(|(_, value)| value.clone().into_owned());
            named.next().is_none().then_some(first)
        };
        let name = of("name")??;
        let file = of("filename")?;
        let visible = |text: &&str| text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
        let content_type = match content_type {
            None | Some("") => None,
            Some(text) => Some(Some(text).filter(visible)?.to_owned()),
        };
        let is_part = kind.eq_ignore_ascii_case("form-data") && is_name(&name);
        is_part.then_some(Self { name, file: FilePart { name: file, content_type } })
    }
}

/// Whether a text is a valid field name: a token, without anything that a parser might unescape.
fn is_name(text: &str) -> bool {
    is_token(text.as_bytes()) && !text.contains('%')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &str) -> Option<(String, Option<String>, Option<String>)> {
        let part = Part::parse(lines.as_bytes())?;
        Some((part.name, part.file.name, part.file.content_type))
    }

    #[test]
    fn a_part_has_a_name_and_a_file_may_have_one_of_its_own() {
        let some = |text: &str| Some(text.to_owned());
        let plain = "Content-Disposition: form-data; name=\"x-amz-meta-a\"\r\n";
        assert_eq!(read(plain), Some(("x-amz-meta-a".to_owned(), None, None)));
        let file = "content-type:text/plain\r\nX-Other: x\r\n\
                    content-disposition: Form-Data; filename=\"\u{fc} b.txt\"; name=file\r\n";
        let expected = ("file".to_owned(), some("ü b.txt"), some("text/plain"));
        assert_eq!(read(file), Some(expected));
        let encoded =
            "Content-Disposition: form-data; name=a\r\nContent-Transfer-Encoding: Binary\r\n";
        assert!(read(encoded).is_some());
    }

    #[test]
    fn a_head_that_readers_might_read_differently_is_refused() {
        let disposition = "Content-Disposition: form-data; name=\"a\"\r\n";
        for lines in [
            "",
            "\r\n",
            "Content-Type: text/plain\r\n",
            "Content-Disposition: form-data\r\n",
            "Content-Disposition: attachment; name=a\r\n",
            "Content-Disposition: form-data; name=\"\"\r\n",
            "Content-Disposition: form-data; name=\"a b\"\r\n",
            "Content-Disposition: form-data; name=\"a%22b\"\r\n",
            "Content-Disposition: form-data; name=\"a\\\"b\"\r\n",
            "Content-Disposition: form-data; name=\"\u{fc}\"\r\n",
            "Content-Disposition: form-data; name=a; name=b\r\n",
            "Content-Disposition: form-data; name=a; filename=a; filename=b\r\n",
            "Content-Disposition : form-data; name=a\r\n",
            &format!("{disposition}{disposition}"),
            &format!("{disposition} folded\r\n"),
            &format!("{disposition}Content-Type: a\r\nContent-Type: b\r\n"),
            &format!("{disposition}Content-Type: \u{fc}\r\n"),
            &format!("{disposition}Content-Transfer-Encoding: base64\r\n"),
            &format!("{disposition}x\r\n"),
            "Content-Disposition: form-data; name=a\nx: y\r\n",
            "Content-Disposition: form-data; name=a\rx: y\r\n",
            "Content-Disposition: form-data; name=a; filename=\"\0\"\r\n",
        ] {
            assert_eq!(read(lines), None, "{lines:?}");
        }
        assert_eq!(
            Part::parse(b"Content-Disposition: form-data; name=a; filename=\"\xff\"\r\n"),
            None
        );
    }
}
