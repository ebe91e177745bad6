//! Requests of subcommands to a server, and their exit codes.

use std::process::ExitCode;

use super::admin::{Admin, AskError, Server};
use super::config_file::{WRONG, wrong, wrong_arguments};

/// Exit code of a successful request that matched nothing.
pub(super) const NOTHING: u8 = 3;

/// Result of a subcommand that sends requests to a server; of several, the last in this order counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Ending {
    Done,
    /// Nothing matched.
    Nothing,
    /// Only a part was done.
    Partly,
}

/// Sends requests for validated arguments: `work` returns the result.
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
