//! Small hits are answered from the connection itself: what pingora does for a request costs more than to look up and
//! send 4 KiB.
//!
//! Only a plain `GET` or `HEAD` is looked at here, and only what would be a 200 or 206 from memory or disk is
//! answered. Whatever is in the way (a refusal, a condition that fails, an object that is not fresh, bytes that are
//! elsewhere) is nothing: pingora reads the same head from the connection, and the gateway says it in its one place.
//! Invariants: a request is understood, allowed, evaluated and described by the same functions either way; nothing is
//! looked up before it was allowed, so that not even the time that a refusal takes says what is cached.

use bytes::Bytes;
use http::header::{CONNECTION, EXPECT, HOST, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use memchr::memchr;
use tokio::time::Instant;

use crate::cache::{AtHand, Found};
use crate::proxy::access_log::{self, Exchange};
use crate::proxy::conn::connection::Connection;
use crate::proxy::context::RequestContext;
use crate::proxy::ending::CLIENT_CLOSED_REQUEST;
use crate::proxy::handlers::read::{Answer, evaluate, head_of};
use crate::proxy::operation_name::operation as operation_name;
use crate::proxy::response::head::CacheStatus;
use crate::proxy::{Gateway, sender};
use crate::s3::{Operation, Parsed, Read, ReadMethod, RequestHead};

/// The longest range that is answered so: of longer ones pingora's part is not felt.
const MOST: u64 = 128 << 10;

/// A request without a body that leaves its connection open.
pub(in crate::proxy) struct Request {
    method: Method,
    target: Bytes,
    headers: HeaderMap,
}

impl Request {
    /// From a head that was checked by [`crate::proxy::conn::head`]; `None` for all that is not simple.
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
        // Nor does pingora take these in a target.
        if target.iter().any(|byte| matches!(byte, b'<' | b'>' | b'"' | b'`')) {
            return None;
        }
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
pub(in crate::proxy) struct AtOnce {
    request: Request,
    ctx: RequestContext,
    status: u16,
    /// A head and, for a GET, a body.
    pub(in crate::proxy) here: AtHand,
}

impl Gateway {
    /// The answer to the request that came, if it is a hit whose bytes are here. They must be sent then.
    pub(in crate::proxy) async fn at_once(&self, connection: &Connection) -> Option<AtOnce> {
        if self.access.transparent().is_some() {
            return None;
        }
        let mut request = Request::parse(connection.head()?)?;
        if let Some(target) = self.path_prefix.cut(&request.target) {
            request.target = target.into();
        }
        let started = Instant::now();
        let head = request.head();
        let parsed = self.parse(&head).ok()?;
        if !matches!(parsed.operation, Operation::Read(_)) {
            return None;
        }
        let address = connection.address().map(|address| address.ip());
        let sender = sender(address, Some(connection.client()));
        let admitted = self.access.admit(&head, &parsed, sender).ok()?;
        if admitted.identity.as_ref().is_some_and(|identity| identity.origin().is_some()) {
            return None;
        }
        let (read, found) = self.found_at_hand(&head, &parsed)?;
        let Answer::Bytes { range, partial } = evaluate(read, &found.meta) else { return None };
        let body = match read.method {
            ReadMethod::Get => range.clone(),
            ReadMethod::Head => 0..0,
        };
        if body.end - body.start > MOST {
            return None;
        }
        let mut here = self.cache.at_hand(&found, &body)?;
        let cache = match body.is_empty() || !here.pieces.is_empty() {
            true => CacheStatus::Hit,
            false => CacheStatus::DiskHit,
        };
        let mut ctx = RequestContext::begin();
        ctx.started = started;
        ctx.held = Some(self.admission.request()?);
        if !self.cache.bring(&mut here).await {
            return None;
        }
        ctx.identity = admitted.identity;
        ctx.operation = operation_name(&request.method, &request.headers, &parsed);
        ctx.cache = cache.label();
        (ctx.from_memory, ctx.from_disk) = (here.from_memory, here.from_disk);
        let answer = head_of(&ctx, read, &found.meta, &range, partial, cache);
        let status = answer.status().as_u16();
        here.pieces.push_front(Bytes::from(answer.into_wire()));
        ctx.first_byte = Some(ctx.started.elapsed());
        Some(AtOnce { request, ctx, status, here })
    }

    /// A read that could be answered as far as its object is known.
    fn found_at_hand<'a>(
        &self,
        head: &RequestHead<'_>,
        parsed: &'a Parsed,
    ) -> Option<(&'a Read, Found)> {
        let (Operation::Read(read), Some((bucket, key))) = (&parsed.operation, parsed.object())
        else {
            return None;
        };
        if read.part.is_some() || !self.may_answer(head.headers, parsed, bucket, read) {
            return None;
        }
        let id = read.id(self.origin.domains().own().realm(), bucket, key);
        let policy = self.rules.policy(&id, read.no_cache)?;
        let found = self.cache.found_at_hand(&id, &policy)?;
        let asks_more =
            read.checksum_mode && read.range.is_none() && found.meta.checksums.is_none();
        (!asks_more).then_some((read, found))
    }

    /// Counts and logs an answer that was sent, or of which `error` came in the way.
    pub(in crate::proxy) fn answered(
        &self,
        connection: &Connection,
        answer: &AtOnce,
        error: Option<&pingora::Error>,
    ) {
        let AtOnce { request, ctx, status, here } = answer;
        let address = connection.address();
        let unsent: usize = here.pieces.iter().map(Bytes::len).sum();
        let body = usize::try_from(ctx.from_memory + ctx.from_disk).unwrap_or(usize::MAX);
        let exchange = Exchange {
            address: address.as_ref().map(|address| address as &dyn std::fmt::Display),
            client: Some(connection.client()),
            method: &request.method,
            target: &request.target,
            headers: &request.headers,
            status: if error.is_some() { CLIENT_CLOSED_REQUEST } else { *status },
            bytes: body.saturating_sub(unsent),
            error,
        };
        access_log::record(&exchange, ctx);
        self.log.write(&exchange, ctx);
    }
}
