//! Segments that cannot be read when a path is opened: their files stay, and the log names them (R35, R38).

use std::io;

/// Maximum number of segments that are named in the log.
const NAMED: usize = 8;

/// The unreadable segments of one folder.
#[derive(Debug, Default)]
pub(in crate::cache::disk) struct Unreadable {
    count: usize,
    named: Vec<String>,
}

impl Unreadable {
    pub(in crate::cache::disk) fn add(&mut self, file: &str, why: &io::Error) {
        self.count += 1;
        if self.named.len() < NAMED {
            self.named.push(format!("{file} ({why})"));
        }
    }

    pub(in crate::cache::disk) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Logs one line about the unreadable segments of `folder`, if there are any.
    pub(in crate::cache::disk) fn warn(&self, folder: &str) {
        if self.is_empty() {
            return;
        }
        let named = self.named.join(", ");
        let more = match self.count - self.named.len() {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        log::error!(
            "{folder}: {} segments cannot be read: {named}{more}; they are left as they are and count as used \
             space: make them readable for this user, or check the device, and restart; or remove them",
            self.count
        );
    }
}
