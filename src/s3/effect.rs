//! Cached objects that a request which passes through may change (R8).
//!
//! In doubt, the wider effect is assumed: invalidating too much costs one HEAD, and invalidating too little serves
//! bytes that no longer exist.

use http::header::HeaderValue;
use http::method::Method;

use super::name::{BucketName, ObjectKey};
use super::read::VENDOR_PREFIXES;
use super::request_head::RequestHead;
use super::target::{Query, decode};

const RENAME_SOURCE: &str = "x-amz-rename-source";
/// Parts of header names, of S3 or a vendor, that make an upload unpack an archive or write further keys.
const SPREADING: [&str; 3] = ["snowball", "extract", "fanout"];
const METADATA: &str = "x-amz-meta-";

/// Cached objects that a request which passes through may change (R8).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Nothing: GET, HEAD, OPTIONS, and any request without a bucket.
    None,
    /// These objects, each once, the one in the target first.
    Objects(Vec<(BucketName, ObjectKey)>),
    /// The objects listed in the body (`POST /bucket?delete`): see [`parse_keys`](super::delete_objects::parse_keys).
    /// If they cannot be parsed, the bucket.
    ListedInBody(BucketName),
    /// Any object of this bucket.
    Bucket(BucketName),
}

impl Effect {
    /// Returns the effect of a request on its target and its rename sources.
    pub(super) fn of(
        head: &RequestHead<'_>,
        bucket: Option<&BucketName>,
        key: Option<&ObjectKey>,
        query: &Query,
    ) -> Self {
        let Some(bucket) = bucket.filter(|_| !is_safe(head.method)) else {
            return Effect::None;
        };
        let Some(key) = key else {
            return match *head.method {
                Method::POST if query.contains("delete") => Effect::ListedInBody(bucket.clone()),
                _ => Effect::Bucket(bucket.clone()),
            };
        };
        if head_spreads(head, query) {
            return Effect::Bucket(bucket.clone());
        }
        let mut keys = vec![key.clone()];
        for source in rename_headers(head, query) {
            match rename_sources(source, bucket) {
                Some(sources) => keys.extend(sources),
                None => return Effect::Bucket(bucket.clone()),
            }
        }
        let mut objects: Vec<(BucketName, ObjectKey)> = Vec::with_capacity(keys.len());
        for key in keys {
            if !objects.iter().any(|(_, known)| *known == key) {
                objects.push((bucket.clone(), key));
            }
        }
        Effect::Objects(objects)
    }

    /// Returns the effect of a form that writes `key`; `names` are those of its fields, in lower case.
    pub fn of_form<'a>(
        bucket: &BucketName,
        key: &ObjectKey,
        mut names: impl Iterator<Item = &'a str>,
    ) -> Self {
        match names.any(spreads) {
            true => Effect::Bucket(bucket.clone()),
            false => Effect::Objects(vec![(bucket.clone(), key.clone())]),
        }
    }
}

/// Whether a header with this name, in lower case, may make an upload write further keys of its bucket:
/// `x-amz-meta-snowball-auto-extract` (S3, Snowball Edge), `x-minio-extract`, `x-minio-fanout-list`. Of user metadata,
/// whose names are free, only the first kind does.
pub(super) fn spreads(name: &str) -> bool {
    if let Some(own) = name.strip_prefix(METADATA) {
        return own.contains(SPREADING[0]);
    }
    let is_known = || {
        name.starts_with("x-amz-") || VENDOR_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
    };
    SPREADING.iter().any(|part| name.contains(part)) && is_known()
}

/// Whether a header [spreads], or a query parameter that a presigner made of one.
pub(super) fn head_spreads(head: &RequestHead<'_>, query: &Query) -> bool {
    head.headers.keys().any(|name| spreads(name.as_str()))
        || query.iter().any(|(name, _)| spreads(&name.to_ascii_lowercase()))
}

/// Whether the method changes nothing.
fn is_safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

/// Returns every `x-amz-rename-source`, from headers or from the query of a presigned URL.
fn rename_headers<'a>(
    head: &RequestHead<'a>,
    query: &'a Query,
) -> impl Iterator<Item = &'a [u8]> + use<'a> {
    let in_headers = head.headers.get_all(RENAME_SOURCE).iter().map(HeaderValue::as_bytes);
    let in_query = query
        .iter()
        .filter(|(name, _)| name.eq_ignore_ascii_case(RENAME_SOURCE))
        .map(|(_, value)| value.unwrap_or_default().as_bytes());
    in_headers.chain(in_query)
}

/// Returns the keys that an `x-amz-rename-source` may mean; `None`: it cannot be decoded.
///
/// A rename stays within its bucket. Clients and servers write the source as `key`, `/key` or `/bucket/key`.
/// Invalidating a key too many costs one HEAD, so every reading counts.
pub(super) fn rename_sources(raw: &[u8], bucket: &BucketName) -> Option<Vec<ObjectKey>> {
    let source = decode(raw).ok()?;
    let key = source.strip_prefix('/').unwrap_or(&source);
    let within = key.strip_prefix(bucket.as_str()).and_then(|rest| rest.strip_prefix('/'));
    let readings = [Some(key), within].into_iter().flatten();
    let keys: Vec<_> = readings.filter_map(|text| ObjectKey::new(text).ok()).collect();
    (!keys.is_empty()).then_some(keys)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::s3::operation::{Operation, parse};
    use http::HeaderMap;

    fn effect_with(method: &str, target: &str, rename: &[&'static str]) -> Effect {
        let mut headers = HeaderMap::new();
        for source in rename {
            headers.append(RENAME_SOURCE, HeaderValue::from_static(source));
        }
        let head = RequestHead {
            method: &Method::from_bytes(method.as_bytes()).unwrap(),
            raw_target: target.as_bytes(),
            host: None,
            headers: &headers,
            has_body: true,
        };
        match parse(&head, &crate::s3::HostNames::default()).unwrap().operation {
            Operation::PassThrough(effect) => effect,
            Operation::Read(read) => panic!("{read:?}"),
        }
    }

    fn effect(method: &str, target: &str) -> Effect {
        effect_with(method, target, &[])
    }

    fn bucket() -> BucketName {
        BucketName::new("bkt").unwrap()
    }

    fn objects(keys: &[&str]) -> Effect {
        Effect::Objects(keys.iter().map(|k| (bucket(), ObjectKey::new(k).unwrap())).collect())
    }

    #[test]
    fn r8_every_write_that_names_a_key_forgets_it() {
        for method in ["PUT", "DELETE", "POST", "PATCH"] {
            for query in ["", "?uploads", "?tagging", "?acl", "?uploadId=1&partNumber=2", "?delete"]
            {
                let target = format!("/bkt/a%2Fb{query}");
                assert_eq!(effect(method, &target), objects(&["a/b"]), "{method} {target}");
            }
        }
    }

    #[test]
    fn r8_a_method_that_is_not_known_forgets_its_key_or_its_bucket() {
        for method in ["COPY", "MOVE", "TRACE", "PROPFIND", "get"] {
            assert_eq!(effect(method, "/bkt/k"), objects(&["k"]), "{method}");
            assert_eq!(effect(method, "/bkt"), Effect::Bucket(bucket()), "{method}");
        }
    }

    #[test]
    fn r8_a_write_to_a_bucket_forgets_the_bucket() {
        for target in ["/bkt", "/bkt/", "/bkt?lifecycle", "/bkt?policy"] {
            assert_eq!(effect("PUT", target), Effect::Bucket(bucket()), "{target}");
        }
        assert_eq!(effect("DELETE", "/bkt"), Effect::Bucket(bucket()));
        // A POST form names its key in the body, and is another matter once that was read.
        assert_eq!(effect("POST", "/bkt"), Effect::Bucket(bucket()));
    }

    #[test]
    fn r8_a_delete_of_many_is_listed_in_its_body() {
        for target in ["/bkt?delete", "/bkt/?delete", "/bkt?delete=", "/bkt?x-id=D&delete"] {
            assert_eq!(effect("POST", target), Effect::ListedInBody(bucket()), "{target}");
        }
        assert_eq!(effect("PUT", "/bkt?delete"), Effect::Bucket(bucket()));
        assert_eq!(effect("POST", "/bkt?Delete"), Effect::Bucket(bucket()));
    }

    #[test]
    fn what_changes_nothing_or_names_nothing_has_no_effect() {
        for method in ["GET", "HEAD", "OPTIONS"] {
            for target in ["/", "/bkt", "/bkt/k?acl", "/bkt?delete", "*"] {
                assert_eq!(effect_with(method, target, &["/bkt/x"]), Effect::None, "{target}");
            }
        }
        assert_eq!(effect("PUT", "/"), Effect::None);
        assert_eq!(effect("POST", "/?delete"), Effect::None);
    }

    #[test]
    fn r8_a_rename_forgets_its_source_in_every_reading() {
        let renamed = |source| effect_with("PUT", "/bkt/new?renameObject", &[source]);
        assert_eq!(renamed("old"), objects(&["new", "old"]));
        assert_eq!(renamed("/old%20one"), objects(&["new", "old one"]));
        assert_eq!(renamed("/bkt/old"), objects(&["new", "bkt/old", "old"]));
        assert_eq!(renamed("/other/old"), objects(&["new", "other/old"]));
        assert_eq!(renamed("bktold"), objects(&["new", "bktold"]));
        assert_eq!(renamed("new"), objects(&["new"]));
        let hoisted = effect("PUT", "/bkt/new?renameObject&X-Amz-Rename-Source=old");
        assert_eq!(hoisted, objects(&["new", "old"]));
        let two = effect_with("PUT", "/bkt/new", &["a", "b"]);
        assert_eq!(two, objects(&["new", "a", "b"]));
    }

    #[test]
    fn r8_an_upload_that_is_unpacked_forgets_the_bucket() {
        for name in [
            "x-amz-meta-snowball-auto-extract",
            "x-amz-meta-minio-snowball-prefix",
            "x-minio-extract",
            "X-Amz-Meta-Snowball-Auto-Extract",
        ] {
            let target = format!("/bkt/k?{name}=true");
            assert_eq!(effect("PUT", &target), Effect::Bucket(bucket()), "{name}");
        }
        let of_form = |field| {
            let key = ObjectKey::new("k").unwrap();
            Effect::of_form(&bucket(), &key, ["key", field].into_iter())
        };
        assert_eq!(of_form("x-minio-fanout-list"), Effect::Bucket(bucket()));
        for name in
            ["x-amz-meta-owner", "extract", "x-amz-storage-class", "x-amz-meta-extracted-by"]
        {
            assert_eq!(of_form(name), objects(&["k"]), "{name}");
            assert_eq!(effect("PUT", &format!("/bkt/k?{name}")), objects(&["k"]), "{name}");
        }
    }

    #[test]
    fn r8_a_rename_source_that_cannot_be_read_forgets_the_bucket() {
        for source in ["%zz", "", "/", "%FF"] {
            let effect = effect_with("PUT", "/bkt/new", &[source]);
            assert_eq!(effect, Effect::Bucket(bucket()), "{source:?}");
        }
    }
}
