//! The command line: one file a subcommand.
//!
//! Exit codes: 0 done, 1 failed, 2 wrong arguments or a wrong configuration, 3 done, but nothing matched. Here are the arguments
//! and what subcommands share; what a subcommand does is in its own file.

mod admin;
mod check;
mod disk;
mod health;
mod online;
mod purge;
mod serve;
mod warm;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use admin::{Admin, AskError, Server};

use crate::auth::Identities;
use crate::cache::foreign;
use crate::config::{Config, ConfigError, Sources};
use crate::events::Webhook;
use crate::tls::{Tls, authorities};

/// Arguments or configuration are wrong.
const WRONG: u8 = 2;
/// What was asked for was done, to nothing.
const NOTHING: u8 = 3;

/// How a subcommand ended that asks a server; of several, the last in this order counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Ending {
    Done,
    /// Nothing matched.
    Nothing,
    /// Not all of it was done.
    Partly,
}

#[derive(Debug, Parser)]
#[command(name = "hotset", version, about = "A caching S3 endpoint")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve until SIGTERM
    Serve(serve::ServeArguments),
    /// Say whether the configuration is right
    Check(check::CheckArguments),
    /// Ask the server of this configuration whether it is ready
    Health(ConfigFile),
    /// Have a server that runs forget objects: they are fetched again when they are read
    Purge(purge::PurgeArguments),
    /// Read objects into the cache of a server that runs, behind its readers
    Warm(Box<warm::WarmArguments>),
    /// Look at the disk tier of a server that is not running
    #[command(subcommand)]
    Disk(disk::DiskCommand),
}

/// Where the configuration is.
#[derive(Debug, Args)]
struct ConfigFile {
    /// The configuration's file; without it the defaults hold
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl ConfigFile {
    /// The configuration, with the environment over it, checked.
    fn load(&self) -> Result<Config, ConfigError> {
        self.load_with_sources().map(|(config, _)| config)
    }

    fn load_with_sources(&self) -> Result<(Config, Sources), ConfigError> {
        // Lossy: a variable of ours that is no text is then refused, and others do not matter.
        let environment = std::env::vars_os().map(|(name, value)| {
            (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned())
        });
        let (config, sources) = Config::load_with_sources(self.config.as_deref(), environment)?;
        config.check().map_err(|error| sources.locate(error))?;
        Ok((config, sources))
    }

    /// As [`ConfigFile::load`], and reads the certificates and identities that it names.
    fn load_with_files(&self) -> Result<Config, ConfigError> {
        let (config, sources) = self.load_with_sources()?;
        let in_file = |wrong: ConfigError| sources.locate(wrong);
        if let Some(file) = &config.origin.ca_file
            && let Err(problem) = authorities(file)
        {
            return Err(in_file(ConfigError::at("origin.ca_file", problem)));
        }
        for (index, disk) in config.cache.disk.iter().enumerate() {
            if let Some(name) = foreign(&disk.path) {
                let path = disk.path.display();
                let problem = format!(
                    "{path} holds `{name}`, which is not hotset's: name a folder of its own"
                );
                return Err(in_file(ConfigError::at(format!("cache.disk[{index}].path"), problem)));
            }
        }
        if let Some(path) = &config.auth.identities
            && let Err(error) = Identities::load(path)
        {
            return Err(in_file(ConfigError::at("auth.identities", error)));
        }
        for (index, listen) in config.listen.iter().enumerate() {
            if let Some(tls) = &listen.tls
                && let Err(error) = Tls::check(tls)
            {
                let key = format!("listen[{index}].tls.{}", error.key);
                return Err(in_file(ConfigError::at(key, error.problem)));
            }
        }
        if let Some(webhook) = &config.events.webhook
            && let Err(error) = Webhook::check(webhook)
        {
            let key = format!("events.webhook.{}", error.key);
            return Err(in_file(ConfigError::at(key, error.problem)));
        }
        Ok(config)
    }
}

/// Runs the subcommand that the process's arguments name.
#[must_use]
pub fn main() -> ExitCode {
    match Arguments::try_parse() {
        Ok(arguments) => run(&arguments.command),
        Err(error) => {
            // Help and version come as errors too. A closed stdout is no reason to panic.
            let _ = error.print();
            u8::try_from(error.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from)
        }
    }
}

fn run(command: &Command) -> ExitCode {
    match command {
        Command::Serve(arguments) => serve::run(arguments),
        Command::Check(arguments) => check::run(arguments),
        Command::Health(file) => health::run(file),
        Command::Purge(arguments) => purge::run(arguments),
        Command::Warm(arguments) => warm::run(arguments),
        Command::Disk(command) => disk::run(command),
    }
}

/// Prints a wrong configuration as one line.
fn wrong(error: &ConfigError) -> ExitCode {
    eprintln!("hotset: {error}");
    ExitCode::from(WRONG)
}

/// Prints what is wrong with the arguments.
fn wrong_arguments(problem: &str) -> ExitCode {
    eprintln!("hotset: {problem}");
    ExitCode::from(WRONG)
}

/// Asks a server for what the arguments say, if they are right: `work` says how it ended.
fn ask<T>(
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
                AskError::NotReachable(..) | AskError::Refused { .. } => ExitCode::FAILURE,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn each_subcommand_takes_a_file() {
        for name in ["serve", "check", "health"] {
            let arguments = Arguments::try_parse_from(["hotset", name, "--config", "f.yaml"]);
            let command = arguments.unwrap().command;
            let file = match command {
                Command::Serve(arguments) => arguments.file,
                Command::Check(arguments) => arguments.file,
                Command::Health(file) => file,
                Command::Purge(_) | Command::Warm(_) | Command::Disk(_) => {
                    unreachable!("they are others")
                }
            };
            assert_eq!(file.config.unwrap().to_str(), Some("f.yaml"));
            assert!(Arguments::try_parse_from(["hotset", name]).is_ok());
        }
        assert!(Arguments::try_parse_from(["hotset", "disk", "verify", "--config", "f"]).is_ok());
    }

    #[test]
    fn wrong_arguments_exit_with_2_and_help_with_0() {
        let code =
            |arguments: &[&str]| Arguments::try_parse_from(arguments).unwrap_err().exit_code();
        assert_eq!(code(&["hotset", "sevre"]), 2);
        assert_eq!(code(&["hotset"]), 2);
        assert_eq!(code(&["hotset", "--help"]), 0);
        assert_eq!(code(&["hotset", "--version"]), 0);
    }

    #[test]
    fn a_value_that_does_not_fit_is_named_with_its_file() {
        let dir = std::env::temp_dir().join(format!("hotset-cli-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let path = dir.join("wrong.yaml");
        std::fs::write(&path, "cache: { block: 3MiB }").unwrap();
        let error = ConfigFile { config: Some(path.clone()) }.load().unwrap_err().to_string();
        std::fs::remove_dir_all(&dir).unwrap();
        assert_eq!(
            error,
            format!(
                "{}:1:17: cache.block: 3MiB is not a power of two between 64KiB and 16MiB",
                path.display()
            )
        );
    }
}
