//! How subcommands ask a server, and how they end.

use std::process::ExitCode;

use super::admin::{Admin, AskError, Server};
use super::config_file::{WRONG, wrong, wrong_arguments};

/// What was asked for was done, to nothing.
pub(super) const NOTHING: u8 = 3;

/// How a subcommand ended that asks a server; of several, the last in this order counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Ending {
    Done,
    /// Nothing matched.
    Nothing,
    /// Not all of it was done.
    Partly,
}

/// Asks a server for what the arguments say, if they are right: `work` says how it ended.
pub(super) fn ask<T>(
    asked: Result<T, String>,
    server: &Server,
    work: impl AsyncFnOnce(&Admin, T) -> Result<Ending, AskError>,
) -> ExitCode {
    let asked = match asked {
        Ok(asked) => asked,
        Err(problem) => return wrong_arguments(&problem),
    };
    let admin = match server.find() {
        Ok(admin) => admin,
        Err(error) => return wrong(&error),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let done = match runtime {
        Ok(runtime) => runtime.block_on(work(&admin, asked)),
        Err(error) => {
            eprintln!("hotset: {error}");
            return ExitCode::FAILURE;
        }
    };
    match done {
        Ok(Ending::Done) => ExitCode::SUCCESS,
        Ok(Ending::Nothing) => ExitCode::from(NOTHING),
        Ok(Ending::Partly) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("hotset: {error}");
            match error {
                AskError::Wrong(_) => ExitCode::from(WRONG),
                AskError::NotReachable(..) | AskError::Refused { .. } | AskError::Terminal(_) => {
                    ExitCode::FAILURE
                }
            }
        }
    }
}
