//! CORS headers for our own error responses.
//!
//! A web page sees a response, errors included, only with the headers that its bucket's CORS rules give it. Those
//! rules are the origin's: it is asked by a preflight of ours, unsigned like any preflight, and its response is
//! cached for a short time.

use std::time::Duration;

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, HOST, ORIGIN, USER_AGENT, VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use pingora::Result;
use pingora::http::RequestHeader;
use pingora::proxy::Session;
use tokio::time::timeout;

use super::cors_rules::Headers;
use super::head::{CacheStatus, send_error};
use crate::origin::Place;
use crate::proxy::context::RequestContext;
use crate::proxy::gateway::Gateway;
use crate::proxy::request::request_head;
use crate::s3::{BucketName, S3Error, operation};

/// Maximum time that an error response waits for the origin's preflight response.
const PREFLIGHT_TIMEOUT: Duration = Duration::from_secs(2);
/// Maximum bytes of an `Origin` that the origin is asked about.
const LONGEST_ORIGIN: usize = 512;
/// Headers of a preflight's response that also hold for the request that would follow it.
const COPIED: [HeaderName; 4] = [
    ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_ALLOW_CREDENTIALS,
    ACCESS_CONTROL_EXPOSE_HEADERS,
    VARY,
];

impl Gateway {
    /// Answers with an error that the requesting page can read, if its bucket's CORS rules allow it.
    pub(in crate::proxy) async fn refuse(
        &self,
        session: &mut Session,
        ctx: &mut RequestContext,
        mut error: S3Error,
        cache: CacheStatus,
    ) -> Result<()> {
        let head = session.req_header();
        if head.headers.contains_key(ORIGIN) {
            error.headers.extend(self.cors_headers(head).await.iter().cloned());
        }
        send_error(session, ctx, &error, cache).await
    }

    /// Returns the CORS headers for a response to a request; none if its page may not read it.
    async fn cors_headers(&self, head: &RequestHeader) -> Headers {
        self.allowed_by_origin(head).await.unwrap_or_default()
    }

    async fn allowed_by_origin(&self, head: &RequestHeader) -> Option<Headers> {
        let origin = single(&head.headers, &ORIGIN)?;
        if origin.len() > LONGEST_ORIGIN || !self.access.believes(&head.method, &head.headers) {
            return None;
        }
        let request = request_head(head);
        let method = match request.is_preflight() {
            true => {
                let method = single(&head.headers, &ACCESS_CONTROL_REQUEST_METHOD)?;
                Method::from_bytes(method.as_bytes()).ok()?
            }
            false => head.method.clone(),
        };
        let bucket = operation::parse(&request, &self.addressed.load().host_names).ok()?.bucket?;
        let place = self.origins.place(Some(&bucket));
        let there = place.bucket(Some(&bucket))?;
        // As the origin names it: a reload may move the client's bucket elsewhere.
        let question = (place.realm.clone(), there.clone(), origin.clone(), method);
        if let Some(known) = self.cors.answers.get(&question) {
            return Some(known);
        }
        let _asking = self.cors.asking.try_acquire().ok()?;
        let (_, _, origin, method) = &question;
        let preflight = preflight_of_ours(&place, there, origin, method)?;
        let said = timeout(PREFLIGHT_TIMEOUT, place.origin.ask(there, preflight)).await;
        let answer = match said {
            Ok(Ok(said)) if said.status.is_success() => allowed(&said.headers, origin),
            // Kept, too: otherwise each error response would wait for it.
            _ => Headers::default(),
        };
        self.cors.answers.insert(question.clone(), answer.clone());
        Some(answer)
    }
}

fn preflight_of_ours(
    place: &Place,
    bucket: &BucketName,
    origin: &HeaderValue,
    method: &Method,
) -> Option<Box<RequestHeader>> {
    let target = place.origin.endpoint().target(Some(bucket), None);
    let mut head = RequestHeader::build(Method::OPTIONS, target.path.as_bytes(), Some(5)).ok()?;
    let method = HeaderValue::from_str(method.as_str()).ok()?;
    head.insert_header(HOST, HeaderValue::from_str(&target.host).ok()?).ok()?;
    head.insert_header(ORIGIN, origin.clone()).ok()?;
    head.insert_header(ACCESS_CONTROL_REQUEST_METHOD, method).ok()?;
    head.insert_header(USER_AGENT, HeaderValue::from_static("hotset")).ok()?;
    Some(Box::new(head))
}

/// Returns the headers that let a page of `origin` read a response; none unless they name that origin or `*`.
fn allowed(headers: &HeaderMap, origin: &HeaderValue) -> Headers {
    let named = single(headers, &ACCESS_CONTROL_ALLOW_ORIGIN);
    if !named.is_some_and(|named| named == "*" || named == origin) {
        return Headers::default();
    }
    let copied = COPIED.iter().flat_map(|name| {
        headers.get_all(name).iter().map(move |value| (name.clone(), value.clone()))
    });
    copied.collect()
}

fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?;
    values.next().is_none().then_some(first)
}
