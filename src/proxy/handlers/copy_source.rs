//! The source of a copy where buckets are mapped: clients give it by the client's name, and it must be at the origin
//! of the target.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};
use pingora::Result;

use crate::proxy::context::Forward;
use crate::proxy::errors::bad_request;
use crate::proxy::gateway::Gateway;
use crate::s3::{BucketName, Parsed, S3Error, decode};

const COPY_SOURCE: HeaderName = HeaderName::from_static("x-amz-copy-source");
const RENAME_SOURCE: HeaderName = HeaderName::from_static("x-amz-rename-source");

impl Gateway {
    /// Refuses a copy between buckets of different origins.
    pub(in crate::proxy) fn check_copy(
        &self,
        headers: &HeaderMap,
        parsed: &Parsed,
    ) -> Result<(), S3Error> {
        if !self.origins.has_mappings() {
            return Ok(());
        }
        let here = self.origins.place(parsed.bucket.as_ref());
        let names = [&COPY_SOURCE, &RENAME_SOURCE];
        let is_source = |name: &str| names.iter().any(|n| n.as_str().eq_ignore_ascii_case(name));
        if parsed.query.iter().any(|(name, _)| is_source(name)) {
            let why = "The source of a copy must be a header where buckets are mapped to origins.";
            return Err(S3Error::invalid_request(why));
        }
        if here.alias_of().is_some() && headers.contains_key(&RENAME_SOURCE) {
            return Err(S3Error::not_implemented());
        }
        for value in headers.get_all(&COPY_SOURCE) {
            let is_of_here = match value.to_str().ok().and_then(source) {
                Some((bucket, _)) => {
                    Arc::ptr_eq(&self.origins.place(Some(&bucket)).origin, &here.origin)
                }
                // The name of something else, such as an access point, belongs to the default origin.
                None => !here.is_mapped,
            };
            if !is_of_here {
                let why = "The source and the target of a copy are buckets of different origins.";
                return Err(S3Error::invalid_request(why));
            }
        }
        Ok(())
    }

    /// Rewrites bucket names in headers to the origin's names.
    pub(in crate::proxy) fn name_for_origin(
        &self,
        headers: &mut HeaderMap,
        forward: &Forward,
    ) -> Result<()> {
        if !self.origins.has_mappings() {
            return Ok(());
        }
        if forward.place.alias_of().is_some() {
            // A response that names the bucket must be readable.
            headers.insert(http::header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        }
        let Some((bucket, rest)) = headers
            .get(&COPY_SOURCE)
            .and_then(|value| value.to_str().ok())
            .and_then(source)
            .map(|(bucket, rest)| (bucket, rest.to_owned()))
        else {
            return Ok(());
        };
        if let Some(real) = self.origins.place(Some(&bucket)).alias_of() {
            let named = HeaderValue::from_str(&format!("/{real}{rest}"));
            headers.insert(COPY_SOURCE, named.map_err(|error| bad_request(&error))?);
        }
        Ok(())
    }
}

/// Splits a copy source into its bucket and the rest.
fn source(text: &str) -> Option<(BucketName, &str)> {
    let slash = |text: &str| ["/", "%2F", "%2f"].iter().filter_map(|slash| text.find(slash)).min();
    let text =
        ["/", "%2F", "%2f"].iter().find_map(|first| text.strip_prefix(first)).unwrap_or(text);
    let (bucket, rest) = text.split_at(slash(text)?);
    let bucket = decode(bucket.as_bytes()).ok()?;
    Some((BucketName::new(&bucket).ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_split_behind_its_bucket() {
        for (text, bucket, rest) in [
            ("/archive/a/b", "archive", "/a/b"),
            ("archive/a?versionId=1", "archive", "/a?versionId=1"),
            ("%2Farchive%2Fa%20b", "archive", "%2Fa%20b"),
            ("%61rchive/a", "archive", "/a"),
        ] {
            let found = source(text).map(|(bucket, rest)| (bucket.to_string(), rest));
            assert_eq!(found, Some((bucket.to_owned(), rest)), "{text}");
        }
        for text in ["archive", "", "/", "arn:aws:s3:us-east-1:1:accesspoint/a/object/k"] {
            assert!(source(text).is_none(), "{text}");
        }
    }
}
