//! `POST /api/v1/purge`.

use std::net::SocketAddr;
use std::time::Duration;

use hyper::StatusCode;
use hyper::body::Incoming;
use serde::{Deserialize, Serialize};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::answer::{Answer, Refusal, json};
use super::body;
use super::state::Api;
use crate::admin::connection_end::ConnectionEnd;
use crate::cache::{Erased, ErasedFiles, KeyGlob, PurgePreview, Scope};
use crate::cluster::{PeerErased, PeerPurge};
use crate::metrics::warm::{self as metrics, PurgeScope};
use crate::s3::{BucketName, ObjectKey, S3Url};

/// Maximum wait of the response for a durable purge; less than the lifetime of a connection.
const DURABLE: Duration = Duration::from_secs(12);

/// Timeout of erasing.
pub const ERASING: Duration = Duration::from_mins(10);

/// A request to purge: one of `keys`, `prefix`, `glob`, `bucket` and `everything`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PurgeRequest {
    /// Keys as `s3://bucket/key`.
    keys: Option<Vec<String>>,
    /// A prefix as `s3://bucket/prefix`.
    prefix: Option<String>,
    /// `s3://bucket/glob`, a glob over keys as in rules. The key with that literal name is purged, too.
    glob: Option<String>,
    bucket: Option<String>,
    everything: Option<bool>,
    /// Whether the bytes are also erased from memory and disk.
    #[serde(default)]
    erase: bool,
    #[serde(default)]
    dry_run: bool,
}

#[derive(Serialize)]
struct PurgeResponse {
    dry_run: bool,
    /// Purged scopes: keys as sent; a trailing `*` marks a prefix.
    scopes: Vec<String>,
    /// With a dry run or a glob: matching entries in memory before the purge.
    #[serde(skip_serializing_if = "Option::is_none")]
    known: Option<Memory>,
    /// With a dry run of erasing: bytes of the files that would be scanned.
    #[serde(skip_serializing_if = "Option::is_none")]
    disk_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    erased: Option<ErasedBytes>,
    /// Other replicas that could not be reached, and may still hold purged objects.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unreachable_replicas: Vec<String>,
}

#[derive(Serialize)]
struct Memory {
    objects: u64,
    bytes: u64,
}

/// Amounts of erased data.
#[derive(Serialize)]
struct ErasedBytes {
    memory_bytes: u64,
    /// Bytes erased from the files.
    disk_bytes: u64,
    /// Number of removed files; `files_rewritten` counts those with records that were copied to another file first.
    files_removed: u64,
    files_rewritten: u64,
}

impl ErasedBytes {
    fn with(self, other: PeerErased) -> Self {
        Self {
            memory_bytes: self.memory_bytes + other.memory_bytes,
            disk_bytes: self.disk_bytes + other.disk_bytes,
            files_removed: self.files_removed + other.files_removed,
            files_rewritten: self.files_rewritten + other.files_rewritten,
        }
    }
}

impl From<Erased> for ErasedBytes {
    fn from(Erased { memory_bytes, files }: Erased) -> Self {
        let ErasedFiles { removed, rewritten, bytes } = files;
        Self { memory_bytes, disk_bytes: bytes, files_removed: removed, files_rewritten: rewritten }
    }
}

pub(super) async fn purge(api: &Api, body: Incoming, end: &ConnectionEnd) -> Answer {
    let asked: PurgeRequest = body::read(body).await?;
    let (dry_run, erase) = (asked.dry_run, asked.erase);
    let scopes = scopes(&asked)?;
    let mut texts: Vec<String> = scopes.iter().map(text).collect();
    texts.dedup();
    let known = match dry_run || asked.glob.is_some() {
        true => Some(known(api, &scopes).await?),
        false => None,
    };
    if dry_run {
        let disk_bytes = if erase { api.cache.disk_usage() } else { None };
        let disk_bytes = disk_bytes.map(|disk| disk.device_bytes);
        let unreachable_replicas = Vec::new();
        let done = PurgeResponse {
            dry_run,
            scopes: texts,
            known,
            disk_bytes,
            erased: None,
            unreachable_replicas,
        };
        return Ok(json(StatusCode::OK, &done));
    }
    let (first, count) = (&texts[0], texts.len());
    log::info!("purged by hand: {first}{}", if count > 1 { " and others" } else { "" });
    metrics::purged(label(&scopes[0]), count as u64);
    let cache = api.cache.clone();
    // Thousands of keys would block a worker for too long.
    let purging = spawn_blocking(move || (cache.purge(&scopes), scopes)).await;
    let failed = |_| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "the purge did not complete");
    let (purged, scopes) = purging.map_err(failed)?;
    let kept = timeout(DURABLE, api.cache.purged(purged));
    let (kept, peers) = tokio::join!(kept, purge_at_peers(api, &scopes));
    if kept != Ok(true) {
        let why = "it is purged, and holds while this process runs; the disk did not take it down in time: \
            see the log, and ask again";
        return Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, why));
    }
    if !peers.failed.is_empty() {
        let why = format!(
            "it is purged here, and not at {}: see the logs, and ask again",
            names(&peers.failed).join(", ")
        );
        return Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, why));
    }
    let erased = match erase {
        true => {
            end.extend(ERASING);
            Some(self::erase(api, &scopes, &peers).await?)
        }
        false => None,
    };
    let unreachable_replicas = names(&peers.unreachable);
    let done = PurgeResponse {
        dry_run,
        scopes: texts,
        known,
        disk_bytes: None,
        erased,
        unreachable_replicas,
    };
    Ok(json(StatusCode::OK, &done))
}

async fn known(api: &Api, scopes: &[Scope]) -> Result<Memory, Refusal> {
    let (cache, scopes) = (api.cache.clone(), scopes.to_vec());
    let counted = spawn_blocking(move || cache.purge_preview(&scopes)).await;
    let failed = |_| {
        Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "the objects in memory cannot be counted")
    };
    let PurgePreview { objects, bytes } = counted.map_err(failed)?;
    Ok(Memory { objects, bytes })
}

async fn purge_at_peers(api: &Api, scopes: &[Scope]) -> PeerPurge {
    match &api.cluster {
        Some(cluster) => cluster.purge(scopes).await,
        None => PeerPurge::default(),
    }
}

fn names(addresses: &[SocketAddr]) -> Vec<String> {
    addresses.iter().map(ToString::to_string).collect()
}

async fn erase(api: &Api, scopes: &[Scope], peers: &PeerPurge) -> Result<ErasedBytes, Refusal> {
    let elsewhere = async {
        match &api.cluster {
            Some(cluster) => cluster.erase(peers, scopes, ERASING).await,
            None => Ok(PeerErased::default()),
        }
    };
    let (here, elsewhere) = tokio::join!(api.cache.erase(scopes, ERASING), elsewhere);
    let erased = here.map_err(|error| error.to_string()).and_then(|here| Ok((here, elsewhere?)));
    match erased {
        Ok((here, elsewhere)) => {
            let erased = ErasedBytes::from(here).with(elsewhere);
            let ErasedBytes { memory_bytes, disk_bytes, files_removed, files_rewritten } = &erased;
            log::info!(
                "erased by the admin API, other replicas included: {memory_bytes} bytes in memory and {disk_bytes} on \
                 disk; {files_removed} files removed, {files_rewritten} rewritten"
            );
            Ok(erased)
        }
        Err(error) => {
            log::error!("what was purged by hand is not all erased: {error}");
            let why = format!("it is purged; not everything is erased yet: {error}; ask again");
            Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, why))
        }
    }
}

/// Returns the requested scopes, at least one.
fn scopes(asked: &PurgeRequest) -> Result<Vec<Scope>, Refusal> {
    let PurgeRequest { keys, prefix, glob, bucket, everything, .. } = asked;
    match (keys, prefix, glob, bucket, everything) {
        (Some(keys), None, None, None, None) => {
            let objects = body::objects(keys)?.into_iter();
            Ok(objects.map(|(bucket, key)| Scope::Object(bucket, key)).collect())
        }
        (None, Some(text), None, None, None) => {
            let url = body::prefix(text)?;
            Ok(vec![Scope::Prefix(url.bucket, url.rest)])
        }
        (None, None, Some(text), None, None) => glob_scopes(text),
        (None, None, None, Some(name), None) => {
            let wrong = |why| Refusal::bad(format!("bucket: `{name}`: {why}"));
            Ok(vec![Scope::Bucket(BucketName::new(name).map_err(wrong)?)])
        }
        (None, None, None, None, Some(true)) => Ok(vec![Scope::Everything]),
        (None, None, None, None, Some(false)) => Err(Refusal::bad("everything: can only be true")),
        _ => Err(Refusal::bad(
            "exactly one of keys, prefix, glob, bucket and everything is required",
        )),
    }
}

/// Parses a glob into the scope of all matching keys, and that of the key with the literal name, as keys may contain
/// `*`.
fn glob_scopes(text: &str) -> Result<Vec<Scope>, Refusal> {
    let wrong = |why: &dyn std::fmt::Display| Refusal::bad(format!("glob: {why}"));
    let S3Url { bucket, rest } = S3Url::parse(text).map_err(|why| wrong(&why))?;
    let glob = KeyGlob::new(bucket.clone(), &rest).map_err(|why| wrong(&why))?;
    let literal = ObjectKey::new(&rest).ok().map(|key| Scope::Object(bucket, key));
    Ok([Scope::Glob(glob)].into_iter().chain(literal).collect())
}

fn text(scope: &Scope) -> String {
    match scope {
        Scope::Object(bucket, key) => format!("s3://{bucket}/{key}"),
        Scope::Prefix(bucket, prefix) => format!("s3://{bucket}/{prefix}*"),
        Scope::Bucket(bucket) => format!("s3://{bucket}/*"),
        Scope::Glob(glob) => format!("s3://{}/{}", glob.bucket(), glob.as_str()),
        Scope::Everything => "s3://*".to_owned(),
    }
}

fn label(scope: &Scope) -> PurgeScope {
    match scope {
        Scope::Object(..) => PurgeScope::Object,
        Scope::Prefix(..) => PurgeScope::Prefix,
        Scope::Bucket(_) => PurgeScope::Bucket,
        Scope::Glob(_) => PurgeScope::Glob,
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
            (r#"{"glob":"s3://data/a/*.csv"}"#, "s3://data/a/*.csv s3://data/a/*.csv"),
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
            (r#"{"glob":"s3://data/a["}"#, "glob: "),
            (r#"{"glob":"s3://*/a"}"#, "glob: "),
            (r#"{"bucket":"no/bucket"}"#, "bucket: `no/bucket`"),
            (r#"{"keys":["s3://data/a","s3://d/b"]}"#, "keys[1]"),
            (r#"{"prefixes":["s3://data/a"]}"#, "unknown field `prefixes`"),
        ] {
            let wrong = read(asked).unwrap_err();
            assert!(wrong.contains(named), "{asked}: {wrong}");
        }
    }
}
