//! The signals of the process.

use tokio::signal::unix::{Signal, SignalKind, signal};

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

    /// Waits for SIGTERM or SIGINT.
    pub(super) async fn end(&mut self) {
        loop {
            tokio::select! {
                _ = self.term.recv() => return,
                _ = self.int.recv() => return,
                Some(()) = self.hangup.recv() => log::warn!(
                    "SIGHUP changes nothing: identities and certificates are read when their files change, and \
                     everything else at a start"
                ),
            }
        }
    }
}
