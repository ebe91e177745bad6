//! Reads of an object at another origin while its own is down.
//!
//! Invariants: an object read there is another object to the cache, in the realm of that origin (R1), so that no
//! response mixes bytes of two origins, and none of it is served once the object's own origin answers again. No object
//! is read there that was, or may have been, written through hotset within `failover.lag`. Metadata learned there
//! before the outage, or before such a write can have arrived, is revalidated there first.

use std::sync::Arc;
use std::time::Duration;

use crate::cache::config::RuleConfig;
use crate::cache::invalidate::recent_writes::RecentWrites;
use crate::cache::rules::failover::Failover;
use crate::cache::rules::policy::{Policy, Staleness};
use crate::cache::tiers::objects::ObjectTiers;
use crate::origin::Origins;
use crate::s3::ObjectId;

/// Finds the object to read while its own origin is down.
pub(in crate::cache) struct FailoverReads {
    origin: Origins,
    objects: Arc<ObjectTiers>,
    recent_writes: Arc<RecentWrites>,
}

impl FailoverReads {
    pub(in crate::cache) fn new(
        origin: Origins,
        objects: Arc<ObjectTiers>,
        recent_writes: Arc<RecentWrites>,
    ) -> Self {
        Self { origin, objects, recent_writes }
    }

    /// Lets reads fail over to the origins that these rules name.
    pub(in crate::cache) fn set_rules(&self, rules: &[RuleConfig]) {
        for config in rules.iter().filter_map(|rule| rule.failover.as_ref()) {
            let Failover { origin, bucket, .. } = Failover::new(config, false);
            self.origin.add_failover(&origin, bucket.as_ref());
            self.recent_writes.begin();
        }
    }

    /// Returns the object to read in place of `id`, and the policy for it, when the origin has been down for `down`.
    /// `None`: reads of `id` do not fail over.
    pub(in crate::cache) fn place_of(
        &self,
        id: &ObjectId,
        policy: &Policy,
        to: &Failover,
        down: Duration,
    ) -> Option<(ObjectId, Policy)> {
        // Version ids differ at the other origin, and a client's own keys are for one origin.
        let is_plain = !id.is_variant() && *id.realm() == self.origin.realm_of(Some(id.bucket()));
        let demands_now = policy.demand && !to.revalidates;
        let (realm, _) = self.origin.failover(id.bucket(), &to.origin, to.bucket.as_ref())?;
        let other = ObjectId::new(&realm, id.bucket().clone(), id.key().clone());
        let is_written = [id, &other].iter().any(|id| {
            self.objects.generations.is_being_written(id)
                || self.objects.generations.must_confirm(id)
        });
        if !is_plain || demands_now || is_written {
            return None;
        }
        let quiet = self.recent_writes.quiet_for(id).min(self.recent_writes.quiet_for(&other));
        let believed = quiet.checked_sub(to.lag)?.min(down);
        Some((other, policy.elsewhere(believed)))
    }
}

impl Policy {
    /// Returns the policy for another origin, where metadata older than `believed` is stale.
    fn elsewhere(self, believed: Duration) -> Self {
        let ttl = Some(self.ttl.map_or(believed, |ttl| ttl.min(believed)));
        let (trusted, negative) = (None, self.negative.min(believed));
        Self { ttl, trusted, negative, stale: Staleness::default(), ..self }
    }
}
