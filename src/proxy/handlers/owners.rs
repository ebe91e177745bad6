//! Buckets whose owner the origin confirmed (`x-amz-expected-bucket-owner`).
//!
//! Who owns a bucket is the origin's to say: a read with an expectation streams through until one was answered,
//! and for a while after that the cache may answer those with the same expectation. A wrong one is never kept.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::s3::{AccountId, BucketName};

/// A bucket changes hands only by being deleted and made anew.
const BELIEVED: Duration = Duration::from_mins(1);
/// Expectations that are remembered; whoever has more asks the origin.
const LIMIT: usize = 1024;

/// Confirmed expectations, of all listeners.
#[derive(Default)]
pub struct Owners {
    confirmed: Mutex<HashMap<(BucketName, AccountId), Instant>>,
}

impl Owners {
    pub(in crate::proxy) fn is_confirmed(&self, bucket: &BucketName, owner: AccountId) -> bool {
        let confirmed = self.confirmed.lock();
        confirmed.get(&(bucket.clone(), owner)).is_some_and(|since| since.elapsed() < BELIEVED)
    }

    /// The origin answered a read that expected this owner. `since`: before it was asked.
    pub(in crate::proxy) fn confirm(&self, bucket: &BucketName, owner: AccountId, since: Instant) {
        let mut confirmed = self.confirmed.lock();
        if confirmed.len() >= LIMIT {
            confirmed.retain(|_, since| since.elapsed() < BELIEVED);
        }
        if confirmed.len() < LIMIT {
            confirmed.insert((bucket.clone(), owner), since);
        }
    }

    /// The bucket itself may have changed.
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
        let owners = Owners::default();
        let (ours, other) = (account("111122223333"), account("444455556666"));
        owners.confirm(&bucket("data"), ours, Instant::now());
        assert!(owners.is_confirmed(&bucket("data"), ours));
        assert!(!owners.is_confirmed(&bucket("data"), other));
        assert!(!owners.is_confirmed(&bucket("more"), ours));
        owners.forget(&bucket("more"));
        tokio::time::advance(Duration::from_secs(59)).await;
        assert!(owners.is_confirmed(&bucket("data"), ours));
        tokio::time::advance(Duration::from_secs(2)).await;
        assert!(!owners.is_confirmed(&bucket("data"), ours));
        owners.confirm(&bucket("data"), ours, Instant::now());
        owners.forget(&bucket("data"));
        assert!(!owners.is_confirmed(&bucket("data"), ours));
    }

    #[tokio::test(start_paused = true)]
    async fn expectations_are_bounded_and_old_ones_make_room() {
        let owners = Owners::default();
        let number = |n: usize| account(&format!("{n:012}"));
        for n in 0..=LIMIT {
            owners.confirm(&bucket("data"), number(n), Instant::now());
        }
        assert!(owners.is_confirmed(&bucket("data"), number(LIMIT - 1)));
        assert!(!owners.is_confirmed(&bucket("data"), number(LIMIT)));
        tokio::time::advance(BELIEVED).await;
        owners.confirm(&bucket("data"), number(LIMIT), Instant::now());
        assert!(owners.is_confirmed(&bucket("data"), number(LIMIT)));
        assert_eq!(owners.confirmed.lock().len(), 1);
    }
}
