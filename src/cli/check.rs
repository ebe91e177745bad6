//! `hotset check`: says whether the configuration, with the environment over it, is right.
//! The files that it names are read. Nobody is asked but who gives out credentials, if anybody: what only a running server
//! can find is not found.

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use super::ConfigFile;
use crate::app;

pub(super) fn run(file: &ConfigFile) -> ExitCode {
    match file.load_with_files() {
        Ok(config) => {
            if let Some(path) = &file.config
                && sets_nothing(path)
            {
                eprintln!("warning: {} sets no key: the defaults hold", path.display());
            }
            for warning in app::warnings(&config) {
                eprintln!("warning: {warning}");
            }
            eprintln!("{}", app::describe_credentials(&config));
            // The exit code is the answer; a closed stdout does not change it.
            let _ = writeln!(std::io::stdout(), "the configuration is right");
            ExitCode::SUCCESS
        }
        Err(error) => super::wrong(&error),
    }
}

/// Whether a file is empty, or all comments.
fn sets_nothing(path: &Path) -> bool {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    serde_yaml::from_str::<serde_yaml::Value>(&text).is_ok_and(|value| value.is_null())
}
