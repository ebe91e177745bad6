//! Refusals of passed-through requests that concern hotset's own credentials, and not the client's.

use http::{Method, StatusCode};
use pingora::http::ResponseHeader;
use pingora::{Error, ErrorSource, ErrorType, Result};

use crate::proxy::context::{Forward, Resend};
use crate::proxy::gateway::Gateway;
use crate::proxy::request::is_write;
use crate::s3::S3Error;

/// Error type of an origin's response that is withheld from the client.
const NOT_FOR_CLIENTS: ErrorType = ErrorType::Custom("own credentials");

impl Gateway {
    /// Stops a response about our own credentials or clock. A request of which no body was sent is sent again, once, if
    /// there are other credentials by now: such a refusal comes before anything is done.
    pub(in crate::proxy) async fn check_own_keys(
        &self,
        method: &Method,
        head: &ResponseHeader,
        forward: &mut Forward,
    ) -> Result<()> {
        let refused = forward.connection.refused.get();
        let Some(code) = refused.map(|refusal| &*refusal.code) else { return Ok(()) };
        let Some(used) = &forward.signed_with else { return Ok(()) };
        let may_repeat = !forward.body_began && forward.resend == Resend::NotYet;
        let is_timeout = code == "RequestTimeout" && head.status == StatusCode::BAD_REQUEST;
        if is_timeout && may_repeat && !is_write(method) {
            return Err(again(forward));
        }
        let (headers, domain) = (&head.headers, &forward.domain);
        let refused =
            forward.place.origin.refuses_our_keys(head.status, headers, code, domain, used).await;
        match refused {
            None => Ok(()),
            Some((_, true)) if may_repeat => Err(again(forward)),
            Some((error, _)) => Err(stop(forward, error)),
        }
    }
}

pub(in crate::proxy) fn again(forward: &mut Forward) -> Box<Error> {
    forward.resend = Resend::Due;
    not_for_clients()
}

pub(in crate::proxy) fn stop(forward: &mut Forward, error: S3Error) -> Box<Error> {
    forward.refusal = Some(error);
    not_for_clients()
}

fn not_for_clients() -> Box<Error> {
    let mut error = Error::new(NOT_FOR_CLIENTS);
    error.esource = ErrorSource::Upstream;
    error
}

/// Whether a response was stopped by that check; the reason is logged with the origin's health.
pub(in crate::proxy) fn is_about_them(error: &Error) -> bool {
    *error.etype() == NOT_FOR_CLIENTS
}
