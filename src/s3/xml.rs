//! The subset of XML that S3 uses: reading of small documents, and escaping of text.
//!
//! Every S3 document is a tree of elements with text in its leaves. Input that a lenient parser would guess at (a
//! document type, another encoding, unknown entities, a missing end) is refused, since the result decides which keys a
//! delete invalidates and what a 404 means.

use quick_xml::Reader;
use quick_xml::escape::resolve_xml_entity;
use quick_xml::events::{BytesDecl, BytesRef, BytesStart, Event};

/// Maximum depth of nesting.
const MAX_DEPTH: usize = 16;

/// The document cannot be parsed with certainty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the XML is not well-formed")]
pub(super) struct Malformed;

/// Calls `visit` at the end of each element with its path of local names, such as `/Error/Code`,
/// and its own text: references resolved, line ends normalised, nothing trimmed.
///
/// # Errors
/// When the document is not well-formed UTF-8 XML with exactly one root, or `visit` returns an error.
pub(super) fn walk(
    xml: &[u8],
    mut visit: impl FnMut(&str, &str) -> Result<(), Malformed>,
) -> Result<(), Malformed> {
    let text = std::str::from_utf8(xml).map_err(|_| Malformed)?;
    let mut reader = Reader::from_str(text.strip_prefix('\u{FEFF}').unwrap_or(text));
    reader.config_mut().expand_empty_elements = true;
    let mut open = Open::default();
    loop {
        match reader.read_event().map_err(|_| Malformed)? {
            Event::Start(element) => open.start(&element)?,
            Event::End(_) => open.end(&mut visit)?,
            Event::Text(text) => open.append(&text.xml10_content().map_err(|_| Malformed)?)?,
            Event::CData(text) => open.append(&text.xml10_content().map_err(|_| Malformed)?)?,
            Event::GeneralRef(reference) => open.append(&resolve(&reference)?)?,
            Event::Decl(declaration) => check_encoding(&declaration)?,
            Event::Comment(_) | Event::PI(_) => {}
            Event::Eof => return open.finish(),
            Event::DocType(_) | Event::Empty(_) => return Err(Malformed),
        }
    }
}

/// Elements that are open, outermost first.
#[derive(Default)]
struct Open {
    path: String,
    texts: Vec<String>,
    root_seen: bool,
}

impl Open {
    fn start(&mut self, element: &BytesStart<'_>) -> Result<(), Malformed> {
        if self.texts.len() == MAX_DEPTH || (self.texts.is_empty() && self.root_seen) {
            return Err(Malformed);
        }
        let name = element.local_name();
        let name = std::str::from_utf8(name.as_ref()).map_err(|_| Malformed)?;
        if name.is_empty() || name.contains('/') {
            return Err(Malformed);
        }
        self.root_seen = true;
        self.path.push('/');
        self.path.push_str(name);
        self.texts.push(String::new());
        Ok(())
    }

    fn end(
        &mut self,
        visit: &mut impl FnMut(&str, &str) -> Result<(), Malformed>,
    ) -> Result<(), Malformed> {
        let text = self.texts.pop().ok_or(Malformed)?;
        visit(&self.path, &text)?;
        let parent = self.path.rfind('/').unwrap_or(0);
        self.path.truncate(parent);
        Ok(())
    }

    fn append(&mut self, text: &str) -> Result<(), Malformed> {
        match self.texts.last_mut() {
            Some(own) => own.push_str(text),
            None if text.trim_ascii().is_empty() => {}
            None => return Err(Malformed),
        }
        Ok(())
    }

    fn finish(self) -> Result<(), Malformed> {
        if self.root_seen && self.texts.is_empty() { Ok(()) } else { Err(Malformed) }
    }
}

/// Resolves `&amp;`, `&#10;` and the like; other entities do not exist without a DTD.
fn resolve(reference: &BytesRef<'_>) -> Result<String, Malformed> {
    if let Some(character) = reference.resolve_char_ref().map_err(|_| Malformed)? {
        return Ok(character.to_string());
    }
    let name = reference.decode().map_err(|_| Malformed)?;
    resolve_xml_entity(&name).map(str::to_owned).ok_or(Malformed)
}

/// Checks that a declared encoding is compatible with UTF-8.
fn check_encoding(declaration: &BytesDecl<'_>) -> Result<(), Malformed> {
    match declaration.encoding() {
        None => Ok(()),
        Some(Ok(name)) if name.eq_ignore_ascii_case(b"utf-8") => Ok(()),
        Some(_) => Err(Malformed),
    }
}

/// Appends `<name>text</name>` with the text escaped. Characters that XML 1.0 cannot represent (section 2.2) become
/// U+FFFD, so that the output can always be parsed.
pub(super) fn push_element(out: &mut String, name: &str, text: &str) {
    out.push('<');
    out.push_str(name);
    out.push('>');
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            // A bare CR would be read back as a LF (section 2.11).
            '\r' => out.push_str("&#13;"),
            '\t' | '\n' => out.push(character),
            '\0'..='\u{1F}' | '\u{FFFE}' | '\u{FFFF}' => out.push('\u{FFFD}'),
            _ => out.push(character),
        }
    }
    out.push_str("</");
    out.push_str(name);
    out.push('>');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(xml: &str) -> Result<Vec<(String, String)>, Malformed> {
        let mut seen = Vec::new();
        walk(xml.as_bytes(), |path, text| {
            seen.push((path.to_owned(), text.to_owned()));
            Ok(())
        })?;
        Ok(seen)
    }

    fn leaf(xml: &str) -> String {
        read(xml).unwrap().swap_remove(0).1
    }

    #[test]
    fn each_element_is_visited_with_its_path_and_text() {
        let seen = read("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<a x='1'><b>1</b><c/></a>\n");
        let expected = [("/a/b", "1"), ("/a/c", ""), ("/a", "")];
        assert_eq!(seen.unwrap(), expected.map(|(p, t)| (p.to_owned(), t.to_owned())));
    }

    #[test]
    fn prefixes_and_namespaces_are_left_out_of_paths() {
        let seen = read("<s:a xmlns:s='urn:x'><s:b>1</s:b></s:a>").unwrap();
        assert_eq!(seen[0].0, "/a/b");
    }

    #[test]
    fn references_cdata_and_comments_make_one_text() {
        assert_eq!(
            leaf("<a>x&amp;&lt;&#47;&#x41;<!-- no --><![CDATA[<&>]]> y </a>"),
            "x&</A<&> y "
        );
    }

    #[test]
    fn line_ends_are_normalised_and_referenced_ones_kept() {
        assert_eq!(leaf("<a>1\r\n2\r3&#13;\n</a>"), "1\n2\n3\r\n");
    }

    #[test]
    fn a_byte_order_mark_is_skipped() {
        assert_eq!(leaf("\u{FEFF}<a>1</a>"), "1");
    }

    #[test]
    fn what_a_lenient_reader_would_guess_at_is_refused() {
        for xml in [
            "",
            " ",
            "text",
            "<a>",
            "<a><b></a>",
            "<a></a><b></b>",
            "<a></a>x",
            "x<a></a>",
            "<a>&unknown;</a>",
            "<a>&#0;</a>",
            "<a>& b</a>",
            "<!DOCTYPE a><a></a>",
            "<?xml version=\"1.0\" encoding=\"ISO-8859-1\"?><a></a>",
            "<a>1</a",
        ] {
            assert_eq!(read(xml), Err(Malformed), "{xml:?}");
        }
        assert_eq!(walk(b"<a>\xFF</a>", |_, _| Ok(())), Err(Malformed));
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |n: usize| "<a>".repeat(n) + &"</a>".repeat(n);
        assert!(read(&nested(MAX_DEPTH)).is_ok());
        assert_eq!(read(&nested(MAX_DEPTH + 1)), Err(Malformed));
    }

    #[test]
    fn text_is_escaped_so_that_it_reads_back() {
        let mut out = String::new();
        push_element(&mut out, "a", "<&>\"' \r\n\tü");
        assert_eq!(out, "<a>&lt;&amp;&gt;&quot;&apos; &#13;\n\tü</a>");
        assert_eq!(leaf(&out), "<&>\"' \r\n\tü");
    }

    #[test]
    fn characters_that_xml_cannot_hold_are_replaced() {
        let mut out = String::new();
        push_element(&mut out, "a", "\0\u{1}\u{FFFF}b");
        assert_eq!(out, "<a>\u{FFFD}\u{FFFD}\u{FFFD}b</a>");
    }
}
