//! The name of an operation, for metrics and the access log.
//!
//! It has no effect on the request: permissions are decided by `s3::permissions`, changes by `s3::effect`.

use http::{HeaderMap, Method};

use crate::metrics::Operation;
use crate::s3::{self, Parsed, ReadMethod};

const COPY_SOURCE: &str = "x-amz-copy-source";

/// Bucket operations, by method and subresource.
#[rustfmt::skip] // A table: one line an operation.
const ON_BUCKETS: [(Method, &str, Operation); 5] = [
    (Method::GET, "versions", Operation::ListObjectVersions),
    (Method::GET, "uploads", Operation::ListMultipartUploads),
    (Method::GET, "location", Operation::GetBucketLocation),
    (Method::GET, "list-type", Operation::ListObjectsV2),
    (Method::POST, "delete", Operation::DeleteObjects),
];

/// Object operations, by method and subresource.
#[rustfmt::skip] // A table: one line an operation.
const ON_OBJECTS: [(Method, &str, Operation); 21] = [
    (Method::GET, "attributes", Operation::GetObjectAttributes),
    (Method::GET, "tagging", Operation::GetObjectTagging),
    (Method::GET, "acl", Operation::GetObjectAcl),
    (Method::GET, "retention", Operation::GetObjectRetention),
    (Method::GET, "legal-hold", Operation::GetObjectLegalHold),
    (Method::GET, "torrent", Operation::GetObjectTorrent),
    (Method::GET, "uploadId", Operation::ListParts),
    (Method::PUT, "uploadId", Operation::UploadPart),
    (Method::PUT, "tagging", Operation::PutObjectTagging),
    (Method::PUT, "acl", Operation::PutObjectAcl),
    (Method::PUT, "retention", Operation::PutObjectRetention),
    (Method::PUT, "legal-hold", Operation::PutObjectLegalHold),
    (Method::PUT, "renameObject", Operation::RenameObject),
    (Method::POST, "uploads", Operation::CreateMultipartUpload),
    (Method::POST, "uploadId", Operation::CompleteMultipartUpload),
    (Method::POST, "restore", Operation::RestoreObject),
    (Method::POST, "select", Operation::SelectObjectContent),
    (Method::DELETE, "uploadId", Operation::AbortMultipartUpload),
    (Method::DELETE, "tagging", Operation::DeleteObjectTagging),
    (Method::PUT, "", Operation::PutObject),
    (Method::DELETE, "", Operation::DeleteObject),
];

/// Query names that do not select another operation.
const PLAIN: [&str; 14] = [
    "versionId",
    "partNumber",
    "x-id",
    "prefix",
    "delimiter",
    "marker",
    "max-keys",
    "encoding-type",
    "start-after",
    "continuation-token",
    "fetch-owner",
    "max-buckets",
    "bucket-region",
    "select-type",
];

/// Returns the operation of a request; [`Operation::Other`] where S3 has none or it is a rare one.
pub(super) fn operation(method: &Method, headers: &HeaderMap, parsed: &Parsed) -> Operation {
    if let s3::Operation::Read(read) = &parsed.operation {
        return match read.method {
            ReadMethod::Get => Operation::GetObject,
            ReadMethod::Head => Operation::HeadObject,
        };
    }
    if *method == Method::OPTIONS {
        return Operation::Options;
    }
    let named = match (&parsed.bucket, &parsed.key) {
        (Some(_), Some(_)) => on_object(method, parsed),
        (Some(_), None) => on_bucket(method, parsed),
        (None, _) if *method == Method::GET && is_plain(parsed) => Operation::ListBuckets,
        (None, _) => Operation::Other,
    };
    let copies = headers.contains_key(COPY_SOURCE) || parsed.query.contains(COPY_SOURCE);
    match named {
        Operation::PutObject if copies => Operation::CopyObject,
        Operation::UploadPart if copies => Operation::UploadPartCopy,
        named => named,
    }
}

fn on_bucket(method: &Method, parsed: &Parsed) -> Operation {
    if let Some(named) = by_subresource(&ON_BUCKETS, method, parsed) {
        return named;
    }
    match *method {
        _ if !is_plain(parsed) => Operation::Other,
        Method::GET => Operation::ListObjects,
        Method::HEAD => Operation::HeadBucket,
        Method::PUT => Operation::CreateBucket,
        Method::DELETE => Operation::DeleteBucket,
        Method::POST => Operation::PostObject,
        _ => Operation::Other,
    }
}

fn on_object(method: &Method, parsed: &Parsed) -> Operation {
    if let Some(named) = by_subresource(&ON_OBJECTS, method, parsed) {
        return named;
    }
    match *method {
        _ if !is_plain(parsed) => Operation::Other,
        // A read that the cache does not answer.
        Method::GET => Operation::GetObject,
        Method::HEAD => Operation::HeadObject,
        _ => Operation::Other,
    }
}

fn by_subresource(
    table: &[(Method, &str, Operation)],
    method: &Method,
    parsed: &Parsed,
) -> Option<Operation> {
    let is_named = |name: &str| match name {
        "" => is_plain(parsed),
        name => parsed.query.contains(name),
    };
    let mut rows = table.iter().filter(|(of, ..)| of == method);
    rows.find(|(_, name, _)| is_named(name)).map(|(.., named)| *named)
}

/// Whether no query name selects another operation.
fn is_plain(parsed: &Parsed) -> bool {
    let is_plain = |name: &str| {
        PLAIN.contains(&name)
            || name.starts_with("response-")
            || name.get(..6).is_some_and(|start| start.eq_ignore_ascii_case("x-amz-"))
    };
    parsed.query.iter().all(|(name, _)| is_plain(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::s3::{HostNames, RequestHead, operation as parse_operation};

    fn named(method: &str, target: &str, copies: bool) -> Operation {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let source = copies.then(|| (COPY_SOURCE.parse().unwrap(), "b/k".parse().unwrap()));
        let headers = HeaderMap::from_iter(source);
        let head = RequestHead {
            method: &method,
            raw_target: target.as_bytes(),
            host: Some("localhost"),
            headers: &headers,
            has_body: false,
        };
        let parsed = parse_operation::parse(&head, &HostNames::default()).unwrap();
        operation(&method, &headers, &parsed)
    }

    #[test]
    fn operations_have_the_names_of_the_api_reference() {
        for (request, expected) in [
            ("GET /", "ListBuckets"),
            ("GET /bkt?list-type=2&prefix=p", "ListObjectsV2"),
            ("GET /bkt?prefix=p", "ListObjects"),
            ("GET /bkt?versions", "ListObjectVersions"),
            ("GET /bkt?uploads", "ListMultipartUploads"),
            ("GET /bkt?location", "GetBucketLocation"),
            ("GET /bkt?policy", "Other"),
            ("HEAD /bkt", "HeadBucket"),
            ("PUT /bkt", "CreateBucket"),
            ("PUT /bkt?lifecycle", "Other"),
            ("DELETE /bkt", "DeleteBucket"),
            ("POST /bkt?delete", "DeleteObjects"),
            ("POST /bkt", "PostObject"),
            ("GET /bkt/k", "GetObject"),
            ("GET /bkt/k?X-Amz-Unknown=1", "GetObject"),
            ("HEAD /bkt/k?versionId=1", "HeadObject"),
            ("GET /bkt/k?acl", "GetObjectAcl"),
            ("GET /bkt/k?uploadId=1", "ListParts"),
            ("GET /bkt/k?surprise", "Other"),
            ("PUT /bkt/k?x-id=PutObject", "PutObject"),
            ("PUT /bkt/k?partNumber=1&uploadId=2", "UploadPart"),
            ("PUT /bkt/k?tagging&versionId=1", "PutObjectTagging"),
            ("PUT /bkt/k?surprise", "Other"),
            ("POST /bkt/k?uploads", "CreateMultipartUpload"),
            ("POST /bkt/k?uploadId=2", "CompleteMultipartUpload"),
            ("DELETE /bkt/k?uploadId=2", "AbortMultipartUpload"),
            ("DELETE /bkt/k?versionId=1", "DeleteObject"),
            ("PATCH /bkt/k", "Other"),
            ("OPTIONS /bkt/k", "Options"),
        ] {
            let (method, target) = request.split_once(' ').unwrap();
            let label = if expected == "Other" { "other" } else { expected };
            assert_eq!(named(method, target, false).label(), label, "{request}");
        }
        assert_eq!(named("PUT", "/bkt/k", true), Operation::CopyObject);
        assert_eq!(named("PUT", "/bkt/k?partNumber=1&uploadId=2", true), Operation::UploadPartCopy);
    }
}
