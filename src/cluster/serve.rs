//! Request handlers for other replicas, behind the token of the admin port.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use serde::de::DeserializeOwned;

use super::Cluster;
use super::members::Asked;
use super::peer::Peer;
use super::wire::{self, EraseAnswer, EraseRequest, LeaseAnswer, LeaseQuestion, Push, PushAnswer};
use crate::cache::{Erased, Scope};

/// Maximum bytes of a request: a batch is smaller, a single message may be larger than one.
pub const REQUEST_MAX: usize = 16 << 20;

type Answer = Result<String, (StatusCode, String)>;

impl Cluster {
    /// Answers a request of another replica, connected from `from`. `limit`: time limit of an erasure.
    ///
    /// # Errors
    /// A status, and a line with the reason.
    pub async fn answer(&self, path: &str, body: Bytes, from: IpAddr, limit: Duration) -> Answer {
        match path {
            wire::LEASE => self.lease(parse(&body)?, from),
            wire::PUSH => self.take(parse(&body)?).await,
            wire::SETTLE => self.settle().await,
            wire::ERASE => self.erase_here(parse(&body)?, limit).await,
            _ => Err((StatusCode::NOT_FOUND, format!("there is no {path}"))),
        }
    }

    /// Whether a request to `path` may take as long as an erasure.
    pub fn takes_long(path: &str) -> bool {
        path == wire::ERASE
    }

    fn lease(&self, question: LeaseQuestion, from: IpAddr) -> Answer {
        if self.leaving.load(Ordering::Acquire) {
            return Err((StatusCode::SERVICE_UNAVAILABLE, "it ends".to_owned()));
        }
        let LeaseQuestion { session, port } = question;
        let from = SocketAddr::new(from.to_canonical(), port);
        let Asked { granted, promised, new } = self.members.asked(session, from);
        if let Some(new) = new {
            log::info!("cluster: {from} is another replica, which asked");
            self.run_link(new);
        }
        Ok(wire::text(&LeaseAnswer { session: self.members.own(), granted, promised }))
    }

    async fn take(&self, push: Push) -> Answer {
        let session = push.session;
        let own = self.members.own();
        if session == own {
            return Ok(wire::text(&PushAnswer { session: own, applied: 0 }));
        }
        let taken = self.members.inbox.take(push).await;
        let taken =
            taken.ok_or((StatusCode::SERVICE_UNAVAILABLE, "too many replicas".to_owned()))?;
        if taken.leaves {
            self.members.left(session);
        }
        Ok(wire::text(&PushAnswer { session: own, applied: taken.applied }))
    }

    /// Waits until all applied purges are durable.
    async fn settle(&self) -> Answer {
        match self.cache.purges_settled().await {
            true => Ok("{}".to_owned()),
            false => {
                let why = "the disk did not take the purge down in time";
                Err((StatusCode::SERVICE_UNAVAILABLE, why.to_owned()))
            }
        }
    }

    async fn erase_here(&self, request: EraseRequest, limit: Duration) -> Answer {
        let scopes = request.scopes.into_iter().map(Scope::try_from);
        let scopes = scopes.collect::<Result<Vec<_>, _>>();
        let scopes = scopes.map_err(|why| (StatusCode::BAD_REQUEST, why.to_string()))?;
        let Erased { memory_bytes, files } = self
            .cache
            .erase(&scopes, limit)
            .await
            .map_err(|error| (StatusCode::SERVICE_UNAVAILABLE, error.to_string()))?;
        Ok(wire::text(&EraseAnswer {
            memory_bytes,
            disk_bytes: files.bytes,
            files_removed: files.removed,
            files_rewritten: files.rewritten,
        }))
    }

    /// Passes a new peer to [`Cluster::run`], which starts its link.
    pub(super) fn run_link(&self, peer: Arc<Peer>) {
        // The receiver is gone only when the process shuts down.
        let _ = self.new.send(peer);
    }
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, (StatusCode, String)> {
    serde_json::from_slice(body).map_err(|error| (StatusCode::BAD_REQUEST, error.to_string()))
}
