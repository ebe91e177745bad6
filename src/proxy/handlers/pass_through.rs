//! Requests that the cache does not answer stream to the origin unbuffered, re-signed with our keys (in `transparent`
//! mode as their sender signed them), and the responses stream back unchanged. Browsers' forms are rewritten on the
//! way: see `form`.
//!
//! Invalidation by a write: see `writes`. hotset sends a write twice only if it was refused, without a body, before
//! anything was done (R9).

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::proxy::Session;
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorSource, ErrorType, Result};

use super::forwarded::forwarded;
use super::owners::OwnerCheck;
use super::transparent::as_signed;
use super::writes::leaves_doubt;
use crate::auth::chunked::{ChunkedEncoder, ChunkedError, Form, Incoming, Reframer};
use crate::auth::{BodyCheck, Payload};
use crate::origin::{Attempt, OriginError, PassThrough};
use crate::proxy::context::{Forward, RequestContext};
use crate::proxy::errors::bad_request;
use crate::proxy::gateway::Gateway;
use crate::proxy::request::{is_write, request_head};
use crate::proxy::response::bucket_name::rename_in_head;
use crate::proxy::response::head::CacheStatus;
use crate::proxy::response::page_access::Asking;
use crate::proxy::response::region;
use crate::s3::{Operation, Parsed, Query, S3Error, announces_another_length, expected_owner};
use crate::tracing::{self, Trace};

/// Read timeout of a write: S3 may take minutes to copy or complete a large object before its response begins or goes
/// on.
const WRITE_TIMEOUT: Duration = Duration::from_mins(10);
const CONNECT_TRIES: u32 = 3;

const CONTENT_SHA256: HeaderName = HeaderName::from_static("x-amz-content-sha256");

impl Gateway {
    pub(in crate::proxy) async fn peer(
        &self,
        method: &Method,
        forward: &mut Forward,
    ) -> Result<Box<HttpPeer>> {
        let origin = &forward.place.origin;
        let bucket = forward.place.bucket(forward.parsed.bucket.as_ref());
        let site = origin.site(bucket);
        forward.connection = PassThrough {
            is_write: is_write(method),
            is_head: *method == Method::HEAD,
            attempt: match forward.connection.attempt {
                Attempt::First if forward.connect_tries > 0 => Attempt::Retry,
                attempt => attempt,
            },
            ..PassThrough::default()
        };
        let peer = origin.pass_through_peer(&site, bucket, forward.connection.clone()).await;
        forward.site = Some(site);
        let mut peer = peer.inspect_err(|e| origin.note(Some(e))).map_err(|e| connect_error(&e))?;
        let config = origin.config();
        let read_timeout = match &forward.parsed.operation {
            // The same timeout as for the cache's own reads: a stalled body is of no use to a client that may retry.
            Operation::Read(_) => config.first_byte_timeout.0.max(config.idle_timeout.0),
            Operation::PassThrough(_) if is_write(method) => WRITE_TIMEOUT,
            Operation::PassThrough(_) => config.deadline.0,
        };
        peer.options.read_timeout = Some(read_timeout);
        Ok(Box::new(peer))
    }

    /// Rewrites a request's head for the origin: host and path, our signature, the framing of the body.
    pub(in crate::proxy) fn rewrite(
        &self,
        head: &mut RequestHeader,
        forward: &mut Forward,
    ) -> Result<()> {
        self.rewrite_head(head, forward)?;
        forward.place.origin.loops().mark(head);
        // Conclusions are drawn only from headers that the origin was sent (R36).
        forward.expected_owner = expected_owner(&head.headers).zip(self.owner_check(forward));
        forward.asking =
            Asking::of(&self.cache, &head.headers, &forward.parsed, &forward.realm).map(Box::new);
        if let Some(observed) = &mut forward.observed {
            observed.is_sent();
        }
        Ok(())
    }

    /// Begins the span of an attempt, and propagates it to the origin unless the request keeps its sender's
    /// signature.
    pub(in crate::proxy) fn begin_span(
        &self,
        trace: &Trace,
        head: &mut RequestHeader,
        forward: &mut Forward,
    ) -> Result<()> {
        if let Some(mut before) = forward.span.take() {
            before.failed("sent_again");
        }
        let site = Self::site_of(forward);
        let (method, path) = (&head.method, head.uri.path());
        let Some(span) = trace.begin_request(method, site.endpoint().name(), path) else {
            return Ok(());
        };
        let (name, value) = tracing::header(span.context());
        forward.span = Some(span);
        if self.access.transparent().is_none() {
            head.insert_header(name, value)?;
        }
        Ok(())
    }

    fn rewrite_head(&self, head: &mut RequestHeader, forward: &mut Forward) -> Result<()> {
        if forward.form.is_some() {
            return Self::rewrite_form(head, forward);
        }
        if request_head(head).is_unsigned_options() {
            return self.rewrite_preflight(head, forward);
        }
        let site = Self::site_of(forward);
        let Parsed { bucket, key, query, .. } = &forward.parsed;
        if self.access.transparent().is_some() {
            *head = as_signed(head, query)?;
            return Ok(());
        }
        let endpoint = site.endpoint();
        let bucket = forward.place.bucket(bucket.as_ref());
        let target = endpoint.target(bucket, key.as_ref());
        let mut headers = forwarded(&head.headers);
        self.name_for_origin(&mut headers, forward)?;
        unhoist_content_sha256(&mut headers, query)?;
        let query = query.without_signature();
        headers.insert(HOST, HeaderValue::from_str(&target.host).map_err(|e| bad_request(&e))?);
        let incoming = Incoming::from_headers(&headers).map_err(|e| bad_request(&e))?;
        let form = incoming.as_ref().map(|incoming| {
            let tls = endpoint.is_tls() || forward.domain.signer().is_none();
            let form = Form::choose(tls, !incoming.trailer_names.is_empty());
            form.write_headers(&mut headers, incoming);
            form
        });
        if form.is_some() && !headers.contains_key(CONTENT_LENGTH) {
            headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        let claimed = headers.remove(CONTENT_SHA256);
        let payload = match form {
            Some(form) => form.payload(),
            None => payload(claimed.as_ref().and_then(|v| v.to_str().ok())),
        };
        forward.signed_with = forward.domain.signer();
        let seed = match &forward.signed_with {
            Some(signer) => {
                let (now, signer) = (forward.place.origin.now(), site.signer(signer));
                Some(signer.sign(&head.method, &target.path, &query, &mut headers, payload, now))
            }
            None => {
                headers.insert(
                    CONTENT_SHA256,
                    HeaderValue::from_str(payload.as_str()).map_err(|e| bad_request(&e))?,
                );
                None
            }
        };
        if let (Some(incoming), Some(form)) = (incoming, form) {
            let encoder = match (form, seed) {
                (Form::Raw, _) => ChunkedEncoder::raw(),
                (Form::UnsignedTrailer, _) => ChunkedEncoder::unsigned_trailer(),
                (form, Some(seed)) => ChunkedEncoder::new(form, seed),
                (_, None) => return Err(bad_request(&ChunkedError::TrailerForm)),
            };
            let reframer =
                Reframer::new(encoder, incoming).and_then(|reframer| match &forward.body {
                    BodyCheck::Chunks { seed, trailer } => {
                        reframer.verifying(seed.clone(), *trailer)
                    }
                    BodyCheck::Unsigned | BodyCheck::Sha256(_) => Ok(reframer),
                });
            forward.reframer = Some(reframer.map_err(|e| bad_request(&e))?);
        }
        let path = match query.is_empty() {
            true => target.path,
            false => format!("{}?{}", target.path, query.to_canonical_string()),
        };
        let mut rewritten = RequestHeader::build(head.method.clone(), path.as_bytes(), Some(24))?;
        rewritten.set_version(Version::HTTP_11);
        for (name, value) in &headers {
            rewritten.append_header(name.clone(), value.clone())?;
        }
        *head = rewritten;
        Ok(())
    }

    /// Transforms each part of the request's body for the origin; `headers` are the client's.
    pub(in crate::proxy) async fn forward_body(
        &self,
        headers: &HeaderMap,
        forward: &mut Forward,
        body: &mut Option<Bytes>,
        end: bool,
    ) -> Result<()> {
        forward.body_began |= body.is_some();
        if let Some(whole) = forward.whole.take() {
            // pingora has the tail that it kept: see `delete_many`.
            *body = Some(whole);
            return Ok(());
        }
        if let Some(form) = &mut forward.form {
            let sent = form.push(body.take().unwrap_or_default(), end);
            let sent = sent.map_err(|error| refuse(&mut forward.refusal, error))?;
            *body = (!end || !sent.is_empty()).then_some(sent);
            return Ok(());
        }
        if let Some(digester) = &mut forward.digester {
            let checked = digester.push(body.take().unwrap_or_default(), end);
            let checked = checked.map_err(|error| refuse(&mut forward.refusal, error))?;
            *body = (!end || !checked.is_empty()).then_some(checked);
        }
        if let Some(restore) = &mut forward.restore {
            let held = restore.push(body.as_deref().unwrap_or_default(), end);
            let held = held.map_err(|error| refuse(&mut forward.refusal, error))?;
            *body = (!end || !held.is_empty()).then_some(held);
        }
        if forward.listed.is_some() {
            let held = self.hold_list(headers, forward, body.take(), end).await;
            *body = held.map_err(|error| refuse(&mut forward.refusal, error))?;
        }
        if let Some(reframer) = &mut forward.reframer {
            let framed = reframer.push(body.take().unwrap_or_default(), end);
            let framed = framed.map_err(|error| match error.s3_error() {
                Some(refusal) => refuse(&mut forward.refusal, refusal),
                None => bad_request(&error),
            })?;
            // Nothing to send yet must not be `None`: pingora takes that for the end of the body.
            *body = (!end || !framed.is_empty()).then_some(framed);
        }
        Ok(())
    }

    pub(in crate::proxy) async fn answer_head(
        &self,
        session: &mut Session,
        head: &mut ResponseHeader,
        ctx: &mut RequestContext,
    ) -> Result<()> {
        if session.req_header().version == Version::HTTP_10
            && head.remove_header(&TRANSFER_ENCODING).is_some()
        {
            // HTTP/1.0 has no chunks: the response ends with the connection (RFC 9112, section 6.1).
            session.set_keepalive(None);
        }
        let method = &session.req_header().method;
        if head.status.is_informational() {
            return Ok(());
        }
        if announces_another_length(head.status, &head.headers) {
            return Err(broken_answer("Content-Length is not the length of Content-Range"));
        }
        let id = head.headers.get("x-amz-request-id").and_then(|id| id.to_str().ok());
        ctx.origin_request_id = id.map(Box::from);
        if let Some(forward) = &mut ctx.forward {
            self.check_own_keys(method, head, forward).await?;
            self.check_region(head, forward).await?;
            if let Some(region) = &ctx.region {
                region::name_in_answer(region, method, head, forward)?;
            }
            let refuses = matches!(head.status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
            forward.refused = refuses && self.access.transparent().is_some();
            match leaves_doubt(head.status.as_u16()) {
                true => self.outcome_unknown(forward),
                false => self.answer_part(forward, false),
            }
            self.observe_head(head, forward).await;
            self.settle(forward).await;
            self.confirm_owner(forward, head.status);
            if let Some(asking) = forward.asking.take() {
                self.cors.of_reads.learn(*asking, head.status, &head.headers);
            }
            self.keep_head(method, head, forward);
        }
        if let Some(forward) = &mut ctx.forward {
            let (parsed, place) = (&forward.parsed, &forward.place);
            let replaced = forward.instead.is_some();
            forward.renaming = rename_in_head(method, head, parsed, place.alias_of(), replaced)?;
        }
        self.path_prefix.restore_location(head)?;
        head.insert_header("Cache-Status", cache_status(method).header())
    }

    /// Handles a part of the response body before it is passed on; `end` with its last byte.
    pub(in crate::proxy) fn answer_body(
        &self,
        forward: &mut Forward,
        body: &mut Option<Bytes>,
        end: bool,
    ) {
        region::replace_body(forward, body, end);
        if let Some(renaming) = &mut forward.renaming {
            renaming.rename(body, end);
        }
        self.answer_part(forward, end);
        Self::observe_body(forward, body.as_ref(), end);
        self.keep(forward, body.as_deref().unwrap_or_default(), end);
    }

    fn owner_check(&self, forward: &Forward) -> Option<OwnerCheck> {
        let bucket = forward.parsed.bucket.as_ref()?;
        // A write counts in every realm.
        Some(OwnerCheck::now(self.cache.writes_of_bucket(&self.cache.own_realm(bucket), bucket)))
    }

    /// Confirms the expected bucket owner, if a response about the object shows that the expectation holds.
    fn confirm_owner(&self, forward: &Forward, status: StatusCode) {
        if let (Operation::Read(_), Some(bucket)) =
            (&forward.parsed.operation, &forward.parsed.bucket)
            && let Some((owner, asked)) = forward.expected_owner
            && (status.is_success() || status == StatusCode::NOT_MODIFIED)
        {
            self.owners.confirm(bucket, owner, asked);
        }
    }

    /// Handles a failed connection attempt: nothing was sent, so another address may be tried.
    pub(in crate::proxy) fn failed_to_connect(
        ctx: &mut RequestContext,
        mut error: Box<Error>,
    ) -> Box<Error> {
        if let Some(forward) = &mut ctx.forward {
            let origin = &forward.place.origin;
            let may_retry = origin.failed_to_connect(&error);
            forward.connect_tries += 1;
            let may_retry = may_retry && forward.connect_tries < CONNECT_TRIES;
            error.set_retry(may_retry && origin.may_retry());
        }
        error
    }
}

/// Whether pingora may retry a request after an error on the way to the origin.
pub(in crate::proxy) fn may_retry(method: &Method, forward: &mut Forward) -> bool {
    // A reused connection that died under a write may have carried it (R9).
    let reused = forward.connection.reused.load(Ordering::Relaxed);
    let may = reused && !forward.body_began && !is_write(method);
    if may {
        forward.connection.attempt = Attempt::RetryFresh;
    }
    may || forward.resend.take()
}

/// Returns the cache status of a passed-through request.
pub(in crate::proxy) fn cache_status(method: &Method) -> CacheStatus {
    if is_write(method) { CacheStatus::Method } else { CacheStatus::Bypass }
}

/// Turns a content hash that a presigner moved into the query back into a header: the query's own is stripped (R23).
fn unhoist_content_sha256(headers: &mut HeaderMap, query: &Query) -> Result<()> {
    let Some(claimed) = query.content_sha256() else { return Ok(()) };
    if claimed.starts_with("STREAMING-") {
        // The framing of a body is determined from the headers alone, everywhere.
        return Err(bad_request(&"x-amz-content-sha256 must be a header of a chunked upload"));
    }
    let claimed = HeaderValue::from_str(claimed).map_err(|e| bad_request(&e))?;
    headers.entry(CONTENT_SHA256).or_insert(claimed);
    Ok(())
}

/// Returns the payload to sign for a body that is passed on unchanged.
fn payload(claimed: Option<&str>) -> Payload<'_> {
    match claimed {
        Some(hex) if hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_hexdigit()) => {
            Payload::Sha256Hex(hex)
        }
        Some(form) if form == Payload::StreamingUnsignedTrailer.as_str() => {
            Payload::StreamingUnsignedTrailer
        }
        _ => Payload::Unsigned,
    }
}

fn connect_error(error: &OriginError) -> Box<Error> {
    let mut error = Error::explain(ErrorType::ConnectError, error.to_string());
    error.esource = ErrorSource::Upstream;
    error
}

/// Makes the error for an invalid response of the origin.
fn broken_answer(why: &'static str) -> Box<Error> {
    let mut error = Error::explain(ErrorType::InvalidHTTPHeader, why);
    error.esource = ErrorSource::Upstream;
    error
}

/// Ends a transfer, and sets the error that the client is answered with.
fn refuse(refusal: &mut Option<S3Error>, error: S3Error) -> Box<Error> {
    bad_request(refusal.insert(error))
}
