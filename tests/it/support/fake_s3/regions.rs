//! Buckets in one region, and S3's responses to requests that reach another.

use super::Seen;
use super::reply::{Reply, error};
use super::store::Store;
use http::Method;

/// Form of S3's response that a bucket is in another region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tells {
    /// 301, with the region in a header and the endpoint in the body; there is no `Location`.
    Permanent,
    /// 307 with a `Location` with the older kind of host name, and no region.
    Temporary,
    /// 400 `AuthorizationHeaderMalformed` with the region in the body. The host does not matter.
    Malformed,
    /// 400 `AuthorizationHeaderMalformed` without the region.
    MalformedUnnamed,
    /// 400 `IllegalLocationConstraintException`, without a region.
    IllegalLocation,
    /// 301 to another region each time.
    Loop,
}

/// Returns the region that a request is signed for, and that of its host.
fn sent_to(seen: &Seen) -> (&str, &str) {
    let signed = seen.header("authorization").split('/').nth(2).unwrap_or_default();
    (signed, seen.header("host").split('.').nth(1).unwrap_or_default())
}

/// Returns the response to a request that does not reach its bucket.
pub(super) fn elsewhere(store: &Store, seen: &Seen) -> Option<Reply> {
    let (region, tells) = store.regions.get(&seen.bucket)?;
    let (signed, host) = sent_to(seen);
    let by_host = !matches!(tells, Tells::Malformed | Tells::MalformedUnnamed);
    if signed == region && (!by_host || host == region) && *tells != Tells::Loop {
        return None;
    }
    let bucket_endpoint = format!("{}.s3.{region}.storage.test", seen.bucket);
    let reply = match tells {
        Tells::Permanent => {
            error(seen, 301, "PermanentRedirect", &[("Endpoint", &bucket_endpoint)])
                .with("x-amz-bucket-region", region)
        }
        Tells::Temporary => {
            let location = format!("http://{}.s3-{region}.storage.test{}", seen.bucket, seen.path);
            error(seen, 307, "TemporaryRedirect", &[]).with("Location", &location)
        }
        Tells::Malformed => error(seen, 400, "AuthorizationHeaderMalformed", &[("Region", region)]),
        Tells::MalformedUnnamed => error(seen, 400, "AuthorizationHeaderMalformed", &[]),
        Tells::IllegalLocation => error(seen, 400, "IllegalLocationConstraintException", &[]),
        Tells::Loop => {
            let other = if host == "a-1" { "b-1" } else { "a-1" };
            error(seen, 301, "PermanentRedirect", &[]).with("x-amz-bucket-region", other)
        }
    };
    let is_head_bucket = seen.method == Method::HEAD && seen.key.is_empty();
    let names = is_head_bucket && *tells != Tells::Loop;
    Some(if names { reply.with("x-amz-bucket-region", region) } else { reply })
}
