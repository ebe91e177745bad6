//! Passed-through requests whose responses are evidence (R34).

use pingora::http::RequestHeader;

use crate::cache::Sent;
use crate::proxy::request::request_head;
use crate::s3::{ListRequest, ObjectId, Parsed, Realm, shows_object};

/// A request whose answer may contradict cached metadata.
pub(in crate::proxy) struct Observed {
    pub(super) subject: Subject,
    /// Time just before the last attempt was sent to the origin.
    pub(super) sent: Option<Sent>,
}

/// Subject of the evidence in a response.
pub(super) enum Subject {
    /// Object, by the names under which it may be cached.
    Object([ObjectId; 2]),
    Listing(ListRequest),
}

impl Observed {
    /// Returns the observation of a client's request; `None`: its response is no evidence.
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

    /// Records that the request is about to be sent.
    pub(in crate::proxy) fn is_sent(&mut self) {
        self.sent = Some(Sent::now());
    }
}
