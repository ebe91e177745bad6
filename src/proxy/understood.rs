//! Parsing and authorization of a request, done once: its signature is verified only one time.
//!
//! The fast path sees a head first. A request that it does not answer is handed over to pingora's session that
//! follows, together with the verdict on it (see [`HandedOver`]).

use std::net::SocketAddr;

use http::HeaderMap;
use pingora::proxy::Session;

use super::client_limits::Reached;
use super::conn::client::Client;
use super::context::RequestContext;
use super::fast_path::handed_over::{HandedOver, Understood};
use super::gateway::Gateway;
use super::operation_name;
use super::request::{request_head, sender};
use super::response::page_access::PageHeaders;
use crate::auth::{Admitted, Sender, Transparent};
use crate::cache::Policy;
use crate::metrics::Operation as OperationLabel;
use crate::s3::{
    BucketName, ObjectId, Operation, Parsed, Read, Realm, RequestHead, S3Error, operation,
};

impl Gateway {
    /// Parses a request whose path prefix is removed, and authenticates its sender.
    pub(super) fn understand_head(&self, head: &RequestHead<'_>, sender: Sender<'_>) -> Understood {
        let parsed = match self.parse(head) {
            Ok(parsed) => parsed,
            Err(error) => {
                let operation = OperationLabel::Other;
                return Understood { operation, named: None, verdict: Err(error) };
            }
        };
        let operation = operation_name::operation(head.method, head.headers, &parsed);
        let named = parsed.bucket.clone().map(|bucket| (bucket, parsed.key.clone()));
        let verdict = self.access.admit(head, &parsed, sender);
        Understood { operation, named, verdict: verdict.map(|admitted| (parsed, admitted)) }
    }

    /// Parses a request whose path prefix is removed.
    fn parse(&self, head: &RequestHead<'_>) -> Result<Parsed, S3Error> {
        let parsed = operation::parse(head, &self.addressed.load().host_names)?;
        match parsed.bucket.as_ref().filter(|bucket| self.path_prefix.is_reserved(bucket)) {
            Some(bucket) => {
                let message =
                    format!("{bucket} is a path_prefix here, and no bucket can be named so.");
                Err(S3Error::invalid_request(message))
            }
            None => Ok(parsed),
        }
    }

    /// Returns the parsed request and its authorized sender: the fast path's result, or else computed anew.
    pub(super) fn understand(
        &self,
        session: &Session,
        ctx: &mut RequestContext,
    ) -> Result<(Parsed, Admitted), S3Error> {
        let head = request_head(session.req_header());
        let client = Client::of(session);
        let mut handed_over = client.and_then(Client::take_over);
        if let Some(handed_over) = &mut handed_over {
            ctx.charge = std::mem::take(&mut handed_over.charge);
        }
        let handed_over = handed_over.filter(|handed| handed.is_of(&head));
        let address = session.client_addr().and_then(|address| address.as_inet());
        let address = address.map(SocketAddr::ip);
        let clients = self.admission.clients();
        clients.charge_address(&mut ctx.charge, address).map_err(Reached::refuse)?;
        self.origins.default_origin().loops().check(head.headers)?;
        let understood = match handed_over.map(|handed| *handed) {
            Some(HandedOver { understood, started, cacheable, .. }) => {
                (ctx.started, ctx.cacheable) = (started, cacheable);
                understood
            }
            None => {
                ctx.charge.forget_identity();
                self.understand_head(&head, sender(address, client))
            }
        };
        (ctx.operation, ctx.named) = (understood.operation, understood.named);
        let admitted = understood.verdict?;
        self.origins.default_origin().loops().remember_senders(head.headers);
        Ok(admitted)
    }

    /// Returns the object that a request reads and the rule for it; `None`: the cache may not answer it.
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

    /// Whether a read may be answered from the cache at all.
    fn may_answer(
        &self,
        headers: &HeaderMap,
        parsed: &Parsed,
        bucket: &BucketName,
        read: &Read,
    ) -> bool {
        if bucket.without_tenant().is_some() {
            // Its tenant writes the same objects by another name, which would not invalidate these (R8).
            return false;
        }
        if self.access.transparent().is_some() {
            // Without keys of our own there is nothing to fill with, and we do not pay before S3 has authorized a
            // caller. The owner is S3's to check, with everything else.
            let fills =
                self.origins.default_origin().domains().own().signer().is_some() && !read.pays;
            return fills && Transparent::may_ask(headers, &parsed.query);
        }
        read.expected_owner.is_none_or(|owner| {
            let writes = self.cache.writes_of_bucket(&self.cache.own_realm(bucket), bucket);
            self.owners.is_confirmed(bucket, owner, writes)
        })
    }

    /// Returns the CORS headers for a read, as [`super::response::page_access::PageAccess::of_read`].
    pub(super) fn page_headers(
        &self,
        headers: &HeaderMap,
        id: &ObjectId,
        read: &Read,
        passes: bool,
    ) -> Option<PageHeaders> {
        self.cors.of_reads.of_read(&self.cache, headers, id, read.method, passes)
    }
}
