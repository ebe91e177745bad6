//! The keys that a `POST /bucket?delete` names in its body.
//!
//! They are forgotten before the request is sent and again after (R8), so a key that the origin
//! would delete and we did not see is the danger: whatever is not plainly a `Delete` document is
//! an error, and the caller then refuses it or forgets the bucket.

use super::error::S3Error;
use super::name::ObjectKey;
use super::xml::{self, Malformed};

/// The keys in the body of a `DeleteObjects` request, in order, repeats included.
///
/// # Errors
/// 400 `MalformedXML` when the body is not a `Delete` document whose every `Object` has one key
/// that a key can be, or when it names none.
pub fn parse_keys(xml: &[u8]) -> Result<Vec<ObjectKey>, S3Error> {
    let mut keys = Vec::new();
    let mut objects = 0;
    let read = xml::walk(xml, |path, text| {
        match path {
            "/Delete/Object/Key" => keys.push(ObjectKey::new(text).map_err(|_| Malformed)?),
            "/Delete/Object" => {
                objects += 1;
                if keys.len() != objects {
                    return Err(Malformed);
                }
            }
            "/Delete" => {}
            _ if path.starts_with("/Delete/Object/Key/") => return Err(Malformed),
            _ if path.starts_with("/Delete/") => {}
            _ => return Err(Malformed),
        }
        Ok(())
    });
    if read.is_err() || keys.is_empty() { Err(S3Error::malformed_xml()) } else { Ok(keys) }
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
        ] {
            assert_eq!(keys(body), Err("MalformedXML".to_owned()), "{body}");
        }
        let long = format!("<Delete><Object><Key>{}</Key></Object></Delete>", "a".repeat(1025));
        assert!(keys(&long).is_err());
    }
}
