//! Fast hits: small hits are answered from the connection itself, because pingora's work for a request costs more
//! than to look up and send 4 KiB.
//!
//! Only a plain `GET` or `HEAD` is looked at here, and only a 200 or 206 whose bytes are in memory or on disk is
//! answered. In every other case (a refusal, a condition that fails, an object that is not fresh, bytes that are not
//! local) nothing is sent. pingora then reads the same head from the connection, and the gateway answers it, using
//! the parse result from here. Invariants: both ways, the same functions parse, authorize, evaluate and describe a
//! request. Nothing is looked up before the request is authorized, so not even the time that a refusal takes says
//! what is cached.

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

/// Longest range that is answered so: for longer ones pingora's overhead is not noticeable.
const MOST: u64 = 128 << 10;

/// A response to a request that is a hit, with its context.
pub(in crate::proxy) struct FastHit {
    head: Head,
    /// Boxed: it is large, and handed on several times.
    ctx: Box<RequestContext>,
    status: u16,
    /// The pieces to send: a head and, for a GET, a body.
    pub(in crate::proxy) here: LocalHit,
}

impl Gateway {
    /// Returns the response to the current request if it is a hit whose bytes are local; it must then be sent.
    /// Otherwise returns the parsed and authorized request, if it got that far.
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
        // pingora's session refuses it, and charges it there.
        self.admission.clients().charge_address(&mut charge, address).map_err(|_| None)?;
        let sender = sender(address, Some(connection.client()));
        let understood = self.understand_head(&head.as_request(), sender);
        let mut request = HandedOver { head, started, understood, cacheable: None, charge };
        match self.local_hit(&mut request).await {
            Some((ctx, status, here)) => Ok(FastHit { head: request.head, ctx, status, here }),
            None => Err(Some(Box::new(request))),
        }
    }

    /// Prepares the response to an authorized read, if its bytes are local.
    async fn local_hit(
        &self,
        request: &mut HandedOver,
    ) -> Option<(Box<RequestContext>, u16, LocalHit)> {
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
        let mut ctx = Box::new(RequestContext::begin());
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

    /// Returns the fresh metadata of an object, if it suffices for the read.
    fn find_fresh(&self, read: &Read, id: &ObjectId, policy: &Policy) -> Option<Found> {
        if read.part.is_some() {
            return None;
        }
        let found = self.cache.find_fresh(id, policy)?;
        let asks_more =
            read.checksum_mode && read.range.is_none() && found.meta.checksums.is_none();
        (!asks_more).then_some(found)
    }

    /// Counts and logs a response that was sent, or that `error` interrupted.
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
