//! Buckets whose objects a domain's keys may not read by version id (R3).
//!
//! A 403 to a pinned range may concern one request only: an archived version, a policy for one prefix, keys without
//! `s3:GetObjectVersion`. It concerns version ids only if the same range of the same version is then answered by object
//! name. Even so it is remembered for its bucket alone, and only for [`RETRY_AFTER`].

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::s3::BucketName;

/// Time for which ranges in a bucket are pinned by `If-Match` alone after a request by version id was denied.
const RETRY_AFTER: Duration = Duration::from_mins(5);
/// Maximum buckets remembered per domain. In a bucket beyond, each pinned range costs a second request.
const BUCKETS: usize = 1024;

#[derive(Debug, Default)]
pub(super) struct VersionAccess {
    denied_until: Mutex<HashMap<BucketName, Instant>>,
}

impl VersionAccess {
    /// Whether a range may be pinned by version id.
    pub(super) fn may_read(&self, bucket: &BucketName) -> bool {
        let denied = self.denied_until.lock();
        denied.get(bucket).is_none_or(|until| *until <= Instant::now())
    }

    /// Records that a version was denied by its id but readable by its object's name.
    pub(super) fn deny(&self, bucket: &BucketName) {
        let now = Instant::now();
        let mut denied = self.denied_until.lock();
        if denied.len() >= BUCKETS {
            denied.retain(|_, until| *until > now);
        }
        if denied.len() < BUCKETS || denied.contains_key(bucket) {
            denied.insert(bucket.clone(), now + RETRY_AFTER);
        }
        drop(denied);
        log::warn!(
            "origin: the credentials may not read objects of bucket {bucket} by version id (403); for {} s their \
             ranges are pinned by If-Match only, and a read of an object that is overwritten meanwhile is broken \
             off: allow s3:GetObjectVersion",
            RETRY_AFTER.as_secs()
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(name: &str) -> BucketName {
        BucketName::new(name).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn r3_a_denial_holds_for_its_bucket_and_for_a_bounded_time() {
        let access = VersionAccess::default();
        access.deny(&bucket("data"));
        assert!(!access.may_read(&bucket("data")) && access.may_read(&bucket("other")));
        tokio::time::advance(RETRY_AFTER).await;
        assert!(access.may_read(&bucket("data")));
    }

    #[tokio::test(start_paused = true)]
    async fn denials_are_bounded_and_old_ones_make_room() {
        let access = VersionAccess::default();
        for n in 0..BUCKETS + 10 {
            access.deny(&bucket(&format!("bucket-{n}")));
        }
        assert_eq!(access.denied_until.lock().len(), BUCKETS);
        tokio::time::advance(RETRY_AFTER).await;
        access.deny(&bucket("later"));
        assert!(!access.may_read(&bucket("later")));
        assert_eq!(access.denied_until.lock().len(), 1);
    }
}
