//! Identities and permissions of the mode `verify`, from a file that is reloaded when it changes
//! (R20).
//!
//! The file may be a Kubernetes Secret, which changes by a swap of a symlink. It is read by its path every few seconds,
//! on a thread of its own, and compared by content. Invariants: an invalid file never replaces a valid set; a request
//! is judged by one set from start to end; access to the set takes no lock that is held during a read of the file.

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

/// Maximum size of the file in bytes: some 100,000 identities fit.
const MAX_FILE: u64 = 32 << 20;

/// Error in an identities file. Its display is one line:
/// `identities.yaml: identities[0].name: must be non-empty and contain no whitespace`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {problem}", path.display())]
pub struct IdentitiesError {
    path: PathBuf,
    problem: String,
}

/// All identities of one version of the file.
#[derive(Debug, Default)]
pub struct IdentitySet {
    by_access_key: HashMap<String, Arc<Identity>>,
    by_certificate: HashMap<CertificateId, Arc<Identity>>,
    anonymous: Option<Arc<Identity>>,
    in_order: Vec<Arc<Identity>>,
    names: HashSet<String>,
}

impl IdentitySet {
    /// Parses the text of an identities file.
    ///
    /// # Errors
    /// One line that names the key, and never a secret.
    pub fn parse(text: &str) -> Result<Self, String> {
        file::parse(text)
    }

    /// Returns the identity with this access key, expired or not.
    #[must_use]
    pub fn by_access_key(&self, access_key: &str) -> Option<&Arc<Identity>> {
        self.by_access_key.get(access_key)
    }

    /// Returns the identity of a client certificate, by the first of these ids that an identity has.
    #[must_use]
    pub fn by_certificate(&self, ids: &[CertificateId]) -> Option<&Arc<Identity>> {
        ids.iter().find_map(|id| self.by_certificate.get(id))
    }

    /// Iterates over the identities with origin credentials of their own.
    pub fn with_origin(&self) -> impl Iterator<Item = (&Identity, &OriginKeys)> {
        self.in_order.iter().filter_map(|identity| Some((&**identity, identity.origin()?)))
    }

    /// Returns the identity of unsigned requests.
    #[must_use]
    pub fn anonymous(&self) -> Option<&Arc<Identity>> {
        self.anonymous.as_ref()
    }

    /// Returns the number of identities.
    #[must_use]
    pub fn len(&self) -> usize {
        self.in_order.len()
    }

    /// Whether the set is empty, which a parsed one never is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.in_order.is_empty()
    }
}

/// Receives each set before it takes effect; returns one line on parts that cannot be applied.
type Accept = Box<dyn Fn(&IdentitySet) -> Result<(), String> + Send + Sync>;

/// The identities in the last valid version of a file.
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
    /// Loads the file. It is reloaded only by [`Identities::watch`] or [`Identities::refresh`].
    ///
    /// # Errors
    /// The file cannot be read, or is invalid.
    pub fn load(path: impl Into<PathBuf>) -> Result<Self, IdentitiesError> {
        Self::load_for(path, |_| Ok(()))
    }

    /// As [`Identities::load`]; `accept` receives each set before it takes effect. It reports the parts that it cannot
    /// apply: such a report refuses the first set, but no later one, which may revoke something.
    ///
    /// # Errors
    /// The file cannot be read, is invalid, or is not accepted as a whole.
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

    /// Returns the set in force, without reading the file or allocating.
    #[must_use]
    pub fn current(&self) -> Arc<IdentitySet> {
        Arc::clone(&self.current.read())
    }

    /// Checks the file at the interval `every` on a thread of its own, for as long as this exists.
    ///
    /// # Errors
    /// The thread cannot be started.
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

    /// Checks the file now, and adopts its identities if it changed and is valid. Blocks.
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
