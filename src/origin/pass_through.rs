//! Clients' requests that pass through: their connections, and the handling of their outcome.

use std::sync::Arc;

use http::{HeaderMap, StatusCode};
use pingora::upstreams::peer::HttpPeer;
use tokio::time::Instant;

use super::client::Origin;
use super::connections::{Attempt, PassThrough};
use super::domains::Domain;
use super::error::{NONE_FREE, OriginError, connect_error, is_of_credentials};
use super::misdirected::{Misdirected, is_of_region};
use super::refused::Refusal;
use super::regions::Site;
use crate::auth::Signer;
use crate::metrics::{self, OriginKind, Outcome};
use crate::s3::{BucketName, S3Error};

/// Handling of a response that passes through, with regard to the bucket's region.
#[derive(Debug)]
pub enum Redirected {
    /// The response is unrelated to regions and is passed on.
    No,
    /// The request is to be sent again to the bucket's region, which is known now.
    Again,
    /// The error is about the region in hotset's own signature, and sending again does not help.
    Failed(Box<S3Error>),
}

impl Origin {
    /// Returns a peer for pingora's proxy: a pooled connection to a site, which returns to the pool.
    ///
    /// # Errors
    /// [`OriginError::Connect`] or [`OriginError::Timeout`] when the origin's name has no known address.
    pub async fn pass_through_peer(
        &self,
        site: &Site,
        bucket: Option<&BucketName>,
        how: PassThrough,
    ) -> Result<HttpPeer, OriginError> {
        let host = site.endpoint().target(bucket, None).host;
        let route =
            site.endpoint().route(&host, self.config(), how.attempt != Attempt::First).await?;
        Ok(site.connections.lend(route, how))
    }

    /// Handles a response to a request that passes through, by its region. `again`: it was sent to another site before.
    pub async fn redirected(
        &self,
        (bucket, domain): (&BucketName, &Domain),
        (used, again): (&Arc<Site>, bool),
        (status, headers): (StatusCode, &HeaderMap),
        (refusal, is_head): (Option<&Refusal>, bool),
    ) -> Redirected {
        let Some(said) = Misdirected::of_head(status, headers, refusal, is_head) else {
            return Redirected::No;
        };
        if again && said.is_sure {
            self.locator().give_up(bucket);
        } else if !again {
            let deadline = Instant::now() + self.config().deadline.0;
            if self.locator().relocates((bucket, domain), used, &said, deadline).await {
                return Redirected::Again;
            }
        }
        match refusal.filter(|refusal| is_of_region(&refusal.code)) {
            None => Redirected::No,
            Some(refusal) => {
                let error = S3Error::new(status, refusal.code.clone(), "");
                Redirected::Failed(Box::new(OriginError::OwnCredentials(error).to_s3()))
            }
        }
    }

    /// Records the outcome of a request that passed through.
    pub fn passed_through(&self, outcome: Outcome) {
        metrics::origin_request(self.health().name(), OriginKind::PassThrough, outcome);
        if outcome == Outcome::Ok {
            self.note(None);
        }
    }

    /// Handles the refusal of a request that passed through, signed with `used`. Returns the error for the client if it
    /// is about hotset's own keys, and whether the same request may succeed now; `None`: it is about the client's
    /// request.
    pub async fn refuses_our_keys(
        &self,
        status: StatusCode,
        headers: &HeaderMap,
        code: &str,
        domain: &Domain,
        used: &Arc<Signer>,
    ) -> Option<(S3Error, bool)> {
        if !is_of_credentials(code) {
            return None;
        }
        let mut refused = S3Error::service_unavailable();
        (refused.status, refused.code) = (status, code.to_owned().into());
        let is_mended = if code == "RequestTimeTooSkewed" {
            self.clock().learn(headers);
            true
        } else {
            self.replaces_refused(&refused, domain, Some(used)).await
        };
        let error = OriginError::OwnCredentials(refused);
        self.note(Some(&error));
        Some((error.to_s3(), is_mended))
    }

    /// Records that a request which passes through got no connection. Returns whether to try another address.
    pub fn failed_to_connect(&self, error: &pingora::Error) -> bool {
        if *error.etype() == NONE_FREE {
            return false;
        }
        self.note(Some(&connect_error(error)));
        true
    }
}
