//! Lists and `HeadBucket`, answered from memory for a short time where a rule says so (R27).
//!
//! They stream through as always; the response is cached, up to a size limit, when it has arrived completely.

use std::time::Duration;

use bytes::BytesMut;
use http::{Method, StatusCode};
use pingora::Result;
use pingora::http::ResponseHeader;
use pingora::proxy::Session;

use super::disconnect::or_gone;
use super::keeping::Keeping;
use crate::cache::{ListAnswer, ListKey};
use crate::proxy::context::{Forward, RequestContext};
use crate::proxy::gateway::Gateway;
use crate::proxy::request::has_body;
use crate::proxy::response::head::{CacheStatus, Head};
use crate::s3::{Listing, Parsed, Realm, described_headers};

/// Maximum cached body, in bytes: a page of a thousand keys of a thousand bytes, twice over.
const MAX_BODY: usize = 4 << 20;

/// Outcome of a list request.
pub(in crate::proxy) enum Listed {
    Answered,
    /// To be passed through, and cached if that is allowed.
    Forward(Option<Box<Keeping>>),
}

impl Gateway {
    /// Answers a list from memory, or begins to cache it.
    pub(in crate::proxy) async fn list(
        &self,
        session: &mut Session,
        ctx: &mut RequestContext,
        realm: &Realm,
        parsed: &Parsed,
    ) -> Result<Listed> {
        let Some((key, listing, ttl)) = self.listing(session, realm, parsed) else {
            return Ok(Listed::Forward(None));
        };
        let known = match listing.no_cache {
            true => None,
            false => self.cache.list(&key, ttl),
        };
        match known {
            Some(answer) => {
                send(session, ctx, &answer).await?;
                Ok(Listed::Answered)
            }
            None => {
                let fill = self.cache.list_begins(key, listing, ttl);
                let keeping = Keeping { fill, headers: Vec::new(), body: BytesMut::new() };
                Ok(Listed::Forward(Some(Box::new(keeping))))
            }
        }
    }

    /// Starts to copy a response that may be cached, at its head.
    pub(in crate::proxy) fn keep_head(
        &self,
        method: &Method,
        head: &ResponseHeader,
        forward: &mut Forward,
    ) {
        let Some(mut keeping) = forward.keeping.take().filter(|_| head.status == StatusCode::OK)
        else {
            return;
        };
        keeping.headers = described_headers(&head.headers);
        match *method {
            Method::HEAD => keeping.finish(&self.cache),
            _ => forward.keeping = Some(keeping),
        }
    }

    /// Copies a part of the response body.
    pub(in crate::proxy) fn keep(&self, forward: &mut Forward, part: &[u8], end: bool) {
        let Some(mut keeping) = forward.keeping.take() else { return };
        keeping.body.extend_from_slice(part);
        match end {
            true => keeping.finish(&self.cache),
            false if keeping.body.len() > MAX_BODY => {}
            false => forward.keeping = Some(keeping),
        }
    }

    fn listing(
        &self,
        session: &Session,
        realm: &Realm,
        parsed: &Parsed,
    ) -> Option<(ListKey, Listing, Duration)> {
        let bucket = parsed.bucket.as_ref().filter(|_| parsed.key.is_none())?;
        let bucket = Some(bucket).filter(|bucket| bucket.without_tenant().is_none())?;
        // S3 decides who may see a list: one caller's list is not another's (R27).
        if !self.rules.keep_lists() || self.access.transparent().is_some() {
            return None;
        }
        let head = session.req_header();
        let listing = Listing::of(&head.method, &head.headers, has_body(&head.headers), parsed)?;
        let ttl = self.rules.lists(bucket, listing.prefix.as_deref().unwrap_or_default())?;
        let key = ListKey {
            realm: realm.clone(),
            bucket: bucket.clone(),
            // Everyone in a realm reads the same list, and a sender that may not see all of it does not get here.
            identity: None,
            question: listing.question.clone(),
        };
        Some((key, listing, ttl))
    }
}

async fn send(session: &mut Session, ctx: &mut RequestContext, answer: &ListAnswer) -> Result<()> {
    ctx.cache = CacheStatus::Hit.label();
    let mut head = Head::new(StatusCode::OK, ctx.request_id, CacheStatus::Hit);
    for (name, value) in &answer.headers {
        head.set(name.clone(), value.clone());
    }
    head.length(answer.body.len() as u64);
    ctx.first_byte = Some(ctx.started.elapsed());
    ctx.from_memory += answer.body.len() as u64;
    head.send(session).await?;
    or_gone(session, ctx.charge.pace(answer.body.len() as u64)).await?;
    session.downstream_session.write_response_body(answer.body.clone(), true).await
}
