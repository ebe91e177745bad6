//! Scopes of purges.

use std::collections::HashSet;

use crate::cache::rules::key_glob::KeyGlob;
use crate::s3::{BucketName, ObjectKey};

/// The scope of a purge, in every realm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    Object(BucketName, ObjectKey),
    /// Every key with this prefix; empty: the whole bucket.
    Prefix(BucketName, String),
    Bucket(BucketName),
    /// Every key that matches.
    Glob(KeyGlob),
    Everything,
}

/// A set of scopes, in which a lookup among many keys costs no more than one among few.
#[derive(Debug)]
pub(in crate::cache) struct Covered {
    objects: HashSet<(BucketName, ObjectKey)>,
    wider: Vec<Scope>,
}

impl Covered {
    pub(in crate::cache) fn by(scopes: &[Scope]) -> Self {
        let mut covered = Self { objects: HashSet::new(), wider: Vec::new() };
        for scope in scopes {
            match scope {
                Scope::Object(bucket, key) => {
                    covered.objects.insert((bucket.clone(), key.clone()));
                }
                Scope::Prefix(..) | Scope::Bucket(_) | Scope::Glob(_) | Scope::Everything => {
                    covered.wider.push(scope.clone());
                }
            }
        }
        covered
    }

    pub(in crate::cache) fn covers(&self, bucket: &BucketName, key: &ObjectKey) -> bool {
        self.objects.contains(&(bucket.clone(), key.clone()))
            || self.wider.iter().any(|scope| match scope {
                Scope::Object(..) => false,
                Scope::Prefix(of, prefix) => bucket == of && key.as_str().starts_with(prefix),
                Scope::Bucket(of) => bucket == of,
                Scope::Glob(glob) => glob.covers(bucket, key),
                Scope::Everything => true,
            })
    }
}
