//! Small hits are answered from the connection itself: what pingora does for a request costs more than to look up and
//! send 4 KiB.
//!
//! Only a plain `GET` or `HEAD` is looked at here, and only what would be a 200 or 206 from memory or disk is
//! answered. Whatever is in the way (a refusal, a condition that fails, an object that is not fresh, bytes that are
//! elsewhere) is nothing: pingora reads the same head from the connection, and the gateway says it in its one place, by
//! what was understood here.
//! Invariants: a request is understood, allowed, evaluated and described by the same functions either way; nothing is
//! looked up before it was allowed, so that not even the time that a refusal takes says what is cached.

use bytes::Bytes;
use tokio::time::Instant;

use super::handed_over::{HandedOver, Head};
use crate::cache::{Found, LocalHit, Policy};
use crate::proxy::access_log::{CLIENT_CLOSED_REQUEST, Exchange};
use crate::proxy::client_limits::Charge;
use crate::proxy::conn::connection::Connection;
use crate::proxy::context::RequestContext;
use crate::proxy::gateway::Gateway;
use crate::proxy::handlers::read::{Answer, evaluate, head_of};
use crate::proxy::request::sender;
use crate::proxy::response::head::CacheStatus;
use crate::s3::{ObjectId, Read, ReadMethod};
use crate::tracing;

/// The longest range that is answered so: of longer ones pingora's part is not felt.
const MOST: u64 = 128 << 10;

/// What a request was answered with.
pub(in crate::proxy) struct FastHit {
    head: Head,
    ctx: RequestContext,
    status: u16,
    /// A head and, for a GET, a body.
    pub(in crate::proxy) here: LocalHit,
}

impl Gateway {
    /// The answer to the request that came, if it is a hit whose bytes are here. They must be sent then. Otherwise what
    /// was understood of it, if anything was.
    pub(in crate::proxy) async fn fast_hit(
        &self,
        connection: &Connection,
    ) -> Result<FastHit, Option<Box<HandedOver>>> {
        if self.access.transparent().is_some() {
            return Err(None);
        }
        let head = connection.head().and_then(Head::parse);
        let mut head = head.ok_or(None)?;
        if let Some(target) = self.path_prefix.cut(&head.target) {
            head.target = target.into();
        }
        let started = Instant::now();
        let address = connection.address().map(|address| address.ip());
        let mut charge = Charge::default();
        // Refused there, by what it is charged with there.
        self.admission.clients().charge_address(&mut charge, address).map_err(|_| None)?;
        let sender = sender(address, Some(connection.client()));
        let understood = self.understand_head(&head.as_request(), sender);
        let mut request = HandedOver { head, started, understood, cacheable: None, charge };
        match self.local_hit(&mut request).await {
            Some((ctx, status, here)) => Ok(FastHit { head: request.head, ctx, status, here }),
            None => Err(Some(Box::new(request))),
        }
    }

    /// Answers a read that is allowed, if its bytes are here.
    async fn local_hit(&self, request: &mut HandedOver) -> Option<(RequestContext, u16, LocalHit)> {
        let HandedOver { head, started, understood, cacheable, charge } = request;
        let (parsed, admitted) = understood.verdict.as_mut().ok()?;
        self.admission.clients().charge_identity(charge, admitted.identity.as_deref()).ok()?;
        if admitted.identity.as_ref().is_some_and(|identity| identity.origin().is_some()) {
            return None;
        }
        let realm = self.origins.realm_of(parsed.bucket.as_ref());
        let (read, id, policy) = self.cacheable(&head.headers, parsed, &realm)?;
        let (id, policy) = cacheable.insert((id, policy));
        let page = self.page_headers(&head.headers, id, read, false)?;
        let found = self.find_fresh(read, id, policy)?;
        let Answer::Bytes { range, partial } = evaluate(read, &found.meta) else { return None };
        let body = match read.method {
            ReadMethod::Get => range.clone(),
            ReadMethod::Head => 0..0,
        };
        if body.end - body.start > MOST {
            return None;
        }
        let mut here = self.cache.local_hit(&found, &body)?;
        let cache = match body.is_empty() || !here.pieces.is_empty() {
            true => CacheStatus::Hit,
            false => CacheStatus::DiskHit,
        };
        let mut ctx = RequestContext::begin();
        ctx.started = *started;
        ctx.trace = tracing::begin(&head.headers);
        ctx.held = Some(self.admission.request()?);
        if !self.cache.read_remaining(&mut here).await
            || !charge.take_if_free(body.end - body.start)
        {
            return None;
        }
        ctx.charge = std::mem::take(charge);
        self.cache.read_follows(&found, &body);
        if self.cache.draws(&found, policy) {
            self.cache.verify_hit(found.again(), body, policy);
        }
        ctx.page = page;
        ctx.identity = admitted.identity.take();
        (ctx.operation, ctx.named) = (understood.operation, understood.named.take());
        (ctx.rule, ctx.object_size) = (policy.rule, Some(found.meta.size));
        ctx.cache = cache.label();
        (ctx.from_memory, ctx.from_disk) = (here.from_memory, here.from_disk);
        let answer = head_of(&ctx, read, &found.meta, &range, partial, cache);
        let status = answer.status().as_u16();
        here.pieces.push_front(Bytes::from(answer.into_wire()));
        ctx.first_byte = Some(ctx.started.elapsed());
        Some((ctx, status, here))
    }

    /// What is known of an object that a read asks no more of.
    fn find_fresh(&self, read: &Read, id: &ObjectId, policy: &Policy) -> Option<Found> {
        if read.part.is_some() {
            return None;
        }
        let found = self.cache.find_fresh(id, policy)?;
        let asks_more =
            read.checksum_mode && read.range.is_none() && found.meta.checksums.is_none();
        (!asks_more).then_some(found)
    }

    /// Counts and logs an answer that was sent, or of which `error` came in the way.
    pub(in crate::proxy) fn answered(
        &self,
        connection: &Connection,
        answer: &FastHit,
        error: Option<&pingora::Error>,
    ) {
        let FastHit { head, ctx, status, here } = answer;
        let address = connection.address();
        let unsent: usize = here.pieces.iter().map(Bytes::len).sum();
        let body = usize::try_from(ctx.from_memory + ctx.from_disk).unwrap_or(usize::MAX);
        let exchange = Exchange {
            address: address.as_ref().map(|address| address as &dyn std::fmt::Display),
            client: Some(connection.client()),
            method: &head.method,
            target: &head.target,
            headers: &head.headers,
            version: http::Version::HTTP_11,
            status: if error.is_some() { CLIENT_CLOSED_REQUEST } else { *status },
            bytes: body.saturating_sub(unsent),
            error,
        };
        self.record(&exchange, ctx);
    }
}
