//! Names for the tests of those who build on these.

use super::{BucketName, ObjectId, ObjectKey, Realm};

/// The object of this bucket and key, in the one realm of tests.
pub(crate) fn id(bucket: &str, key: &str) -> ObjectId {
    let realm = Realm::new("http://origin", "default");
    let bucket = BucketName::new(bucket).expect("a bucket's name");
    ObjectId::new(&realm, bucket, ObjectKey::new(key).expect("a key"))
}
