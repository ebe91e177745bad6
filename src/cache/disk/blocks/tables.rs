//! Tables that all paths share.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::cache::disk::log::index::Index;
use crate::cache::disk::tier::classes::Classes;
use crate::cache::disk::tier::policy::Admission;
use crate::cache::invalidate::purge_epochs::PurgeEpochs;

/// State that all paths share.
pub(in crate::cache::disk) struct Tables {
    pub index: Arc<Index>,
    pub admission: Arc<Mutex<Admission>>,
    pub classes: Classes,
    /// Epochs of the purges so far.
    pub purge_epochs: Arc<PurgeEpochs>,
}
