//! What the origin holds: the current object of each key, its older versions, and open uploads.
//!
//! A key is versioned from the moment an object with a version id is put there: later writes get
//! version ids of their own, and a delete leaves a delete marker. Every bucket exists.

use super::Object;
use bytes::Bytes;
use std::collections::BTreeMap;

#[derive(Debug, Default)]
struct Entry {
    current: Option<Object>,
    versions: Vec<Object>,
    /// The version id of the delete marker that hides the older versions.
    marker: Option<String>,
}

/// The parts of an upload that is under way, by number.
pub(super) type Upload = BTreeMap<u32, Bytes>;

#[derive(Debug, Default)]
pub(super) struct Store {
    entries: BTreeMap<(String, String), Entry>,
    uploads: BTreeMap<String, Upload>,
    writes: u64,
}

/// What a read of a key, or of one version of it, finds.
pub(super) enum Found<'a> {
    Object(&'a Object),
    NoSuchKey {
        marker: Option<&'a str>,
    },
    NoSuchVersion,
    /// The version asked for is the delete marker.
    Marker,
}

impl Store {
    pub(super) fn find(&self, bucket: &str, key: &str, version: Option<&str>) -> Found<'_> {
        let Some(entry) = self.entries.get(&(bucket.to_owned(), key.to_owned())) else {
            return Found::NoSuchKey { marker: None };
        };
        let marker = entry.marker.as_deref();
        let Some(version) = version else {
            let missing = Found::NoSuchKey { marker };
            return entry.current.as_ref().map_or(missing, Found::Object);
        };
        let is_asked = |object: &&Object| object.version_id.as_deref().unwrap_or("null") == version;
        let object = entry.versions.iter().rev().chain(&entry.current).find(is_asked);
        match object {
            Some(object) => Found::Object(object),
            None if marker == Some(version) => Found::Marker,
            None => Found::NoSuchVersion,
        }
    }

    pub(super) fn current(&self, bucket: &str, key: &str) -> Option<&Object> {
        self.entries.get(&(bucket.to_owned(), key.to_owned()))?.current.as_ref()
    }

    /// Puts the object as it is, as the test's hand does.
    pub(super) fn put(&mut self, bucket: &str, key: &str, object: Object) {
        let entry = self.entries.entry((bucket.to_owned(), key.to_owned())).or_default();
        if object.version_id.is_some() {
            entry.versions.push(object.clone());
        }
        entry.current = Some(object);
        entry.marker = None;
    }

    /// Puts the object as a request does: with a date of its own, and a version id where the key
    /// is versioned. Returns what is stored.
    pub(super) fn write(&mut self, bucket: &str, key: &str, object: Object) -> Object {
        self.writes += 1;
        let (minutes, seconds) = (self.writes / 60 % 60, self.writes % 60);
        let mut object =
            object.last_modified(&format!("Thu, 02 Jan 2025 00:{minutes:02}:{seconds:02} GMT"));
        object.version_id = self.next_version(bucket, key);
        self.put(bucket, key, object.clone());
        object
    }

    /// Deletes as a request does. Returns the version id of the delete marker, if one is left.
    pub(super) fn delete(&mut self, bucket: &str, key: &str) -> Option<String> {
        self.writes += 1;
        let version = self.next_version(bucket, key);
        let entry = self.entries.get_mut(&(bucket.to_owned(), key.to_owned()))?;
        entry.current = None;
        entry.marker.clone_from(&version);
        version
    }

    fn next_version(&self, bucket: &str, key: &str) -> Option<String> {
        let entry = self.entries.get(&(bucket.to_owned(), key.to_owned()))?;
        (!entry.versions.is_empty()).then(|| format!("version-{}", self.writes))
    }

    /// The current objects of a bucket whose keys begin with `prefix`, in order.
    pub(super) fn list<'a>(
        &'a self,
        bucket: &'a str,
        prefix: &'a str,
    ) -> impl Iterator<Item = (&'a str, &'a Object)> {
        let wanted = move |(b, key): &(String, String)| b == bucket && key.starts_with(prefix);
        let entries = self.entries.iter().filter(move |(name, _)| wanted(name));
        entries.filter_map(|((_, key), entry)| Some((key.as_str(), entry.current.as_ref()?)))
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
