//! `hotset check`: validates the configuration, environment variables and referenced files included.
//!
//! With `--diff` a running server is asked for its configuration, to say what a reload would change there.
//! Without `--online` the only network requests are those of the credentials chain. Errors that only a running server can
//! detect are not reported.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use clap::Args;
use http::Method;
use serde_json::Value;

use super::admin::Server;
use super::asking::{Ending, ask};
use super::config_file::{wrong, wrong_arguments};
use super::online;
use crate::app;
use crate::config::{Change, Config, Effect, KeyValue, differences};
use crate::s3::BucketName;
use crate::yaml;

/// Text printed instead of a secret.
const HIDDEN: &str = "***";

#[derive(Debug, Args)]
pub(super) struct CheckArguments {
    #[command(flatten)]
    pub(super) server: Server,
    /// Also print what a reload of this configuration would change on the running server, one line a key; exit code 3 if
    /// some of it needs a restart
    #[arg(long, conflicts_with = "online")]
    diff: bool,
    /// Also test the origin and the queues: name resolution, connection, TLS, credentials, clock, region. Writes nothing
    #[arg(long)]
    online: bool,
    /// With --online: list one key of this bucket instead of listing buckets
    #[arg(long, value_name = "BUCKET", requires = "online")]
    bucket: Option<String>,
}

pub(super) fn run(arguments: &CheckArguments) -> ExitCode {
    let file = &arguments.server.file;
    let bucket = match arguments.bucket.as_deref().map(BucketName::new).transpose() {
        Ok(bucket) => bucket,
        Err(why) => return wrong_arguments(&format!("--bucket: {why}")),
    };
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
            for line in app::describe_credentials(&config) {
                eprintln!("{line}");
            }
            // The exit code is the answer; a closed stdout does not change it.
            let _ = writeln!(std::io::stdout(), "the configuration is right");
            match (arguments.online, arguments.diff) {
                (true, _) => online::run(&config, bucket.as_ref()),
                (false, true) => diff(&arguments.server, &config),
                (false, false) => ExitCode::SUCCESS,
            }
        }
        Err(error) => wrong(&error),
    }
}

/// Prints the keys whose values differ in a running server.
fn diff(server: &Server, config: &Config) -> ExitCode {
    ask(Ok(config), server, async |admin, config| {
        let running = admin.ask(Method::GET, "/api/v1/config", None).await?;
        let changes = changes(&running, config);
        let mut out = String::new();
        for change in &changes {
            let _ = writeln!(out, "{change}");
        }
        let waiting = changes.iter().filter(|change| change.effect == Effect::Restart).count();
        let live = changes.len() - waiting;
        let _ = writeln!(out, "a reload would change {live} keys, and {waiting} need a restart");
        let _ = std::io::stdout().write_all(out.as_bytes());
        if config.effective().iter().any(|setting| setting.value == HIDDEN) {
            eprintln!("secrets are not compared; on the server, `hotset reload --dry-run` does");
        }
        Ok(if waiting > 0 { Ending::Nothing } else { Ending::Done })
    })
}

/// Returns the changes from a running server's configuration to `config`.
fn changes(running: &Value, config: &Config) -> Vec<Change> {
    let list = |name: &str| running[name].as_array().cloned().unwrap_or_default();
    let old = list("settings").into_iter().filter_map(|setting| {
        Some((setting["key"].as_str()?.to_owned(), setting["value"].clone()))
    });
    let new = config.effective().into_iter().map(|setting| (setting.key, setting.value));
    let (old, new): (Vec<KeyValue>, Vec<KeyValue>) = (old.collect(), new.collect());
    // Keys that the configuration leaves open were derived at the start.
    let derived = list("derived");
    let is_same = |key: &str, old: &Value, new: &Value| {
        old == new || new.is_null() && derived.iter().any(|derived| derived == key)
    };
    differences(&old, &new, is_same)
}

/// Whether a file is empty, or contains only comments.
fn sets_nothing(path: &Path) -> bool {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    yaml::parse(&text).is_ok_and(|tree| tree.is_null())
}
