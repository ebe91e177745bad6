//! `hotset warm`: starts a warm job on a running server and shows its progress.

use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Read as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use http::Method;
use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use serde_json::{Map, Value, json};
use tokio::signal::ctrl_c;
use tokio::time::{Instant, sleep};

use super::admin::{Admin, AskError, Server};
use super::asking::{Ending, ask};
use crate::config::units::ByteSize;
use crate::s3::S3Url;

/// Interval between progress requests.
const LOOK: Duration = Duration::from_millis(250);
/// Time without a response from the server after which the job counts as lost.
const LOST: Duration = Duration::from_secs(30);
/// Maximum number of listed keys in one request.
const TOGETHER: usize = 5000;
/// Maximum size of a key list, in bytes.
const LIST_BYTES: u64 = 64 << 20;

#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 everything is warm; 1 some objects failed, or the server cannot be reached; \
    2 invalid arguments or configuration; 3 no object matched.\n\
    The job continues on the server if this program is killed; Ctrl-C cancels both. Objects that are warm already \
    are not fetched."
)]
pub(super) struct WarmArguments {
    #[arg(
        value_name = "URL",
        required_unless_present = "keys",
        help = "s3://bucket/prefix: all keys with this prefix; several prefixes are warmed one after the other"
    )]
    prefixes: Vec<String>,
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with = "prefixes",
        help = "Warm the keys listed in this file, one s3://bucket/key per line; - is standard input"
    )]
    keys: Option<PathBuf>,
    /// Warm only keys whose bucket/key matches this glob, as in rules; repeatable
    #[arg(long, value_name = "GLOB")]
    include: Vec<String>,
    /// Skip keys whose bucket/key matches this glob; repeatable
    #[arg(long, value_name = "GLOB")]
    exclude: Vec<String>,
    /// Warm only this many bytes from the start of each object, such as 1MiB
    #[arg(long, value_name = "SIZE")]
    head: Option<ByteSize>,
    /// Warm only this many bytes from the end of each object
    #[arg(long, value_name = "SIZE")]
    tail: Option<ByteSize>,
    /// Stop before the object that would exceed this total [default: the capacity of the cache]
    #[arg(long, value_name = "SIZE")]
    max_bytes: Option<ByteSize>,
    /// Stop after this many objects
    #[arg(long, value_name = "COUNT")]
    max_objects: Option<u64>,
    /// Maximum bytes per second, such as 100MiB
    #[arg(long, value_name = "SIZE")]
    rate: Option<ByteSize>,
    /// Change nothing; print what would be warmed
    #[arg(long)]
    dry_run: bool,
    /// Print the results as JSON, one line per job
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

pub(super) fn run(arguments: &WarmArguments) -> ExitCode {
    ask(arguments.jobs(), &arguments.server, async |admin, jobs| {
        let mut ending = Ending::Done;
        for job in &jobs {
            let ended = warm(admin, job).await?;
            ending = ending.max(ending_of(&ended));
            report(&ended, arguments.json);
            if ending_of(&ended) == Ending::Nothing {
                let what = job["prefix"].as_str().unwrap_or("--keys");
                eprintln!("hotset: warning: {what}: no object matches, nothing is warmed");
            }
        }
        Ok(ending)
    })
}

fn ending_of(job: &Value) -> Ending {
    let count = |name: &str| job["objects"][name].as_u64().unwrap_or_default();
    match job["state"] == "done" && count("failed") == 0 {
        false => Ending::Partly,
        true if count("found") + count("skipped") == 0 && job["limited_by"].is_null() => {
            Ending::Nothing
        }
        true => Ending::Done,
    }
}

impl WarmArguments {
    /// Returns the bodies of the requests.
    fn jobs(&self) -> Result<Vec<Value>, String> {
        let mut options = Map::new();
        let lists = [("include", &self.include), ("exclude", &self.exclude)];
        for (name, list) in lists.into_iter().filter(|(_, list)| !list.is_empty()) {
            options.insert(name.to_owned(), json!(list));
        }
        let sizes = [
            ("head", self.head),
            ("tail", self.tail),
            ("max_bytes", self.max_bytes),
            ("rate", self.rate),
        ];
        for (name, size) in sizes {
            options.extend(size.map(|size| (name.to_owned(), json!(size.bytes()))));
        }
        options.extend(self.max_objects.map(|most| ("max_objects".to_owned(), json!(most))));
        options.insert("dry_run".to_owned(), json!(self.dry_run));
        let job = |name: &str, value: Value| {
            let mut job = options.clone();
            job.insert(name.to_owned(), value);
            Value::Object(job)
        };
        if let Some(file) = &self.keys {
            let keys = read_list(file)?;
            return Ok(keys.chunks(TOGETHER).map(|keys| job("keys", json!(keys))).collect());
        }
        let prefix = |text: &String| match S3Url::parse(text) {
            // As the shell's and the other subcommand's.
            Ok(_) => Ok(job("prefix", json!(text.strip_suffix('*').unwrap_or(text)))),
            Err(wrong) => Err(wrong.to_string()),
        };
        self.prefixes.iter().map(prefix).collect()
    }
}

fn read_list(file: &PathBuf) -> Result<Vec<String>, String> {
    let wrong = |error: std::io::Error| format!("--keys: {}: {error}", file.display());
    let mut text = String::new();
    let read = match file.as_os_str() == "-" {
        true => std::io::stdin().take(LIST_BYTES).read_to_string(&mut text),
        false => std::fs::File::open(file)
            .and_then(|opened| opened.take(LIST_BYTES).read_to_string(&mut text)),
    };
    if read.map_err(wrong)? as u64 == LIST_BYTES {
        return Err(format!("--keys: {} is larger than {LIST_BYTES} bytes", file.display()));
    }
    let lines = text.lines().map(|line| line.trim_end_matches('\r'));
    let mut keys = Vec::new();
    for line in lines.filter(|line| !line.is_empty()) {
        S3Url::parse_object(line).map_err(|wrong| format!("--keys: {wrong}"))?;
        keys.push(line.to_owned());
    }
    if keys.is_empty() { Err("--keys: the list is empty".to_owned()) } else { Ok(keys) }
}

/// Starts a job and follows it to its end.
async fn warm(admin: &Admin, job: &Value) -> Result<Value, AskError> {
    let begun = admin.ask(Method::POST, "/api/v1/warm", Some(job)).await?;
    let path = format!("/api/v1/warm/{}", begun["id"].as_str().unwrap_or_default());
    let bar = Bar::new();
    let ended = tokio::select! {
        ended = follow(admin, &path, &bar) => ended,
        _ = ctrl_c() => admin.ask(Method::DELETE, &path, None).await,
    };
    bar.0.finish_and_clear();
    ended
}

async fn follow(admin: &Admin, path: &str, bar: &Bar) -> Result<Value, AskError> {
    let mut heard = Instant::now();
    let mut pause = Duration::from_millis(5);
    loop {
        match admin.ask(Method::GET, path, None).await {
            Ok(job) if job["state"] != "running" => return Ok(job),
            Ok(job) => {
                heard = Instant::now();
                bar.show(&job);
            }
            // A server that is busy, or out of sockets, is asked again.
            Err(error @ AskError::NotReachable(..)) if heard.elapsed() < LOST => {
                bar.0.set_message(error.to_string());
            }
            Err(error) => return Err(error),
        }
        sleep(pause).await;
        pause = LOOK.min(pause * 2);
    }
}

/// A progress bar on standard error, only if that is a terminal.
struct Bar(ProgressBar);

impl Bar {
    fn new() -> Self {
        let bar = match std::io::stderr().is_terminal() {
            true => ProgressBar::new(0),
            false => ProgressBar::hidden(),
        };
        bar.set_style(Self::style("{spinner}"));
        Self(bar)
    }

    fn style(front: &str) -> ProgressStyle {
        let rest = "{bytes} of {total_bytes}  {bytes_per_sec}  {msg}";
        ProgressStyle::with_template(&format!("{front}  {rest}")).expect("it is a template")
    }

    fn show(&self, job: &Value) {
        let count = |of: &str, name: &str| job[of][name].as_u64().unwrap_or_default();
        if job["complete"] == true {
            self.0.set_style(Self::style("{wide_bar} {percent}%"));
        }
        let done = ["warmed", "skipped", "failed"].map(|name| count("objects", name));
        let waits = match job["waits_for"].as_str() {
            Some("readers") => ", stands back for readers",
            Some(_) => ", stands back for memory",
            None => "",
        };
        let (done, found) = (done.iter().sum::<u64>(), count("objects", "found"));
        self.0.set_message(format!("{done} of {found} objects{waits}"));
        self.0.set_length(count("bytes", "found"));
        self.0.set_position(count("bytes", "warm"));
    }
}

fn report(job: &Value, as_json: bool) {
    // The exit code is the answer; a closed stdout does not change it.
    let mut out = std::io::stdout().lock();
    if as_json {
        let _ = writeln!(out, "{job}");
        return;
    }
    for failure in job["failures"].as_array().into_iter().flatten() {
        let text = |name: &str| failure[name].as_str().unwrap_or_default().to_owned();
        eprintln!("hotset: {}: {}", text("object"), text("error"));
    }
    let _ = writeln!(out, "{}", summary(job));
}

/// Formats the result as one line.
fn summary(job: &Value) -> String {
    let numbers = |of: &str| -> BTreeMap<String, u64> {
        let pairs = job[of].as_object().into_iter().flatten();
        pairs.map(|(name, number)| (name.clone(), number.as_u64().unwrap_or_default())).collect()
    };
    let (objects, bytes) = (numbers("objects"), numbers("bytes"));
    let count = |name: &str| objects.get(name).copied().unwrap_or_default();
    let size = |name: &str| HumanBytes(bytes.get(name).copied().unwrap_or_default());
    let state = job["state"].as_str().unwrap_or_default();
    let end = match (state, job["limited_by"].as_str(), job["error"].as_str()) {
        ("done", None, _) => String::new(),
        ("done", Some(limit), _) => format!("; ended by {limit}"),
        (state, _, Some(why)) => format!("; {state}: {why}"),
        (state, _, None) => format!("; {state}"),
    };
    if job["dry_run"] == true {
        return format!("{} objects of {} would be warmed{end}", count("found"), size("found"));
    }
    format!(
        "{} objects of {} are warm, {} of it fetched; {} skipped, {} failed{end}",
        count("warmed"),
        size("warm"),
        size("fetched"),
        count("skipped"),
        count("failed"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_that_finds_nothing_is_not_a_success() {
        let ending = |state: &str, found: u64, failed: u64| {
            ending_of(&json!({"state": state, "objects": {"found": found, "failed": failed}}))
        };
        assert_eq!(ending("done", 0, 0), Ending::Nothing);
        assert_eq!(ending("done", 2, 0), Ending::Done);
        assert_eq!(ending("done", 2, 1), Ending::Partly);
        assert_eq!(ending("failed", 0, 0), Ending::Partly);
        assert!(Ending::Partly > Ending::Nothing && Ending::Nothing > Ending::Done);
    }

    #[test]
    fn the_summary_is_one_line_that_says_how_it_ended() {
        let mut job = json!({
            "state": "done", "dry_run": false, "limited_by": null, "error": null,
            "objects": {"found": 5, "warmed": 3, "skipped": 1, "failed": 1},
            "bytes": {"found": 4096, "warm": 3 << 20, "fetched": 1 << 20},
        });
        let line = "3 objects of 3.00 MiB are warm, 1.00 MiB of it fetched; 1 skipped, 1 failed";
        assert_eq!(summary(&job), line);
        job["limited_by"] = json!("max_bytes");
        assert_eq!(summary(&job), format!("{line}; ended by max_bytes"));
        job["state"] = json!("failed");
        job["error"] = json!("why");
        assert_eq!(summary(&job), format!("{line}; failed: why"));
        job["dry_run"] = json!(true);
        assert!(summary(&job).starts_with("5 objects of 4.00 KiB would be warmed"));
    }
}
