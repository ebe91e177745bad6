//! Identities and permissions of the mode `verify`, from a file that is reloaded when it changes
//! (R20).
//!
//! The file may be a Kubernetes Secret, which changes by a symlink that is swapped: it is read by its path every
//! few seconds, on a thread of its own, and compared by content. Invariants: a file that is wrong never replaces
//! a set that was right; a request is judged by one set from its beginning to its end; asking for the set takes
//! no lock that is held while a file is read.

mod file;
mod identity;
mod pattern;

use std::collections::{HashMap, HashSet};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use ring::digest::{Digest, SHA256, digest};

pub use identity::{CertificateId, Identity, OriginKeys};

use crate::metrics::identities as metrics;

/// More than this is not a list of identities: some 100,000 fit.
const MAX_FILE: u64 = 32 << 20;

/// Error in an identities file. Its display is one line:
/// `identities.yaml: identities[0].name: must be non-empty and contain no whitespace`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {problem}", path.display())]
pub struct IdentitiesError {
    path: PathBuf,
    problem: String,
}

/// All identities of one reading of the file.
#[derive(Debug, Default)]
pub struct IdentitySet {
    by_access_key: HashMap<String, Arc<Identity>>,
    by_certificate: HashMap<CertificateId, Arc<Identity>>,
    anonymous: Option<Arc<Identity>>,
    in_order: Vec<Arc<Identity>>,
    names: HashSet<String>,
}

impl IdentitySet {
    /// Reads an identities file's text.
    ///
    /// # Errors
    /// One line that names the key, and never a secret.
    pub fn parse(text: &str) -> Result<Self, String> {
        file::parse(text)
    }

    /// The identity whose key this is, expired or not.
    #[must_use]
    pub fn by_access_key(&self, access_key: &str) -> Option<&Arc<Identity>> {
        self.by_access_key.get(access_key)
    }

    /// The identity that a client's certificate makes known, by the first of these that somebody has.
    #[must_use]
    pub fn by_certificate(&self, ids: &[CertificateId]) -> Option<&Arc<Identity>> {
        ids.iter().find_map(|id| self.by_certificate.get(id))
    }

    /// All that bring keys of their own for the origin.
    pub fn with_origin(&self) -> impl Iterator<Item = (&Identity, &OriginKeys)> {
        self.in_order.iter().filter_map(|identity| Some((&**identity, identity.origin()?)))
    }

    /// The identity of requests that are not signed.
    #[must_use]
    pub fn anonymous(&self) -> Option<&Arc<Identity>> {
        self.anonymous.as_ref()
    }

    /// Returns the number of identities.
    #[must_use]
    pub fn len(&self) -> usize {
        self.in_order.len()
    }

    /// Never, of a set that was read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.in_order.is_empty()
    }
}

/// Who else takes what it needs of each set before it holds, or says in one line what of it cannot be done.
type Accept = Box<dyn Fn(&IdentitySet) -> Result<(), String> + Send + Sync>;

/// The identities of a file, as it is now or was when it was last right.
pub struct Identities {
    path: PathBuf,
    accept: Accept,
    current: RwLock<Arc<IdentitySet>>,
    seen: Mutex<Seen>,
}

/// State of the file at the last check.
#[derive(Debug)]
struct Seen {
    content: Option<Digest>,
    problem: Option<IdentitiesError>,
}

impl Identities {
    /// Reads the file. It is not looked at again unless [`Identities::watch`] or [`Identities::refresh`] is called.
    ///
    /// # Errors
    /// The file cannot be read, or is wrong.
    pub fn load(path: impl Into<PathBuf>) -> Result<Self, IdentitiesError> {
        Self::load_for(path, |_| Ok(()))
    }

    /// As [`Identities::load`]; `accept` takes what it needs of each set before that holds. What it cannot take it
    /// leaves out, and says so: that refuses the first set, and no later one, which may revoke something.
    ///
    /// # Errors
    /// The file cannot be read, is wrong, or is not accepted as a whole.
    pub fn load_for(
        path: impl Into<PathBuf>,
        accept: impl Fn(&IdentitySet) -> Result<(), String> + Send + Sync + 'static,
    ) -> Result<Self, IdentitiesError> {
        let path = path.into();
        let accept: Accept = Box::new(accept);
        let text = read(&path)?;
        let set = parse(&path, &text)?;
        accept(&set).map_err(|problem| IdentitiesError { path: path.clone(), problem })?;
        metrics::set_loaded(set.len());
        let seen = Seen { content: Some(digest(&SHA256, text.as_bytes())), problem: None };
        Ok(Self { path, accept, current: RwLock::new(Arc::new(set)), seen: Mutex::new(seen) })
    }

    /// The set that holds now. No file is read, nothing is allocated.
    #[must_use]
    pub fn current(&self) -> Arc<IdentitySet> {
        Arc::clone(&self.current.read())
    }

    /// Looks at the file on a thread of its own, `every` so often, as long as this is there.
    ///
    /// # Errors
    /// The system has no thread for it.
    pub fn watch(self: &Arc<Self>, every: Duration) -> std::io::Result<()> {
        let watched: Weak<Self> = Arc::downgrade(self);
        let look = move || {
            loop {
                std::thread::sleep(every);
                let Some(identities) = watched.upgrade() else { return };
                identities.refresh();
            }
        };
        std::thread::Builder::new().name("identities".to_owned()).spawn(look).map(drop)
    }

    /// Looks at the file now, and takes its identities if it changed and is right. Blocks.
    pub fn refresh(&self) {
        let mut seen = self.seen.lock();
        let read = read(&self.path);
        let content = read.as_ref().ok().map(|text| digest(&SHA256, text.as_bytes()));
        let known = seen.content.as_ref().map(Digest::as_ref);
        if content.is_some() && content.as_ref().map(Digest::as_ref) == known {
            return;
        }
        match read.and_then(|text| parse(&self.path, &text)) {
            Ok(set) => {
                let accepted = (self.accept)(&set);
                log::info!("{}: {} identities are loaded", self.path.display(), set.len());
                metrics::set_loaded(set.len());
                metrics::reloaded(match accepted {
                    Ok(()) => metrics::Reload::Loaded,
                    Err(problem) => {
                        log::error!("{}: {problem}; all else in it holds", self.path.display());
                        metrics::Reload::Incomplete
                    }
                });
                *self.current.write() = Arc::new(set);
                *seen = Seen { content, problem: None };
            }
            Err(problem) if seen.problem.as_ref() != Some(&problem) => {
                log::error!("{problem}; the identities that were loaded before stay");
                metrics::reloaded(metrics::Reload::Refused);
                *seen = Seen { content, problem: Some(problem) };
            }
            Err(_) => seen.content = content,
        }
    }
}

fn parse(path: &Path, text: &str) -> Result<IdentitySet, IdentitiesError> {
    file::parse(text).map_err(|problem| IdentitiesError { path: path.to_owned(), problem })
}

fn read(path: &Path) -> Result<String, IdentitiesError> {
    let wrong = |problem: String| IdentitiesError { path: path.to_owned(), problem };
    let unreadable = |error: std::io::Error| wrong(format!("cannot be read: {error}"));
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let mut text = String::new();
    file.take(MAX_FILE + 1).read_to_string(&mut text).map_err(unreadable)?;
    if text.len() as u64 > MAX_FILE {
        return Err(wrong(format!("is larger than {} MiB", MAX_FILE >> 20)));
    }
    Ok(text)
}

#[cfg(test)]
mod tests;
