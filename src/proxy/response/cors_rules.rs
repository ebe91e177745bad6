//! Cache of the permissions that the origin's CORS rules give.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Method};
use moka::sync::Cache as Moka;
use tokio::sync::Semaphore;

use super::page_access::PageAccess;
use crate::s3::{BucketName, Realm};

/// Maximum number of cached responses; each takes about 500 bytes.
const LIMIT: u64 = 1000;
const KEPT_FOR: Duration = Duration::from_secs(30);
/// Maximum number of our preflights in flight; an error response that would need one more has no CORS headers.
const ASKING: usize = 16;

/// CORS headers for a response; none if its page may not read it.
pub(super) type Headers = Arc<[(HeaderName, HeaderValue)]>;

/// Recent answers of the origin about its CORS rules.
#[derive(Debug)]
pub struct CorsRules {
    /// By the origin's realm, its name of the bucket, the page's `Origin` and the method.
    pub(super) answers: Moka<(Realm, BucketName, HeaderValue, Method), Headers>,
    pub(super) asking: Semaphore,
    /// Answers learned from the origin's responses to reads.
    pub(in crate::proxy) of_reads: PageAccess,
}

impl Default for CorsRules {
    fn default() -> Self {
        let answers =
            Moka::builder().name("cors").max_capacity(LIMIT).time_to_live(KEPT_FOR).build();
        Self { answers, asking: Semaphore::new(ASKING), of_reads: PageAccess::default() }
    }
}
