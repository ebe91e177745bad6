//! `POST`, `GET` and `DELETE` of `/api/v1/warm`.

use std::time::Duration;

use hyper::body::Incoming;
use hyper::{Response, StatusCode};
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use super::answer::{Answer, Refusal, json};
use super::body;
use super::state::Api;
use crate::config::units::ByteSize;
use crate::warm::{Job, Order, Patterns, Progress, Span, Target};

/// Maximum patterns in one request.
const MOST_PATTERNS: usize = 100;
/// Maximum wait of the response to a cancellation for the end of the job.
const ENDS: Duration = Duration::from_secs(5);

/// A request to warm: `keys` or `prefix`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WarmRequest {
    /// Keys as `s3://bucket/key`.
    keys: Option<Vec<String>>,
    /// A prefix as `s3://bucket/prefix`.
    prefix: Option<String>,
    #[serde(default)]
    include: Vec<String>,
    #[serde(default)]
    exclude: Vec<String>,
    /// Warms only this many first bytes; with `tail`, both ends.
    head: Option<ByteSize>,
    tail: Option<ByteSize>,
    max_bytes: Option<ByteSize>,
    max_objects: Option<u64>,
    /// Maximum bytes per second.
    rate: Option<ByteSize>,
    #[serde(default)]
    dry_run: bool,
}

#[derive(Serialize)]
struct WarmStarted {
    /// Whether the request joined a running job.
    joined: bool,
    #[serde(flatten)]
    progress: Progress,
}

#[derive(Serialize)]
struct JobList {
    jobs: Vec<Progress>,
}

pub(super) async fn begin(api: &Api, body: Incoming) -> Answer {
    let order = order(body::read(body).await?)?;
    let begun = api.warmer.start(order);
    let (job, new) =
        begun.map_err(|busy| Refusal::new(StatusCode::TOO_MANY_REQUESTS, busy.to_string()))?;
    let progress = api.warmer.progress(&job);
    Ok(json(StatusCode::ACCEPTED, &WarmStarted { joined: !new, progress }))
}

pub(super) fn list(api: &Api) -> Response<String> {
    let jobs = api.warmer.all_jobs().iter().map(|job| api.warmer.progress(job)).collect();
    json(StatusCode::OK, &JobList { jobs })
}

pub(super) fn progress(api: &Api, id: &str) -> Answer {
    let job = find(api, id)?;
    Ok(json(StatusCode::OK, &api.warmer.progress(&job)))
}

pub(super) async fn cancel(api: &Api, id: &str) -> Answer {
    let job = find(api, id)?;
    job.cancel();
    // If this times out, the job still ends by itself.
    let _ = timeout(ENDS, job.ended()).await;
    Ok(json(StatusCode::OK, &api.warmer.progress(&job)))
}

fn find(api: &Api, id: &str) -> Result<std::sync::Arc<Job>, Refusal> {
    let unknown = || Refusal::new(StatusCode::NOT_FOUND, "no such job");
    api.warmer.job(id).ok_or_else(unknown)
}

fn order(asked: WarmRequest) -> Result<Order, Refusal> {
    let target = match (&asked.keys, &asked.prefix) {
        (Some(keys), None) => Target::Objects(body::objects(keys)?),
        (None, Some(text)) => {
            let url = body::prefix(text)?;
            Target::Prefix(url.bucket, url.rest)
        }
        _ => return Err(Refusal::bad("exactly one of keys and prefix is required")),
    };
    if asked.include.len() + asked.exclude.len() > MOST_PATTERNS {
        let why = format!("include, exclude: more than {MOST_PATTERNS} patterns");
        return Err(Refusal::bad(why));
    }
    let patterns = Patterns::new(asked.include, asked.exclude);
    let patterns = patterns.map_err(|wrong| Refusal::bad(format!("include, exclude: {wrong}")))?;
    let greater_than_zero = |name: &str, value: Option<u64>| match value {
        Some(0) => Err(Refusal::bad(format!("{name}: must be greater than zero"))),
        value => Ok(value),
    };
    let bytes = |size: Option<ByteSize>| size.map(ByteSize::bytes);
    let span = match (bytes(asked.head), bytes(asked.tail)) {
        (None, None) => Span::WHOLE,
        (head, tail) if head.unwrap_or(0) == 0 && tail.unwrap_or(0) == 0 => {
            return Err(Refusal::bad("head, tail: must be greater than zero"));
        }
        (head, tail) => Span { whole: 0, head: head.unwrap_or(0), tail: tail.unwrap_or(0) },
    };
    Ok(Order {
        target,
        patterns,
        span,
        max_bytes: greater_than_zero("max_bytes", bytes(asked.max_bytes))?,
        max_objects: greater_than_zero("max_objects", asked.max_objects)?,
        rate: greater_than_zero("rate", bytes(asked.rate))?,
        dry_run: asked.dry_run,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(text: &str) -> String {
        match serde_json::from_str(text) {
            Ok(asked) => order(asked).unwrap_err().why,
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, named) in [
            ("{}", "exactly one of keys and prefix"),
            (r#"{"keys":[],"prefix":"s3://data/"}"#, "exactly one of keys and prefix"),
            (r#"{"keys":[]}"#, "keys: the list is empty"),
            (r#"{"keys":["s3://data/a","s3://data"]}"#, "keys[1]: `s3://data`: the key"),
            (r#"{"prefix":"data/x"}"#, "prefix: `data/x` is not s3://"),
            (r#"{"prefix":"s3://data/","include":["a["]}"#, "`a[`"),
            (r#"{"prefix":"s3://data/","rate":"fast"}"#, "`fast` is not a size"),
            (r#"{"prefix":"s3://data/","rate":0}"#, "rate: must be greater"),
            (r#"{"prefix":"s3://data/","head":0}"#, "head, tail"),
            (r#"{"prefix":"s3://data/","max_byte":1}"#, "unknown field `max_byte`"),
        ] {
            assert!(wrong(text).contains(named), "{text}: {}", wrong(text));
        }
    }

    #[test]
    fn sizes_have_units_and_nothing_is_left_out_unless_it_is_said() {
        let asked = r#"{"prefix":"s3://data/a/","rate":"1MiB","max_bytes":4096,"tail":"64KiB"}"#;
        let read = order(serde_json::from_str(asked).unwrap()).unwrap();
        assert_eq!((read.rate, read.max_bytes), (Some(1 << 20), Some(4096)));
        assert_eq!(read.span, Span { whole: 0, head: 0, tail: 64 << 10 });
        let all = order(serde_json::from_str(r#"{"keys":["s3://data/a"]}"#).unwrap()).unwrap();
        assert_eq!(all.span, Span::WHOLE);
    }
}
