//! Hits that memory has whole and that are small are answered from the connection itself: what pingora does for a
//! request costs more than to look up and send 4 KiB.
//!
//! Only a plain `GET` or `HEAD` is looked at here, and only what would be a 200 or 206 from memory is answered.
//! Whatever is in the way (a refusal, a condition that fails, an object that is not fresh, bytes that are elsewhere)
//! is nothing: pingora reads the same head from the connection, and the gateway says it in its one place. Invariants:
//! a request is understood, allowed, evaluated and described by the same functions either way; nobody is told
//! anything before it was allowed.

use std::collections::VecDeque;

use bytes::Bytes;
use http::header::{CONNECTION, EXPECT, HOST, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use memchr::memchr;
use tokio::time::Instant;

use super::access_log::{self, Exchange};
use super::connection::Connection;
use super::context::RequestContext;
use super::read::{Answer, evaluate, head_of};
use super::response::CacheStatus;
use super::{Gateway, operation_label, sender};
use crate::s3::{Operation, ReadMethod, RequestHead, operation};

/// The longest range that is answered so: of longer ones pingora's part is not felt.
const MOST: u64 = 128 << 10;

/// A request without a body that leaves its connection open.
pub(super) struct Request {
    method: Method,
    target: Bytes,
    headers: HeaderMap,
}

impl Request {
    /// From a head that was checked by [`super::head`]; `None` for all that is not simple.
    fn parse(head: &[u8]) -> Option<Self> {
        let method = match head {
            [b'G', b'E', b'T', b' ', b'/', ..] => Method::GET,
            [b'H', b'E', b'A', b'D', b' ', b'/', ..] => Method::HEAD,
            _ => return None,
        };
        let head = Bytes::copy_from_slice(head);
        let mut line_end = memchr(b'\n', &head)?;
        let line = head[..line_end].strip_suffix(b" HTTP/1.1\r")?;
        let target = head.slice(method.as_str().len() + 1..line.len());
        let mut headers = HeaderMap::with_capacity(16);
        loop {
            let start = line_end + 1;
            line_end = start + memchr(b'\n', &head[start..])?;
            let line = head[start..line_end].strip_suffix(b"\r")?;
            if line.is_empty() {
                return Some(Self { method, target, headers });
            }
            let colon = memchr(b':', line)?;
            let name = HeaderName::from_bytes(&line[..colon]).ok()?;
            let value =
                HeaderValue::from_maybe_shared(head.slice_ref(line[colon + 1..].trim_ascii()));
            let value = value.ok()?;
            let stays = !(name == CONNECTION || name == EXPECT || name == UPGRADE)
                || name == CONNECTION && value.as_bytes().eq_ignore_ascii_case(b"keep-alive");
            if !stays {
                return None;
            }
            headers.append(name, value);
        }
    }

    fn head(&self) -> RequestHead<'_> {
        RequestHead {
            method: &self.method,
            raw_target: &self.target,
            host: self.headers.get(HOST).and_then(|host| host.to_str().ok()),
            headers: &self.headers,
            has_body: false,
        }
    }
}

/// What a request was answered with.
pub(super) struct AtOnce {
    request: Request,
    ctx: RequestContext,
    status: u16,
    /// A head and what of a body it has.
    pub(super) pieces: VecDeque<Bytes>,
}

impl Gateway {
    /// The answer to the request that came, if it is a hit that memory has whole. Its bytes must be sent then.
    pub(super) fn at_once(&self, connection: &Connection) -> Option<AtOnce> {
        if self.access.transparent().is_some() {
            return None;
        }
        let request = Request::parse(connection.head()?)?;
        let started = Instant::now();
        let head = request.head();
        let parsed = operation::parse(&head, &self.domains).ok()?;
        let (Operation::Read(read), Some((bucket, key))) = (&parsed.operation, parsed.object())
        else {
            return None;
        };
        if read.part.is_some() || !self.may_answer(head.headers, &parsed, bucket, read) {
            return None;
        }
        let id = read.id(self.origin.domains().own().realm(), bucket, key);
        let policy = self.rules.policy(&id, read.no_cache)?;
        let found = self.cache.found_at_hand(&id, &policy)?;
        if read.checksum_mode && read.range.is_none() && found.meta.checksums.is_none() {
            return None;
        }
        let Answer::Bytes { range, partial } = evaluate(read, &found.meta) else { return None };
        let mut pieces = VecDeque::with_capacity(2);
        pieces.push_back(Bytes::new());
        if read.method == ReadMethod::Get {
            let here = range.end - range.start <= MOST
                && self.cache.take_at_hand(&found, &range, &mut pieces);
            if !here {
                return None;
            }
        }
        let sender =
            sender(connection.address().map(|address| address.ip()), Some(connection.client()));
        let admitted = self.access.admit(&head, &parsed, sender).ok()?;
        if admitted.identity.as_ref().is_some_and(|identity| identity.origin().is_some()) {
            return None;
        }
        let mut ctx = RequestContext::begin();
        ctx.started = started;
        ctx.held = Some(self.admission.request()?);
        ctx.identity = admitted.identity;
        ctx.operation = operation_label(&request.method);
        ctx.cache = CacheStatus::Hit.label();
        ctx.from_memory = pieces.iter().map(|piece| piece.len() as u64).sum();
        let answer = head_of(&ctx, read, &found.meta, &range, partial, CacheStatus::Hit);
        let status = answer.status().as_u16();
        pieces[0] = Bytes::from(answer.into_wire());
        ctx.first_byte = Some(ctx.started.elapsed());
        Some(AtOnce { request, ctx, status, pieces })
    }

    /// Counts and logs an answer that was sent, or of which `error` came in the way.
    pub(super) fn answered(
        &self,
        connection: &Connection,
        answer: &AtOnce,
        error: Option<&pingora::Error>,
    ) {
        let AtOnce { request, ctx, status, pieces } = answer;
        let address = connection.address();
        let unsent: usize = pieces.iter().map(Bytes::len).sum();
        let body = usize::try_from(ctx.from_memory).unwrap_or(usize::MAX);
        let exchange = Exchange {
            address: address.as_ref().map(|address| address as &dyn std::fmt::Display),
            client: Some(connection.client()),
            method: &request.method,
            target: &request.target,
            headers: &request.headers,
            status: *status,
            bytes: body.saturating_sub(unsent),
            error,
        };
        access_log::record(&exchange, ctx);
        self.log.write(&exchange, ctx);
    }
}
