//! `hotset log-level`: shows or sets the level of log messages of a server that runs.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Args;
use http::Method;
use serde_json::json;

use super::admin::Server;
use super::asking::{Ending, ask};
use crate::logging::operator::LEVELS;

#[derive(Debug, Args)]
#[command(after_help = "The level holds until the next start or reload of the configuration.")]
pub(super) struct LogLevelArguments {
    /// The level to set; without it the current one is shown
    #[arg(value_name = "LEVEL", value_parser = LEVELS)]
    level: Option<String>,
    #[command(flatten)]
    server: Server,
}

pub(super) fn run(arguments: &LogLevelArguments) -> ExitCode {
    ask(Ok(arguments.level.as_ref()), &arguments.server, async |admin, level| {
        let (method, body) = match level {
            Some(level) => (Method::POST, Some(json!({ "level": level }))),
            None => (Method::GET, None),
        };
        let answer = admin.ask(method, "/api/v1/log-level", body.as_ref()).await?;
        let _ = writeln!(std::io::stdout(), "{}", answer["level"].as_str().unwrap_or_default());
        Ok(Ending::Done)
    })
}
