//! `hotset check`: says whether the configuration, with the environment over it, is right.
//! The files that it names are read; nobody is asked: what only a running server can find is not found.

use std::io::Write as _;
use std::process::ExitCode;

use super::ConfigFile;

pub(super) fn run(file: &ConfigFile) -> ExitCode {
    match file.load_with_files() {
        Ok(_) => {
            // The exit code is the answer; a closed stdout does not change it.
            let _ = writeln!(std::io::stdout(), "the configuration is right");
            ExitCode::SUCCESS
        }
        Err(error) => super::wrong(&error),
    }
}
