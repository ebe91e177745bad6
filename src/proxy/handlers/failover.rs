//! Failover: reads whose origin is down go to another origin, if their rule names one.

use crate::cache::{CacheError, Policy};
use crate::metrics::origin as metrics;
use crate::proxy::gateway::Gateway;
use crate::s3::ObjectId;

impl Gateway {
    /// Returns the object to read in place of one whose read failed, and its policy; `None`: the failure stays.
    pub(super) fn fail_over(
        &self,
        id: &ObjectId,
        policy: &Policy,
        failure: &CacheError,
    ) -> Option<(ObjectId, Policy)> {
        let CacheError::Origin(failure) = failure else { return None };
        let origin = self.origins.of_object(id);
        if !origin.is_down(failure) {
            return None;
        }
        let to = self.rules.failover(id.bucket(), id.key())?;
        let other = self.cache.failover(id, policy, &to, origin.failing_for())?;
        metrics::failed_over(&to.origin);
        self.origins.say_failover(id.bucket(), &to.origin);
        Some(other)
    }
}
