//! `POST /api/v1/purge`.

use std::time::Duration;

use hyper::StatusCode;
use hyper::body::Incoming;
use serde::{Deserialize, Serialize};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::{Answer, Api, Refusal, body, json};
use crate::cache::{InMemory, Scope};
use crate::metrics::warm::{self as metrics, PurgeScope};
use crate::s3::BucketName;

/// How long the answer waits for a purge to be durable; less than a connection lives.
const DURABLE: Duration = Duration::from_secs(12);

/// A request to purge: one of `keys`, `prefix`, `bucket` and `everything`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    /// `s3://bucket/key`s.
    keys: Option<Vec<String>>,
    /// `s3://bucket/prefix`.
    prefix: Option<String>,
    bucket: Option<String>,
    everything: Option<bool>,
    #[serde(default)]
    dry_run: bool,
}

#[derive(Serialize)]
struct Done {
    dry_run: bool,
    /// What was purged, or would be: keys as they were sent, and what ends in `*` is all that begins so.
    scopes: Vec<String>,
    /// With a dry run: what memory knows of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    known: Option<Memory>,
}

#[derive(Serialize)]
struct Memory {
    objects: u64,
    bytes: u64,
}

pub(super) async fn purge(api: &Api, body: Incoming) -> Answer {
    let asked: Asked = body::read(body).await?;
    let dry_run = asked.dry_run;
    let scopes = scopes(&asked)?;
    let texts: Vec<String> = scopes.iter().map(text).collect();
    if dry_run {
        let cache = api.cache.clone();
        let counted = spawn_blocking(move || cache.in_memory(&scopes)).await;
        let failed = |_| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "it cannot be counted");
        let InMemory { objects, bytes } = counted.map_err(failed)?;
        let known = Some(Memory { objects, bytes });
        return Ok(json(StatusCode::OK, &Done { dry_run, scopes: texts, known }));
    }
    let (first, count) = (&texts[0], texts.len());
    log::info!("purged by hand: {first}{}", if count > 1 { " and others" } else { "" });
    metrics::purged(label(&scopes[0]), count as u64);
    let purged = api.cache.purge(&scopes);
    if timeout(DURABLE, api.cache.purged(purged)).await.is_err() {
        let why = "it is purged, and holds while this process runs; the disk did not take it down in time: \
            ask again";
        return Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, why));
    }
    Ok(json(StatusCode::OK, &Done { dry_run, scopes: texts, known: None }))
}

/// At least one.
fn scopes(asked: &Asked) -> Result<Vec<Scope>, Refusal> {
    let Asked { keys, prefix, bucket, everything, .. } = asked;
    match (keys, prefix, bucket, everything) {
        (Some(keys), None, None, None) => {
            let objects = body::objects(keys)?.into_iter();
            Ok(objects.map(|(bucket, key)| Scope::Object(bucket, key)).collect())
        }
        (None, Some(text), None, None) => {
            let url = body::prefix(text)?;
            Ok(vec![Scope::Prefix(url.bucket, url.rest)])
        }
        (None, None, Some(name), None) => {
            let wrong = |why| Refusal::bad(format!("bucket: `{name}`: {why}"));
            Ok(vec![Scope::Bucket(BucketName::new(name).map_err(wrong)?)])
        }
        (None, None, None, Some(true)) => Ok(vec![Scope::Everything]),
        (None, None, None, Some(false)) => Err(Refusal::bad("everything: can only be true")),
        _ => Err(Refusal::bad("one of keys, prefix, bucket and everything is needed")),
    }
}

fn text(scope: &Scope) -> String {
    match scope {
        Scope::Object(bucket, key) => format!("s3://{bucket}/{key}"),
        Scope::Prefix(bucket, prefix) => format!("s3://{bucket}/{prefix}*"),
        Scope::Bucket(bucket) => format!("s3://{bucket}/*"),
        Scope::Everything => "s3://*".to_owned(),
    }
}

fn label(scope: &Scope) -> PurgeScope {
    match scope {
        Scope::Object(..) => PurgeScope::Object,
        Scope::Prefix(..) => PurgeScope::Prefix,
        Scope::Bucket(_) => PurgeScope::Bucket,
        Scope::Everything => PurgeScope::Everything,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<String>, String> {
        let asked = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let scopes = scopes(&asked).map_err(|refusal| refusal.why)?;
        Ok(scopes.iter().map(super::text).collect())
    }

    #[test]
    fn each_scope_is_read_and_told_again() {
        for (asked, told) in [
            (r#"{"keys":["s3://data/a","s3://data/b c"]}"#, "s3://data/a s3://data/b c"),
            (r#"{"prefix":"s3://data/a/"}"#, "s3://data/a/*"),
            (r#"{"prefix":"s3://data/"}"#, "s3://data/*"),
            (r#"{"bucket":"data"}"#, "s3://data/*"),
            (r#"{"everything":true,"dry_run":true}"#, "s3://*"),
        ] {
            assert_eq!(read(asked).unwrap().join(" "), told);
        }
    }

    #[test]
    fn two_scopes_or_none_are_refused_and_what_is_wrong_is_named() {
        for (asked, named) in [
            ("{}", "one of keys"),
            (r#"{"bucket":"data","everything":true}"#, "one of keys"),
            (r#"{"everything":false}"#, "everything: can only be true"),
            (r#"{"bucket":"no/bucket"}"#, "bucket: `no/bucket`"),
            (r#"{"keys":["s3://data/a","s3://d/b"]}"#, "keys[1]"),
            (r#"{"prefixes":["s3://data/a"]}"#, "unknown field `prefixes`"),
        ] {
            let wrong = read(asked).unwrap_err();
            assert!(wrong.contains(named), "{asked}: {wrong}");
        }
    }
}
