//! The server that a scenario measures, the settings of a run, and the format of its figures.

use std::path::Path;
use std::time::Duration;

use crate::Result;
use crate::hotset::{self, Memory};
use crate::nginx::{self, Files};
use crate::origin::Origin;
use crate::process::{Folder, Server};

/// The server in front of the origin.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    Hotset,
    /// nginx in hotset's place, for comparison and to test the runner itself.
    Nginx,
}

/// The settings and totals that the scenarios of one run share.
pub struct Bench {
    subject: Subject,
    folder: Folder,
    soak: Duration,
}

impl Bench {
    /// # Errors
    /// When the folder for temporary files can't be written to.
    pub fn new(subject: Subject, soak: Duration) -> Result<Self> {
        Ok(Self { subject, folder: Folder::new()?, soak })
    }

    /// The duration of the load of [`soak`].
    pub fn soak(&self) -> Duration {
        self.soak
    }

    pub fn subject(&self) -> Subject {
        self.subject
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Starts the subject with an empty cache in front of `origin`, on `core` only where one is given.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(&self, origin: &Origin, memory: Memory, core: Option<usize>) -> Result<Server> {
        match self.subject {
            Subject::Hotset => {
                let hotset = hotset::start(origin.address(), memory, None, core, self.folder())?;
                Ok(hotset.server)
            }
            Subject::Nginx => {
                nginx::start(origin.address(), Files::Opened, None, core, self.folder())
            }
        }
    }
}

/// A time in milliseconds, as a figure.
pub fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// An amount of bytes in MiB, as a figure.
#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
pub fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
