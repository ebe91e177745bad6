//! Answers that are older than their rule's ttl: when they are given, and how long the origin is waited for before (R14).
//!
//! The confirmation goes on when its reader does not wait for it any more, and what it brings is taken in as ever.
//! Invariant: what is given was good when it is given, and not only when it was looked up: a write, an event or a purge
//! that comes while the origin is waited for makes the reader wait on.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::found::Found;
use super::open::{CacheError, Source};
use crate::cache::facade::Cache;
use crate::cache::metadata::store::Entry;
use crate::cache::rules::policy::Policy;
use crate::s3::ObjectId;

/// How long an origin is waited for that is known not to answer.
const KNOWN_TO_FAIL: Duration = Duration::from_millis(50);
/// Confirmations under way beyond which none is begun that nobody would wait for.
const MAX_CONFIRMATIONS: usize = 1024;

impl Cache {
    /// Confirms what is not fresh. `entry`: what may be served as it is, if the policy allows it.
    pub(in crate::cache) async fn revalidate(
        self: &Arc<Self>,
        id: &ObjectId,
        policy: &Policy,
        entry: Option<Arc<Entry>>,
        found: Found,
    ) -> Result<Found, CacheError> {
        let asked = self.ask_head(id, None, policy, Source::Revalidated);
        let Some((entry, limit)) =
            entry.and_then(|entry| self.time_limit(id, policy, &entry).map(|limit| (entry, limit)))
        else {
            return asked.await;
        };
        let gains = !limit.is_zero() && !self.origin.of_object(id).is_failing();
        if !gains && self.heads.len() >= MAX_CONFIRMATIONS && self.is_usable(id, &found) {
            return Ok(Found { source: Source::StaleWhileRevalidate, ..found });
        }
        tokio::pin!(asked);
        let answer = match timeout(limit, &mut asked).await {
            Ok(answer) => answer,
            Err(_) if policy.allows_unconfirmed(&entry) && self.is_usable(id, &found) => {
                if !limit.is_zero() {
                    self.origin.of_object(id).unanswered();
                }
                return Ok(Found { source: Source::StaleWhileRevalidate, ..found });
            }
            Err(_) => asked.await,
        };
        match answer {
            Err(CacheError::Origin(error))
                if error.allows_stale()
                    && policy.allows_stale(&entry)
                    && self.is_usable(id, &found) =>
            {
                Ok(Found { source: Source::Stale, ..found })
            }
            other => other,
        }
    }

    /// How long a confirmation is waited for before the entry is served as it is; `None`: until it ends.
    fn time_limit(&self, id: &ObjectId, policy: &Policy, entry: &Entry) -> Option<Duration> {
        if policy.allows_stale_while_revalidate(entry) {
            return Some(Duration::ZERO);
        }
        if !policy.allows_stale(entry) {
            return None;
        }
        let limit = policy.stale.after;
        let limit =
            if self.origin.of_object(id).is_failing() { limit.min(KNOWN_TO_FAIL) } else { limit };
        // Others have waited for the one that is under way.
        let waited =
            self.heads.waited_for(id, self.objects.generations.current(id)).unwrap_or_default();
        Some(limit.saturating_sub(waited))
    }

    /// Whether nothing happened to the object since it was looked up.
    fn is_usable(&self, id: &ObjectId, found: &Found) -> bool {
        !self.objects.generations.must_confirm(id)
            && self.objects.generations.is_current(id, found.generation)
    }
}
