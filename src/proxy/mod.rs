//! HTTP requests of clients: pingora's hooks, each a few lines that delegate.
//!
//! ```text
//!  request_filter ── understand ── authorize ──┬─ read: from the cache (handlers/read.rs)
//!                                              └─ else: Ok(false), pingora streams it (handlers/pass_through.rs)
//!  logging ── one log line, metrics; a write without a known outcome makes its keys suspect
//! ```
//! A request that arrives here has passed the checks of its connection (conn/gate.rs): every reader parses it alike.
//! Small hits are answered before pingora sees them (`fast_path`). Before the response head is sent, an error is S3's
//! XML and the connection stays open; after it, the transfer is aborted.

mod access_log;
mod client_limits;
pub mod config;
mod conn;
mod context;
mod ending;
mod errors;
mod fast_path;
mod gateway;
mod handlers;
mod operation_name;
mod path_prefix;
mod recent_errors;
mod request;
mod response;
mod traced;
mod understood;
mod watched;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::modules::http::HttpModules;
use pingora::proxy::{FailToProxy, ProxyHttp, Session};
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorSource, Result};

use crate::auth::{Admitted, Identity};
use crate::metrics::attribution::{self, OriginUse};
use crate::metrics::{self, CacheResult};
use crate::origin::{Domain, Place};
use crate::s3::{Operation, Parsed, S3Error};
use crate::tracing;

pub use access_log::AccessLogger;
pub use config::{FileMode, LimitsConfig, ListenConfig};
pub use conn::admission::Admission;
pub use conn::listener::Listener;
pub use conn::proxy_protocol;
pub use conn::server::Server;
pub use conn::shutdown::Shutdown;
pub use gateway::{Addressed, Gateway};
pub use handlers::owners::ConfirmedBucketOwners;
pub use path_prefix::PathPrefix;
pub use recent_errors::RecentErrors;
pub use response::cors_rules::CorsRules;

use conn::client::Client;
use context::{Forward, RequestContext};
use handlers::lists::Listed;
use handlers::observed::Observed;
use handlers::read::Outcome;
use handlers::restore::RestoreBody;
use handlers::touched::Touched;
use handlers::upload::Upload;
use response::head::{CacheStatus, send_error};
use response::refusal::Refusal;

impl Gateway {
    /// Returns the reason for refusing a request before it is parsed: the gate's, or that of a `Connection` option
    /// that would remove a header; over HTTP/2 also a limit that its library does not enforce.
    fn refused(&self, session: &Session) -> Option<Refusal> {
        let head = session.req_header();
        if let Some(why) = Client::of(session).and_then(Client::refused) {
            return Some(why);
        }
        if !conn::connection_options::are_allowed(&head.headers) {
            return Some(Refusal::ConnectionOption);
        }
        if !session.is_http2() {
            return None;
        }
        let limits = self.limits.load().gate().head;
        if head.raw_path().len() > limits.uri {
            return Some(Refusal::UriTooLong);
        }
        (head.headers.len() > limits.count).then_some(Refusal::TooManyHeaders)
    }

    /// Returns the domain of an identity with credentials of its own for the origin; an error if those are gone.
    fn brought_by(
        identity: Option<&Identity>,
        place: &Place,
    ) -> Result<Option<Arc<Domain>>, S3Error> {
        match identity.filter(|identity| identity.origin().is_some()) {
            None => Ok(None),
            // Its keys are for the default origin, and ours are not for it.
            Some(_) if place.is_mapped => Err(S3Error::access_denied()),
            Some(identity) => {
                let domain = place.origin.domains().for_identity(identity.name());
                domain.map(Some).ok_or_else(S3Error::access_denied)
            }
        }
    }

    /// Reads and authorizes the fields of a form, and handles the request.
    async fn begin(
        &self,
        session: &mut Session,
        ctx: &mut RequestContext,
        mut parsed: Parsed,
        mut admitted: Admitted,
    ) -> Result<Outcome> {
        let mut form = None;
        if let Some(gate) = admitted.form.take() {
            match self.read_form(session, &mut parsed, &gate).await? {
                Ok(upload) => {
                    admitted.identity = upload.identity().cloned();
                    form = Some(upload);
                }
                Err(error) => {
                    self.refuse(session, ctx, error, CacheStatus::Method).await?;
                    return Ok(Outcome::Answered);
                }
            }
        }
        ctx.identity.clone_from(&admitted.identity);
        let clients = self.admission.clients();
        if let Err(reached) = clients.charge_identity(&mut ctx.charge, ctx.identity.as_deref()) {
            self.refuse(session, ctx, reached.refuse(), CacheStatus::Bypass).await?;
            return Ok(Outcome::Answered);
        }
        self.handle(session, ctx, parsed, admitted, form).await
    }

    /// Answers the request, or returns that pingora is to stream it.
    async fn handle(
        &self,
        session: &mut Session,
        ctx: &mut RequestContext,
        parsed: Parsed,
        admitted: Admitted,
        form: Option<Box<Upload>>,
    ) -> Result<Outcome> {
        let Admitted { identity, body, listed, held, .. } = admitted;
        let place = self.origins.place(parsed.bucket.as_ref());
        let checked = self.check_copy(&session.req_header().headers, &parsed);
        let brought = match checked.and_then(|()| Self::brought_by(identity.as_deref(), &place)) {
            Ok(brought) => brought,
            Err(error) => {
                self.refuse(session, ctx, error, CacheStatus::Bypass).await?;
                return Ok(Outcome::Answered);
            }
        };
        let domain = brought.as_ref().unwrap_or_else(|| place.own());
        let realm = if brought.is_some() { domain.realm() } else { &place.realm };
        let cacheable = match (ctx.cacheable.take(), &parsed.operation) {
            (Some((id, policy)), Operation::Read(read)) => Some((read, id, policy)),
            _ => self.cacheable(&session.req_header().headers, &parsed, realm),
        };
        ctx.rule = match (&cacheable, parsed.object()) {
            (Some((_, _, policy)), _) => policy.rule,
            (None, Some((bucket, key))) => self.rules.traffic(bucket, key),
            (None, None) => None,
        };
        if let Some((read, id, policy)) = cacheable
            && let Some(page) = self.page_headers(&session.req_header().headers, &id, read, true)
        {
            ctx.page = page;
            let answer = self.read(session, ctx, &id, read, &parsed.query, &policy).await?;
            if answer == Outcome::Answered {
                return Ok(answer);
            }
        }
        let keeping = match self.list(session, ctx, realm, &parsed).await? {
            Listed::Answered => return Ok(Outcome::Answered),
            Listed::Forward(keeping) => keeping,
        };
        let observed = Observed::of(session.req_header(), &parsed, realm);
        let touched = Touched::by(&parsed.operation, &self.origins);
        let realm = realm.clone();
        let mut forward = Forward::new(parsed, (domain.clone(), realm, place), touched, body);
        (forward.keeping, forward.form, forward.observed) = (keeping, form, observed);
        forward.restore = RestoreBody::of(&session.req_header().method, &forward.parsed);
        if let Some(list) = &mut forward.listed {
            list.sent_by(held);
        }
        if let Some(listed) = listed
            && let Err(error) = self.allow_by_key(session, &mut forward, &listed).await?
        {
            self.refuse(session, ctx, error, CacheStatus::Method).await?;
            return Ok(Outcome::Answered);
        }
        self.begin_write(&mut forward).await;
        ctx.cache = CacheResult::Bypass;
        ctx.forward = Some(forward);
        Ok(Outcome::PassThrough)
    }
}

#[async_trait]
impl ProxyHttp for Gateway {
    type CTX = RequestContext;

    /// Installs none: pingora's own would set up compression for every request, only to leave it off.
    fn init_downstream_modules(&self, _: &mut HttpModules) {}

    fn new_ctx(&self) -> RequestContext {
        RequestContext::begin()
    }

    async fn request_filter(
        &self,
        session: &mut Session,
        ctx: &mut RequestContext,
    ) -> Result<bool> {
        session.downstream_session.set_pipelining_enabled(true);
        let limits = self.limits.load_full();
        session.set_write_timeout(Some(limits.write_timeout.0));
        // The gate enforces the timeouts, and reports which one expired.
        session.set_read_timeout(None);
        // Already off for HTTP/1.0, in a shutdown, and for framing that a hop before us may have read differently.
        let stays = session.get_keepalive().is_some();
        session.set_keepalive(stays.then_some(limits.keep_alive.0.as_secs()));
        ctx.region.clone_from(&self.addressed.load().region);
        ctx.trace = tracing::begin(&session.req_header().headers);
        self.path_prefix.cut_head(session.req_header_mut())?;
        if let Some(why) = self.refused(session) {
            ctx.refuse(why);
            session.set_keepalive(None);
            send_error(session, ctx, &why.error(), CacheStatus::Bypass).await?;
            return Ok(true);
        }
        ctx.held = self.admission.request();
        if ctx.held.is_none() {
            metrics::wire::refused(metrics::wire::Refused::RequestsInFlight);
            send_error(session, ctx, &response::refusal::slow_down(), CacheStatus::Bypass).await?;
            return Ok(true);
        }
        match self.understand(session, ctx) {
            Ok((parsed, admitted)) if ctx.trace.is_some() || self.inspect.watchers.is_watched() => {
                let span = ctx.trace.map(|trace| trace.context());
                let origin_use = Arc::new(OriginUse::traced(span));
                ctx.origin_use = Some(origin_use.clone());
                let work = Box::pin(self.begin(session, ctx, parsed, admitted));
                Ok(attribution::attribute(origin_use, work).await? == Outcome::Answered)
            }
            Ok((parsed, admitted)) => {
                Ok(self.begin(session, ctx, parsed, admitted).await? == Outcome::Answered)
            }
            Err(error) => {
                self.refuse(session, ctx, error, CacheStatus::Bypass).await?;
                Ok(true)
            }
        }
    }

    async fn upstream_peer(
        &self,
        session: &mut Session,
        ctx: &mut RequestContext,
    ) -> Result<Box<HttpPeer>> {
        let forward = ctx.forward.as_mut().expect("set before a request is passed on");
        self.peer(&session.req_header().method, forward).await
    }

    async fn upstream_request_filter(
        &self,
        _session: &mut Session,
        head: &mut RequestHeader,
        ctx: &mut RequestContext,
    ) -> Result<()> {
        let forward = ctx.forward.as_mut().expect("set before a request is passed on");
        if let Some(trace) = &ctx.trace {
            self.begin_span(trace, head, forward)?;
        }
        self.rewrite(head, forward)
    }

    async fn request_body_filter(
        &self,
        session: &mut Session,
        body: &mut Option<Bytes>,
        end: bool,
        ctx: &mut RequestContext,
    ) -> Result<()> {
        ctx.charge.pace(body.as_ref().map_or(0, |body| body.len() as u64)).await;
        match &mut ctx.forward {
            Some(forward) => {
                self.forward_body(&session.req_header().headers, forward, body, end).await
            }
            None => Ok(()),
        }
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        head: &mut ResponseHeader,
        ctx: &mut RequestContext,
    ) -> Result<()> {
        if !head.status.is_informational() {
            ctx.first_byte.get_or_insert(ctx.started.elapsed());
        }
        self.answer_head(session, head, ctx).await
    }

    fn response_body_filter(
        &self,
        _session: &mut Session,
        body: &mut Option<Bytes>,
        end: bool,
        ctx: &mut RequestContext,
    ) -> Result<Option<Duration>> {
        if let Some(forward) = &mut ctx.forward {
            self.answer_body(forward, body, end);
        }
        let wait = ctx.charge.take(body.as_ref().map_or(0, |body| body.len() as u64));
        Ok((wait > Duration::ZERO).then_some(wait))
    }

    fn error_while_proxy(
        &self,
        peer: &HttpPeer,
        session: &mut Session,
        error: Box<Error>,
        ctx: &mut RequestContext,
        _: bool,
    ) -> Box<Error> {
        let mut error = error.more_context(format!("origin {peer}"));
        let method = &session.req_header().method;
        let retry =
            ctx.forward.as_mut().is_some_and(|f| handlers::pass_through::may_retry(method, f));
        // Once the client has a part of this response, another one must not be appended to it.
        error.set_retry(retry && session.response_written().is_none());
        error
    }

    fn fail_to_connect(
        &self,
        _session: &mut Session,
        _peer: &HttpPeer,
        ctx: &mut RequestContext,
        error: Box<Error>,
    ) -> Box<Error> {
        Self::failed_to_connect(ctx, error)
    }

    async fn fail_to_proxy(
        &self,
        session: &mut Session,
        error: &Error,
        ctx: &mut RequestContext,
    ) -> FailToProxy {
        // Before the client gets the error: its next read must not return older data (R8).
        if let Some(forward) = &mut ctx.forward {
            self.outcome_unknown(forward);
            // The evidence of a partial listing counts (R34).
            forward.page = None;
            self.settle(forward).await;
        }
        let refused = Client::of(session).and_then(Client::refused_body);
        let answer = match refused {
            Some(why) => {
                ctx.refuse(why);
                Some(why.error())
            }
            None => {
                let refusal = ctx.forward.as_mut().and_then(|f| f.refusal.take());
                refusal.or_else(|| ending::failure(error, ctx))
            }
        };
        let status = answer.as_ref().map_or(0, |a| a.status.as_u16());
        if let Some(answer) = answer
            && session.response_written().is_none()
        {
            session.set_keepalive(None);
            let cache = handlers::pass_through::cache_status(&session.req_header().method);
            if let Err(error) = self.refuse(session, ctx, answer, cache).await {
                log::debug!("the client did not take the error: {error}");
            }
        }
        FailToProxy { error_code: status, can_reuse_downstream: false }
    }

    fn suppress_error_log(&self, _: &Session, ctx: &RequestContext, error: &Error) -> bool {
        *error.esource() == ErrorSource::Downstream
            || ending::is_of_client(Some(error), ctx)
            || handlers::own_keys::is_about_them(error)
    }

    async fn logging(
        &self,
        session: &mut Session,
        error: Option<&Error>,
        ctx: &mut RequestContext,
    ) {
        self.end(session, error, ctx);
    }
}
