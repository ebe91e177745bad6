//! Evidence in passed-through responses (R34): listings, and reads that the cache does not answer, are compared with
//! cached metadata before their last byte is passed on. A refused conditional write invalidates its keys in any case.

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderValue, StatusCode};
use pingora::http::ResponseHeader;

use super::observed::{Observed, Subject};
use crate::proxy::context::Forward;
use crate::proxy::gateway::Gateway;
use crate::s3::Evidence;

impl Gateway {
    /// Applies the evidence in a response head, before it is passed on.
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
    pub(in crate::proxy) fn observe_body(forward: &mut Forward, part: Option<&Bytes>, end: bool) {
        if let (Some(page), Some(part)) = (&mut forward.page, part) {
            page.push(part);
        }
        if let Some(page) = forward.page.take_if(|_| end) {
            page.finish();
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
