//! The region that clients sign for (`auth.region`).
//!
//! Clients ask for a bucket's region and then sign for it: a response that names the origin's region makes them sign
//! for one that is refused here.

use bytes::Bytes;
use http::header::{
    CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue, TRANSFER_ENCODING,
};
use http::{Method, StatusCode};
use pingora::Result;
use pingora::http::ResponseHeader;

use crate::proxy::context::Forward;

pub(in crate::proxy) const BUCKET_REGION: HeaderName =
    HeaderName::from_static("x-amz-bucket-region");
/// The region whose location constraint is empty (S3 API Reference, `GetBucketLocation`).
const UNNAMED: &str = "us-east-1";

/// Names the clients' region in the head of an origin's response, and in its body if that is a bucket's location.
pub(in crate::proxy) fn name_in_answer(
    region: &HeaderValue,
    method: &Method,
    head: &mut ResponseHeader,
    forward: &mut Forward,
) -> Result<()> {
    let origin = &forward.place.origin;
    let named = head.headers.get(BUCKET_REGION);
    // Where there is only one region, the origin's own response is right, and differs in details.
    let may_name_another = origin.endpoint().is_aws()
        || region != origin.config().region.as_str()
        || named.is_some_and(|named| named != region);
    if named.is_some() {
        head.insert_header(BUCKET_REGION, region.clone())?;
    }
    let parsed = &forward.parsed;
    let asks_location = *method == Method::GET
        && parsed.bucket.is_some()
        && parsed.key.is_none()
        && parsed.query.contains("location");
    if asks_location && may_name_another && head.status == StatusCode::OK {
        let body = location(region.to_str().unwrap_or_default());
        for name in [TRANSFER_ENCODING, CONTENT_ENCODING] {
            head.remove_header(&name);
        }
        head.insert_header(CONTENT_LENGTH, body.len())?;
        head.insert_header(CONTENT_TYPE, "application/xml")?;
        forward.instead = Some(body);
    }
    Ok(())
}

/// Replaces the origin's body by our own, if there is one.
pub(in crate::proxy) fn replace_body(forward: &mut Forward, body: &mut Option<Bytes>, end: bool) {
    if let Some(instead) = &mut forward.instead {
        *body = end.then(|| std::mem::take(instead));
    }
}

/// Returns the body of a `GetBucketLocation` response.
fn location(region: &str) -> Bytes {
    let is_plain = region.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    let name = if region == UNNAMED || !is_plain { "" } else { region };
    let namespace = "http://s3.amazonaws.com/doc/2006-03-01/";
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <LocationConstraint xmlns=\"{namespace}\">{name}</LocationConstraint>"
    )
    .into()
}
