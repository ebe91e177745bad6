//! Failover: reads of a bucket whose origin is down go to another origin, such as one with a replica of the bucket.
//!
//! Objects read from the other origin belong to a realm of its own (R1), under the client's bucket name: metadata or
//! bytes of one origin are never taken for the other's, and an invalidation by name covers both.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use super::set::{OriginSet, Target, realm};
use crate::origin::DEFAULT_ORIGIN;
use crate::origin::client::Origin;
use crate::pacing::RateLimit;
use crate::s3::{BucketName, ObjectId, Realm};

/// Maximum number of failover places named by rules since the start. Each adds a realm in which an object may be
/// cached.
const MOST: usize = 64;
/// Minimum time between two log lines about a failover.
const EVERY: Duration = Duration::from_mins(1);

/// Places to which rules let reads fail over. None is ever removed: objects of it may be cached.
pub(super) struct Failovers {
    places: ArcSwap<Vec<Target>>,
    adding: Mutex<()>,
    said: Mutex<RateLimit>,
}

impl Default for Failovers {
    fn default() -> Self {
        let (places, adding) = (ArcSwap::default(), Mutex::default());
        Self { places, adding, said: Mutex::new(RateLimit::new(EVERY)) }
    }
}

impl Failovers {
    fn of_realm(&self, realm: &Realm) -> Option<Target> {
        self.places.load().iter().find(|target| target.realm == *realm).cloned()
    }

    fn add(&self, target: Target) {
        let _held = self.adding.lock();
        let places = self.places.load();
        if places.iter().any(|other| other.realm == target.realm) {
            return;
        }
        if places.len() >= MOST {
            log::error!(
                "rules[].failover: more than {MOST} places since the start: restart to use others"
            );
            return;
        }
        let places = places.iter().cloned().chain([target]).collect();
        self.places.store(Arc::new(places));
    }
}

impl OriginSet {
    /// Adds a failover place at an origin: `bucket` there, or the bucket with the client's name. An origin name that is
    /// not in the configuration is ignored.
    pub fn add_failover(&self, name: &str, bucket: Option<&BucketName>) {
        if let Some((routes, target)) = self.routes.as_ref().zip(self.failover_target(name, bucket))
        {
            routes.failovers.add(target);
        }
    }

    /// Returns the failover realm of bucket `client` at the named origin, and the origin; `None`: it was not added, or
    /// the bucket belongs to that origin anyway.
    pub fn failover(
        &self,
        client: &BucketName,
        name: &str,
        bucket: Option<&BucketName>,
    ) -> Option<(Realm, Arc<Origin>)> {
        let target = self.failover_target(name, bucket)?;
        let target = self.routes.as_ref()?.failovers.of_realm(&target.realm)?;
        let is_other = !Arc::ptr_eq(self.of(client), &target.origin);
        is_other.then_some((target.realm, target.origin))
    }

    /// Logs a failover of a bucket's reads, at a limited rate.
    pub fn say_failover(&self, client: &BucketName, name: &str) {
        let Some(routes) = &self.routes else { return };
        if routes.failovers.said.lock().allow() {
            let endpoint = &self.of(client).config().endpoint;
            log::warn!(
                "origin {endpoint}: is down: reads of bucket {client} go to origin {name}, by rules[].failover"
            );
        }
    }

    fn failover_target(&self, name: &str, bucket: Option<&BucketName>) -> Option<Target> {
        let name = Some(name).filter(|name| *name != DEFAULT_ORIGIN);
        let (_, origin) = self.each().find(|(other, _)| *other == name)?;
        let realm = realm(name, bucket, origin);
        let (name, origin, bucket) = (name.map(Arc::from), origin.clone(), bucket.cloned());
        Some(Target { name, origin, bucket, realm })
    }

    /// Whether a realm is that of a failover place.
    pub(super) fn is_failover(&self, realm: &Realm) -> bool {
        let routes = self.routes.as_ref();
        routes.is_some_and(|routes| routes.failovers.of_realm(realm).is_some())
    }

    /// Returns the target of an object; `None`: the default origin, by its own name.
    pub(super) fn target_of(&self, id: &ObjectId) -> Option<Target> {
        let routes = self.routes.as_ref()?;
        match routes.target(id.bucket()) {
            Some(target) if target.realm == *id.realm() => Some(target.clone()),
            mapped => routes.failovers.of_realm(id.realm()).or_else(|| mapped.cloned()),
        }
    }

    /// Adds the realms of failover places to `realms`.
    pub(super) fn with_failovers(&self, realms: Arc<[Realm]>) -> Arc<[Realm]> {
        let Some(routes) = &self.routes else { return realms };
        let places = routes.failovers.places.load();
        if places.is_empty() {
            return realms;
        }
        let others = places.iter().map(|target| &target.realm);
        let others = others.filter(|realm| !realms.contains(realm));
        realms.iter().chain(others).cloned().collect()
    }
}
