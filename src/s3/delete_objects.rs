//! Parsing of the keys in the body of a `POST /bucket?delete`.
//!
//! They are invalidated before the request is sent and again after (R8), and each of them is authorized (R21). The
//! danger is a key that the origin would delete and hotset overlooked: anything outside S3's schema is an error, and
//! nothing of the request is sent.
//!
//! Source: S3 API Reference, `DeleteObjects`.

use super::error::S3Error;
use super::name::ObjectKey;
use super::xml::{self, Malformed};

/// Maximum objects in one `DeleteObjects`.
pub const MAX_OBJECTS: usize = 1000;

/// The elements of an `Object` beside its `Key`.
const OPTIONAL: [&str; 4] = ["VersionId", "ETag", "LastModifiedTime", "Size"];

/// Returns the keys in the body of a `DeleteObjects` request, in order, repeats included.
///
/// # Errors
/// 400 `MalformedXML` when the body is not a `Delete` document of 1 to [`MAX_OBJECTS`] objects as
/// S3's schema has it: an element that is not known or comes twice, text between elements, an
/// object without a key, a key that is empty or too long.
pub fn parse_keys(xml: &[u8]) -> Result<Vec<ObjectKey>, S3Error> {
    let mut document = Document::default();
    let read = xml::walk(xml, |path, text| document.element(path, text));
    if read.is_err() || document.keys.is_empty() {
        return Err(S3Error::malformed_xml());
    }
    Ok(document.keys)
}

/// Parsing state of a `Delete` document.
#[derive(Default)]
struct Document {
    /// Keys of the completed objects, and that of the open one.
    keys: Vec<ObjectKey>,
    objects: usize,
    /// Whether each of [`OPTIONAL`] occurred in the open object, by index.
    seen: [bool; OPTIONAL.len()],
    has_quiet: bool,
}

impl Document {
    /// Handles the end of the element with this path.
    fn element(&mut self, path: &str, text: &str) -> Result<(), Malformed> {
        match path {
            "/Delete" => no_text(text),
            "/Delete/Quiet" => once(&mut self.has_quiet).and_then(|()| boolean(text)),
            "/Delete/Object" => {
                self.objects += 1;
                self.seen = Default::default();
                let one_key = self.keys.len() == self.objects && self.objects <= MAX_OBJECTS;
                if one_key { no_text(text) } else { Err(Malformed) }
            }
            "/Delete/Object/Key" => {
                self.keys.push(ObjectKey::new(text).map_err(|_| Malformed)?);
                Ok(())
            }
            _ => {
                let name = path.strip_prefix("/Delete/Object/").ok_or(Malformed)?;
                let at = OPTIONAL.iter().position(|known| *known == name).ok_or(Malformed)?;
                once(&mut self.seen[at])
            }
        }
    }
}

fn once(seen: &mut bool) -> Result<(), Malformed> {
    if std::mem::replace(seen, true) { Err(Malformed) } else { Ok(()) }
}

fn no_text(text: &str) -> Result<(), Malformed> {
    if text.trim_ascii().is_empty() { Ok(()) } else { Err(Malformed) }
}

/// Parses a boolean as XML Schema writes it, or capitalised as some clients do.
fn boolean(text: &str) -> Result<(), Malformed> {
    let text = text.trim_ascii();
    let known = ["true", "false", "1", "0"].iter().any(|known| text.eq_ignore_ascii_case(known));
    if known { Ok(()) } else { Err(Malformed) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(body: &str) -> Result<Vec<String>, String> {
        match parse_keys(body.as_bytes()) {
            Ok(keys) => Ok(keys.iter().map(ToString::to_string).collect()),
            Err(error) => Err(error.code.into_owned()),
        }
    }

    #[test]
    fn r8_every_key_of_the_body_is_found() {
        let body = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
            <Delete xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\n  <Quiet>true</Quiet>\n\
            <Object><Key>a</Key></Object>\n\
            <Object><VersionId>v</VersionId><Key>b/c</Key><ETag>x</ETag></Object></Delete>";
        assert_eq!(keys(body).unwrap(), ["a", "b/c"]);
    }

    #[test]
    fn keys_are_taken_to_the_letter() {
        let body =
            "<Delete><Object><Key> a&amp;b&#13;<![CDATA[<c>]]>%2F+&#x1; </Key></Object></Delete>";
        assert_eq!(keys(body).unwrap(), [" a&b\r<c>%2F+\u{1} "]);
    }

    #[test]
    fn one_key_named_twice_is_found_twice() {
        let body = "<Delete><Object><Key>a</Key></Object><Object><Key>a</Key></Object></Delete>";
        assert_eq!(keys(body).unwrap(), ["a", "a"]);
    }

    #[test]
    fn r8_a_body_whose_keys_are_not_certain_is_refused() {
        for body in [
            "",
            "<Delete></Delete>",
            "<Delete><Object></Object></Delete>",
            "<Delete><Object><Key/></Object></Delete>",
            "<Delete><Object><Key>a</Key></Object><Object><ETag>x</ETag></Object></Delete>",
            "<Delete><Object><Key>a</Key><Key>b</Key></Object></Delete>",
            "<Delete><Object><Key>a<b/></Key></Object></Delete>",
            "<Delete><Object><Key>a</Key></Object>",
            "<Other><Object><Key>a</Key></Object></Other>",
            "<DeleteX><Object><Key>a</Key></Object></DeleteX>",
            "{\"Delete\":[]}",
            // Elements outside S3's schema.
            "<Delete><Object><Key>a</Key></Object><Prefix>b/</Prefix></Delete>",
            "<Delete><Object><Key>a</Key><Name>b</Name></Object></Delete>",
            "<Delete><Object><Key>a</Key><key>b</key></Object></Delete>",
            "<Delete><Key>a</Key></Delete>",
            "<Delete><Object><Key>a</Key></Object>b</Delete>",
            "<Delete><Object>b<Key>a</Key></Object></Delete>",
            "<Delete><Object><Key>a</Key><ETag><Key>b</Key></ETag></Object></Delete>",
            "<Delete><Object><Key>a</Key><Object><Key>b</Key></Object></Object></Delete>",
            "<Delete><Object><Key>a</Key><VersionId>1</VersionId><VersionId>2</VersionId></Object></Delete>",
            "<Delete><Object><Key>a</Key></Object><Quiet>true</Quiet><Quiet>true</Quiet></Delete>",
            "<Delete><Object><Key>a</Key></Object><Quiet>loud</Quiet></Delete>",
            "<Delete><Object><Key>a</Key></Object></Delete><Delete/>",
            "<Delete><Object><Key>a</Key></Object></Delete>b",
        ] {
            assert_eq!(keys(body), Err("MalformedXML".to_owned()), "{body}");
        }
        let long = format!("<Delete><Object><Key>{}</Key></Object></Delete>", "a".repeat(1025));
        assert!(keys(&long).is_err());
    }

    /// Bodies as boto3, minio-go, the AWS SDKs for Java, Go, Rust and C++, s3fs and s3cmd write them.
    #[test]
    fn what_clients_send_is_read() {
        const NAMESPACE: &str = "xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"";
        for body in [
            format!("<Delete {NAMESPACE}><Object><Key>k</Key></Object></Delete>"),
            format!("<Delete {NAMESPACE}><Object><Key>k</Key></Object><Quiet>true</Quiet></Delete>"),
            "<Delete><Quiet>true</Quiet><Object><Key>k</Key></Object></Delete>".to_owned(),
            "<Delete><Quiet>False</Quiet><Object><Key>k</Key><VersionId></VersionId></Object></Delete>"
                .to_owned(),
            "<?xml version=\"1.0\" ?>\n<Delete>\n <Object>\n  <Key>k</Key>\n </Object>\n</Delete>\n"
                .to_owned(),
            format!(
                "<Delete {NAMESPACE}><Object><Key>k</Key><ETag>\"e\"</ETag><LastModifiedTime>Wed, 21 \
                 Oct 2015 07:28:00 GMT</LastModifiedTime><Size>1</Size><VersionId>v</VersionId>\
                 </Object></Delete>"
            ),
        ] {
            assert_eq!(keys(&body).unwrap(), ["k"], "{body}");
        }
    }

    #[test]
    fn at_most_a_thousand_objects_are_taken() {
        let of =
            |count| format!("<Delete>{}</Delete>", "<Object><Key>k</Key></Object>".repeat(count));
        assert_eq!(keys(&of(1000)).unwrap().len(), 1000);
        assert_eq!(keys(&of(1001)), Err("MalformedXML".to_owned()));
    }
}
