//! `hotset serve`: runs the server until SIGTERM or SIGINT.

use std::process::ExitCode;

use clap::Args;

use super::config_file::{ConfigFile, WRONG, wrong};
use crate::app::{self, StartedFrom};
use crate::logging::operator;

#[derive(Debug, Args)]
pub(super) struct ServeArguments {
    #[command(flatten)]
    pub(super) file: ConfigFile,
    /// Also run an embedded S3 server that stores its objects in this directory, with sample objects
    #[cfg(feature = "embedded")]
    #[arg(long, value_name = "FOLDER")]
    embedded: Option<std::path::PathBuf>,
}

pub(super) fn run(arguments: &ServeArguments) -> ExitCode {
    let from = match StartedFrom::load(arguments.file.source()) {
        Ok(from) => from,
        Err(error) => return wrong(&error),
    };
    let config = from.config();
    operator::start(config.log.format, &config.log.level);
    if let Some(path) = &arguments.file.config {
        app::warn_of_config(&config, path);
    }
    for warning in app::warnings(&config) {
        log::warn!("{warning}");
    }
    match serve(arguments, from) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("hotset: {error}");
            match error {
                // As any other wrong configuration, although it took reading files to find it.
                app::RunError::Tls { .. }
                | app::RunError::OriginAuthorities(_)
                | app::RunError::Identities(_)
                | app::RunError::Memory(_) => ExitCode::from(WRONG),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

#[cfg(feature = "embedded")]
fn serve(arguments: &ServeArguments, from: StartedFrom) -> Result<(), app::RunError> {
    match &arguments.embedded {
        Some(folder) => app::run_embedded(from, folder),
        None => app::run(from),
    }
}

#[cfg(not(feature = "embedded"))]
fn serve(_: &ServeArguments, from: StartedFrom) -> Result<(), app::RunError> {
    app::run(from)
}
