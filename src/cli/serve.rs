//! `hotset serve`: runs the server until it is told to end.

use std::process::ExitCode;

use clap::Args;

use super::ConfigFile;
use crate::app;
use crate::config::Config;

#[derive(Debug, Args)]
pub(super) struct ServeArguments {
    #[command(flatten)]
    pub(super) file: ConfigFile,
    /// Serve an S3 of our own that keeps its objects in this folder, with samples to try hotset on
    #[cfg(feature = "embedded")]
    #[arg(long, value_name = "FOLDER")]
    embedded: Option<std::path::PathBuf>,
}

pub(super) fn run(arguments: &ServeArguments) -> ExitCode {
    let config = match arguments.file.load() {
        Ok(config) => config,
        Err(error) => return super::wrong(&error),
    };
    start_logging(&config);
    if let Some(path) = &arguments.file.config {
        app::warn_of_config(&config, path);
    }
    match serve(arguments, config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("hotset: {error}");
            match error {
                // As any other wrong configuration, although it took reading files to find it.
                app::RunError::Tls { .. } | app::RunError::Identities(_) => {
                    ExitCode::from(super::WRONG)
                }
                _ => ExitCode::FAILURE,
            }
        }
    }
}

#[cfg(feature = "embedded")]
fn serve(arguments: &ServeArguments, config: Config) -> Result<(), app::RunError> {
    match &arguments.embedded {
        Some(folder) => app::run_embedded(config, folder),
        None => app::run(config),
    }
}

#[cfg(not(feature = "embedded"))]
fn serve(_: &ServeArguments, config: Config) -> Result<(), app::RunError> {
    app::run(config)
}

/// Our own lines at the level that is configured; libraries speak up from warnings on.
fn start_logging(config: &Config) {
    let filter = format!("warn,hotset={}", config.log.level);
    env_logger::Builder::new().parse_filters(&filter).init();
}
