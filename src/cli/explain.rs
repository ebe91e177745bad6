//! `hotset explain`: the reason for which an object is or is not answered from the cache.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::ExitCode;

use clap::Args;
use http::Method;
use serde_json::Value;

use super::admin::Server;
use super::asking::{Ending, ask};
use crate::s3::S3Url;
use crate::s3::target::encode_query_component;

#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 the next read, or the request, is answered from the cache; 3 it is not; 1 the server \
    cannot be reached or refuses; 2 the arguments or the configuration are wrong.\n\
    It changes nothing, counts as no read, and does not judge who may make the request."
)]
pub(super) struct ExplainArguments {
    #[arg(value_name = "URL", required_unless_present = "request", help = "s3://bucket/key")]
    object: Option<String>,
    #[arg(
        long,
        value_name = "REQUEST",
        conflicts_with = "object",
        help = "A request, as \"GET /bucket/key?versionId=1\": whether it would be answered from the cache, and the \
            first reason why not"
    )]
    request: Option<String>,
    /// A header of that request, as \"Range: bytes=0-9\"; may be given more than once
    #[arg(short = 'H', long, value_name = "HEADER", requires = "request")]
    header: Vec<String>,
    /// Print what the server answers as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

pub(super) fn run(arguments: &ExplainArguments) -> ExitCode {
    ask(arguments.path(), &arguments.server, async |admin, path| {
        let told = admin.ask(Method::GET, &path, None).await?;
        let text = if arguments.json { format!("{told}\n") } else { describe(&told) };
        let _ = std::io::stdout().write_all(text.as_bytes());
        let is_hit = match told["request"]["answered_from_cache"].as_bool() {
            Some(is_hit) => is_hit,
            None => told["miss"].is_null(),
        };
        Ok(if is_hit { Ending::Done } else { Ending::Nothing })
    })
}

impl ExplainArguments {
    /// Returns the path of the request.
    fn path(&self) -> Result<String, String> {
        let mut path = "/api/v1/explain?".to_owned();
        if let Some(object) = &self.object {
            S3Url::parse_object(object).map_err(|wrong| wrong.to_string())?;
            let _ = write!(path, "object={}", encode_query_component(object));
        }
        if let Some(request) = &self.request {
            let _ = write!(path, "request={}", encode_query_component(request));
        }
        for header in &self.header {
            let _ = write!(path, "&header={}", encode_query_component(header));
        }
        Ok(path)
    }
}

/// Formats the response for people.
fn describe(told: &Value) -> String {
    let mut out = String::new();
    if let Some(request) = told["request"].as_object() {
        let from = if request["answered_from_cache"] == true { "the cache" } else { "the origin" };
        let _ = writeln!(out, "{}", text(&request["request"]));
        line(&mut out, "answered by", from);
        line(&mut out, "because", &text(&request["because"]));
    }
    if told["object"].is_null() {
        return out;
    }
    let _ = writeln!(out, "{}", text(&told["object"]));
    let rule = &told["rule"];
    let freshness = match rule["freshness"].as_str() {
        Some(word) => word.to_owned(),
        None => rule["freshness"].to_string(),
    };
    let matched =
        format!("{} of {}: `{}`, {freshness}", rule["number"], rule["of"], text(&rule["match"]));
    line(&mut out, "rule", &format!("{matched}; {}", text(&rule["because"])));
    let miss = told["miss"].as_str().map(|reason| format!("; a miss: {reason}"));
    line(&mut out, "state", &format!("{}{}", text(&told["state"]), miss.unwrap_or_default()));
    if let Some(version) = told["version"].as_object() {
        let id = version["version_id"].as_str().map(|id| format!(", version {id}"));
        let what = format!("{} bytes, ETag {}", version["size"], text(&version["etag"]));
        line(&mut out, "version", &format!("{what}{}", id.unwrap_or_default()));
    }
    describe_freshness(&mut out, &told["freshness"]);
    describe_blocks(&mut out, &told["blocks"]);
    if told["asked_for"] == true {
        line(&mut out, "under way", "a request for its metadata or first bytes");
    }
    let invalidated = match told["last_invalidation"].as_object() {
        Some(last) => format!(
            "{} s ago, cause: {}, of the {}",
            last["seconds_ago"],
            text(&last["cause"]),
            text(&last["scope"])
        ),
        None => "no invalidation on record".to_owned(),
    };
    line(&mut out, "invalidated", &invalidated);
    line(&mut out, "next read", &text(&told["next_read"]));
    out
}

fn describe_freshness(out: &mut String, freshness: &Value) {
    if freshness.is_null() {
        return;
    }
    let by = text(&freshness["confirmed_by"]);
    line(out, "confirmed", &format!("{} s ago, by {by}", freshness["age_seconds"]));
    let because = text(&freshness["because"]);
    let fresh = match freshness["fresh_for_seconds"].as_u64() {
        Some(left) => {
            format!("for {left} s, until {}; {because}", text(&freshness["fresh_until"]))
        }
        None => because,
    };
    line(out, "fresh", &fresh);
}

fn describe_blocks(out: &mut String, blocks: &Value) {
    if blocks.is_null() {
        return;
    }
    line(out, "memory", &place(&blocks["memory"]));
    for disk in blocks["disks"].as_array().into_iter().flatten() {
        line(out, "disk", &format!("{}: {}", text(&disk["path"]), place(disk)));
    }
    if blocks["in_flight"]["bytes"] != 0 {
        line(out, "in flight", &place(&blocks["in_flight"]));
    }
}

fn place(place: &Value) -> String {
    let ranges = place["ranges"].as_array();
    let ranges: Vec<String> = ranges.into_iter().flatten().map(text).collect();
    match ranges.is_empty() {
        true => "none".to_owned(),
        false => format!("{} bytes: {}", place["bytes"], ranges.join(", ")),
    }
}

/// Formats a word and its explanation, wrapped to 80 columns.
fn line(out: &mut String, word: &str, what: &str) {
    const INDENT: usize = 14;
    let mut at = INDENT;
    let _ = write!(out, "  {word:<12}");
    for (index, piece) in what.split(' ').enumerate() {
        let width = piece.chars().count();
        if index > 0 && at + 1 + width > 80 {
            let _ = write!(out, "\n{:INDENT$}", "");
            at = INDENT;
        } else if index > 0 {
            out.push(' ');
            at += 1;
        }
        out.push_str(piece);
        at += width;
    }
    out.push('\n');
}

/// Returns the server's text without control characters, which might control a terminal.
fn text(value: &Value) -> String {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_are_wrapped_at_80_columns() {
        let mut out = String::new();
        line(&mut out, "next read", &"word ".repeat(40));
        assert!(out.lines().count() > 2 && out.lines().all(|line| line.len() <= 80), "{out}");
        assert_eq!(text(&Value::from("a\u{1b}[2J")), "a\u{fffd}[2J");
    }
}
