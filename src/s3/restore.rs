//! The body of a `RestoreObject` (`POST /bucket/key?restore`).
//!
//! A request of type SELECT writes its result into a bucket that only its body names, which is neither authorized nor
//! invalidated by the request's head. It is refused.

use super::error::S3Error;
use super::xml::{self, Malformed};

/// Maximum body in bytes; S3's own take a few hundred.
pub const MAX_BODY: usize = 64 << 10;

/// Elements of an in-place restore (S3 API, "`RestoreRequest`").
const IN_PLACE: [&str; 6] = [
    "/RestoreRequest",
    "/RestoreRequest/Days",
    "/RestoreRequest/Description",
    "/RestoreRequest/GlacierJobParameters",
    "/RestoreRequest/GlacierJobParameters/Tier",
    "/RestoreRequest/Tier",
];

/// Checks that a body restores the object that the request names, and does nothing else.
///
/// # Errors
/// 400 `MalformedXML` when it cannot be parsed; 501 `NotImplemented` when it contains more.
pub fn check(xml: &[u8]) -> Result<(), S3Error> {
    if xml.is_empty() {
        return Ok(());
    }
    let mut unknown = None;
    let read = xml::walk(xml, |path, _| {
        if !IN_PLACE.contains(&path) {
            unknown.get_or_insert_with(|| path.to_owned());
        }
        match path.split('/').nth(1) {
            Some("RestoreRequest") => Ok(()),
            _ => Err(Malformed),
        }
    });
    match (read, unknown) {
        (Err(Malformed), _) => Err(S3Error::malformed_xml()),
        (Ok(()), None) => Ok(()),
        (Ok(()), Some(path)) => {
            let mut error = S3Error::not_implemented();
            error.message = format!(
                "hotset passes on a restore of the object itself only; the request has {path}."
            )
            .into();
            Err(error)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(xml: &str) -> String {
        check(xml.as_bytes()).map_or_else(|error| error.code.into_owned(), |()| String::new())
    }

    #[test]
    fn a_restore_in_place_is_passed_on() {
        for xml in [
            "",
            "<RestoreRequest/>",
            "<RestoreRequest xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Days>1</Days>\
             <GlacierJobParameters><Tier>Bulk</Tier></GlacierJobParameters></RestoreRequest>",
            "<RestoreRequest><Tier>Standard</Tier><Description>d</Description></RestoreRequest>",
        ] {
            assert_eq!(refused(xml), "", "{xml}");
        }
    }

    #[test]
    fn r21_a_restore_that_selects_or_is_not_understood_is_refused() {
        for (xml, code) in [
            (
                "<RestoreRequest><Type>SELECT</Type><OutputLocation><S3><BucketName>b</BucketName>\
                 </S3></OutputLocation></RestoreRequest>",
                "NotImplemented",
            ),
            ("<RestoreRequest><OutputLocation/></RestoreRequest>", "NotImplemented"),
            ("<RestoreRequest><Days><X/></Days></RestoreRequest>", "NotImplemented"),
            ("<Other/>", "MalformedXML"),
            ("<RestoreRequest>", "MalformedXML"),
            ("x", "MalformedXML"),
        ] {
            assert_eq!(refused(xml), code, "{xml}");
        }
    }
}
