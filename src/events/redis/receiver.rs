//! The session with a Redis server: connect, move events over, apply, remove them.

use std::borrow::Cow;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, AsyncTypedCommands as _, Client, Direction, Pipeline, Value};
use serde_json::{Value as Json, json};
use tokio::sync::watch;

use super::config::RedisConfig;
use crate::events::reconnect::{Failure, NOT_DURABLE, reconnect};
use crate::events::{Intake, ReceiverStatus, Source};

/// Maximum events applied before they are removed.
const CHUNK: usize = 256;
/// Maximum time the server waits for an event before the request is repeated, so that a dead server is detected.
const WAIT: Duration = Duration::from_secs(5);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
/// Maximum number of undecodable events that are kept, the latest ones.
const UNREADABLE: isize = 1000;

/// Receiver of one list.
#[derive(Debug)]
pub(in crate::events) struct Redis {
    url: String,
    list: String,
    /// Key of the list of received events that are not known to be applied.
    taken: String,
    /// Key of the list of undecodable events.
    unreadable: String,
    /// Name of the origin of its events; `None`: any.
    origin: Option<String>,
}

impl Redis {
    /// Creates the receiver; [`Redis::run`] connects to the server.
    pub(in crate::events) fn new(config: RedisConfig) -> Self {
        let url = config.url.expose().to_owned();
        let beside = |suffix: &str| format!("{}:hotset:{suffix}", config.list);
        let (taken, unreadable) = (beside("taken"), beside("unreadable"));
        Self { url, list: config.list, taken, unreadable, origin: config.origin }
    }

    /// Receives until `shutdown` turns true. Events not removed by then are applied again at the next start.
    pub(in crate::events) async fn run(self, intake: Arc<Intake>, shutdown: watch::Receiver<bool>) {
        let status = intake.receiver_status(Source::Redis, &self.list);
        reconnect(&status, shutdown, || self.session(&intake, &status)).await;
    }

    async fn session(
        &self,
        intake: &Intake,
        status: &ReceiverStatus,
    ) -> Result<Infallible, Failure> {
        // Its own error may quote the URL, which has a password in it.
        let client =
            Client::open(self.url.as_str()).map_err(|_| "events.redis.url is no Redis URL")?;
        let timeouts = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(ANSWER_TIMEOUT));
        let mut server = client.get_multiplexed_async_connection_with_config(&timeouts).await?;
        loop {
            // First the events left by a previous run.
            let last = isize::try_from(CHUNK)? - 1;
            let left: Vec<Vec<u8>> = redis::cmd("LRANGE")
                .arg(&self.taken)
                .arg(0)
                .arg(last)
                .query_async(&mut server)
                .await?;
            if left.is_empty() {
                break;
            }
            self.apply(&mut server, &left, intake).await?;
        }
        status.up();
        loop {
            status.queued(u64::try_from(server.llen(&self.list).await?)?);
            let events = self.take(&mut server).await?;
            self.apply(&mut server, &events, intake).await?;
        }
    }

    /// Moves events to the list of received ones, in order: waits for the first, and takes those that follow at once.
    async fn take(&self, server: &mut MultiplexedConnection) -> Result<Vec<Vec<u8>>, Failure> {
        let first: Option<Vec<u8>> = redis::cmd("BLMOVE")
            .arg((&self.list, &self.taken, Direction::Left, Direction::Right, WAIT.as_secs()))
            .query_async(server)
            .await?;
        let Some(first) = first else { return Ok(Vec::new()) };
        let mut more = Pipeline::new();
        for _ in 1..CHUNK {
            more.lmove(&self.list, &self.taken, Direction::Left, Direction::Right);
        }
        let more: Vec<Option<Vec<u8>>> = more.query_async(server).await?;
        Ok(std::iter::once(first).chain(more.into_iter().flatten()).collect())
    }

    /// Applies the first received events, waits until they are durable, and removes those that are.
    async fn apply(
        &self,
        server: &mut MultiplexedConnection,
        events: &[Vec<u8>],
        intake: &Intake,
    ) -> Result<(), Failure> {
        if events.is_empty() {
            return Ok(());
        }
        let apply = |event| {
            let origin = self.origin.as_deref();
            intake.apply_of(Source::Redis, origin, &records(event)).ok()
        };
        let results: Vec<_> = events.iter().map(|event| apply(event)).collect();
        let is_readable: Vec<_> = results.iter().map(Option::is_some).collect();
        // Undecodable events need not wait for durability.
        let applied = results.into_iter().map(Option::unwrap_or_default);
        let durable = intake.durable_prefix(applied).await;
        let mut off = Pipeline::new();
        off.atomic();
        for (event, _) in
            events[..durable].iter().zip(is_readable).filter(|(_, readable)| !readable)
        {
            off.rpush(&self.unreadable, event).ltrim(&self.unreadable, -UNREADABLE, -1);
        }
        off.ltrim(&self.taken, isize::try_from(durable)?, -1);
        off.query_async::<Value>(server).await?;
        if durable < events.len() { Err(NOT_DURABLE.into()) } else { Ok(()) }
    }
}

/// Extracts the records from MinIO's `access` format, `[{"Event": [record], "EventTime": ..}]`; anything else is
/// returned unchanged.
fn records(event: &[u8]) -> Cow<'_, [u8]> {
    #[derive(serde::Deserialize)]
    struct Access {
        #[serde(rename = "Event")]
        records: Vec<Json>,
    }
    let Ok(entries) = serde_json::from_slice::<Vec<Access>>(event) else {
        return Cow::Borrowed(event);
    };
    let records: Vec<_> = entries.into_iter().flat_map(|entry| entry.records).collect();
    Cow::Owned(json!({ "Records": records }).to_string().into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_access_entry_becomes_the_records_in_it_and_anything_else_stays() {
        let entry = br#"[{"Event":[{"eventName":"s3:ObjectCreated:Put","a":1.0}],"EventTime":"2026-01-01T00:00:00Z"}]"#;
        let found: Json = serde_json::from_slice(&records(entry)).unwrap();
        let record = json!({ "eventName": "s3:ObjectCreated:Put", "a": 1.0 });
        assert_eq!(found, json!({ "Records": [record] }));
        for other in [&br#"{"Records":[]}"#[..], b"nonsense", b"[1]", b"{\"Event\":[]}"] {
            assert_eq!(*records(other), *other);
        }
    }
}
