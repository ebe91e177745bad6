//! Simulated file layer for tests that cuts the power, fails and hangs on command.
//!
//! Each file has a live image, which is what reads see, and a durable one. Changes since the last sync are pending;
//! [`SimFolder::power_cut`] applies any legal subset of them to the durable image: in any order, torn anywhere, with
//! zeros or stale bytes where a file grew and its data did not arrive. It returns a new device: handles to the old one
//! no longer change anything.

use std::collections::BTreeMap;
use std::io::{self, IoSlice, IoSliceMut};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rustix::io::Errno;

use super::files::{File, Folder};

const SECTOR: usize = 512;

/// Operation that can be made to fail or hang.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::cache::disk) enum Op {
    List,
    Create,
    Open,
    Remove,
    SyncFolder,
    Read,
    Write,
    Truncate,
    Sync,
}

impl Op {
    pub(in crate::cache::disk) const ALL: [Self; 9] = [
        Self::List,
        Self::Create,
        Self::Open,
        Self::Remove,
        Self::SyncFolder,
        Self::Read,
        Self::Write,
        Self::Truncate,
        Self::Sync,
    ];
}

/// Content of the page cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cache::disk) enum Cached {
    All,
    Nothing,
}

#[derive(Debug, Clone, Default)]
struct Inode {
    live: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Change>,
}

#[derive(Debug, Clone)]
enum Change {
    Write { offset: usize, data: Vec<u8> },
    Truncate(usize),
}

impl Change {
    fn apply(&self, image: &mut Vec<u8>) {
        match self {
            Self::Write { offset, data } => {
                let end = offset + data.len();
                if image.len() < end {
                    image.resize(end, 0);
                }
                image[*offset..end].copy_from_slice(data);
            }
            Self::Truncate(length) => image.resize(*length, 0),
        }
    }

    /// Returns the parts of the change that arrive when the power fails meanwhile.
    fn torn(&self, random: &mut StdRng) -> Vec<Self> {
        let Self::Write { offset, data } = self else { return vec![self.clone()] };
        let part = |from: usize, to: usize| Self::Write {
            offset: offset + from,
            data: data[from..to].to_vec(),
        };
        let cut = random.gen_range(0..=data.len());
        match random.gen_range(0..4) {
            0 => vec![part(0, cut)],
            1 => vec![part(cut, data.len())],
            2 => {
                // Some whole sectors of the device.
                let skew = (SECTOR - offset % SECTOR) % SECTOR;
                let mut bounds: Vec<_> =
                    (skew.min(data.len())..data.len()).step_by(SECTOR).collect();
                bounds.insert(0, 0);
                bounds.push(data.len());
                let parts = bounds.windows(2).filter(|_| random.gen_bool(0.5));
                parts.map(|w| part(w[0], w[1])).collect()
            }
            _ => vec![self.clone()],
        }
    }
}

#[derive(Debug, Clone, Default)]
struct Image {
    inodes: Vec<Inode>,
    live: BTreeMap<String, usize>,
    durable: BTreeMap<String, usize>,
    /// Pending changes of names, in order.
    pending: Vec<(String, Option<usize>)>,
}

#[derive(Debug)]
struct State {
    image: Image,
    cached: Cached,
    /// Operations that fail: the error, and the number of failures left.
    faults: BTreeMap<Op, (Errno, usize)>,
    hung: Option<Op>,
    hanging: usize,
    /// Number of calls of each operation.
    asked: BTreeMap<Op, usize>,
}

#[derive(Debug)]
struct Device {
    state: Mutex<State>,
    released: Condvar,
}

/// A folder on a simulated device; clones are the same one.
#[derive(Debug, Clone)]
pub(in crate::cache::disk) struct SimFolder(Arc<Device>);

#[derive(Debug)]
struct SimFile {
    folder: SimFolder,
    inode: usize,
}

impl SimFolder {
    pub(in crate::cache::disk) fn new() -> Self {
        Self::with(Image::default())
    }

    fn with(image: Image) -> Self {
        let state = State {
            image,
            cached: Cached::All,
            faults: BTreeMap::new(),
            hung: None,
            hanging: 0,
            asked: BTreeMap::new(),
        };
        Self(Arc::new(Device { state: Mutex::new(state), released: Condvar::new() }))
    }

    /// Returns the folder after a power cut now: one of the legal outcomes, chosen by `seed`.
    pub(in crate::cache::disk) fn power_cut(&self, seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let Image { inodes, mut durable, pending, .. } = self.0.state.lock().image.clone();
        // Probability that a pending change arrives.
        let arrives = *[0.0, 0.2, 0.5, 0.8, 1.0].choose(&mut random).expect("not empty");
        let mut names: BTreeMap<String, Vec<Option<usize>>> = BTreeMap::new();
        for (name, to) in pending {
            names.entry(name).or_default().push(to);
        }
        for (name, changes) in names {
            let done = changes.iter().take_while(|_| random.gen_bool(arrives)).count();
            match done.checked_sub(1).map(|last| changes[last]) {
                None => {}
                Some(Some(inode)) => drop(durable.insert(name, inode)),
                Some(None) => drop(durable.remove(&name)),
            }
        }
        let stale = inodes.clone();
        let settle = |inode: Inode| {
            let mut image = inode.durable;
            let grown = inode.live.len();
            if image.len() < grown && random.gen_bool(0.3) {
                extend(&mut image, grown, &stale, &mut random);
            }
            let mut changes = inode.pending;
            changes.retain(|_| random.gen_bool(arrives));
            changes.shuffle(&mut random);
            for change in changes.iter().flat_map(|change| change.torn(&mut random)) {
                change.apply(&mut image);
            }
            Inode { live: image.clone(), durable: image, pending: Vec::new() }
        };
        let inodes = inodes.into_iter().map(settle).collect();
        Self::with(Image { inodes, live: durable.clone(), durable, pending: Vec::new() })
    }

    /// Returns the folder after the process was killed and started again: all its changes are there, durable or not.
    pub(in crate::cache::disk) fn kill(&self) -> Self {
        Self::with(self.0.state.lock().image.clone())
    }

    /// Makes the next `times` calls of `op` fail.
    pub(in crate::cache::disk) fn fail(&self, op: Op, errno: Errno, times: usize) {
        self.0.state.lock().faults.insert(op, (errno, times));
    }

    pub(in crate::cache::disk) fn heal(&self) {
        self.0.state.lock().faults.clear();
    }

    /// Makes every `op` hang from now on, until [`Self::release`].
    pub(in crate::cache::disk) fn hang(&self, op: Op) {
        self.0.state.lock().hung = Some(op);
    }

    pub(in crate::cache::disk) fn release(&self) {
        self.0.state.lock().hung = None;
        self.0.released.notify_all();
    }

    /// Returns the number of operations that hang now.
    pub(in crate::cache::disk) fn hanging(&self) -> usize {
        self.0.state.lock().hanging
    }

    pub(in crate::cache::disk) fn set_cached(&self, cached: Cached) {
        self.0.state.lock().cached = cached;
    }

    pub(in crate::cache::disk) fn asked(&self, op: Op) -> usize {
        self.0.state.lock().asked.get(&op).copied().unwrap_or(0)
    }

    pub(in crate::cache::disk) fn names(&self) -> Vec<String> {
        self.0.state.lock().image.live.keys().cloned().collect()
    }

    pub(in crate::cache::disk) fn content(&self, name: &str) -> Vec<u8> {
        let state = self.0.state.lock();
        state.image.inodes[state.image.live[name]].live.clone()
    }

    /// Adds or replaces a file, durably.
    pub(in crate::cache::disk) fn put(&self, name: &str, content: &[u8]) {
        let Image { inodes, live, durable, .. } = &mut self.0.state.lock().image;
        let (image, durable_image) = (content.to_vec(), content.to_vec());
        inodes.push(Inode { live: image, durable: durable_image, pending: Vec::new() });
        live.insert(name.to_owned(), inodes.len() - 1);
        durable.insert(name.to_owned(), inodes.len() - 1);
    }

    /// Removes a file, durably.
    pub(in crate::cache::disk) fn take(&self, name: &str) {
        let Image { live, durable, .. } = &mut self.0.state.lock().image;
        live.remove(name);
        durable.remove(name);
    }

    /// Returns the total bytes of all files.
    pub(in crate::cache::disk) fn size(&self) -> u64 {
        let state = self.0.state.lock();
        let length = |inode: &usize| state.image.inodes[*inode].live.len() as u64;
        state.image.live.values().map(length).sum()
    }

    /// Performs `op`: waits while it hangs, and fails if it is to fail.
    fn perform<T>(&self, op: Op, act: impl FnOnce(&mut Image) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.0.state.lock();
        *state.asked.entry(op).or_default() += 1;
        while state.hung == Some(op) {
            state.hanging += 1;
            self.0.released.wait(&mut state);
            state.hanging -= 1;
        }
        if let Some((errno, times)) = state.faults.get_mut(&op)
            && let Some(left) = times.checked_sub(1)
        {
            *times = left;
            return Err((*errno).into());
        }
        act(&mut state.image)
    }

    fn file(&self, inode: usize) -> Arc<dyn File> {
        Arc::new(SimFile { folder: self.clone(), inode })
    }
}

/// Grows a file without its data: with zeros, noise, or the bytes of another file at the same place.
fn extend(image: &mut Vec<u8>, upto: usize, stale: &[Inode], random: &mut StdRng) {
    let from = image.len();
    image.resize(random.gen_range(from..=upto), 0);
    let grown = &mut image[from..];
    match random.gen_range(0..3) {
        0 => {}
        1 => random.fill(grown),
        _ => {
            let other = stale.choose(random).map_or(&[][..], |other| &other.live);
            for (to, byte) in grown.iter_mut().zip(other.get(from..).unwrap_or_default()) {
                *to = *byte;
            }
        }
    }
}

impl Folder for SimFolder {
    fn list(&self) -> io::Result<Vec<String>> {
        self.perform(Op::List, |image| Ok(image.live.keys().cloned().collect()))
    }

    fn create(&self, name: &str, _reserve: u64) -> io::Result<Arc<dyn File>> {
        let inode = self.perform(Op::Create, |image| {
            if image.live.contains_key(name) {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            image.inodes.push(Inode::default());
            let inode = image.inodes.len() - 1;
            image.live.insert(name.to_owned(), inode);
            image.pending.push((name.to_owned(), Some(inode)));
            Ok(inode)
        })?;
        Ok(self.file(inode))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let found = |image: &mut Image| image.live.get(name).copied();
        let inode =
            self.perform(Op::Open, |image| found(image).ok_or(io::ErrorKind::NotFound.into()))?;
        Ok(self.file(inode))
    }

    fn length(&self, name: &str) -> io::Result<u64> {
        Ok(self.content(name).len() as u64)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.perform(Op::Remove, |image| {
            image.live.remove(name).ok_or(io::ErrorKind::NotFound)?;
            image.pending.push((name.to_owned(), None));
            Ok(())
        })
    }

    fn sync(&self) -> io::Result<()> {
        self.perform(Op::SyncFolder, |image| {
            image.pending.clear();
            image.durable = image.live.clone();
            Ok(())
        })
    }
}

impl SimFile {
    fn perform<T>(&self, op: Op, act: impl FnOnce(&mut Inode) -> io::Result<T>) -> io::Result<T> {
        self.folder.perform(op, |image| act(&mut image.inodes[self.inode]))
    }

    fn change(&self, op: Op, change: Change) -> io::Result<()> {
        self.perform(op, |inode| {
            change.apply(&mut inode.live);
            inode.pending.push(change);
            Ok(())
        })
    }
}

fn fill(parts: &mut [IoSliceMut<'_>], image: &[u8], offset: u64) -> io::Result<()> {
    let mut rest = image.get(usize::try_from(offset).expect("small")..).unwrap_or_default();
    for part in parts {
        let (ours, others) =
            rest.split_at_checked(part.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        part.copy_from_slice(ours);
        rest = others;
    }
    Ok(())
}

impl File for SimFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.folder.0.state.lock().image.inodes[self.inode].live.len() as u64)
    }

    fn read(&self, parts: &mut [IoSliceMut<'_>], offset: u64) -> io::Result<()> {
        self.perform(Op::Read, |inode| fill(parts, &inode.live, offset))
    }

    fn fetch_cached(&self, offset: u64, length: usize) -> io::Result<Option<Bytes>> {
        let state = self.folder.0.state.lock();
        if state.cached == Cached::Nothing {
            return Ok(None);
        }
        let mut bytes = vec![0; length];
        let parts = &mut [IoSliceMut::new(&mut bytes)];
        let filled = fill(parts, &state.image.inodes[self.inode].live, offset);
        Ok(filled.is_ok().then(|| bytes.into()))
    }

    fn write(&self, parts: &mut [IoSlice<'_>], offset: u64) -> io::Result<()> {
        let data = parts.iter().map(|part| &**part).collect::<Vec<_>>().concat();
        let offset = usize::try_from(offset).expect("small");
        self.change(Op::Write, Change::Write { offset, data })
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.change(Op::Truncate, Change::Truncate(usize::try_from(length).expect("small")))
    }

    fn sync(&self) -> io::Result<()> {
        self.perform(Op::Sync, |inode| {
            for change in inode.pending.drain(..) {
                change.apply(&mut inode.durable);
            }
            Ok(())
        })
    }
}
