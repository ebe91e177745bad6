//! `GET /api/v1/requests`: requests as they end, one line of JSON each, for as long as the client reads.
//!
//! Query: `filter`, and `seconds` after which it ends. An empty line every [`HEARTBEAT`] shows that the server is
//! alive. A client that stops reading loses lines, which are counted (`{"dropped": 3}`), and then its connection.

use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming};
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use tokio::time::{Interval, Sleep, interval, sleep};

use super::answer::{Refusal, other_method};
use super::guard;
use super::state::Api;
use crate::admin::connection_end::ConnectionEnd;
use crate::inspect::{Filter, WATCHERS_MAX, Watch};
use crate::s3::Query;

/// Time between empty lines.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// Maximum duration of a request, in seconds.
const SECONDS_MAX: u64 = 30 * 86_400;

/// The lines as a response body.
pub(in crate::admin) struct LineStream {
    watch: Watch,
    /// End of the stream; `None`: it ends with the connection.
    until: Option<Pin<Box<Sleep>>>,
    heartbeat: Interval,
    /// Deadline of the connection, which is extended as long as lines are read.
    end: Arc<ConnectionEnd>,
}

impl Api {
    /// Handles `GET /api/v1/requests`.
    ///
    /// # Errors
    /// Any response other than the stream.
    pub(in crate::admin) async fn watch(
        &self,
        request: &Request<Incoming>,
        from: IpAddr,
        end: &Arc<ConnectionEnd>,
    ) -> Result<Response<LineStream>, Response<String>> {
        let admitted = guard::admit(self, request.method(), request.headers()).await;
        let caller = admitted.as_ref().ok().map(|caller| caller.label());
        let begun = match admitted {
            Ok(_) if *request.method() != Method::GET => Ok(Err(other_method("GET"))),
            Ok(_) => self.begin_watch(request.uri().query(), end).map(Ok),
            Err(refusal) => Err(refusal),
        };
        let (response, refusal) = match begun {
            Ok(response) => (response, None),
            Err(refusal) => (Err(refusal.clone().answer()), Some(refusal)),
        };
        let status = response.as_ref().map_or_else(Response::status, Response::status);
        let asked = request.uri().query();
        let identity = caller.or(refusal.as_ref().and_then(|refusal| refusal.identity));
        self.audit_request(
            (request.method(), request.uri().path()),
            (identity, from),
            asked,
            status,
            refusal.as_ref(),
        );
        response
    }

    fn begin_watch(
        &self,
        query: Option<&str>,
        end: &Arc<ConnectionEnd>,
    ) -> Result<Response<LineStream>, Refusal> {
        let query = Query::parse(query.unwrap_or_default())
            .map_err(|error| Refusal::bad(error.message.into_owned()))?;
        if let Some((name, _)) =
            query.iter().find(|(name, _)| !matches!(*name, "filter" | "seconds"))
        {
            return Err(Refusal::bad(format!("{name}: there are only filter and seconds")));
        }
        let filter = Filter::parse(query.get("filter").unwrap_or_default());
        let filter = filter.map_err(|wrong| Refusal::bad(wrong.to_string()))?;
        let until = match query.get("seconds").map(str::parse::<u64>) {
            None => None,
            Some(Ok(seconds @ 0..=SECONDS_MAX)) => Some(Duration::from_secs(seconds)),
            Some(_) => {
                let why = format!("seconds: it is a number from 0 to {SECONDS_MAX}");
                return Err(Refusal::bad(why));
            }
        };
        let watch = self.inspect.watchers.watch(filter).ok_or_else(|| {
            let why = format!("{WATCHERS_MAX} others watch already, which is the most");
            Refusal::new(StatusCode::TOO_MANY_REQUESTS, why)
        })?;
        let until = until.map(|until| Box::pin(sleep(until)));
        let (heartbeat, end) = (interval(HEARTBEAT), end.clone());
        let mut response = Response::new(LineStream { watch, until, heartbeat, end });
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        Ok(response)
    }
}

impl LineStream {
    fn poll_line(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if let Some(until) = &mut self.until
            && until.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(None);
        }
        let dropped = self.watch.take_dropped();
        if dropped > 0 {
            return Poll::Ready(Some(format!("{{\"dropped\":{dropped}}}\n").into()));
        }
        if let Poll::Ready(line) = self.watch.poll_next(cx) {
            return Poll::Ready(Some(line));
        }
        ready!(self.heartbeat.poll_tick(cx));
        Poll::Ready(Some(Bytes::from_static(b"\n")))
    }
}

impl Body for LineStream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = self.get_mut();
        let line = ready!(this.poll_line(cx));
        // The next line is requested only when the client has read the previous ones.
        this.end.renew();
        Poll::Ready(line.map(|line| Ok(Frame::data(line))))
    }
}
