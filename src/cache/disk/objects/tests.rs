//! Tombstones that are owed: on a device that can be held and can fail.

use std::collections::BTreeMap;
use std::io::{IoSlice, IoSliceMut};
use std::sync::atomic::AtomicU32;
use std::time::UNIX_EPOCH;

use http::HeaderValue;

use super::*;
use crate::cache::disk::files::{File, Folder, RealFolder};
use crate::s3::{ETag, ObjectKey, ObjectMeta};

/// A real folder, on a device that does as it is told.
#[derive(Debug, Clone)]
struct Told {
    real: Arc<RealFolder>,
    fails_reads: Arc<AtomicBool>,
    /// Held while nothing becomes durable.
    syncing: Arc<Mutex<()>>,
}

#[derive(Debug)]
struct ToldFile(Arc<dyn File>, Told);

impl Told {
    fn new() -> (Told, std::path::PathBuf) {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("hotset-objects-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let real = Arc::new(RealFolder::new(path.clone(), false).unwrap());
        (Told { real, fails_reads: Arc::default(), syncing: Arc::default() }, path)
    }

    fn start(&self) -> Objects {
        Objects::start(Box::new(self.clone()), 4 << 20, 1 << 18, 1 << 20).unwrap()
    }

    fn told(&self, file: Arc<dyn File>) -> Arc<dyn File> {
        Arc::new(ToldFile(file, self.clone()))
    }

    fn read(&self) -> io::Result<()> {
        match self.fails_reads.load(Ordering::Relaxed) {
            true => Err(io::Error::other("told to fail")),
            false => Ok(()),
        }
    }
}

impl Folder for Told {
    fn list(&self) -> io::Result<Vec<String>> {
        self.real.list()
    }

    fn create(&self, name: &str, reserve: u64) -> io::Result<Arc<dyn File>> {
        Ok(self.told(self.real.create(name, reserve)?))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        Ok(self.told(self.real.open(name)?))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.real.remove(name)
    }

    fn sync(&self) -> io::Result<()> {
        self.real.sync()
    }
}

impl File for ToldFile {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read(&self, parts: &mut [IoSliceMut<'_>], offset: u64) -> io::Result<()> {
        self.1.read().and_then(|()| self.0.read(parts, offset))
    }

    fn read_cached(&self, parts: &mut [IoSliceMut<'_>], offset: u64) -> io::Result<bool> {
        self.1.read().and_then(|()| self.0.read_cached(parts, offset))
    }

    fn write(&self, parts: &mut [IoSlice<'_>], offset: u64) -> io::Result<()> {
        self.0.write(parts, offset)
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.0.truncate(length)
    }

    fn sync(&self) -> io::Result<()> {
        let _held = self.1.syncing.lock();
        self.0.sync()
    }

    fn prefetch(&self, offset: u64, length: u64) {
        self.0.prefetch(offset, length);
    }
}

fn id(key: &str) -> ObjectId {
    let realm = Realm::new("http://origin", "default");
    ObjectId::new(&realm, BucketName::new("bucket").unwrap(), ObjectKey::new(key).unwrap())
}

fn record() -> ObjectRecord {
    let meta = ObjectMeta {
        etag: ETag::new(HeaderValue::from_static("\"abc\"")),
        version_id: None,
        size: 3,
        last_modified: UNIX_EPOCH,
        headers: Vec::new(),
        checksums: None,
        no_store: false,
    };
    ObjectRecord { meta, learned: UNIX_EPOCH }
}

#[tokio::test]
async fn r11_who_finds_nothing_to_void_waits_for_the_tombstone_of_another() {
    let (told, path) = Told::new();
    let objects = told.start();
    objects.remember(&id("a"), &record());
    objects.finish().await;
    let held = told.syncing.lock();
    let first = objects.forget(&id("a")).expect("something was known");
    assert_eq!(objects.forget(&id("a")), Some(first));
    drop(held);
    assert!(objects.durable(first).await);
    assert_eq!(objects.forget(&id("a")), None);
    drop(objects);
    std::fs::remove_dir_all(path).unwrap();
}

#[tokio::test]
async fn r11_what_could_not_be_read_once_does_not_come_back_after_an_invalidation() {
    let (told, path) = Told::new();
    let objects = told.start();
    let known = BTreeMap::from([("a", None), ("b", Some(record()))]);
    for key in known.keys() {
        objects.remember(&id(key), &record());
    }
    objects.finish().await;
    told.fails_reads.store(true, Ordering::Relaxed);
    assert_eq!(objects.recall(&id("a")).await, None);
    told.fails_reads.store(false, Ordering::Relaxed);
    if let Some(ticket) = objects.forget(&id("a")) {
        assert!(objects.durable(ticket).await);
    }
    drop(objects);
    let objects = told.start();
    for (key, expected) in known {
        assert_eq!(objects.recall(&id(key)).await, expected, "{key}");
    }
    drop(objects);
    std::fs::remove_dir_all(path).unwrap();
}
