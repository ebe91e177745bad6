//! Keys of what is on disk: full keys in one canonical form, and their digests.
//!
//! The index holds a digest in place of the key, 16 bytes for a key of up to 1 KiB. It is a prefix of SHA-256 and not a
//! fast hash: a client that may choose keys must not be able to make two collide.

use std::fmt;

use ring::digest::{SHA256, digest};

use super::record::{Kind, START_BITS};
use crate::cache::key::{BlockKey, ObjectVersion};
use crate::s3::{BucketName, ObjectId, ObjectKey, Realm};

/// The first 128 bits of the SHA-256 of a full key.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::cache) struct Digest(pub(in crate::cache::disk) [u8; 16]);

impl Digest {
    pub(in crate::cache::disk) fn of(key: &[u8]) -> Self {
        let hash = digest(&SHA256, key);
        Self(*hash.as_ref().first_chunk().expect("SHA-256 has 32 bytes"))
    }

    pub(in crate::cache) fn of_version(version: &ObjectVersion) -> Self {
        Self::of(&version_key(version))
    }

    /// Returns the digest of a block of the version that has this digest.
    pub(in crate::cache) fn of_block(&self, index: u64) -> Self {
        let mut key = [0; 24];
        key[..16].copy_from_slice(&self.0);
        key[16..].copy_from_slice(&index.to_le_bytes());
        Self::of(&key)
    }

    /// Returns the digest of the full key in a record of this kind; `None` if it is too short.
    pub(in crate::cache::disk) fn of_record(kind: Kind, key: &[u8]) -> Option<Self> {
        match kind {
            Kind::Block => {
                let (version, index) = key.split_last_chunk()?;
                Some(Self::of(version).of_block(u64::from_le_bytes(*index)))
            }
            _ => Some(Self::of(key)),
        }
    }

    /// Returns the first 64 bits, for tables that tolerate a collision.
    pub(in crate::cache::disk) fn hash64(&self) -> u64 {
        u64::from_le_bytes(*self.0.first_chunk().expect("16 bytes hold 8"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

/// Returns the full key of a version's blocks: every field that identifies its bytes (R1).
pub(in crate::cache::disk) fn version_key(version: &ObjectVersion) -> Vec<u8> {
    let mut key = object_key(version.id());
    field(&mut key, version.version_id().map_or(b"", |v| v.as_bytes()));
    field(&mut key, version.etag().as_bytes());
    key.extend_from_slice(&version.size().to_le_bytes());
    key.extend_from_slice(&version.block_size().to_le_bytes());
    if version.purge_epoch() > 0 {
        key.extend_from_slice(&version.purge_epoch().to_le_bytes());
    }
    key
}

/// Returns the full key of a block.
pub(in crate::cache::disk) fn block_key(block: &BlockKey) -> Vec<u8> {
    let mut key = version_key(block.version());
    key.extend_from_slice(&block.index().to_le_bytes());
    key
}

/// Returns the full key of an object's metadata. Requests for a version or with requester pays have keys of their own.
pub(in crate::cache::disk) fn object_key(id: &ObjectId) -> Vec<u8> {
    let mut key = bucket_key(id.realm(), id.bucket());
    field(&mut key, id.key().as_str().as_bytes());
    if id.is_variant() {
        field(&mut key, id.version().map_or(b"", |version| version.as_str().as_bytes()));
    }
    if id.pays() {
        field(&mut key, b"requester pays");
    }
    key
}

/// Returns the object that a full key names, whatever the variant of the request; `None` if it is not the key of an
/// object.
pub(in crate::cache::disk) fn object_in(full: &[u8]) -> Option<(BucketName, ObjectKey)> {
    let (bucket, key, _) = split_object(full)?;
    Some((bucket, key))
}

/// Returns the object that the full key of a block names, and the purge epoch of its version; `None` if it is not the
/// key of a block.
pub(in crate::cache::disk) fn block_in(full: &[u8]) -> Option<(BucketName, ObjectKey, u32)> {
    let (bucket, key, rest) = split_object(full)?;
    let (_version_id, rest) = split_field(rest)?;
    let (_etag, rest) = split_field(rest)?;
    let (_sizes, rest) = rest.split_first_chunk::<16>()?;
    let (purge_epoch, _index) = rest.split_last_chunk::<8>()?;
    let purge_epoch = match purge_epoch {
        [] => 0,
        purge_epoch => u32::from_le_bytes(purge_epoch.try_into().ok()?),
    };
    Some((bucket, key, purge_epoch))
}

fn split_object(full: &[u8]) -> Option<(BucketName, ObjectKey, &[u8])> {
    let (_realm, rest) = split_field(full)?;
    let (bucket, rest) = split_field(rest)?;
    let (key, rest) = split_field(rest)?;
    let bucket = BucketName::new(std::str::from_utf8(bucket).ok()?).ok()?;
    let key = ObjectKey::new(std::str::from_utf8(key).ok()?).ok()?;
    Some((bucket, key, rest))
}

/// Returns the full key of a bucket.
pub(in crate::cache::disk) fn bucket_key(realm: &Realm, bucket: &BucketName) -> Vec<u8> {
    let mut key = Vec::with_capacity(256);
    field(&mut key, realm.as_str().as_bytes());
    field(&mut key, bucket.as_str().as_bytes());
    key
}

/// Returns the hash that stands for a bucket in an object's entry. If two buckets collide, invalidating one invalidates
/// both.
pub(in crate::cache::disk) fn bucket_tag(realm: &Realm, bucket: &BucketName) -> u32 {
    let Digest(hash) = Digest::of(&bucket_key(realm, bucket));
    u32::from_le_bytes(*hash.first_chunk().expect("16 bytes hold 4")) >> (u32::BITS - START_BITS)
}

/// Returns a 16-bit hash of an object that is the same in every process, whatever its realm.
pub(in crate::cache) fn object_stripe(bucket: &BucketName, key: &ObjectKey) -> u16 {
    let mut name = Vec::with_capacity(256);
    field(&mut name, bucket.as_str().as_bytes());
    field(&mut name, key.as_str().as_bytes());
    let Digest(hash) = Digest::of(&name);
    u16::from_le_bytes(*hash.first_chunk().expect("16 bytes hold 2"))
}

/// Appends a field with its length before it, so that no two lists of fields have the same encoding.
fn field(key: &mut Vec<u8>, bytes: &[u8]) {
    let length = u32::try_from(bytes.len()).expect("fields of a key are short");
    key.extend_from_slice(&length.to_le_bytes());
    key.extend_from_slice(bytes);
}

/// Splits off the field that [`field`] wrote, and returns it and the rest.
fn split_field(key: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = key.split_first_chunk()?;
    rest.split_at_checked(u32::from_le_bytes(*length) as usize)
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use http::HeaderValue;

    use super::*;
    use crate::s3::{ETag, ObjectMeta, Parts, VersionId};

    #[test]
    fn r28_a_full_key_says_which_object_it_is_of_and_since_which_purge() {
        let realm = Realm::new("http://origin", "default");
        let bucket = BucketName::new("data").unwrap();
        let key = ObjectKey::new("a/\u{e9} key").unwrap();
        let id = ObjectId::new(&realm, bucket.clone(), key.clone());
        for version_id in [None, Some(HeaderValue::from_static("a version"))] {
            let meta = ObjectMeta {
                etag: ETag::new(HeaderValue::from_static("\"an etag\"")),
                version_id,
                size: 5,
                last_modified: UNIX_EPOCH,
                headers: Vec::new(),
                checksums: None,
                parts: Parts::default(),
                no_store: false,
            };
            for purge_epoch in [0, 1, u32::MAX] {
                let full =
                    block_key(&ObjectVersion::new(&id, &meta, 1 << 20, purge_epoch).block(3));
                assert_eq!(block_in(&full), Some((bucket.clone(), key.clone(), purge_epoch)));
                for end in 0..full.len() {
                    assert!(
                        block_in(&full[..end]).is_none_or(|(_, _, other)| other != purge_epoch)
                    );
                }
            }
        }
        let version = id.at(VersionId::new("v1").unwrap());
        for id in [&id, &id.paid(), &version, &version.paid()] {
            assert_eq!(object_in(&object_key(id)), Some((bucket.clone(), key.clone())));
        }
        assert_eq!(object_in(&bucket_key(&realm, &bucket)), None);
        assert_eq!(object_in(b"everything"), None);
    }
}
