//! Evidence in what passes through (R34): listings, and reads that the cache does not answer, are compared with cached
//! metadata before their last byte is passed on. A refused conditional write has invalidated what it names anyway.

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderValue, StatusCode};
use pingora::http::{RequestHeader, ResponseHeader};

use crate::cache::Sent;
use crate::proxy::context::Forward;
use crate::proxy::{Gateway, request_head};
use crate::s3::{Evidence, ListRequest, ObjectId, Parsed, Realm, shows_object};

/// A request whose answer may contradict cached metadata.
pub(in crate::proxy) struct Observed {
    subject: Subject,
    /// Before the request was sent to the origin, for the last time.
    sent: Option<Sent>,
}

enum Subject {
    /// By the names under which it may be cached.
    Object([ObjectId; 2]),
    Listing(ListRequest),
}

impl Observed {
    /// Of a client's request; `None`: its answer shows nothing.
    pub(in crate::proxy) fn of(
        request: &RequestHeader,
        parsed: &Parsed,
        realm: &Realm,
    ) -> Option<Box<Self>> {
        let head = request_head(request);
        let bucket = parsed.bucket.as_ref()?;
        let subject = match &parsed.key {
            None => Subject::Listing(ListRequest::of(head.method, &parsed.query)?),
            Some(key) => {
                let version = shows_object(&head, &parsed.query)?;
                let object = ObjectId::new(realm, bucket.clone(), key.clone());
                let object = match version {
                    Some(version) => object.at(version),
                    None => object,
                };
                Subject::Object([object.paid(), object])
            }
        };
        Some(Box::new(Self { subject, sent: None }))
    }

    /// The request is about to be sent.
    pub(in crate::proxy) fn is_sent(&mut self) {
        self.sent = Some(Sent::now());
    }
}

impl Gateway {
    /// Applies the evidence in the head of an answer, before it is passed on.
    pub(in crate::proxy) async fn observe_head(
        &self,
        head: &ResponseHeader,
        forward: &mut Forward,
    ) {
        let Some(observed) = forward.observed.take() else { return };
        let Observed { subject, sent: Some(sent) } = *observed else { return };
        match subject {
            Subject::Object(ids) => {
                let evidence = Evidence::of_answer(head.status, &head.headers);
                for (id, evidence) in ids.iter().zip(evidence.iter().cycle()) {
                    let ticket = self.cache.apply_evidence_to_all(id, sent, evidence).await;
                    forward.unsettled = forward.unsettled.max(ticket);
                }
                for id in &ids {
                    let policy = || self.rules.policy(id, false);
                    let obeys = || policy().is_none_or(|policy| policy.obey_no_store);
                    self.cache.judge_streamed(id, sent, (head.status, &head.headers), obeys);
                }
            }
            Subject::Listing(request) => {
                let Some(bucket) = &forward.parsed.bucket else { return };
                let realm = &forward.realm;
                if is_readable(head) {
                    let page = self.cache.page_evidence(request, sent, realm, bucket);
                    forward.page = page.map(Box::new);
                }
            }
        }
    }

    /// Applies the evidence in a part of a listing's body, before it is passed on.
    pub(in crate::proxy) fn observe_body(
        &self,
        forward: &mut Forward,
        part: Option<&Bytes>,
        end: bool,
    ) {
        if let (Some(page), Some(part)) = (&mut forward.page, part) {
            page.push(&self.cache, part);
        }
        if let Some(page) = forward.page.take_if(|_| end) {
            page.finish(&self.cache);
        }
    }
}

/// Whether a body is the XML of a listing, as far as its head tells.
fn is_readable(head: &ResponseHeader) -> bool {
    let plain = head.headers.get(CONTENT_ENCODING).is_none_or(|encoding| encoding == "identity");
    let kind = head.headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    let is_xml = kind.is_none_or(|kind| memchr::memmem::find(kind, b"xml").is_some());
    head.status == StatusCode::OK && plain && is_xml
}
