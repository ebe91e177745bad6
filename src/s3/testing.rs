//! Names and metadata for the tests of other modules.

use std::time::SystemTime;

use http::HeaderValue;

use super::{BucketName, ETag, ObjectId, ObjectKey, ObjectMeta, Parts, Realm};

/// Returns the object of this bucket and key, in the one realm of tests.
pub(crate) fn id(bucket: &str, key: &str) -> ObjectId {
    let realm = Realm::new("http://origin", "default");
    let bucket = BucketName::new(bucket).expect("a bucket's name");
    ObjectId::new(&realm, bucket, ObjectKey::new(key).expect("a key"))
}

/// Returns metadata of an object of `size` bytes, with an `ETag` such as `"1"`, quotes included.
pub(crate) fn meta(etag: &str, size: u64) -> ObjectMeta {
    ObjectMeta {
        etag: ETag::new(HeaderValue::try_from(etag).expect("an ETag")),
        version_id: None,
        size,
        last_modified: SystemTime::UNIX_EPOCH,
        headers: Vec::new(),
        checksums: None,
        parts: Parts::default(),
        no_store: false,
    }
}
