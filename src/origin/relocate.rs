//! Requests for buckets that are in another region than the configured one: where they go, and how that is learned.

use std::sync::Arc;

use http::header::{ACCEPT_ENCODING, HOST, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use pingora::upstreams::peer::HttpPeer;
use tokio::time::Instant;

use super::OriginError;
use super::client::{Origin, build_head};
use super::connections::{Connections, PassThrough};
use super::domains::Domain;
use super::endpoint::Endpoint;
use super::misdirected::{BUCKET_REGION, Misdirected, is_of_region, is_region};
use super::refused::Refusal;
use super::regions::{Move, Site};
use super::slots::{Class, Urgency};
use crate::auth::Payload;
use crate::s3::{BucketName, Query, S3Error};

/// What becomes of a response that passes through, by its region.
#[derive(Debug)]
pub enum Redirected {
    /// It is about the object.
    No,
    /// The same request is to be sent to the bucket's region, which is known now.
    Again,
    /// It is about the region that hotset signed for, which cannot be mended.
    Failed(Box<S3Error>),
}

impl Origin {
    /// Where a bucket is asked; `None`: the service.
    pub fn site(&self, bucket: Option<&BucketName>) -> Arc<Site> {
        self.regions.site(bucket)
    }

    /// A peer for pingora's proxy: a connection to a site of ours, that comes back to us.
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
        let route = site.endpoint().route(&host, &self.config).await?;
        Ok(site.connections.lend(route, how))
    }

    /// What becomes of a response to a request that passes through. `again`: it was sent to another site before.
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
            self.regions.give_up(bucket);
        } else if !again {
            let deadline = Instant::now() + self.config.deadline.0;
            if self.relocates((bucket, domain), used, &said, deadline).await {
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

    /// Whether a request that reached the wrong site is to be sent once more, to the one that [`Origin::site`] names now.
    pub(super) async fn relocates(
        &self,
        (bucket, domain): (&BucketName, &Domain),
        used: &Arc<Site>,
        said: &Misdirected,
        deadline: Instant,
    ) -> bool {
        let configured = (&*self.config.endpoint, &*self.config.region);
        let region = match self.regions.plan(bucket, used, said, configured) {
            Move::Known => return true,
            Move::No => return false,
            Move::To(region) => region,
            Move::Ask => {
                let _asking = self.regions.asking.lock().await;
                match self.regions.plan(bucket, used, said, configured) {
                    Move::Known => return true,
                    Move::To(region) => region,
                    Move::No => return false,
                    Move::Ask => {
                        self.regions.is_asked(bucket);
                        let told = self.ask_region(bucket, domain, used, deadline).await;
                        let Some(region) = told else { return false };
                        region
                    }
                }
            }
        };
        let open = |url: &str| self.open_site(url);
        let place = (used, said.moves);
        match self.regions.learn(bucket, place, &region, configured, open) {
            Some(site) => {
                let host = site.endpoint().name();
                log::info!("origin: bucket {bucket} is in region {region}, and asked at {host}");
                true
            }
            None => false,
        }
    }

    fn open_site(&self, url: &str) -> Option<(Endpoint, Arc<Connections>)> {
        let endpoint = Endpoint::at(url, self.config.addressing, &self.config.addresses).ok()?;
        let connections = Connections::new(&self.config, endpoint.addresses());
        Some((endpoint, connections))
    }

    /// `HeadBucket`, whose response names the region whatever its status is.
    async fn ask_region(
        &self,
        bucket: &BucketName,
        domain: &Domain,
        site: &Site,
        deadline: Instant,
    ) -> Option<String> {
        let target = site.endpoint().target(Some(bucket), None);
        let mut headers = HeaderMap::with_capacity(8);
        headers.insert(HOST, HeaderValue::from_str(&target.host).ok()?);
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        headers.insert(USER_AGENT, HeaderValue::from_static("hotset"));
        if let Some(signer) = domain.signer() {
            let (query, path, now) = (Query::default(), &target.path, self.now());
            let signer = site.signer(&signer);
            signer.sign(&Method::HEAD, path, &query, &mut headers, Payload::Unsigned, now);
        }
        let head = build_head(Method::HEAD, target.path.as_bytes(), &headers);
        let urgency = Urgency::new(Class::Metadata);
        let exchange = self.deliver(site, head, &target.host, false, deadline, &urgency);
        let exchange = exchange.await.ok()?;
        let region = exchange.head().get(BUCKET_REGION).and_then(|value| value.to_str().ok());
        let region = region.filter(|region| is_region(region)).map(str::to_owned);
        exchange.release().await;
        region
    }

    /// A response about the region that no other site can give a better one to.
    pub(super) fn settled(&self, error: OriginError, again: Option<&BucketName>) -> OriginError {
        let OriginError::Misdirected(said) = error else { return error };
        let (error, said) = *said;
        if let Some(bucket) = again.filter(|_| said.is_sure) {
            self.regions.give_up(bucket);
        }
        match is_of_region(&error.code) {
            true => OriginError::OwnCredentials(error),
            false => OriginError::Refused(error),
        }
    }
}
