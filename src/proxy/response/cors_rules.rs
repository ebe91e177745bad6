//! What the origin's CORS rules allow.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Method};
use moka::sync::Cache as Moka;
use tokio::sync::Semaphore;

use super::page_access::PageAccess;
use crate::s3::BucketName;

/// Answers that are kept; each takes about 500 bytes.
const LIMIT: u64 = 1000;
const KEPT_FOR: Duration = Duration::from_secs(30);
/// Preflights of ours under way at the same time; a refusal that would need one more has no CORS headers.
const ASKING: usize = 16;

/// The headers of an answer; none where its page may not see it.
pub(super) type Headers = Arc<[(HeaderName, HeaderValue)]>;

/// What the origin's CORS rules allow, as far as it was asked lately.
#[derive(Debug)]
pub struct CorsRules {
    pub(super) answers: Moka<(BucketName, HeaderValue, Method), Headers>,
    pub(super) asking: Semaphore,
    /// Learned from the origin's answers to reads.
    pub(in crate::proxy) of_reads: PageAccess,
}

impl Default for CorsRules {
    fn default() -> Self {
        let answers =
            Moka::builder().name("cors").max_capacity(LIMIT).time_to_live(KEPT_FOR).build();
        Self { answers, asking: Semaphore::new(ASKING), of_reads: PageAccess::default() }
    }
}
