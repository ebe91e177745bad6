//! CORS preflights: the origin answers them by its bucket's rules; they are sent without our signature (R39).
//!
//! Browsers never sign preflights, and S3 answers them for everybody. Only the headers that CORS defines are
//! forwarded: any other header of a sender's would reach the origin as part of a request of ours.

use http::header::{
    ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, HOST, HeaderName, HeaderValue,
    ORIGIN, USER_AGENT,
};
use pingora::Result;
use pingora::http::RequestHeader;

use crate::origin::CDN_LOOP;
use crate::proxy::context::Forward;
use crate::proxy::errors::bad_request;
use crate::proxy::gateway::Gateway;
use crate::proxy::request::request_head;
use crate::s3::origin_form;

const FORWARDED: [HeaderName; 5] =
    [ORIGIN, ACCESS_CONTROL_REQUEST_METHOD, ACCESS_CONTROL_REQUEST_HEADERS, USER_AGENT, CDN_LOOP];

impl Gateway {
    /// Rewrites the head of a preflight: the origin's host and path, or the client's own in `transparent` mode.
    pub(in crate::proxy) fn rewrite_preflight(
        &self,
        head: &mut RequestHeader,
        forward: &Forward,
    ) -> Result<()> {
        let parsed = &forward.parsed;
        let (path, host) = match self.access.transparent() {
            Some(_) => {
                let path = origin_form(head.raw_path()).map_err(|e| bad_request(&e))?;
                (path, request_head(head).host.unwrap_or_default().to_owned())
            }
            None => {
                let site = Self::site_of(forward);
                let bucket = forward.place.bucket(parsed.bucket.as_ref());
                let target = site.endpoint().target(bucket, parsed.key.as_ref());
                let query = parsed.query.without_signature();
                let path = match query.is_empty() {
                    true => target.path,
                    false => format!("{}?{}", target.path, query.to_canonical_string()),
                };
                (path, target.host)
            }
        };
        let mut rewritten = RequestHeader::build(head.method.clone(), path.as_bytes(), Some(8))?;
        rewritten.set_version(http::Version::HTTP_11);
        let host = HeaderValue::from_str(&host).map_err(|e| bad_request(&e))?;
        rewritten.append_header(HOST, host)?;
        for name in FORWARDED {
            for value in head.headers.get_all(&name) {
                rewritten.append_header(name.clone(), value.clone())?;
            }
        }
        *head = rewritten;
        Ok(())
    }
}
