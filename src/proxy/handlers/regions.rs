//! Responses to passed-through requests that concern the region of a bucket: clients do not see them.
//!
//! Such a request was refused before anything was done. If it has no body, or none of it was sent, it is sent once
//! more, to the region that was learned. Otherwise the client is asked to send it again; the bucket's region is known
//! by then.

use std::sync::Arc;

use pingora::Result;
use pingora::http::ResponseHeader;

use super::own_keys::{again, stop};
use crate::origin::{Redirected, Site};
use crate::proxy::context::{Forward, Resend};
use crate::proxy::gateway::Gateway;
use crate::s3::S3Error;

impl Gateway {
    /// Returns the site that a request is sent to.
    pub(in crate::proxy) fn site_of(forward: &Forward) -> Arc<Site> {
        let (known, place) = (forward.site.clone(), &forward.place);
        known.unwrap_or_else(|| place.origin.site(place.bucket(forward.parsed.bucket.as_ref())))
    }

    /// Stops a response that concerns the region of its bucket.
    pub(in crate::proxy) async fn check_region(
        &self,
        head: &ResponseHeader,
        forward: &mut Forward,
    ) -> Result<()> {
        let Some(bucket) = forward.place.bucket(forward.parsed.bucket.as_ref()) else {
            return Ok(());
        };
        let Some(site) = &forward.site else { return Ok(()) };
        // In `transparent` mode its sender chose the region, and gets the response.
        if self.access.transparent().is_some() {
            return Ok(());
        }
        let about = (bucket, &*forward.domain);
        let (response, connection) = ((head.status, &head.headers), &forward.connection);
        let refusal = (connection.refused.get(), connection.is_head);
        let place = (site, forward.was_moved);
        match forward.place.origin.redirected(about, place, response, refusal).await {
            Redirected::No => Ok(()),
            Redirected::Again if !forward.body_began && forward.resend == Resend::NotYet => {
                forward.was_moved = true;
                Err(again(forward))
            }
            Redirected::Again => Err(stop(forward, send_again())),
            Redirected::Failed(error) => Err(stop(forward, *error)),
        }
    }
}

fn send_again() -> S3Error {
    let mut error = S3Error::service_unavailable();
    error.message = "The bucket is in another region, which is known now. Please try again.".into();
    error
}
