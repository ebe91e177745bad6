//! Parsing of `s3://bucket/key`: the text after the bucket is a key verbatim, without URL encoding.

use super::name::{BucketName, InvalidName, ObjectKey};

/// A bucket, and the text after its slash: a key, a prefix of keys, or nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Url {
    pub bucket: BucketName,
    /// Text after the slash; empty without one.
    pub rest: String,
}

/// Reason for which a text is not an `s3://` address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidS3Url {
    /// The text does not begin with `s3://`.
    #[error("`{0}` is not s3://bucket/key")]
    Shape(String),
    /// The bucket or the key is invalid.
    #[error("`{text}`: {what}: {why}")]
    Name { text: String, what: &'static str, why: InvalidName },
}

impl S3Url {
    /// Parses `s3://bucket`, `s3://bucket/` or `s3://bucket/rest`.
    ///
    /// # Errors
    /// [`InvalidS3Url`], with the text.
    pub fn parse(text: &str) -> Result<Self, InvalidS3Url> {
        let after =
            text.strip_prefix("s3://").ok_or_else(|| InvalidS3Url::Shape(text.to_owned()))?;
        let (bucket, rest) = after.split_once('/').unwrap_or((after, ""));
        let bucket = BucketName::new(bucket).map_err(|why| Self::wrong(text, "the bucket", why))?;
        Ok(Self { bucket, rest: rest.to_owned() })
    }

    /// Parses `s3://bucket/key`.
    ///
    /// # Errors
    /// As [`S3Url::parse`], and when there is no key.
    pub fn parse_object(text: &str) -> Result<(BucketName, ObjectKey), InvalidS3Url> {
        let Self { bucket, rest } = Self::parse(text)?;
        let key = ObjectKey::new(&rest).map_err(|why| Self::wrong(text, "the key", why))?;
        Ok((bucket, key))
    }

    fn wrong(text: &str, what: &'static str, why: InvalidName) -> InvalidS3Url {
        InvalidS3Url::Name { text: text.to_owned(), what, why }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bucket_and_key_are_taken_to_the_letter() {
        let read = |text| S3Url::parse(text).map(|url| (url.bucket.to_string(), url.rest));
        for (text, bucket, rest) in [
            ("s3://data/a/b c+%20?#*", "data", "a/b c+%20?#*"),
            ("s3://data//x", "data", "/x"),
            ("s3://data/", "data", ""),
            ("s3://data", "data", ""),
        ] {
            assert_eq!(read(text).unwrap(), (bucket.to_owned(), rest.to_owned()), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        let wrong = |text| S3Url::parse_object(text).unwrap_err().to_string();
        assert_eq!(wrong("data/key"), "`data/key` is not s3://bucket/key");
        assert_eq!(wrong("s3://data/"), "`s3://data/`: the key: the name is empty");
        assert!(wrong("s3://d/k").contains("the bucket: the name is shorter than"));
        assert!(wrong("s3://a b c/k").contains("the bucket: the name has a character"));
    }
}
