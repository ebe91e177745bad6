//! `hotset purge`: invalidates cached objects on a running server, durably.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use http::Method;
use indicatif::HumanBytes;
use serde_json::{Value, json};

use super::admin::Server;
use super::asking::{Ending, ask};
use crate::admin::ERASING;
use crate::glob::Glob;
use crate::s3::S3Url;

/// Maximum number of keys in one request.
const TOGETHER: usize = 5000;

#[derive(Debug, Args)]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
#[command(
    after_help = "Exit codes: 0 everything is purged, durably; 1 the server cannot be reached or refuses, or another \
    replica cannot be reached, or not everything is erased yet: the rest is purged, and the command can be repeated; \
    2 invalid arguments or configuration; 3 purged, but memory held no object that matches a glob.\n\
    Purging is harmless: purged objects are fetched again on the next read."
)]
pub(super) struct PurgeArguments {
    #[arg(
        value_name = "URL",
        required_unless_present = "everything",
        help = "s3://bucket/key, s3://bucket/prefix* for every key that begins so, or s3://bucket/glob, such as \
            s3://data/d/*.csv, as rules have them: * and ? do not match /, ** does"
    )]
    targets: Vec<String>,
    /// Treat every URL as a prefix, with or without a trailing `*`
    #[arg(long)]
    prefix: bool,
    /// Purge every object of every bucket
    #[arg(long, conflicts_with_all = ["targets", "prefix"])]
    everything: bool,
    /// Also remove the bytes from memory and from the files on disk before returning, which may take minutes
    #[arg(long)]
    erase: bool,
    /// Change nothing; print what memory holds of them, and with --erase how much of the disk would be read
    #[arg(long)]
    dry_run: bool,
    /// Print the server's answers as JSON, one line per request
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

pub(super) fn run(arguments: &PurgeArguments) -> ExitCode {
    let longer = if arguments.erase { ERASING } else { Duration::ZERO };
    ask(arguments.requests(), &arguments.server, async |admin, requests| {
        let mut ending = Ending::Done;
        for request in &requests {
            let asked = admin.ask_patiently(Method::POST, "/api/v1/purge", Some(request), longer);
            let done = asked.await?;
            // The exit code is the answer; a closed stdout does not change it.
            let line = if arguments.json { done.to_string() } else { summary(&done) };
            let _ = writeln!(std::io::stdout(), "{line}");
            ending = ending.max(ending_of(request, &done));
            if request["glob"].is_string() && done["known"]["objects"] == 0 {
                let glob = request["glob"].as_str().unwrap_or_default();
                eprintln!(
                    "hotset: warning: {glob}: memory knows of no object that matches; what disks and other replicas \
                     have of it is purged all the same"
                );
            }
        }
        Ok(ending)
    })
}

impl PurgeArguments {
    /// Returns the bodies of all requests, parsed before the first is sent.
    fn requests(&self) -> Result<Vec<Value>, String> {
        let (dry_run, erase) = (self.dry_run, self.erase);
        let request =
            |name: &str, what: Value| json!({ name: what, "dry_run": dry_run, "erase": erase });
        if self.everything {
            return Ok(vec![request("everything", json!(true))]);
        }
        let (mut keys, mut requests) = (Vec::new(), Vec::new());
        for target in &self.targets {
            let prefix = whole_folder(target).or_else(|| target.strip_suffix('*'));
            let prefix = prefix.filter(|prefix| !Glob::has_wildcard(prefix));
            if !self.prefix && prefix.is_none() && Glob::has_wildcard(target) {
                S3Url::parse(target).map_err(|wrong| wrong.to_string())?;
                requests.push(request("glob", json!(target)));
                continue;
            }
            if prefix.is_some() || self.prefix {
                // With its star: a bucket's name has none.
                S3Url::parse(target).map_err(|wrong| wrong.to_string())?;
                let prefix = prefix.unwrap_or(target);
                requests.push(request("prefix", json!(prefix)));
                continue;
            }
            S3Url::parse_object(target)
                .map_err(|wrong| format!("{wrong}; all of a bucket is s3://bucket/*"))?;
            keys.push(target);
        }
        let keys = keys.chunks(TOGETHER);
        requests.extend(keys.map(|keys| request("keys", json!(keys))));
        Ok(requests)
    }
}

fn ending_of(request: &Value, done: &Value) -> Ending {
    match unreachable(done).is_empty() {
        false => Ending::Partly,
        true if request["glob"].is_string() && done["known"]["objects"] == 0 => Ending::Nothing,
        true => Ending::Done,
    }
}

/// Returns `s3://bucket/folder/` for `s3://bucket/folder/**`.
fn whole_folder(target: &str) -> Option<&str> {
    target.strip_suffix("**").filter(|folder| folder.ends_with('/'))
}

/// Returns the replicas that have not purged.
fn unreachable(done: &Value) -> Vec<&str> {
    let names = done["unreachable_replicas"].as_array().map(Vec::as_slice).unwrap_or_default();
    names.iter().filter_map(Value::as_str).collect()
}

/// Formats the result as one line.
fn summary(done: &Value) -> String {
    let (here, missing) = (summary_of_done(done), unreachable(done));
    if missing.is_empty() {
        return here;
    }
    format!(
        "{here}; not at {}, which cannot be reached and may keep the bytes: purge again when it is back",
        missing.join(", ")
    )
}

fn summary_of_done(done: &Value) -> String {
    let scopes = done["scopes"].as_array().map(Vec::as_slice).unwrap_or_default();
    let first = scopes.first().and_then(Value::as_str).unwrap_or_default();
    let what = match scopes.len() {
        0 | 1 => first.to_owned(),
        count => format!("{count} keys"),
    };
    let count = |of: &Value, name: &str| of[name].as_u64().unwrap_or_default();
    let size = |of: &Value, name: &str| HumanBytes(count(of, name));
    let erased = &done["erased"];
    let known = match done["known"]["objects"].as_u64() {
        Some(objects) => {
            format!(
                " ({objects} objects that memory knew, {} of them)",
                size(&done["known"], "bytes")
            )
        }
        None => String::new(),
    };
    if done["dry_run"] != true && erased.is_null() {
        return format!("purged {what}{known}");
    }
    if done["dry_run"] != true {
        return format!(
            "purged {what}{known} and erased {} of memory and {} of the disk: {} files removed, {} rewritten",
            size(erased, "memory_bytes"),
            size(erased, "disk_bytes"),
            count(erased, "files_removed"),
            count(erased, "files_rewritten"),
        );
    }
    let (objects, bytes) = (count(&done["known"], "objects"), size(&done["known"], "bytes"));
    let disk = match done["disk_bytes"].as_u64() {
        Some(bytes) => format!("; {} of the disk would be looked through", HumanBytes(bytes)),
        None => String::new(),
    };
    format!(
        "{what} would be purged: memory knows {objects} objects and holds {bytes} of them{disk}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(targets: &[&str], prefix: bool) -> PurgeArguments {
        use clap::Parser;
        #[derive(Parser)]
        struct Line {
            #[command(flatten)]
            purge: PurgeArguments,
        }
        let flag = prefix.then_some("--prefix");
        Line::parse_from(["x"].into_iter().chain(flag).chain(targets.iter().copied())).purge
    }

    #[test]
    fn keys_go_together_and_each_prefix_alone() {
        let requests = |targets: &[&str], prefix| arguments(targets, prefix).requests();
        let read = requests(&["s3://data/a", "s3://data/b/*", "s3://data/c", "s3://data*"], false);
        assert!(read.is_err(), "a bucket's name has no star");
        let read = requests(&["s3://data/a", "s3://data/b/*", "s3://data/c"], false).unwrap();
        assert_eq!(
            read,
            [
                json!({"prefix": "s3://data/b/", "dry_run": false, "erase": false}),
                json!({"keys": ["s3://data/a", "s3://data/c"], "dry_run": false, "erase": false}),
            ]
        );
        let read = requests(&["s3://data/a", "s3://data"], true).unwrap();
        assert_eq!(read[0]["prefix"], "s3://data/a");
        assert_eq!(read[1]["prefix"], "s3://data");
        let read =
            requests(&["s3://data/d/*.csv", "s3://data/d/**", "s3://data/k"], false).unwrap();
        assert_eq!(read[0]["glob"], "s3://data/d/*.csv");
        assert_eq!(read[1]["prefix"], "s3://data/d/");
        assert_eq!(read[2]["keys"][0], "s3://data/k");
        assert!(requests(&["s3://*/x"], false).is_err());
        let erase = PurgeArguments { erase: true, ..arguments(&["s3://data/a"], false) };
        assert_eq!(erase.requests().unwrap()[0]["erase"], true);
        let wrong = requests(&["s3://data"], false).unwrap_err();
        assert!(wrong.contains("s3://bucket/*"), "{wrong}");
    }

    #[test]
    fn the_summary_says_what_was_done_or_would_be() {
        let mut done = json!({"dry_run": false, "scopes": ["s3://data/a"]});
        assert_eq!(summary(&done), "purged s3://data/a");
        let erased = json!({"memory_bytes": 1024, "disk_bytes": 0, "files_removed": 1, "files_rewritten": 2});
        let erased = json!({"dry_run": false, "scopes": ["s3://data/a"], "erased": erased});
        let line = "purged s3://data/a and erased 1.00 KiB of memory and 0 B of the disk: 1 files removed, 2 rewritten";
        assert_eq!(summary(&erased), line);
        done["scopes"] = json!(["s3://data/a", "s3://data/b"]);
        assert_eq!(summary(&done), "purged 2 keys");
        let known = json!({"objects": 3, "bytes": 1024});
        let glob = json!({"dry_run": false, "scopes": ["s3://data/*.csv"], "known": known});
        let line = "purged s3://data/*.csv (3 objects that memory knew, 1.00 KiB of them)";
        assert_eq!(summary(&glob), line);
        let mut partly = done.clone();
        partly["unreachable_replicas"] = json!(["10.0.0.3:9001"]);
        assert!(summary(&partly).starts_with("purged 2 keys; not at 10.0.0.3:9001, which"));
        done["dry_run"] = json!(true);
        done["known"] = json!({"objects": 1, "bytes": 2048});
        assert!(summary(&done).ends_with("memory knows 1 objects and holds 2.00 KiB of them"));
        done["disk_bytes"] = json!(1024);
        assert!(summary(&done).ends_with("; 1.00 KiB of the disk would be looked through"));
    }
}
