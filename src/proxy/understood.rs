//! One understanding of a request: it is parsed, and its signature verified, once.
//!
//! The fast path sees a head first. What it does not answer it hands over to the session of pingora that follows,
//! together with what it understood (see [`HandedOver`]).

use std::net::SocketAddr;

use http::HeaderMap;
use pingora::proxy::Session;

use super::conn::client::Client;
use super::context::RequestContext;
use super::fast_path::handed_over::{HandedOver, Understood};
use super::operation_name::operation;
use super::{Gateway, request_head, sender};
use crate::auth::{Admitted, Sender};
use crate::cache::Policy;
use crate::metrics::Operation as OperationLabel;
use crate::s3::{ObjectId, Operation, Parsed, Read, Realm, RequestHead, S3Error};

impl Gateway {
    /// Parses a request whose path prefix is cut off, and asks who sends it.
    pub(super) fn understand_head(&self, head: &RequestHead<'_>, sender: Sender<'_>) -> Understood {
        let parsed = match self.parse(head) {
            Ok(parsed) => parsed,
            Err(error) => {
                let operation = OperationLabel::Other;
                return Understood { operation, named: None, verdict: Err(error) };
            }
        };
        let operation = operation(head.method, head.headers, &parsed);
        let named = parsed.bucket.clone().map(|bucket| (bucket, parsed.key.clone()));
        let verdict = self.access.admit(head, &parsed, sender);
        Understood { operation, named, verdict: verdict.map(|admitted| (parsed, admitted)) }
    }

    /// What is asked, and who asks for it: as the fast path understood it, or else anew.
    pub(super) fn understand(
        &self,
        session: &Session,
        ctx: &mut RequestContext,
    ) -> Result<(Parsed, Admitted), S3Error> {
        let head = request_head(session.req_header());
        let client = Client::of(session);
        let handed_over = client.and_then(Client::take_over).filter(|handed| handed.is_of(&head));
        self.origins.default_origin().loops().check(head.headers)?;
        let understood = match handed_over.map(|handed| *handed) {
            Some(HandedOver { understood, started, cacheable, .. }) => {
                (ctx.started, ctx.cacheable) = (started, cacheable);
                understood
            }
            None => {
                let address = session.client_addr().and_then(|address| address.as_inet());
                self.understand_head(&head, sender(address.map(SocketAddr::ip), client))
            }
        };
        (ctx.operation, ctx.named) = (understood.operation, understood.named);
        let admitted = understood.verdict?;
        self.origins.default_origin().loops().remember_senders(head.headers);
        Ok(admitted)
    }

    /// The object that a request reads and the rule for it; `None`: the cache may not answer it.
    pub(super) fn cacheable<'a>(
        &self,
        headers: &HeaderMap,
        parsed: &'a Parsed,
        realm: &Realm,
    ) -> Option<(&'a Read, ObjectId, Policy)> {
        let (Operation::Read(read), Some((bucket, key))) = (&parsed.operation, parsed.object())
        else {
            return None;
        };
        if !self.may_answer(headers, parsed, bucket, read) {
            return None;
        }
        let id = read.id(realm, bucket, key);
        let policy = self.rules.policy(&id, read.no_cache)?;
        Some((read, id, policy))
    }
}
