//! `hotset reload`: makes a running server reload its configuration.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::ExitCode;

use clap::Args;
use http::Method;
use serde_json::{Value, json};

use super::admin::Server;
use super::asking::{Ending, ask};

#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 the configuration is in force; 3 it is, but for keys that need a restart, which are \
    named; 1 the server cannot be reached or refuses; 2 the configuration is wrong, and nothing is changed.\n\
    The server reads its own file and the environment of its start. No connection and no cached byte is dropped."
)]
pub(super) struct ReloadArguments {
    /// Change nothing; print what a reload would change
    #[arg(long)]
    dry_run: bool,
    /// Print what the server answers as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

pub(super) fn run(arguments: &ReloadArguments) -> ExitCode {
    let request = json!({ "dry_run": arguments.dry_run });
    ask(Ok(request), &arguments.server, async |admin, request| {
        let report = admin.ask(Method::POST, "/api/v1/reload", Some(&request)).await?;
        let text = if arguments.json { format!("{report}\n") } else { describe(&report) };
        // The exit code is the answer; a closed stdout does not change it.
        let _ = std::io::stdout().write_all(text.as_bytes());
        Ok(if report["restart_needed"] == true { Ending::Nothing } else { Ending::Done })
    })
}

/// Formats the response for people.
fn describe(report: &Value) -> String {
    let mut out = String::new();
    let changes = report["changes"].as_array().map(Vec::as_slice).unwrap_or_default();
    for change in changes {
        let _ = writeln!(out, "{}", line(change));
    }
    let done = if report["dry_run"] == true { "would be reloaded" } else { "reloaded" };
    let waiting = changes.iter().filter(|change| change["effect"] == "restart").count();
    let live = changes.len() - waiting;
    let _ = writeln!(out, "{done}: {live} keys changed, and {waiting} need a restart");
    out
}

/// Formats a change, such as `limits.requests: 20000 -> 100 (live)`.
fn line(change: &Value) -> String {
    let shown = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let effect = if change["effect"] == "restart" { "needs a restart" } else { "live" };
    let [key, old, new] = ["key", "old", "new"].map(|name| shown(&change[name]));
    format!("{key}: {old} -> {new} ({effect})")
}
