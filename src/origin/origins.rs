//! All origins: the default one, named ones, and the mapping of clients' buckets to them.
//!
//! Clients, identities, rules and the cache use the bucket name that clients use; only requests to an origin carry the
//! bucket's name there. Origins share nothing: objects of a mapped bucket belong to a realm of their own (R1), and each
//! origin has its own connections, health, breaker, hedging and regions. A change in a bucket is invalidated under each
//! name that maps to it, since two names may be one bucket.
//!
//! A reload replaces the whole set at once. Requests under way continue with the origin that they have. Invariant: an
//! object is only requested from a set that has its realm, the one in force or one that was replaced recently, so that
//! a response of one store is never cached as another's (R1).

mod connections;
mod failover;
mod set;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::time::Instant;

pub use self::set::{Mapping, OriginSet, Place};

use self::set::Target;
use super::body::Answer;
use super::client::Origin;
use super::report::OriginsReport;
use super::{Asked, OriginError, Pin, Urgency, Width};
use crate::glob::InvalidGlob;
use crate::s3::object_list::ObjectPage;
use crate::s3::{BucketName, ObjectId, ObjectKey, ObjectMeta, PartNumber, Realm, S3Error};

/// Maximum number of replaced sets kept for reads under way.
const MOST_REPLACED: usize = 8;
const KEPT: Duration = Duration::from_hours(1);

/// All origins, and the buckets mapped to them, as they are in force. Clones share their state.
#[derive(Clone)]
pub struct Origins(Arc<InForce>);

struct InForce {
    set: ArcSwap<OriginSet>,
    /// Replaced sets with other realms, the newest first.
    replaced: Mutex<Vec<(Instant, Arc<OriginSet>)>>,
    /// Whether a set with other realms was ever in force.
    was_replaced: AtomicBool,
}

impl From<OriginSet> for Origins {
    fn from(set: OriginSet) -> Self {
        let (replaced, was_replaced) = (Mutex::default(), AtomicBool::new(false));
        Self(Arc::new(InForce { set: ArcSwap::from_pointee(set), replaced, was_replaced }))
    }
}

impl From<Arc<Origin>> for Origins {
    fn from(default: Arc<Origin>) -> Self {
        OriginSet::from(default).into()
    }
}

impl Origins {
    /// As [`OriginSet::new`].
    ///
    /// # Errors
    /// As [`OriginSet::new`].
    pub fn new(
        default: Arc<Origin>,
        named: Vec<(String, Arc<Origin>)>,
        mappings: Vec<Mapping>,
    ) -> Result<Self, InvalidGlob> {
        OriginSet::new(default, named, mappings).map(Self::from)
    }

    /// Returns the set in force.
    pub fn in_force(&self) -> Arc<OriginSet> {
        self.0.set.load_full()
    }

    /// Puts another set into force. `moves`: objects may move to other realms, or realms to other stores.
    pub fn replace(&self, set: OriginSet, moves: bool) {
        let now = Instant::now();
        let mut replaced = self.0.replaced.lock();
        replaced.retain(|(since, _)| now < *since + KEPT);
        if moves {
            replaced.insert(0, (now, self.in_force()));
            replaced.truncate(MOST_REPLACED);
            self.0.was_replaced.store(true, Ordering::Release);
        }
        self.0.set.store(Arc::new(set));
    }

    /// Returns the set from which an object is requested.
    fn set_of(&self, id: &ObjectId) -> Result<Arc<OriginSet>, OriginError> {
        // In this order: a reader of the new set must also see that there was another.
        let set = self.in_force();
        if !self.0.was_replaced.load(Ordering::Acquire) || set.has_realm_of(id) {
            return Ok(set);
        }
        let replaced = self.0.replaced.lock();
        let found = replaced.iter().find(|(_, set)| set.has_realm_of(id));
        found
            .map(|(_, set)| set.clone())
            .ok_or_else(|| OriginError::Denied(S3Error::access_denied()))
    }

    /// Returns the origin of an object, and its target unless that is the default origin by the object's own name.
    fn route(&self, id: &ObjectId) -> Result<(Arc<Origin>, Option<Target>), OriginError> {
        let set = self.set_of(id)?;
        let target = set.target_of(id);
        let origin = target.as_ref().map_or(&set.default, |target| &target.origin);
        Ok((origin.clone(), target))
    }

    /// As [`OriginSet::default_origin`].
    pub fn default_origin(&self) -> Arc<Origin> {
        self.0.set.load().default_origin().clone()
    }

    /// As [`OriginSet::named`].
    pub fn named(&self, name: Option<&str>) -> Option<Arc<Origin>> {
        self.0.set.load().named(name).cloned()
    }

    /// As [`OriginSet::has_mappings`].
    pub fn has_mappings(&self) -> bool {
        self.0.set.load().has_mappings()
    }

    /// As [`OriginSet::are_aws`].
    pub fn are_aws(&self) -> bool {
        self.0.set.load().are_aws()
    }

    /// As [`OriginSet::place`].
    pub fn place(&self, bucket: Option<&BucketName>) -> Place {
        self.0.set.load().place(bucket)
    }

    /// As [`OriginSet::realm_of`].
    pub fn realm_of(&self, bucket: Option<&BucketName>) -> Realm {
        self.0.set.load().realm_of(bucket).clone()
    }

    /// As [`OriginSet::realms_of`].
    pub fn realms_of(&self, bucket: &BucketName) -> Arc<[Realm]> {
        self.0.set.load().realms_of(bucket)
    }

    /// As [`OriginSet::names_of`].
    pub fn names_of(&self, bucket: &BucketName) -> Vec<BucketName> {
        self.0.set.load().names_of(bucket)
    }

    /// As [`OriginSet::name_at_origin`].
    pub fn name_at_origin(&self, bucket: &BucketName) -> BucketName {
        self.0.set.load().name_at_origin(bucket).clone()
    }

    /// As [`OriginSet::clients_of`].
    pub fn clients_of(&self, real: &BucketName) -> Vec<BucketName> {
        self.0.set.load().clients_of(real)
    }

    /// As [`OriginSet::is_of`].
    pub fn is_of(&self, client: &BucketName, name: &str) -> bool {
        self.0.set.load().is_of(client, name)
    }

    /// As [`OriginSet::is_of_one_origin`].
    pub fn is_of_one_origin(&self, real: &BucketName) -> bool {
        self.0.set.load().is_of_one_origin(real)
    }

    /// As [`OriginSet::of`].
    pub fn of(&self, bucket: &BucketName) -> Arc<Origin> {
        self.0.set.load().of(bucket).clone()
    }

    /// Returns the origin of an object; the default one if its origin is no longer known.
    pub fn of_object(&self, id: &ObjectId) -> Arc<Origin> {
        self.route(id).map_or_else(|_| self.default_origin(), |(origin, _)| origin)
    }

    /// Returns the width of long reads of an object.
    pub fn width_of(&self, id: &ObjectId) -> Arc<Width> {
        self.of_object(id).width().clone()
    }

    /// As [`OriginSet::add_failover`].
    pub fn add_failover(&self, name: &str, bucket: Option<&BucketName>) {
        self.0.set.load().add_failover(name, bucket);
    }

    /// As [`OriginSet::failover`].
    pub fn failover(
        &self,
        client: &BucketName,
        name: &str,
        bucket: Option<&BucketName>,
    ) -> Option<(Realm, Arc<Origin>)> {
        self.0.set.load().failover(client, name, bucket)
    }

    /// As [`OriginSet::say_failover`].
    pub fn say_failover(&self, client: &BucketName, name: &str) {
        self.0.set.load().say_failover(client, name);
    }

    /// As [`OriginSet::renew_credentials`].
    pub fn renew_credentials(&self) {
        self.0.set.load().renew_credentials(None);
    }

    /// As [`OriginSet::describe`].
    pub fn describe(&self) -> String {
        self.0.set.load().describe()
    }

    /// As [`OriginSet::report`].
    pub fn report(&self) -> OriginsReport {
        self.0.set.load().report()
    }

    /// As [`Origin::head`].
    ///
    /// # Errors
    /// As [`Origin::head`].
    pub async fn head(
        &self,
        id: &ObjectId,
        part: Option<PartNumber>,
    ) -> Result<ObjectMeta, OriginError> {
        match self.route(id)? {
            (origin, None) => origin.head(id, part).await,
            (origin, Some(target)) => {
                let outcome = origin.head(&target.there(id), part).await;
                outcome.map_err(|error| target.for_client(error, id.bucket()))
            }
        }
    }

    /// As [`Origin::head_for`], for the whole object.
    ///
    /// # Errors
    /// As [`Origin::head`].
    pub async fn head_for(
        &self,
        id: &ObjectId,
        urgency: &Arc<Urgency>,
    ) -> Result<ObjectMeta, OriginError> {
        match self.route(id)? {
            (origin, None) => origin.head_for(id, None, urgency).await,
            (origin, Some(target)) => {
                let outcome = origin.head_for(&target.there(id), None, urgency).await;
                outcome.map_err(|error| target.for_client(error, id.bucket()))
            }
        }
    }

    /// As [`Origin::get`].
    ///
    /// # Errors
    /// As [`Origin::get`].
    pub async fn get(
        &self,
        id: &ObjectId,
        asked: Asked,
        pin: Pin,
        urgency: &Arc<Urgency>,
    ) -> Result<Answer, OriginError> {
        match self.route(id)? {
            (origin, None) => origin.get(id, asked, pin, urgency).await,
            (origin, Some(target)) => {
                let outcome = origin.get(&target.there(id), asked, pin, urgency).await;
                outcome.map_err(|error| target.for_client(error, id.bucket()))
            }
        }
    }

    /// As [`Origin::list`].
    ///
    /// # Errors
    /// As [`Origin::list`].
    pub async fn list(
        &self,
        bucket: &BucketName,
        prefix: &str,
        after: Option<&str>,
    ) -> Result<ObjectPage, OriginError> {
        let place = self.place(Some(bucket));
        place.origin.list(place.alias_of().unwrap_or(bucket), prefix, after).await
    }

    /// As [`Origin::touch`].
    ///
    /// # Errors
    /// As [`Origin::touch`].
    pub async fn touch(&self, bucket: &BucketName, key: &ObjectKey) -> Result<(), OriginError> {
        let place = self.place(Some(bucket));
        place.origin.touch(place.alias_of().unwrap_or(bucket), key).await
    }
}

#[cfg(test)]
mod tests;
