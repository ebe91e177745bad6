//! `hotset serve`: runs the server until SIGTERM or SIGINT.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::ExitCode;

use clap::Args;

use super::config_file::{ConfigFile, WRONG, wrong};
use crate::app::{self, StartedFrom};
use crate::config::Config;

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
    start_logging(&config);
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

/// Our own lines at the level that is configured, which a reload may change; libraries speak up from warnings on.
fn start_logging(config: &Config) {
    let mut logger = env_logger::Builder::new();
    logger.parse_filters("warn,hotset=trace").format(|out, record| {
        let (level, target) = (record.level(), record.target());
        let now = chrono::DateTime::<chrono::Utc>::from(std::time::SystemTime::now());
        let now = now.format("%Y-%m-%dT%H:%M:%S%.3fZ");
        writeln!(out, "[{now} {level:<5} {target}] {}", one_line(&record.args().to_string()))
    });
    logger.init();
    if let Ok(level) = config.log.level.parse() {
        log::set_max_level(level);
    }
}

/// Text without control characters: keys, headers and what servers answer are in messages, and none of them begins a
/// line of its own or tells a terminal what to do.
pub(super) fn one_line(text: &str) -> Cow<'_, str> {
    if !text.contains(char::is_control) {
        return text.into();
    }
    let mut line = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        match character.is_control() {
            true => drop(write!(line, "\\x{:02X}", u32::from(character))),
            false => line.push(character),
        }
    }
    line.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_line_without_control_characters() {
        assert_eq!(one_line("a key 'ü\\\"'"), "a key 'ü\\\"'");
        assert_eq!(
            one_line("a\n[2026 ERROR\r\u{1b}[2J\u{9b}\u{7f}"),
            r"a\x0A[2026 ERROR\x0D\x1B[2J\x9B\x7F"
        );
    }
}
