//! Listing of the keys of a bucket page by page, signed with hotset's own keys (`ListObjectsV2`).

use http::header::{ACCEPT_ENCODING, HOST, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use tokio::time::{Instant, timeout_at};

use super::client::Origin;
use super::error::OriginError;
use super::exchange::{Exchange, Try};
use super::regions::Site;
use super::request::build_head;
use super::retry::{RetryBudget, Reused};
use super::slots::{Class, Urgency};
use crate::auth::Payload;
use crate::metrics::{self, OriginKind};
use crate::s3::BucketName;
use crate::s3::object_list::ObjectPage;
use crate::s3::target::Query;

/// Maximum bytes of a page. A page of a thousand keys of 1024 bytes, each escaped to three, with owners and dates, is
/// about half.
const MAX_PAGE: usize = 8 << 20;

impl Origin {
    /// Returns a page of the keys that begin with `prefix`: the first one, or the one after the continuation token
    /// `after`.
    ///
    /// # Errors
    /// Any [`OriginError`]; transient ones were retried.
    pub async fn list(
        &self,
        bucket: &BucketName,
        prefix: &str,
        after: Option<&str>,
    ) -> Result<ObjectPage, OriginError> {
        let mut budget = RetryBudget::new(self.config());
        let mut query = Query::default().with("list-type", "2").with("encoding-type", "url");
        if !prefix.is_empty() {
            query = query.with("prefix", prefix);
        }
        if let Some(token) = after {
            query = query.with("continuation-token", token);
        }
        loop {
            let own = self.domains().own();
            let used = own.signer();
            let mut page = self.list_in_region(bucket, &query, &budget).await;
            if let Err(OriginError::OwnCredentials(e)) = &page
                && self.replaces_refused(e, own, used.as_ref()).await
            {
                page = self.list_in_region(bucket, &query, &budget).await;
            }
            self.health().record(OriginKind::List, 0, page.as_ref().err());
            if let Err(OriginError::Throttled(_)) = &page {
                self.throttled();
            }
            match page {
                Ok(page) => return Ok(page),
                Err(failure) => self.pause(failure, &mut budget).await?,
            }
        }
    }

    /// Makes one attempt, in the bucket's region.
    async fn list_in_region(
        &self,
        bucket: &BucketName,
        query: &Query,
        budget: &RetryBudget,
    ) -> Result<ObjectPage, OriginError> {
        let (site, own) = (self.site(Some(bucket)), self.domains().own());
        let page = self.list_once(&site, bucket, query, budget).await;
        let moved = match &page {
            Err(OriginError::Misdirected(said)) => {
                self.locator().relocates((bucket, own), &site, &said.1, budget.deadline()).await
            }
            _ => false,
        };
        if !moved {
            return page.map_err(|error| self.locator().settled(error, None));
        }
        let page = self.list_once(&self.site(Some(bucket)), bucket, query, budget).await;
        page.map_err(|error| self.locator().settled(error, Some(bucket)))
    }

    async fn list_once(
        &self,
        site: &Site,
        bucket: &BucketName,
        query: &Query,
        budget: &RetryBudget,
    ) -> Result<ObjectPage, OriginError> {
        let (fresh, deadline) = (budget.attempt() > 0, budget.deadline());
        let mut outcome = self.send_list(site, bucket, query, fresh, deadline).await;
        if let Err((OriginError::Broken(_), Reused(true))) = &outcome {
            outcome = self.send_list(site, bucket, query, true, deadline).await;
        }
        let mut exchange = outcome.map_err(|(error, _)| error)?;
        if exchange.status != StatusCode::OK {
            return Err(self.refusal(exchange, None).await);
        }
        let body = timeout_at(deadline, read_page(&mut exchange)).await;
        let body = body.map_err(|_| OriginError::Timeout("a page of a list"))??;
        exchange.release().await;
        ObjectPage::parse(&body).map_err(|e| OriginError::Broken(e.to_string()))
    }

    async fn send_list(
        &self,
        site: &Site,
        bucket: &BucketName,
        query: &Query,
        fresh: bool,
        deadline: Instant,
    ) -> Result<Exchange, (OriginError, Reused)> {
        let target = site.endpoint().target(Some(bucket), None);
        let mut headers = HeaderMap::with_capacity(8);
        headers.insert(HOST, HeaderValue::from_str(&target.host).expect("checked at start"));
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        headers.insert(USER_AGENT, HeaderValue::from_static("hotset"));
        if let Some(signer) = self.domains().own().signer() {
            let (path, payload) = (&target.path, Payload::Unsigned);
            let signer = site.signer(&signer);
            signer.sign(&Method::GET, path, query, &mut headers, payload, self.now());
        }
        let path = format!("{}?{}", target.path, query.to_canonical_string());
        let head = build_head(Method::GET, path.as_bytes(), &headers);
        let urgency = Urgency::new(Class::Read);
        let which = Try::first(fresh);
        self.transport().deliver(site, head, &target.host, which, deadline, &urgency).await
    }
}

async fn read_page(exchange: &mut Exchange) -> Result<Vec<u8>, OriginError> {
    let mut body = Vec::new();
    while let Some(bytes) = exchange.read().await? {
        if body.len() + bytes.len() > MAX_PAGE {
            return Err(OriginError::Uncacheable("a page of a list is too large".to_owned()));
        }
        metrics::origin_bytes(bytes.len() as u64);
        body.extend_from_slice(bytes);
    }
    Ok(body)
}
