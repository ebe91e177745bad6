//! The end of a request: counting, logging, and conclusions about a write, once its response is sent or cannot be.

use pingora::proxy::Session;
use pingora::{Error, ErrorSource, ErrorType};

use super::access_log::{self, Exchange};
use super::context::RequestContext;
use super::gateway::Gateway;
use super::handlers::writes::leaves_doubt;
use super::{traced, watched};
use crate::cache::RemoteEnd;
use crate::inspect::Counted;
use crate::metrics::attribution;
use crate::metrics::cache::MissReason;
use crate::metrics::{CacheResult, Operation, Outcome as OriginOutcome};
use crate::s3::S3Error;

impl Gateway {
    /// Concludes a write of unknown outcome, and counts and logs the request.
    pub(super) fn end(&self, session: &Session, error: Option<&Error>, ctx: &mut RequestContext) {
        let exchange = Exchange::of(session, error, is_of_client(error, ctx));
        let status = exchange.status;
        if let Some(forward) = &mut ctx.forward {
            let end = if error.is_some() || status == 0 || leaves_doubt(status) {
                self.outcome_unknown(forward);
                RemoteEnd::Unknown
            } else if forward.refused {
                // A response without a body.
                self.answer_part(forward, true);
                RemoteEnd::Refused
            } else {
                RemoteEnd::Done
            };
            if let Some(mut write) = forward.peer_write.take() {
                write.ends(end);
            }
            let origin = &forward.place.origin;
            attribution::attribute_sync(ctx.origin_use.as_ref(), || {
                origin.passed_through(origin_outcome(error, status));
            });
            if let Some(mut span) = forward.span.take() {
                span.ended(status);
                span.received(exchange.bytes as u64);
                if error.is_some() {
                    span.failed(origin_outcome(error, status).label());
                }
            }
            if let Some(origin_use) = &ctx.origin_use {
                origin_use.add_bytes(exchange.bytes as u64);
                ctx.first_byte.into_iter().for_each(|time| origin_use.add_first_byte(time));
            }
        }
        if ctx.cache == CacheResult::Miss && ctx.from_origin == 0 {
            // A block that was fetched for this read may be complete, and in memory, before it is sent.
            ctx.from_origin = std::mem::take(&mut ctx.from_memory);
        }
        ctx.cache = cache_result(ctx);
        ctx.miss = miss_reason(ctx);
        self.record(&exchange, ctx);
    }

    /// Counts and logs a finished request, wherever finished requests are counted and logged.
    pub(super) fn record(&self, exchange: &Exchange<'_>, ctx: &RequestContext) {
        access_log::record(exchange, ctx);
        self.errors.record(exchange, ctx);
        self.inspect.hottest.count(&counted(exchange, ctx));
        if self.inspect.watchers.is_watched() {
            watched::offer(&self.inspect.watchers, exchange, ctx);
        }
        if let Some(trace) = ctx.trace {
            traced::end(trace, exchange, ctx);
        }
        self.log.write(exchange, ctx);
        access_log::audited::write(&self.audit, &self.access, exchange, ctx);
    }
}

fn counted<'a>(exchange: &Exchange<'a>, ctx: &'a RequestContext) -> Counted<'a> {
    let (bucket, key) = ctx.names();
    Counted {
        id: ctx.request_id.number(),
        bucket,
        key,
        identity: ctx.identity_name(),
        address: exchange.address,
        bytes: exchange.bytes as u64,
        is_miss: ctx.miss.is_some(),
        is_error: exchange.status == 0 || exchange.status >= 400,
    }
}

/// Returns the part that the cache had in the response, by the source of the bytes.
fn cache_result(ctx: &RequestContext) -> CacheResult {
    match ctx.cache {
        said @ (CacheResult::Bypass | CacheResult::Negative) => said,
        said if ctx.from_origin == 0 => said,
        _ if ctx.from_memory + ctx.from_disk > 0 => CacheResult::Partial,
        _ => CacheResult::Miss,
    }
}

/// Returns the reason that the cache alone did not answer a read; `None` for a hit, and for a request that is no
/// read.
fn miss_reason(ctx: &RequestContext) -> Option<MissReason> {
    match ctx.cache {
        CacheResult::Hit | CacheResult::Stale | CacheResult::Negative => None,
        CacheResult::Miss | CacheResult::Partial | CacheResult::Revalidated => {
            Some(ctx.miss.unwrap_or(MissReason::New))
        }
        CacheResult::Bypass => {
            let is_read = matches!(ctx.operation, Operation::GetObject | Operation::HeadObject);
            (is_read && ctx.forward.is_some()).then_some(MissReason::Bypassed)
        }
    }
}

/// Returns the outcome of a passed-through request, as counted for its origin.
fn origin_outcome(error: Option<&Error>, status: u16) -> OriginOutcome {
    match (error, status) {
        (Some(error), _) => match (error.esource(), error.etype()) {
            (ErrorSource::Downstream, _) => OriginOutcome::Abandoned,
            (
                _,
                ErrorType::ConnectTimedout
                | ErrorType::ConnectRefused
                | ErrorType::ConnectNoRoute
                | ErrorType::ConnectError
                | ErrorType::TLSHandshakeFailure
                | ErrorType::TLSHandshakeTimedout
                | ErrorType::InvalidCert,
            ) => OriginOutcome::Connect,
            (_, ErrorType::ReadTimedout | ErrorType::WriteTimedout) => OriginOutcome::Timeout,
            _ => OriginOutcome::Broken,
        },
        (None, 401 | 403) => OriginOutcome::Denied,
        (None, 404) => OriginOutcome::NotFound,
        (None, 429) => OriginOutcome::Throttled,
        (None, 400..=499) => OriginOutcome::Refused,
        (None, 500..) => OriginOutcome::ServerError,
        (None, _) => OriginOutcome::Ok,
    }
}

/// Whether a request ended because its client disconnected or stopped reading the response.
pub(super) fn is_of_client(error: Option<&Error>, ctx: &RequestContext) -> bool {
    let Some(error) = error.filter(|_| ctx.refused.is_none()) else { return false };
    // Errors of the session itself name no source; an answer from the cache has no other peer.
    let from_client = match error.esource() {
        ErrorSource::Downstream => true,
        ErrorSource::Unset => ctx.forward.is_none(),
        ErrorSource::Upstream | ErrorSource::Internal => false,
    };
    from_client
        && matches!(
            error.etype(),
            ErrorType::ConnectionClosed
                | ErrorType::ReadError
                | ErrorType::WriteError
                | ErrorType::WriteTimedout
                | ErrorType::H2Error
        )
}

/// Returns the error to answer a failure with; `None`: the client is gone.
pub(super) fn failure(error: &Error, ctx: &RequestContext) -> Option<S3Error> {
    match (error.etype(), error.esource()) {
        _ if is_of_client(Some(error), ctx) => None,
        (ErrorType::HTTPStatus(400), _) => {
            let why = error.context.as_ref().map_or("malformed", |c| c.as_str());
            Some(S3Error::invalid_request(why.to_owned()))
        }
        (ErrorType::ReadTimedout, ErrorSource::Downstream) => Some(S3Error::request_timeout()),
        (_, ErrorSource::Upstream) => Some(S3Error::service_unavailable()),
        _ => Some(S3Error::internal()),
    }
}
