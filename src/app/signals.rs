//! The signals of the process.

use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::reload::Reloader;

/// SIGTERM, SIGINT and SIGHUP, which end the process at once as long as nobody listens: made before anybody is told that
/// it serves.
pub(super) struct Signals {
    term: Signal,
    int: Signal,
    hangup: Signal,
}

impl Signals {
    pub(super) fn new() -> Result<Self, std::io::Error> {
        let [term, int, hangup] =
            [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()].map(signal);
        Ok(Self { term: term?, int: int?, hangup: hangup? })
    }

    /// Waits for SIGTERM or SIGINT. SIGHUP reloads the configuration meanwhile.
    pub(super) async fn end(&mut self, reloader: &Arc<Reloader>) {
        loop {
            tokio::select! {
                _ = self.term.recv() => return,
                _ = self.int.recv() => return,
                // What is wrong is in the log.
                Some(()) = self.hangup.recv() => drop(tokio::spawn(reloader.clone().reload("SIGHUP"))),
            }
        }
    }
}
