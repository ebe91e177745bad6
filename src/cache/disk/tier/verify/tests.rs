use std::fs;
use std::sync::Arc;

use super::*;
use crate::cache::disk::device::files::PageCache;
use crate::cache::disk::format::digest::Digest;
use crate::cache::disk::log::segment_log::{Appender, Log, LogKind};

/// A temporary folder, which is removed with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("hotset-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn paths(&self) -> Vec<DiskConfig> {
        vec![DiskConfig { path: self.0.clone(), ..DiskConfig::default() }]
    }

    fn segment(&self) -> PathBuf {
        self.0.join("blocks/0000000001.seg")
    }

    fn verify(&self) -> Verified {
        let verification = Verification::of(&self.paths()).unwrap();
        let mut read = 0;
        let verified = verification.run(|bytes| read += bytes).unwrap();
        assert!(read <= verification.size().unwrap());
        verified
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const BLOCK: usize = 200_000;

/// Writes three blocks into one segment; returns the offset of each record.
fn write_blocks(scratch: &Scratch, sealed: bool) -> Vec<u64> {
    let _lock = FolderLock::take(&scratch.0).unwrap();
    let folder = Box::new(RealFolder::new(scratch.0.join(BLOCKS), PageCache::Everything).unwrap());
    let log = Arc::new(Log::open(folder, 1 << 20, LogKind::Blocks, |_| ()).unwrap().0);
    let mut appender = Appender::new(&log, Contents::Blocks, None);
    let mut write = |n: u64| {
        let key = [b"version".as_slice(), &n.to_le_bytes()].concat();
        let digest = Digest::of_record(Kind::Block, &key).unwrap();
        let (key_len, data_len) = (u32::try_from(key.len()).unwrap(), BLOCK.try_into().unwrap());
        let record = Record { kind: Kind::Block, digest, key_len, data_len, start: 0, tag: 0 };
        u64::from(appender.append(&record, &key, &vec![7; BLOCK]).unwrap().1)
    };
    let offsets = (0..3).map(&mut write).collect();
    if sealed {
        appender.seal().unwrap();
    }
    offsets
}

fn flip(scratch: &Scratch, offset: u64) {
    let mut bytes = fs::read(scratch.segment()).unwrap();
    bytes[usize::try_from(offset).unwrap()] ^= 4;
    fs::write(scratch.segment(), bytes).unwrap();
}

#[test]
fn what_is_whole_is_counted() {
    for sealed in [true, false] {
        let scratch = Scratch::new("verify-whole");
        write_blocks(&scratch, sealed);
        let block_bytes = 3 * BLOCK as u64;
        let expected = Verified { segments: 1, blocks: 3, block_bytes, ..Verified::default() };
        assert_eq!(scratch.verify(), expected);
    }
}

#[test]
fn a_damaged_record_of_a_sealed_segment_hides_no_other() {
    let scratch = Scratch::new("verify-flip");
    let offsets = write_blocks(&scratch, true);
    // One bit of its data, then one of another's head.
    flip(&scratch, offsets[1] + 100_000);
    flip(&scratch, offsets[0] + 8);
    let verified = scratch.verify();
    assert_eq!(verified.blocks, 1);
    let at: Vec<_> = verified.damage.iter().map(|damage| damage.offset).collect();
    assert_eq!(at, [Some(offsets[0]), Some(offsets[1])]);
    assert_eq!(verified.damage[1].file, scratch.segment());
    assert_eq!(verified.damage[1].reason, "a checksum does not match");
}

#[test]
fn what_a_crash_cut_off_is_no_damage() {
    let scratch = Scratch::new("verify-cut");
    let offsets = write_blocks(&scratch, false);
    let file = fs::OpenOptions::new().write(true).open(scratch.segment()).unwrap();
    file.set_len(offsets[2] + 1000).unwrap();
    let verified = scratch.verify();
    assert_eq!((verified.blocks, verified.cut_off, verified.damage.len()), (2, 1, 0));
}

#[test]
fn a_segment_that_is_none_is_damage() {
    let scratch = Scratch::new("verify-none");
    write_blocks(&scratch, true);
    flip(&scratch, 3);
    let verified = scratch.verify();
    assert_eq!((verified.blocks, verified.damage.len()), (0, 1));
    assert_eq!(verified.damage[0].offset, None);
}

#[test]
fn a_path_in_use_or_not_there_is_refused() {
    let scratch = Scratch::new("verify-used");
    let absent = Verification::of(&scratch.paths()).unwrap_err();
    assert!(matches!(absent, DiskError::NotReadable { .. }), "{absent}");
    let taken = FolderLock::take(&scratch.0).unwrap();
    let used = Verification::of(&scratch.paths()).unwrap_err();
    assert!(matches!(used, DiskError::InUse(_)), "{used}");
    drop(taken);
    assert_eq!(scratch.verify(), Verified::default());
}
