//! A finished request, as a record for operators who watch requests.

use super::access_log::Exchange;
use super::context::RequestContext;
use crate::inspect::{Seen, Watchers};
use crate::metrics::cache::MissReason;
use crate::metrics::traffic::Traffic;

pub(super) fn offer(watchers: &Watchers, exchange: &Exchange<'_>, ctx: &RequestContext) {
    let answered = ctx.answered.as_ref();
    let (bucket, key) = ctx.names();
    // What stands in the place of a request that the gate refused was not sent by the client.
    let is_real = ctx.refused.is_none() || ctx.forward.is_some();
    let error = match (ctx.refused, exchange.error) {
        (Some(why), _) => Some(format!("the request has {}", why.why())),
        (None, error) => error.map(ToString::to_string),
    };
    watchers.offer(&Seen {
        request_id: ctx.request_id.digits(),
        client: exchange.address,
        method: if is_real { exchange.method.as_str() } else { "-" },
        target: if is_real { exchange.target } else { b"-" },
        operation: ctx.operation.label(),
        bucket,
        key,
        identity: ctx.identity_name(),
        rule: ctx.rule.map(Traffic::name),
        status: exchange.status,
        code: answered.map(|answered| &*answered.code),
        error: error.as_deref().or(answered.and_then(|answered| answered.message.as_deref())),
        cache: ctx.cache.label(),
        miss: ctx.miss.map(MissReason::label),
        bytes: exchange.bytes as u64,
        from_memory: ctx.from_memory,
        from_disk: ctx.from_disk,
        from_origin: ctx.from_origin,
        duration: ctx.started.elapsed(),
        first_byte: ctx.first_byte,
        origin_request_id: ctx.origin_request_id.as_deref(),
        origin: ctx.origin_use.as_deref(),
    });
}
