//! Signal handling of the process.

use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::reload::Reloader;

/// Handlers of SIGTERM, SIGINT, SIGHUP and SIGUSR1. Without them these signals end the process at once, so they are
/// installed before readiness is reported.
pub(super) struct Signals {
    term: Signal,
    int: Signal,
    hangup: Signal,
    user: Signal,
}

impl Signals {
    pub(super) fn new() -> Result<Self, std::io::Error> {
        let kinds = [
            SignalKind::terminate(),
            SignalKind::interrupt(),
            SignalKind::hangup(),
            SignalKind::user_defined1(),
        ];
        let [term, int, hangup, user] = kinds.map(signal);
        Ok(Self { term: term?, int: int?, hangup: hangup?, user: user? })
    }

    /// Waits for SIGTERM or SIGINT. Meanwhile SIGHUP reloads the configuration, and SIGUSR1 reopens log files.
    pub(super) async fn end(&mut self, reloader: &Arc<Reloader>, reopen: impl Fn()) {
        loop {
            tokio::select! {
                _ = self.term.recv() => return,
                _ = self.int.recv() => return,
                Some(()) = self.user.recv() => reopen(),
                // Errors are logged by the reload.
                Some(()) = self.hangup.recv() => drop(tokio::spawn(reloader.clone().reload("SIGHUP"))),
            }
        }
    }
}
