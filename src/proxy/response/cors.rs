//! CORS headers of our own refusals.
//!
//! A page sees an answer, be it an error, only with the headers that its bucket's CORS rules give it. Those rules are
//! the origin's: it is asked by a preflight of ours, unsigned as all of them, and its answer is kept for a moment.

use std::sync::Arc;
use std::time::Duration;

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, HOST, ORIGIN, USER_AGENT, VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use moka::sync::Cache as Moka;
use pingora::Result;
use pingora::http::RequestHeader;
use pingora::proxy::Session;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::head::{CacheStatus, send_error};
use super::page_access::PageAccess;
use crate::origin::Place;
use crate::proxy::Gateway;
use crate::proxy::context::RequestContext;
use crate::s3::{BucketName, S3Error, operation};

/// Answers that are kept; each takes about 500 bytes.
const LIMIT: u64 = 1000;
const KEPT_FOR: Duration = Duration::from_secs(30);
/// Preflights of ours under way at the same time; a refusal that would need one more has no CORS headers.
const ASKING: usize = 16;
/// How long a refusal waits for the origin.
const PATIENCE: Duration = Duration::from_secs(2);
/// Bytes of an `Origin` that is asked for.
const LONGEST_ORIGIN: usize = 512;
/// What a preflight's answer says of the request that would follow it.
const COPIED: [HeaderName; 4] = [
    ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_ALLOW_CREDENTIALS,
    ACCESS_CONTROL_EXPOSE_HEADERS,
    VARY,
];

type Headers = Arc<[(HeaderName, HeaderValue)]>;

/// What the origin's CORS rules allow, as far as it was asked lately.
#[derive(Debug)]
pub struct CorsRules {
    answers: Moka<(BucketName, HeaderValue, Method), Headers>,
    asking: Semaphore,
    /// Learned from the origin's answers to reads.
    pub(in crate::proxy) of_reads: PageAccess,
}

impl Default for CorsRules {
    fn default() -> Self {
        let answers =
            Moka::builder().name("cors").max_capacity(LIMIT).time_to_live(KEPT_FOR).build();
        Self { answers, asking: Semaphore::new(ASKING), of_reads: PageAccess::default() }
    }
}

impl Gateway {
    /// Answers with an error that the page which caused it may see, if its bucket's rules say so.
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

    /// Returns the CORS headers of an answer to a request; none where its page may not see it.
    async fn cors_headers(&self, head: &RequestHeader) -> Headers {
        self.allowed_by_origin(head).await.unwrap_or_default()
    }

    async fn allowed_by_origin(&self, head: &RequestHeader) -> Option<Headers> {
        let origin = single(&head.headers, &ORIGIN)?;
        if origin.len() > LONGEST_ORIGIN || !self.access.believes(&head.method, &head.headers) {
            return None;
        }
        let request = crate::proxy::request_head(head);
        let method = match request.is_preflight() {
            true => {
                let method = single(&head.headers, &ACCESS_CONTROL_REQUEST_METHOD)?;
                Method::from_bytes(method.as_bytes()).ok()?
            }
            false => head.method.clone(),
        };
        let bucket = operation::parse(&request, &self.host_names).ok()?.bucket?;
        let question = (bucket, origin.clone(), method);
        if let Some(known) = self.cors.answers.get(&question) {
            return Some(known);
        }
        let _asking = self.cors.asking.try_acquire().ok()?;
        let (bucket, origin, method) = &question;
        let place = self.origins.place(Some(bucket));
        let there = place.bucket(Some(bucket))?;
        let preflight = preflight_of_ours(&place, there, origin, method)?;
        let said = timeout(PATIENCE, place.origin.ask(there, preflight)).await;
        let answer = match said {
            Ok(Ok(said)) if said.status.is_success() => allowed(&said.headers, origin),
            // Not asked again at once: each refusal would wait for it.
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

/// The headers that let a page of `origin` see an answer; none unless they name it.
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
