//! Contents of the origin: the versions of each key, and open uploads.
//!
//! A key is versioned from the moment an object with a version id is put there: later writes get
//! version ids of their own, and a delete leaves a delete marker. An object without an id is the
//! version `null`, of which a key has one at most. Every bucket exists.

use super::Object;
use super::regions::Tells;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug)]
enum Version {
    Object(Object),
    /// A delete marker, with its version id.
    Marker(String),
}

impl Version {
    fn id(&self) -> &str {
        match self {
            Version::Object(object) => object.version_id.as_deref().unwrap_or("null"),
            Version::Marker(id) => id,
        }
    }
}

/// The parts of an upload in progress, by number.
pub(super) type Upload = BTreeMap<u32, Bytes>;

#[derive(Debug, Default)]
pub(super) struct Store {
    /// The versions of each key that has any, the newest last.
    versions: BTreeMap<(String, String), Vec<Version>>,
    uploads: BTreeMap<String, Upload>,
    /// Buckets whose requesters pay.
    pub(super) requester_pays: BTreeSet<String>,
    /// Buckets, and the origins of the web pages that may use them.
    pub(super) cors: BTreeSet<(String, String)>,
    /// Regions of buckets, and the form of the response in other regions.
    pub(super) regions: BTreeMap<String, (String, Tells)>,
    /// Number of sessions that were created for directory buckets.
    pub(super) sessions: u64,
    writes: u64,
}

/// Result of a read of a key, or of one version of it.
pub(super) enum Found<'a> {
    Object(&'a Object),
    NoSuchKey {
        marker: Option<&'a str>,
    },
    NoSuchVersion,
    /// The requested version is the delete marker.
    Marker,
}

/// Result of a delete.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Deleted {
    /// The object of an unversioned key was deleted, if there was one.
    Object,
    /// A delete marker with this version id was added.
    MarkerLeft(String),
    /// The named version was deleted, if there was one; whether it was a marker.
    Version { marker: bool },
}

impl Store {
    fn of(&self, bucket: &str, key: &str) -> &[Version] {
        self.versions.get(&(bucket.to_owned(), key.to_owned())).map_or(&[], Vec::as_slice)
    }

    pub(super) fn find(&self, bucket: &str, key: &str, version: Option<&str>) -> Found<'_> {
        let versions = self.of(bucket, key);
        let Some(asked) = version else {
            return match versions.last() {
                Some(Version::Object(object)) => Found::Object(object),
                Some(Version::Marker(id)) => Found::NoSuchKey { marker: Some(id) },
                None => Found::NoSuchKey { marker: None },
            };
        };
        match versions.iter().find(|version| version.id() == asked) {
            Some(Version::Object(object)) => Found::Object(object),
            Some(Version::Marker(_)) => Found::Marker,
            None if versions.is_empty() && asked == "null" => Found::NoSuchKey { marker: None },
            None => Found::NoSuchVersion,
        }
    }

    pub(super) fn current(&self, bucket: &str, key: &str) -> Option<&Object> {
        match self.of(bucket, key).last()? {
            Version::Object(object) => Some(object),
            Version::Marker(_) => None,
        }
    }

    /// Whether the key has versions with ids.
    pub(super) fn is_versioned(&self, bucket: &str, key: &str) -> bool {
        self.of(bucket, key).iter().any(|version| version.id() != "null")
    }

    /// Puts the object unchanged, as a test does directly.
    pub(super) fn put(&mut self, bucket: &str, key: &str, object: Object) {
        let versions = self.versions.entry((bucket.to_owned(), key.to_owned())).or_default();
        let new = Version::Object(object);
        versions.retain(|version| version.id() != new.id());
        versions.push(new);
    }

    /// Adds a delete marker, as a test does directly.
    pub(super) fn put_marker(&mut self, bucket: &str, key: &str, version: &str) {
        let versions = self.versions.entry((bucket.to_owned(), key.to_owned())).or_default();
        versions.push(Version::Marker(version.to_owned()));
    }

    /// Puts the object as a request does: with a date of its own, and a version id if the key is versioned. Returns
    /// the stored object.
    pub(super) fn write(&mut self, bucket: &str, key: &str, object: Object) -> Object {
        self.writes += 1;
        let (minutes, seconds) = (self.writes / 60 % 60, self.writes % 60);
        let mut object =
            object.last_modified(&format!("Thu, 02 Jan 2025 00:{minutes:02}:{seconds:02} GMT"));
        object.version_id = self.next_version(bucket, key);
        self.put(bucket, key, object.clone());
        object
    }

    /// Deletes as a request does: the named version, or the current one.
    pub(super) fn delete(&mut self, bucket: &str, key: &str, version: Option<&str>) -> Deleted {
        self.writes += 1;
        let next = self.next_version(bucket, key);
        let name = (bucket.to_owned(), key.to_owned());
        let versions = self.versions.entry(name.clone()).or_default();
        let deleted = match (version, next) {
            (Some(id), _) => {
                let is_it = |v: &Version| v.id() == id;
                let marker = versions.iter().any(|v| is_it(v) && matches!(v, Version::Marker(_)));
                versions.retain(|v| !is_it(v));
                Deleted::Version { marker }
            }
            (None, Some(id)) => {
                versions.push(Version::Marker(id.clone()));
                Deleted::MarkerLeft(id)
            }
            (None, None) => {
                versions.clear();
                Deleted::Object
            }
        };
        if versions.is_empty() {
            self.versions.remove(&name);
        }
        deleted
    }

    fn next_version(&self, bucket: &str, key: &str) -> Option<String> {
        self.is_versioned(bucket, key).then(|| format!("version-{}", self.writes))
    }

    /// Returns the current objects of a bucket whose keys begin with `prefix`, in order.
    pub(super) fn list<'a>(
        &'a self,
        bucket: &'a str,
        prefix: &'a str,
    ) -> impl Iterator<Item = (&'a str, &'a Object)> {
        let wanted = move |(b, key): &(String, String)| b == bucket && key.starts_with(prefix);
        let keys = self.versions.keys().filter(move |name| wanted(name));
        keys.filter_map(|(bucket, key)| Some((key.as_str(), self.current(bucket, key)?)))
    }

    pub(super) fn begin_upload(&mut self) -> String {
        self.writes += 1;
        let id = format!("upload-{}", self.writes);
        self.uploads.insert(id.clone(), Upload::new());
        id
    }

    pub(super) fn upload(&mut self, id: &str) -> Option<&mut Upload> {
        self.uploads.get_mut(id)
    }

    pub(super) fn end_upload(&mut self, id: &str) -> Option<Upload> {
        self.uploads.remove(id)
    }
}
