//! Names of a bucket, of a key, and of one object behind one origin (R1).
//!
//! An [`ObjectId`] is the key of every cache entry: it includes the realm (origin and credential domain), so that bytes
//! of one origin are never found under another. Names are cheap to clone and compare. They are independent of versions,
//! requests and encodings: a key is its decoded text, verbatim, with its `//`, `.` and `..`.

use std::collections::hash_map::{DefaultHasher, RandomState};
use std::fmt;
use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::{Arc, OnceLock};

use super::version::VersionId;

/// Longest bucket name in bytes. S3 allows 63 today; buckets of before 2018 may have 255.
const MAX_BUCKET: usize = 255;
const MIN_BUCKET: usize = 3;

/// Longest key in bytes of UTF-8 (S3 User Guide, "Naming Amazon S3 objects").
pub const MAX_KEY: usize = 1024;

/// Reason for which a text is not a bucket name or a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    /// The text is empty.
    #[error("the name is empty")]
    Empty,
    /// Shorter than a bucket name may be.
    #[error("the name is shorter than {MIN_BUCKET} bytes")]
    TooShort,
    /// Longer than `max` bytes; it has `length`.
    #[error("the name has {length} bytes, more than {max}")]
    TooLong {
        /// Its length in bytes.
        length: usize,
        /// The maximum length in bytes.
        max: usize,
    },
    /// A character that a bucket name may not have, or nothing but dots.
    #[error("the name has a character that a bucket name may not have")]
    BadCharacter,
}

/// An origin's endpoint together with the credential domain of its responses (R1).
///
/// Two realms are equal when both parts are; nothing is shared between different realms.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Realm(Arc<str>);

impl Realm {
    /// Creates the realm of an endpoint and a credential domain, both as configured.
    #[must_use]
    pub fn new(endpoint: &str, credential_domain: &str) -> Self {
        // The length in front makes the joined text unambiguous whatever the parts contain.
        Realm(format!("{}:{endpoint} {credential_domain}", endpoint.len()).into())
    }

    /// Returns the realm as one text, unique per realm and suitable for storage.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Realm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Realm({})", self.0)
    }
}

/// A bucket's name: 3 to 255 of `[A-Za-z0-9._-]`, not only dots; before it, on Ceph, a tenant of `[A-Za-z0-9_]` and a
/// colon (Ceph Object Gateway, "RGW Multi-tenancy").
///
/// More lenient than S3's rules for new buckets, since old buckets and other servers have such names; strict enough
/// that a name is one path segment which no server takes for a relative one.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BucketName(Arc<str>);

impl BucketName {
    /// Checks a decoded name.
    ///
    /// # Errors
    /// When the length or a character is one that no bucket has.
    pub fn new(name: &str) -> Result<Self, InvalidName> {
        let (tenant, bucket) = name.split_once(':').unwrap_or(("_", name));
        let in_tenant = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        let in_bucket = |b: u8| in_tenant(b) || matches!(b, b'.' | b'-');
        match bucket.len() {
            0 => return Err(InvalidName::Empty),
            n if n < MIN_BUCKET => return Err(InvalidName::TooShort),
            _ if name.len() > MAX_BUCKET => {
                return Err(InvalidName::TooLong { length: name.len(), max: MAX_BUCKET });
            }
            _ => {}
        }
        if tenant.is_empty()
            || !tenant.bytes().all(in_tenant)
            || !bucket.bytes().all(in_bucket)
            || bucket.bytes().all(|b| b == b'.')
        {
            return Err(InvalidName::BadCharacter);
        }
        Ok(BucketName(name.into()))
    }

    /// Returns the name without its tenant, as the tenant itself uses it; `None`: it has no tenant.
    #[must_use]
    pub fn without_tenant(&self) -> Option<Self> {
        self.0.split_once(':').map(|(_, bucket)| BucketName(bucket.into()))
    }

    /// Returns the text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for BucketName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for BucketName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for BucketName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BucketName({:?})", &*self.0)
    }
}

/// An object's key: 1 to 1024 bytes of UTF-8, any characters, decoded and never normalised.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectKey(Arc<str>);

impl ObjectKey {
    /// Checks a decoded key.
    ///
    /// # Errors
    /// When it is empty or longer than 1024 bytes.
    pub fn new(key: &str) -> Result<Self, InvalidName> {
        match key.len() {
            0 => Err(InvalidName::Empty),
            1..=MAX_KEY => Ok(ObjectKey(key.into())),
            length => Err(InvalidName::TooLong { length, max: MAX_KEY }),
        }
    }

    /// Returns the text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for ObjectKey {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ObjectKey({:?})", &*self.0)
    }
}

/// Identity of one object in one realm (R1): its current version or the one with a version id, read as the owner or as
/// a requester who pays. A clone increments one counter.
#[derive(Clone)]
pub struct ObjectId(Arc<Inner>);

struct Inner {
    realm: Realm,
    bucket: BucketName,
    key: ObjectKey,
    hash: u64,
    bucket_hash: u64,
    /// Further parts of the identity: version and payer; `None`: the name alone.
    variant: Option<Variant>,
}

struct Variant {
    version: Option<VersionId>,
    pays: bool,
    of: ObjectId,
    /// Hash of all other fields.
    hash: u64,
}

impl ObjectId {
    /// Builds the identity and hashes it once.
    #[must_use]
    pub fn new(realm: &Realm, bucket: BucketName, key: ObjectKey) -> Self {
        let mut hasher = bucket_hasher(realm, &bucket);
        let bucket_hash = hasher.finish();
        key.hash(&mut hasher);
        let hash = hasher.finish();
        let realm = realm.clone();
        ObjectId(Arc::new(Inner { realm, bucket, key, hash, bucket_hash, variant: None }))
    }

    /// Returns the identity of one version of this object.
    #[must_use]
    pub fn at(&self, version: VersionId) -> Self {
        self.with(Some(version), self.pays())
    }

    /// Returns the identity for a requester who pays (`x-amz-request-payer`): the origin may refuse to others what it
    /// returns to a payer.
    #[must_use]
    pub fn paid(&self) -> Self {
        self.with(self.version().cloned(), true)
    }

    fn with(&self, version: Option<VersionId>, pays: bool) -> Self {
        let of = self.object().clone();
        let hash = seed().hash_one((of.0.hash, &version, pays));
        let Inner { realm, bucket, key, hash: object_hash, bucket_hash, .. } = &*of.0;
        let (realm, bucket, key) = (realm.clone(), bucket.clone(), key.clone());
        let (object_hash, bucket_hash) = (*object_hash, *bucket_hash);
        let variant = Some(Variant { version, pays, of, hash });
        ObjectId(Arc::new(Inner { realm, bucket, key, hash: object_hash, bucket_hash, variant }))
    }

    /// Returns the identity of the object by its name alone.
    #[must_use]
    pub fn object(&self) -> &ObjectId {
        self.0.variant.as_ref().map_or(self, |variant| &variant.of)
    }

    /// Whether the identity has more than a name: a version or a payer.
    #[must_use]
    pub fn is_variant(&self) -> bool {
        self.0.variant.is_some()
    }

    /// Returns the version; `None`: the current one.
    #[must_use]
    pub fn version(&self) -> Option<&VersionId> {
        self.0.variant.as_ref()?.version.as_ref()
    }

    /// Whether the requester pays.
    #[must_use]
    pub fn pays(&self) -> bool {
        self.0.variant.as_ref().is_some_and(|variant| variant.pays)
    }

    /// Returns a hash of realm and bucket, the same for all keys in it; otherwise like [`ObjectId::hash64`].
    #[must_use]
    pub fn hash_bucket(realm: &Realm, bucket: &BucketName) -> u64 {
        bucket_hasher(realm, bucket).finish()
    }

    /// Returns the stored [`ObjectId::hash_bucket`] of the bucket.
    #[must_use]
    pub fn bucket_hash64(&self) -> u64 {
        self.0.bucket_hash
    }

    /// Returns the origin and credential domain of the object.
    #[must_use]
    pub fn realm(&self) -> &Realm {
        &self.0.realm
    }

    /// Returns the bucket.
    #[must_use]
    pub fn bucket(&self) -> &BucketName {
        &self.0.bucket
    }

    /// Returns the key.
    #[must_use]
    pub fn key(&self) -> &ObjectKey {
        &self.0.key
    }

    /// Returns a hash of realm, bucket and key, the same for all versions, for choosing a stripe or a shard.
    ///
    /// Seeded anew in each process, so that nobody can choose keys which collide: it must never
    /// be stored or sent. Equal hashes do not mean equal objects.
    #[must_use]
    pub fn hash64(&self) -> u64 {
        self.0.hash
    }
}

/// Hasher of the keys in one bucket.
pub struct ObjectHasher(DefaultHasher);

impl ObjectHasher {
    #[must_use]
    pub fn new(realm: &Realm, bucket: &BucketName) -> Self {
        Self(bucket_hasher(realm, bucket))
    }

    /// Returns the [`ObjectId::hash64`] of the object with this key.
    #[must_use]
    pub fn hash64(&self, key: &str) -> u64 {
        let mut hasher = self.0.clone();
        key.hash(&mut hasher);
        hasher.finish()
    }
}

fn bucket_hasher(realm: &Realm, bucket: &BucketName) -> DefaultHasher {
    let mut hasher = seed().build_hasher();
    (realm, bucket).hash(&mut hasher);
    hasher
}

/// Returns this process's seed of [`ObjectId::hash64`].
fn seed() -> &'static RandomState {
    static SEED: OnceLock<RandomState> = OnceLock::new();
    SEED.get_or_init(RandomState::new)
}

impl PartialEq for ObjectId {
    fn eq(&self, other: &Self) -> bool {
        let (a, b) = (&*self.0, &*other.0);
        // The hash only settles inequality; equality always compares the names themselves.
        Arc::ptr_eq(&self.0, &other.0)
            || (a.hash == b.hash
                && a.key == b.key
                && a.bucket == b.bucket
                && a.realm == b.realm
                && (self.version(), self.pays()) == (other.version(), other.pays()))
    }
}

impl Eq for ObjectId {}

impl Hash for ObjectId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0.variant.as_ref().map_or(self.0.hash, |variant| variant.hash));
    }
}

/// Writes `bucket/key`, for logs and rules; everything else is left out.
impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.0.bucket, self.0.key)
    }
}

impl fmt::Debug for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ObjectId({:?}, {self})", self.0.realm)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    fn id(realm: &Realm, bucket: &str, key: &str) -> ObjectId {
        ObjectId::new(realm, BucketName::new(bucket).unwrap(), ObjectKey::new(key).unwrap())
    }

    #[test]
    fn bucket_names_of_today_and_of_old_are_accepted() {
        for name in
            ["abc", "my-bucket.v2", "Old_Bucket", "bkt--usw2-az1--x-s3", "-ab", "a..b", "t_1:abc"]
        {
            assert_eq!(BucketName::new(name).unwrap().as_str(), name);
        }
        assert!(BucketName::new(&"a".repeat(255)).is_ok());
    }

    #[test]
    fn bucket_names_that_are_no_path_segment_are_refused() {
        assert_eq!(BucketName::new(""), Err(InvalidName::Empty));
        for name in [".", "..", "ab", "a:b"] {
            assert_eq!(BucketName::new(name), Err(InvalidName::TooShort), "{name}");
        }
        for name in [
            "...", "a/b", "a b", "bück", "a%2Fb", "a\0b", "a?b", ":abc", "t:a:b", "t-1:abc",
            "t:...",
        ] {
            assert_eq!(BucketName::new(name), Err(InvalidName::BadCharacter), "{name}");
        }
        let too_long = InvalidName::TooLong { length: 256, max: 255 };
        assert_eq!(BucketName::new(&"a".repeat(256)), Err(too_long));
    }

    #[test]
    fn a_key_may_be_any_text_up_to_1024_bytes() {
        for key in ["a", "/", "..", "a//b/./c", "ü+ %2F", "\u{1}\n", " "] {
            assert_eq!(ObjectKey::new(key).unwrap().as_str(), key);
        }
        assert!(ObjectKey::new(&"ü".repeat(512)).is_ok());
        assert_eq!(ObjectKey::new(""), Err(InvalidName::Empty));
        let too_long = InvalidName::TooLong { length: 1025, max: 1024 };
        assert_eq!(ObjectKey::new(&"a".repeat(1025)), Err(too_long));
    }

    #[test]
    fn r1_ids_of_different_origins_or_credential_domains_differ() {
        let here = Realm::new("http://a:1", "default");
        let there = Realm::new("http://b:1", "default");
        let other = Realm::new("http://a:1", "team");
        assert_ne!(id(&here, "bkt", "k"), id(&there, "bkt", "k"));
        assert_ne!(id(&here, "bkt", "k"), id(&other, "bkt", "k"));
        assert_ne!(id(&here, "bkt", "k"), id(&here, "bkt2", "k"));
        assert_ne!(id(&here, "bkt", "k"), id(&here, "bkt", "k2"));
        assert_eq!(id(&here, "bkt", "k"), id(&Realm::new("http://a:1", "default"), "bkt", "k"));
    }

    #[test]
    fn r1_a_realm_cannot_be_forged_by_moving_text_between_its_parts() {
        assert_ne!(Realm::new("a b", "c"), Realm::new("a", "b c"));
        assert_ne!(Realm::new("", "1: x"), Realm::new("1: x", ""));
    }

    #[test]
    fn the_hash_of_a_bucket_is_that_of_all_its_ids_and_of_no_other_bucket() {
        let (realm, other) = (Realm::new("http://a", "x"), Realm::new("http://b", "x"));
        let bucket = |name| BucketName::new(name).unwrap();
        let hash = |realm, name, key| {
            ObjectId::new(realm, bucket(name), ObjectKey::new(key).unwrap()).bucket_hash64()
        };
        let ours = ObjectId::hash_bucket(&realm, &bucket("bucket"));
        assert_eq!([hash(&realm, "bucket", "k"), hash(&realm, "bucket", "l")], [ours; 2]);
        assert_ne!(hash(&realm, "another", "k"), ours);
        assert_ne!(hash(&other, "bucket", "k"), ours);
    }

    #[test]
    fn equal_ids_have_equal_hashes_and_find_each_other_in_a_map() {
        let realm = Realm::new("http://a", "d");
        let (a, b) = (id(&realm, "bkt", "k"), id(&realm, "bkt", "k"));
        assert_eq!(a.hash64(), b.hash64());
        assert_eq!(a, a.clone());
        let map = HashMap::from([(a, 1)]);
        assert_eq!(map.get(&b), Some(&1));
        assert_eq!(map.get(&id(&realm, "bkt", "other")), None);
    }

    #[test]
    fn ids_with_the_same_hash_and_different_names_are_not_equal() {
        let realm = Realm::new("http://a", "d");
        let (a, b) = (id(&realm, "bkt", "k1"), id(&realm, "bkt", "k2"));
        let forged = ObjectId(Arc::new(Inner {
            realm: realm.clone(),
            bucket: b.bucket().clone(),
            key: b.key().clone(),
            hash: a.hash64(),
            bucket_hash: 0,
            variant: None,
        }));
        assert_eq!(a.hash64(), forged.hash64());
        assert_ne!(a, forged);
    }

    #[test]
    fn r3_versions_of_an_object_are_told_apart_and_share_its_stripe() {
        let realm = Realm::new("http://a", "d");
        let object = id(&realm, "bkt", "k");
        let at = |version| object.at(VersionId::new(version).unwrap());
        let (one, two) = (at("1"), at("2"));
        assert_ne!(one, object);
        assert_ne!(one, two);
        assert_eq!(one, at("1"));
        assert_eq!((one.hash64(), one.bucket_hash64()), (object.hash64(), object.bucket_hash64()));
        assert_eq!((one.object(), object.object()), (&object, &object));
        assert_eq!(one.at(VersionId::new("2").unwrap()), two);
        assert_eq!((one.version().unwrap().as_str(), object.version()), ("1", None));
        assert_ne!(object.paid(), object);
        assert_ne!(one.paid(), one);
        assert_eq!(one.paid(), object.paid().at(VersionId::new("1").unwrap()));
        assert_eq!((one.paid().object(), one.paid().hash64()), (&object, object.hash64()));
        assert!(one.paid().pays() && !one.pays() && one.is_variant() && !object.is_variant());
        let map = HashMap::from([(object.clone(), 0), (one.clone(), 1), (two, 2)]);
        assert_eq!(
            (map.get(&at("2")), map.get(&object), map.get(&at("3"))),
            (Some(&2), Some(&0), None)
        );
    }

    #[test]
    fn an_id_displays_as_bucket_and_key() {
        assert_eq!(id(&Realm::new("http://a", "d"), "bkt", "a//b").to_string(), "bkt/a//b");
    }
}
