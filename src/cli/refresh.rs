//! Options of commands that show a running server once or repeatedly.

use std::io::IsTerminal as _;
use std::time::Duration;

use clap::Args;

#[derive(Debug, Args)]
pub(super) struct Refresh {
    /// Print it once and end; so it is when the output is no terminal
    #[arg(long)]
    once: bool,
    /// Print the server's own JSON, one line each time
    #[arg(long)]
    json: bool,
    /// Seconds between two looks
    #[arg(long, value_name = "SECONDS", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=3600))]
    interval: u16,
}

/// Format of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Output {
    Json { once: bool },
    Once,
    Live,
}

impl Refresh {
    pub(super) fn interval(&self) -> Duration {
        Duration::from_secs(self.interval.into())
    }

    pub(super) fn output(&self) -> Output {
        match (self.json, self.once || !std::io::stdout().is_terminal()) {
            (true, _) => Output::Json { once: self.once },
            (false, true) => Output::Once,
            (false, false) => Output::Live,
        }
    }
}
