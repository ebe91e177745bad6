//! Purge epochs of globs: a short list that every read scans, since no order helps to find matches.

use crate::cache::rules::key_glob::KeyGlob;
use crate::s3::{BucketName, ObjectKey};

/// Maximum number of globs. Beyond it, the older half is replaced by prefixes, which cover all that the globs match,
/// and more.
pub(super) const GLOBS: usize = 16;

/// Globs with their epochs, each glob once.
#[derive(Debug, Clone, Default)]
pub(super) struct GlobEpochs(Vec<(KeyGlob, u32)>);

impl GlobEpochs {
    /// Returns the highest epoch of a glob that matches the key, or 0.
    pub(super) fn of(&self, bucket: &BucketName, key: &ObjectKey) -> u32 {
        self.0.iter().fold(0, |epoch, (glob, number)| match *number > epoch {
            true if glob.covers(bucket, key) => *number,
            _ => epoch,
        })
    }

    /// Returns a copy in which the epoch of `glob` is at least `number`.
    pub(super) fn raised(&self, glob: &KeyGlob, number: u32) -> Self {
        let mut globs = self.0.clone();
        match globs.iter_mut().find(|(other, _)| other == glob) {
            Some((_, epoch)) => *epoch = number.max(*epoch),
            None => globs.push((glob.clone(), number)),
        }
        Self(globs)
    }

    /// Returns a copy without the globs that epoch `number` of `prefix`, see [`super::in_bucket`], covers.
    pub(super) fn without(&self, prefix: &[u8], number: u32) -> Self {
        let is_covered = |glob: &KeyGlob| name_prefix(glob).starts_with(prefix);
        let stay = self.0.iter().filter(|(glob, epoch)| *epoch > number || !is_covered(glob));
        Self(stay.cloned().collect())
    }

    /// Returns the prefixes, with epochs, that replace the older half of the globs, if there are too many.
    pub(super) fn overflow(&self) -> Vec<(Vec<u8>, u32)> {
        if self.0.len() <= GLOBS {
            return Vec::new();
        }
        let mut globs: Vec<_> = self.0.iter().collect();
        globs.sort_unstable_by_key(|(_, number)| *number);
        let older = globs[..globs.len() / 2].iter();
        older.map(|(glob, number)| (name_prefix(glob), *number)).collect()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &(KeyGlob, u32)> {
        self.0.iter()
    }
}

fn name_prefix(glob: &KeyGlob) -> Vec<u8> {
    super::in_bucket(glob.bucket(), glob.prefix())
}
