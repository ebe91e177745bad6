//! The span of a finished request.

use std::borrow::Cow;

use super::access_log::Exchange;
use super::context::RequestContext;
use crate::metrics::cache::MissReason;
use crate::metrics::traffic::Traffic;
use crate::tracing::{Ended, Trace};

pub(super) fn end(trace: Trace, exchange: &Exchange<'_>, ctx: &RequestContext) {
    let (bucket, key) = ctx.names();
    // What stands in the place of a request that the gate refused was not sent by the client.
    let is_real = ctx.refused.is_none() || ctx.forward.is_some();
    let path = exchange.target.split(|byte| *byte == b'?').next().unwrap_or_default();
    let request_id = ctx.request_id.digits();
    trace.end(&Ended {
        operation: ctx.operation.label(),
        method: if is_real { exchange.method.as_str() } else { "-" },
        path: if is_real { String::from_utf8_lossy(path) } else { Cow::Borrowed("-") },
        bucket,
        key,
        client: exchange.address.map(ToString::to_string),
        identity: ctx.identity_name(),
        rule: ctx.rule.map(Traffic::name),
        request_id: std::str::from_utf8(&request_id).unwrap_or_default(),
        status: exchange.status,
        code: ctx.answered.as_ref().map(|answered| &*answered.code),
        cache: ctx.cache.label(),
        miss: ctx.miss.map(MissReason::label),
        bytes: exchange.bytes as u64,
        took: ctx.started.elapsed(),
        first_byte: ctx.first_byte,
    });
}
