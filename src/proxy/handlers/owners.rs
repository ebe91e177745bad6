//! Buckets whose owner the origin confirmed (`x-amz-expected-bucket-owner`).
//!
//! Only the origin knows who owns a bucket. A read with an expected owner streams through until the origin has
//! confirmed it; for a while after that the cache may answer reads with the same expectation. A wrong expectation is
//! never kept. A write to the bucket itself ends confirmations, also those by reads that were sent before the write.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::s3::{AccountId, BucketName};

/// Time for which a confirmation holds: a bucket changes hands only by being deleted and made anew.
const BELIEVED: Duration = Duration::from_mins(1);
/// Maximum number of confirmed expectations; further ones are asked of the origin.
const LIMIT: usize = 1024;

/// Confirmed expected bucket owners, shared by all listeners.
#[derive(Default)]
pub struct ConfirmedBucketOwners {
    confirmed: Mutex<HashMap<(BucketName, AccountId), OwnerCheck>>,
}

/// State from just before the origin was asked.
#[derive(Debug, Clone, Copy)]
pub(in crate::proxy) struct OwnerCheck {
    since: Instant,
    /// Value of [`crate::cache::Cache::writes_of_bucket`] at that time.
    bucket_writes: u64,
}

impl OwnerCheck {
    /// Takes the state; called before the request is sent.
    pub(in crate::proxy) fn now(bucket_writes: u64) -> Self {
        Self { since: Instant::now(), bucket_writes }
    }

    fn is_believed(&self) -> bool {
        self.since.elapsed() < BELIEVED
    }
}

impl ConfirmedBucketOwners {
    /// Whether the owner is confirmed; `bucket_writes` is the number of writes to the bucket so far.
    pub(in crate::proxy) fn is_confirmed(
        &self,
        bucket: &BucketName,
        owner: AccountId,
        bucket_writes: u64,
    ) -> bool {
        let confirmed = self.confirmed.lock();
        let asked = confirmed.get(&(bucket.clone(), owner));
        asked.is_some_and(|asked| asked.is_believed() && asked.bucket_writes == bucket_writes)
    }

    /// Records that the origin answered a read that expected this owner.
    pub(in crate::proxy) fn confirm(
        &self,
        bucket: &BucketName,
        owner: AccountId,
        asked: OwnerCheck,
    ) {
        let mut confirmed = self.confirmed.lock();
        if confirmed.len() >= LIMIT {
            confirmed.retain(|_, asked| asked.is_believed());
        }
        if confirmed.len() < LIMIT {
            confirmed.insert((bucket.clone(), owner), asked);
        }
    }

    /// Drops the confirmations of a bucket that may have changed.
    pub(in crate::proxy) fn forget(&self, bucket: &BucketName) {
        self.confirmed.lock().retain(|(known, _), _| known != bucket);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(name: &str) -> BucketName {
        BucketName::new(name).unwrap()
    }

    fn account(digits: &str) -> AccountId {
        AccountId::parse(digits.as_bytes()).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn an_owner_is_believed_for_a_minute_and_for_its_bucket_only() {
        let owners = ConfirmedBucketOwners::default();
        let (ours, other) = (account("111122223333"), account("444455556666"));
        let is_confirmed = |name, owner| owners.is_confirmed(&bucket(name), owner, 7);
        owners.confirm(&bucket("data"), ours, OwnerCheck::now(7));
        assert!(is_confirmed("data", ours));
        assert!(!is_confirmed("data", other));
        assert!(!is_confirmed("more", ours));
        owners.forget(&bucket("more"));
        tokio::time::advance(Duration::from_secs(59)).await;
        assert!(is_confirmed("data", ours));
        tokio::time::advance(Duration::from_secs(2)).await;
        assert!(!is_confirmed("data", ours));
        owners.confirm(&bucket("data"), ours, OwnerCheck::now(7));
        assert!(!owners.is_confirmed(&bucket("data"), ours, 8), "the bucket was written since");
        owners.forget(&bucket("data"));
        assert!(!is_confirmed("data", ours));
    }

    #[tokio::test(start_paused = true)]
    async fn expectations_are_bounded_and_old_ones_make_room() {
        let owners = ConfirmedBucketOwners::default();
        let number = |n: usize| account(&format!("{n:012}"));
        let is_confirmed = |n| owners.is_confirmed(&bucket("data"), number(n), 0);
        for n in 0..=LIMIT {
            owners.confirm(&bucket("data"), number(n), OwnerCheck::now(0));
        }
        assert!(is_confirmed(LIMIT - 1));
        assert!(!is_confirmed(LIMIT));
        tokio::time::advance(BELIEVED).await;
        owners.confirm(&bucket("data"), number(LIMIT), OwnerCheck::now(0));
        assert!(is_confirmed(LIMIT));
        assert_eq!(owners.confirmed.lock().len(), 1);
    }
}
