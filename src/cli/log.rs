//! `hotset log`: requests of a running server as they end, with their requests to the origin.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::ExitCode;

use clap::Args;
use serde_json::Value;
use tokio::select;
use tokio::signal::ctrl_c;

use super::admin::Server;
use super::asking::{Ending, ask};
use super::format::{bytes, seconds};
use crate::inspect::Filter;
use crate::logging::text::one_line;
use crate::s3::target::encode_query_component;

/// Default duration in seconds.
const SECONDS: u64 = 10;
/// Maximum duration that the server accepts.
const SECONDS_MAX: u64 = 30 * 86_400;

/// The arguments of `hotset log`.
#[derive(Debug, Args)]
#[command(
    after_help = "A filter compares fields: status>=500 and bucket=photos and not (key=tmp/** or seconds<100ms).\n\
    Texts, with = and !=, and globs as in rules: bucket, key, method, operation, code, cache, miss, identity, address, rule, \
    request_id. Numbers, with = != < <= > >=: status, bytes, seconds, first_byte, origin_requests, origin_errors, \
    origin_bytes, origin_seconds. and, or, not (&&, ||, !) and parentheses join them.\n\
    The server is not restarted, and its access log may be off. Eight may watch at a time; one who reads too slowly loses \
    requests, and is told how many.\n\
    Exit codes: 0 some were shown; 3 there were none; 1 the server cannot be reached or refuses; 2 the arguments or the \
    configuration are wrong."
)]
pub(super) struct LogArguments {
    /// Go on until Ctrl-C
    #[arg(long, short, conflicts_with = "seconds")]
    follow: bool,
    /// End after so many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = SECONDS, value_parser = clap::value_parser!(u64).range(1..=SECONDS_MAX))]
    seconds: u64,
    /// Show only requests that pass
    #[arg(long, value_name = "FILTER", default_value = "", hide_default_value = true)]
    filter: String,
    /// End after so many requests
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// Print the server's own JSON, one line a request
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

pub(super) fn run(arguments: &LogArguments) -> ExitCode {
    ask(arguments.path(), &arguments.server, async |admin, path| {
        let mut shown = 0;
        let show = |line: &str| {
            let request: Value = serde_json::from_str(line).unwrap_or_default();
            let text = match (arguments.json, &request["dropped"]) {
                (true, _) => format!("{line}\n"),
                (false, Value::Null) => describe(&request),
                (false, dropped) => {
                    format!("-- {dropped} requests are not shown: they came too fast\n")
                }
            };
            shown += u64::from(request["dropped"].is_null());
            let mut out = std::io::stdout().lock();
            // A reader that has seen enough closes the pipe.
            let is_written = out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_ok();
            is_written && arguments.limit.is_none_or(|limit| shown < limit)
        };
        select! {
            ended = admin.lines(&path, show) => ended?,
            _ = ctrl_c() => {}
        }
        Ok(if shown > 0 { Ending::Done } else { Ending::Nothing })
    })
}

impl LogArguments {
    /// Returns the path of the request.
    fn path(&self) -> Result<String, String> {
        Filter::parse(&self.filter).map_err(|wrong| wrong.to_string())?;
        let seconds = if self.follow { SECONDS_MAX } else { self.seconds };
        let filter = encode_query_component(&self.filter);
        Ok(format!("/api/v1/requests?filter={filter}&seconds={seconds}"))
    }
}

/// Formats a request for people: one line for itself, and one for its origin requests.
fn describe(request: &Value) -> String {
    let text = |name: &str| request[name].as_str().map(|text| one_line(text).into_owned());
    let number = |value: &Value| value.as_f64().unwrap_or_default();
    let mut out = time(number(&request["time"]));
    let status = request["status"].as_u64().unwrap_or_default();
    let (method, path) = (text("method").unwrap_or_default(), text("path").unwrap_or_default());
    let took = seconds(Some(number(&request["seconds"])));
    let sent = bytes(number(&request["bytes"]));
    let cache = text("cache").unwrap_or_default();
    let _ = write!(out, " {status:03} {method} {path}  {sent}, {took}, {cache}");
    for (name, field) in [
        ("miss", "miss"),
        ("identity", "identity"),
        ("client", "client"),
        ("code", "code"),
        ("error", "error"),
        ("id", "request_id"),
    ] {
        if let Some(value) = text(field).filter(|value| !value.is_empty()) {
            let quote = if value.contains(' ') { "\"" } else { "" };
            let _ = write!(out, " {name}={quote}{value}{quote}");
        }
    }
    out.push('\n');
    let (origin, from) = (&request["origin"], &request["bytes_from"]);
    let asked = origin["requests"].as_u64().unwrap_or_default();
    if asked > 0 {
        let outcomes = origin["outcomes"].as_object().into_iter().flatten();
        let outcomes: Vec<_> = outcomes.map(|(of, count)| format!("{of} {count}")).collect();
        let _ = write!(
            out,
            "             origin: {asked} requests ({}), {}, first byte after {}",
            one_line(&outcomes.join(", ")),
            bytes(number(&origin["bytes"])),
            seconds(Some(number(&origin["first_byte_seconds"]))),
        );
        if number(&origin["retries"]) > 0.0 {
            let _ = write!(out, ", {} retries", origin["retries"]);
        }
        out.push('\n');
    } else if number(&from["origin"]) > 0.0 {
        let joined = bytes(number(&from["origin"]));
        let _ = writeln!(out, "             origin: {joined} of a fetch that was under way");
    }
    out
}

/// Formats a time as `12:34:56.789`, in UTC.
fn time(unix: f64) -> String {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "milliseconds of now"
    )]
    let millis = (unix * 1e3) as u64;
    let (seconds, rest) = (millis / 1000, millis % 1000);
    let (hours, minutes) = (seconds / 3600 % 24, seconds / 60 % 60);
    format!("{hours:02}:{minutes:02}:{:02}.{rest:03}", seconds % 60)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_request_is_shown_with_its_requests_to_the_origin() {
        let mut request = json!({
            "time": 45_296.789, "status": 503, "method": "GET", "path": "/photos/\u{1b}[2Jk", "seconds": 1.5, "bytes": 300,
            "cache": "miss", "miss": "new", "identity": "app", "client": "192.0.2.1:80", "code": "SlowDown", "error": "a b",
            "request_id": "00AF", "bytes_from": { "memory": 0, "disk": 0, "origin": 300 },
            "origin": {
                "requests": 3, "outcomes": { "ok": 1, "timeout": 2 }, "retries": 2, "bytes": 65536,
                "first_byte_seconds": 0.25,
            },
        });
        assert_eq!(
            describe(&request),
            "12:34:56.789 503 GET /photos/\\x1B[2Jk  300 B, 1.50 s, miss miss=new identity=app client=192.0.2.1:80 \
             code=SlowDown error=\"a b\" id=00AF\n             \
             origin: 3 requests (ok 1, timeout 2), 64.0 KiB, first byte after 250 ms, 2 retries\n"
        );
        request["origin"]["requests"] = 0.into();
        assert!(
            describe(&request)
                .ends_with("\n             origin: 300 B of a fetch that was under way\n")
        );
        request["bytes_from"]["origin"] = 0.into();
        assert_eq!(describe(&request).lines().count(), 1);
    }
}
