//! The cache's two kinds of requests: HEAD and ranged GET of an object.

use std::sync::Arc;

use http::Method;

use super::asked::{Asked, Pin};
use super::body::{Answer, Body};
use super::client::Origin;
use super::error::OriginError;
use super::hedging::{About, bytes_of};
use super::request::ObjectRequest;
use super::retry::RetryBudget;
use super::slots::{Class, Urgency};
use crate::metrics::hedging::Phase;
use crate::s3::{ObjectId, ObjectMeta, PartNumber};

impl Origin {
    /// `HeadObject` without conditions (R10), of the whole or of a part; its checksums included.
    ///
    /// # Errors
    /// Any [`OriginError`]; transient ones were retried.
    pub async fn head(
        &self,
        id: &ObjectId,
        part: Option<PartNumber>,
    ) -> Result<ObjectMeta, OriginError> {
        self.head_for(id, part, &Arc::new(Urgency::new(Class::Metadata))).await
    }

    /// As [`Origin::head`], with the given urgency.
    ///
    /// # Errors
    /// As [`Origin::head`].
    pub async fn head_for(
        &self,
        id: &ObjectId,
        part: Option<PartNumber>,
        urgency: &Arc<Urgency>,
    ) -> Result<ObjectMeta, OriginError> {
        let domain = self.domains().of_realm(id.realm())?;
        let (method, pin) = (Method::HEAD, &Pin::Current);
        let request = ObjectRequest {
            domain: &domain,
            method,
            id,
            range: None,
            part,
            pin,
            by_version: false,
        };
        let mut budget = RetryBudget::new(self.config()).of(urgency.clone());
        loop {
            let about = About { phase: Phase::Head, bytes: 0, bucket: id.bucket_hash64() };
            let send = async || {
                let exchange = self.exchange(&request, &budget).await?;
                let (meta, elapsed) = (request.meta_in(&exchange), exchange.first_byte);
                exchange.release().await;
                Ok((meta, elapsed))
            };
            let may_repeat = || self.may_repeat(urgency);
            match self.hedging().race(about, may_repeat, send).await {
                Ok(meta) => {
                    self.health().answered_after_all(&mut budget);
                    return meta;
                }
                Err(failure) => self.pause(failure, &mut budget).await?,
            }
        }
    }

    /// `GetObject` of a range. Version, range and size of the response were validated; its body resumes by itself after
    /// a break.
    ///
    /// # Errors
    /// Any [`OriginError`]; transient ones were retried.
    pub async fn get(
        self: &Arc<Self>,
        id: &ObjectId,
        asked: Asked,
        pin: Pin,
        urgency: &Arc<Urgency>,
    ) -> Result<Answer, OriginError> {
        let mut budget = RetryBudget::new(self.config()).of(urgency.clone());
        // How long the first answer for an object is, only the answer says.
        let is_known = matches!(pin, Pin::Version(_));
        let mut transfer = is_known.then(|| self.width().begin(bytes_of(&asked))).flatten();
        loop {
            let (phase, bucket) = (Phase::FirstByte, id.bucket_hash64());
            let about = About { phase, bytes: bytes_of(&asked), bucket };
            let send = async || {
                let (exchange, checked) = self.get_once(id, &asked, &pin, &budget).await?;
                let elapsed = exchange.first_byte;
                Ok(((exchange, checked), elapsed))
            };
            let may_repeat = || self.may_repeat(urgency);
            match self.hedging().race(about, may_repeat, send).await {
                Ok((exchange, checked)) => {
                    self.health().answered_after_all(&mut budget);
                    if !is_known {
                        let bytes = checked.range.end - checked.range.start;
                        transfer = self.width().begin(bytes.min(bytes_of(&asked)));
                    }
                    if let Some(transfer) = &mut transfer {
                        transfer.answered(exchange.first_byte);
                    }
                    let of = (self.clone(), id.clone());
                    return Ok(Body::answer(of, exchange, checked, budget, transfer));
                }
                Err(failure) => self.pause(failure, &mut budget).await?,
            }
        }
    }
}
