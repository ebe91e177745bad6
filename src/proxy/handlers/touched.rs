//! Cached objects that a write may change, in every realm and under every name that a server may know them by (R8).

use crate::origin::Origins;
use crate::s3::spelling::{self, Alias};
use crate::s3::{BucketName, Effect, ObjectId, ObjectKey, Operation};

/// The objects and buckets that a write may change.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::proxy) struct Touched {
    pub(in crate::proxy) objects: Vec<ObjectId>,
    pub(in crate::proxy) buckets: Vec<BucketName>,
}

impl Touched {
    /// Returns the objects that a request may change, as far as its head tells: the keys of a `DeleteObjects` are in
    /// its body.
    pub(in crate::proxy) fn by(operation: &Operation, origins: &Origins) -> Self {
        match operation {
            Operation::PassThrough(Effect::Objects(objects)) => Self::objects(objects, origins),
            Operation::PassThrough(Effect::Bucket(bucket)) => Self::bucket(bucket, origins),
            Operation::PassThrough(Effect::None | Effect::ListedInBody(_)) | Operation::Read(_) => {
                Self::default()
            }
        }
    }

    /// Returns a set that covers any object of a bucket.
    pub(in crate::proxy) fn bucket(bucket: &BucketName, origins: &Origins) -> Self {
        let names = [Some(bucket.clone()), bucket.without_tenant()].into_iter().flatten();
        let buckets = names.flat_map(|name| origins.names_of(&name)).collect();
        Self { objects: Vec::new(), buckets }
    }

    /// Returns these objects, and those that other servers may take their keys for.
    ///
    /// An object is cached once in each realm that it was read in (R1), under each name that its bucket has.
    pub(in crate::proxy) fn objects(
        objects: &[(BucketName, ObjectKey)],
        origins: &Origins,
    ) -> Self {
        let mut touched = Self::default();
        for (bucket, key) in objects {
            touched.add(bucket, key, origins);
            if let Some(bucket) = bucket.without_tenant() {
                touched.add(&bucket, key, origins);
            }
            for alias in spelling::aliases(bucket, key) {
                match alias {
                    Alias::Object(bucket, key) => touched.add(&bucket, &key, origins),
                    Alias::Bucket(bucket) if touched.buckets.contains(&bucket) => {}
                    Alias::Bucket(bucket) => touched.buckets.extend(origins.names_of(&bucket)),
                }
            }
        }
        touched
    }

    fn add(&mut self, bucket: &BucketName, key: &ObjectKey, origins: &Origins) {
        for name in origins.names_of(bucket) {
            let realms = origins.realms_of(&name);
            let ids = realms.iter().map(|realm| ObjectId::new(realm, name.clone(), key.clone()));
            self.objects.extend(ids);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::origin::{IdentityCredentials, Origin, OriginConfig};

    /// Makes an origin whose objects are read in two realms: with our own keys, and by an identity without any.
    fn two_realms() -> Origins {
        let origin = Origin::new(OriginConfig::default(), None).unwrap();
        let brought = IdentityCredentials { identity: "a", domain: "two", keys: None };
        origin.domains().replace(std::iter::once(brought)).unwrap();
        Arc::new(origin).into()
    }

    fn touched(bucket: &str, keys: &[&str]) -> (Vec<String>, Vec<String>) {
        let bucket = BucketName::new(bucket).unwrap();
        let objects: Vec<_> =
            keys.iter().map(|key| (bucket.clone(), ObjectKey::new(key).unwrap())).collect();
        let origins = two_realms();
        let one = origins.realm_of(None);
        let touched = Touched::objects(&objects, &origins);
        let named = |id: &ObjectId| {
            let domain = if *id.realm() == one { "one" } else { "two" };
            format!("{domain} {}/{}", id.bucket(), id.key())
        };
        let buckets = touched.buckets.iter().map(ToString::to_string).collect();
        (touched.objects.iter().map(named).collect(), buckets)
    }

    #[test]
    fn r8_a_write_touches_its_keys_in_every_realm() {
        let (objects, buckets) = touched("bkt", &["a", "b/"]);
        assert_eq!(objects, ["one bkt/a", "two bkt/a", "one bkt/b/", "two bkt/b/"]);
        assert!(buckets.is_empty());
    }

    #[test]
    fn r8_a_write_by_a_tenants_name_touches_what_the_tenant_reads() {
        assert!(touched("t:bkt", &["a"]).0.contains(&"one bkt/a".to_owned()));
        let buckets = Touched::bucket(&BucketName::new("t:bkt").unwrap(), &two_realms()).buckets;
        assert_eq!(buckets.iter().map(BucketName::as_str).collect::<Vec<_>>(), ["t:bkt", "bkt"]);
    }

    #[test]
    fn r8_a_write_touches_what_a_server_may_take_its_key_for() {
        let (objects, buckets) = touched("bkt", &["/a", "../other/k"]);
        let expected = ["bkt//a", "bkt/a", "bkt/../other/k", "other/k", "bkt/other/k"];
        assert_eq!(objects.iter().filter(|id| id.starts_with("one")).count(), expected.len());
        for object in expected {
            assert!(objects.contains(&format!("two {object}")), "{object}: {objects:?}");
        }
        assert!(buckets.is_empty());
        assert_eq!(touched("bkt", &["a/..", "b/.."]).1, ["bkt"]);
    }
}
