//! A page of `ListObjectsV2`: keys, sizes and the continuation token.
//!
//! Keys are requested with `encoding-type=url`, since XML 1.0 cannot represent every character of a key. A server
//! without support for it sends them unencoded and omits `EncodingType`.

use super::name::ObjectKey;
use super::target::decode;
use super::xml::{self, Malformed};

/// The document is not a page of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a ListObjectsV2 response")]
pub struct NotAList;

/// A page of a list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ObjectPage {
    /// Keys and sizes in bytes, in the order of the response. Invalid keys are left out.
    pub objects: Vec<(ObjectKey, u64)>,
    /// The `continuation-token` of the next page; `None` after the last.
    pub next: Option<String>,
}

#[derive(Default)]
struct Reading {
    objects: Vec<(String, u64)>,
    key: Option<String>,
    size: Option<u64>,
    encoded: bool,
    truncated: bool,
    next: Option<String>,
    is_list: bool,
}

impl ObjectPage {
    /// Parses the body of a response.
    ///
    /// # Errors
    /// [`NotAList`] when it is not well-formed, an object lacks its key or size, or a continuation token is missing on
    /// a page that is not the last.
    pub fn parse(body: &[u8]) -> Result<Self, NotAList> {
        let mut reading = Reading::default();
        xml::walk(body, |path, text| reading.element(path, text)).map_err(|_| NotAList)?;
        let Reading { objects, encoded, truncated, next, is_list, .. } = reading;
        let next = next.filter(|token| truncated && !token.is_empty());
        if !is_list || next.is_some() != truncated {
            return Err(NotAList);
        }
        let mut page = Self { objects: Vec::with_capacity(objects.len()), next };
        for (key, size) in objects {
            let key = match encoded {
                true => {
                    decode(key.replace('+', " ").as_bytes()).map_err(|_| NotAList)?.into_owned()
                }
                false => key,
            };
            page.objects.extend(ObjectKey::new(&key).ok().map(|key| (key, size)));
        }
        Ok(page)
    }
}

impl Reading {
    fn element(&mut self, path: &str, text: &str) -> Result<(), Malformed> {
        match path {
            "/ListBucketResult" => self.is_list = true,
            "/ListBucketResult/EncodingType" => self.encoded = text == "url",
            "/ListBucketResult/IsTruncated" => self.truncated = text == "true",
            "/ListBucketResult/NextContinuationToken" => self.next = Some(text.to_owned()),
            "/ListBucketResult/Contents/Key" => self.key = Some(text.to_owned()),
            "/ListBucketResult/Contents/Size" => {
                self.size = Some(text.trim().parse().map_err(|_| Malformed)?);
            }
            "/ListBucketResult/Contents" => {
                let key = self.key.take().ok_or(Malformed)?;
                self.objects.push((key, self.size.take().ok_or(Malformed)?));
            }
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(inner: &str) -> Result<ObjectPage, NotAList> {
        ObjectPage::parse(format!("<ListBucketResult>{inner}</ListBucketResult>").as_bytes())
    }

    fn object(key: &str, size: u64) -> (ObjectKey, u64) {
        (ObjectKey::new(key).unwrap(), size)
    }

    #[test]
    fn keys_and_sizes_are_read_and_the_way_on() {
        let read = page(
            "<Name>b</Name><Contents><Key>a &amp; b</Key><Size>5</Size><ETag>x</ETag></Contents>\
             <Contents><Size>0</Size><Key>c%2B+</Key></Contents><IsTruncated>true</IsTruncated>\
             <NextContinuationToken>t+%2B</NextContinuationToken>",
        );
        let objects = vec![object("a & b", 5), object("c%2B+", 0)];
        assert_eq!(read.unwrap(), ObjectPage { objects, next: Some("t+%2B".to_owned()) });
    }

    #[test]
    fn keys_are_decoded_where_the_answer_says_that_they_are_encoded() {
        let contents = "<Contents><Key>a+b%2B%0A%C3%BC/x</Key><Size>1</Size></Contents>";
        // Wherever the element stands.
        for text in [
            format!("<EncodingType>url</EncodingType>{contents}"),
            format!("{contents}<EncodingType>url</EncodingType>"),
        ] {
            assert_eq!(page(&text).unwrap().objects, [object("a b+\nü/x", 1)]);
        }
    }

    #[test]
    fn what_is_no_page_or_leads_nowhere_is_refused() {
        for inner in [
            "<Contents><Key>a</Key></Contents>",
            "<Contents><Size>1</Size></Contents>",
            "<Contents><Key>a</Key><Size>many</Size></Contents>",
            "<IsTruncated>true</IsTruncated>",
            "<IsTruncated>true</IsTruncated><NextContinuationToken/>",
            "<EncodingType>url</EncodingType><Contents><Key>%zz</Key><Size>1</Size></Contents>",
        ] {
            assert_eq!(page(inner), Err(NotAList), "{inner}");
        }
        for body in ["", "<Error><Code>AccessDenied</Code></Error>", "{}"] {
            assert_eq!(ObjectPage::parse(body.as_bytes()), Err(NotAList), "{body}");
        }
    }

    #[test]
    fn what_can_be_no_key_is_left_out_and_the_last_page_leads_nowhere() {
        let long = "x".repeat(2000);
        let read = page(&format!(
            "<Contents><Key>{long}</Key><Size>1</Size></Contents><Contents><Key>k</Key>\
             <Size>1</Size></Contents><NextContinuationToken>t</NextContinuationToken>"
        ));
        assert_eq!(read.unwrap(), ObjectPage { objects: vec![object("k", 1)], next: None });
    }
}
