//! Requests for buckets in another region than the configured one: their sites, and the detection of their regions.

use std::sync::Arc;

use http::header::{ACCEPT_ENCODING, HOST, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use tokio::time::{Instant, timeout_at};

use super::clock::OriginClock;
use super::config::OriginConfig;
use super::connections::Connections;
use super::domains::Domain;
use super::endpoint::Endpoint;
use super::error::OriginError;
use super::exchange::{Transport, Try};
use super::misdirected::{BUCKET_REGION, Misdirected, is_of_region, is_region};
use super::regions::{Move, Regions, Site};
use super::request::build_head;
use super::slots::{Class, Slots, Urgency};
use crate::auth::Payload;
use crate::s3::{BucketName, Query};

/// Finds the site of each bucket.
pub(super) struct Locator {
    config: Arc<OriginConfig>,
    regions: Regions,
    transport: Arc<Transport>,
    clock: Arc<OriginClock>,
}

/// Response to a request for a bucket's region.
enum Told {
    Region(String),
    /// It names no region.
    Nothing,
}

impl Locator {
    /// # Errors
    /// A sentence that says why `origin.endpoint` or `origin.ca_file` is invalid.
    pub(super) fn new(
        config: &Arc<OriginConfig>,
        transport: &Arc<Transport>,
        clock: &Arc<OriginClock>,
    ) -> Result<Self, String> {
        let endpoint = Endpoint::at(&config.endpoint, config.addressing, &config.addresses)?;
        let passing = Slots::new(config.pass_through_connections);
        let connections = Connections::new(config, &endpoint, &passing)?;
        Ok(Self {
            config: config.clone(),
            regions: Regions::new(Site::home(endpoint, connections)),
            transport: transport.clone(),
            clock: clock.clone(),
        })
    }

    /// Sets the transport for requests of this locator.
    pub(super) fn with_transport(self, transport: &Arc<Transport>) -> Self {
        Self { transport: transport.clone(), ..self }
    }

    /// Returns the configured site.
    pub(super) fn home(&self) -> &Arc<Site> {
        self.regions.home()
    }

    /// Returns the connections of each endpoint.
    pub(super) fn connections(&self) -> Vec<Arc<Connections>> {
        self.regions.connections()
    }

    /// Returns the site of a bucket; `None`: that of the service.
    pub(super) fn site(&self, bucket: Option<&BucketName>) -> Arc<Site> {
        self.regions.site(bucket)
    }

    /// Stops relocating a bucket that was redirected twice: for a while its requests go to the configured site, once.
    pub(super) fn give_up(&self, bucket: &BucketName) {
        self.regions.give_up(bucket);
    }

    /// Whether to send a request that reached the wrong site once more, to the site that [`Locator::site`] returns now.
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
                let asking = self.regions.asking(bucket);
                let failures = asking.failures();
                let Ok(_turn) = timeout_at(deadline, asking.turn.lock()).await else {
                    return false;
                };
                match self.regions.plan(bucket, used, said, configured) {
                    Move::Known => return true,
                    Move::To(region) => region,
                    Move::No => return false,
                    // A request that failed during the wait is shared.
                    Move::Ask if asking.failures() != failures => return false,
                    Move::Ask => {
                        let Some(told) = self.ask_region(bucket, domain, used, deadline).await
                        else {
                            asking.failed();
                            return false;
                        };
                        self.regions.is_asked(bucket);
                        let Told::Region(region) = told else { return false };
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
        let connections = self.home().connections.beside(&self.config, &endpoint);
        Some((endpoint, connections))
    }

    /// Sends `HeadBucket`, whose response names the region whatever its status is. `None`: there is no response, or one
    /// that says nothing about the bucket.
    async fn ask_region(
        &self,
        bucket: &BucketName,
        domain: &Domain,
        site: &Site,
        deadline: Instant,
    ) -> Option<Told> {
        let target = site.endpoint().target(Some(bucket), None);
        let mut headers = HeaderMap::with_capacity(8);
        headers.insert(HOST, HeaderValue::from_str(&target.host).ok()?);
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        headers.insert(USER_AGENT, HeaderValue::from_static("hotset"));
        if let Some(signer) = domain.signer() {
            let (query, path, now) = (Query::default(), &target.path, self.clock.now());
            let signer = site.signer(&signer);
            signer.sign(&Method::HEAD, path, &query, &mut headers, Payload::Unsigned, now);
        }
        let head = build_head(Method::HEAD, target.path.as_bytes(), &headers);
        let urgency = Urgency::new(Class::Metadata);
        let exchange =
            self.transport.deliver(site, head, &target.host, Try::first(false), deadline, &urgency);
        let exchange = exchange.await.ok()?;
        let region = exchange.head().get(BUCKET_REGION).and_then(|value| value.to_str().ok());
        let told = match region.filter(|region| is_region(region)) {
            Some(region) => Some(Told::Region(region.to_owned())),
            None if exchange.status.is_server_error() => None,
            None if exchange.status == StatusCode::TOO_MANY_REQUESTS => None,
            None => Some(Told::Nothing),
        };
        exchange.release().await;
        told
    }

    /// Returns the final error of a request for which no better site is known.
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
