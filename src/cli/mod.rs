//! The command line: one file a subcommand.
//!
//! Exit codes: 0 done, 1 failed, 2 invalid arguments or configuration, 3 done, but nothing matched. This file has the
//! arguments and shared parts; each subcommand has its own file.

mod admin;
mod asking;
mod check;
mod config_file;
mod disk;
mod explain;
mod format;
mod health;
mod log;
mod log_level;
mod online;
mod purge;
mod refresh;
mod reload;
mod serve;
mod stats;
mod terminal;
mod top;
mod warm;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use config_file::ConfigFile;

#[derive(Debug, Parser)]
#[command(name = "hotset", version, about = "A caching S3 endpoint")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server until SIGTERM
    Serve(serve::ServeArguments),
    /// Validate the configuration
    Check(check::CheckArguments),
    /// Check the readiness of the running server
    Health(ConfigFile),
    /// Invalidate cached objects on a running server; they are fetched again on the next read
    Purge(purge::PurgeArguments),
    /// Read objects into the cache of a running server, at lower priority than its clients
    Warm(Box<warm::WarmArguments>),
    /// Have a running server read its configuration again, without dropping a connection or a cached byte
    Reload(reload::ReloadArguments),
    /// Say why an object, or a request, is or is not answered from the cache of a server that runs
    Explain(explain::ExplainArguments),
    /// Show what a running server does: rates, hit ratio, latency, origin, events, disks, limits
    Stats(stats::StatsArguments),
    /// Show the hottest objects, prefixes, identities and addresses of a running server
    Top(top::TopArguments),
    /// Show requests of a running server as they end, with their requests to the origin
    Log(Box<log::LogArguments>),
    /// Show or set the level of log messages of a running server
    LogLevel(log_level::LogLevelArguments),
    /// Look at the disk tier of a server that is not running
    #[command(subcommand)]
    Disk(disk::DiskCommand),
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
        Command::Reload(arguments) => reload::run(arguments),
        Command::Explain(arguments) => explain::run(arguments),
        Command::Stats(arguments) => stats::run(arguments),
        Command::Top(arguments) => top::run(arguments),
        Command::Log(arguments) => log::run(arguments),
        Command::LogLevel(arguments) => log_level::run(arguments),
        Command::Disk(command) => disk::run(command),
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
                Command::Check(arguments) => arguments.server.file,
                Command::Health(file) => file,
                Command::Purge(_)
                | Command::Warm(_)
                | Command::Reload(_)
                | Command::Explain(_)
                | Command::Stats(_)
                | Command::Top(_)
                | Command::Log(_)
                | Command::LogLevel(_)
                | Command::Disk(_) => {
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
