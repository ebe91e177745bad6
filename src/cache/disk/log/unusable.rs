//! Block segments that no start can read: their files are removed once the process has started.

use crate::cache::disk::device::files::Folder;

/// File names of unusable segments.
#[derive(Debug, Default)]
pub(in crate::cache::disk) struct Unusable {
    damaged: Vec<String>,
    of_other_format: Vec<String>,
}

impl Unusable {
    pub(in crate::cache::disk) fn add(&mut self, file: String, of_other_format: bool) {
        match of_other_format {
            true => self.of_other_format.push(file),
            false => self.damaged.push(file),
        }
    }

    /// Removes the files. One that cannot be removed only takes space. Returns the number of damaged ones.
    pub(in crate::cache::disk) fn remove_from(&self, folder: &dyn Folder) -> usize {
        for name in self.damaged.iter().chain(&self.of_other_format) {
            let _ = folder.remove(name);
        }
        self.damaged.len()
    }
}
