//! Writes of empty objects, signed with hotset's own keys.

use http::Method;
use http::header::{CONTENT_LENGTH, HOST, HeaderMap, HeaderValue, USER_AGENT};
use tokio::time::Instant;

use super::client::Origin;
use super::error::OriginError;
use super::exchange::Try;
use super::regions::Site;
use super::request::build_head;
use super::slots::{Class, Urgency};
use crate::auth::Payload;
use crate::s3::{BucketName, ObjectKey, Query};

impl Origin {
    /// Sends `PutObject` of an empty object once, without retries.
    ///
    /// # Errors
    /// No response in time, or a status other than 200.
    ///
    /// # Panics
    /// Never: the endpoint name was validated at start.
    pub async fn touch(&self, bucket: &BucketName, key: &ObjectKey) -> Result<(), OriginError> {
        let site = self.site(Some(bucket));
        let outcome = self.touch_at(&site, bucket, key).await;
        // A request that reached the wrong region has written nothing.
        let place = (bucket, &**self.domains().own());
        let deadline = Instant::now() + self.config().deadline.0;
        if let Err(OriginError::Misdirected(said)) = &outcome
            && self.locator().relocates(place, &site, &said.1, deadline).await
        {
            let outcome = self.touch_at(&self.site(Some(bucket)), bucket, key).await;
            return outcome.map_err(|error| self.locator().settled(error, Some(bucket)));
        }
        outcome.map_err(|error| self.locator().settled(error, None))
    }

    async fn touch_at(
        &self,
        site: &Site,
        bucket: &BucketName,
        key: &ObjectKey,
    ) -> Result<(), OriginError> {
        let target = site.endpoint().target(Some(bucket), Some(key));
        let mut headers = HeaderMap::with_capacity(8);
        headers.insert(HOST, HeaderValue::from_str(&target.host).expect("checked at start"));
        headers.insert(USER_AGENT, HeaderValue::from_static("hotset"));
        headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        if let Some(signer) = self.domains().own().signer() {
            let (query, payload) = (Query::default(), Payload::Unsigned);
            let signer = site.signer(&signer);
            signer.sign(&Method::PUT, &target.path, &query, &mut headers, payload, self.now());
        }
        let head = build_head(Method::PUT, target.path.as_bytes(), &headers);
        let deadline = Instant::now() + self.config().deadline.0;
        // A new connection: a write over a reused one may be lost unnoticed.
        let urgency = Urgency::new(Class::Metadata);
        let exchange = self
            .transport()
            .deliver(site, head, &target.host, Try::first(true), deadline, &urgency)
            .await;
        let exchange = exchange.map_err(|(error, _)| error)?;
        match exchange.status.is_success() {
            true => {
                exchange.release().await;
                Ok(())
            }
            false => Err(self.refusal(exchange, None).await),
        }
    }
}
