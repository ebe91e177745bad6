//! The origins of one configuration, and the mapping of clients' buckets to them.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use super::failover::Failovers;
use crate::glob::{Glob, InvalidGlob, Text};
use crate::origin::client::Origin;
use crate::origin::domains::Domain;
use crate::origin::report::OriginsReport;
use crate::origin::{DEFAULT_ORIGIN, OriginError};
use crate::s3::{BucketName, ObjectId, Realm};

/// Mapping of a client's bucket to another origin, or to another name.
pub struct Mapping {
    /// A client's bucket name, or a glob that matches bucket names.
    pub pattern: String,
    /// Name of the origin in the configuration; `None`: the default one.
    pub name: Option<String>,
    pub origin: Arc<Origin>,
    /// Name of the bucket at the origin; `None`: the client's.
    pub bucket: Option<BucketName>,
}

/// All origins of one configuration, and the buckets that are mapped to them.
pub struct OriginSet {
    pub(super) default: Arc<Origin>,
    /// Mappings of buckets; `None`: no bucket is mapped.
    pub(super) routes: Option<Routes>,
    /// All origins but the default one, by their key in the configuration.
    made: BTreeMap<String, Arc<Origin>>,
}

pub(super) struct Routes {
    exact: HashMap<BucketName, Target>,
    globs: Vec<(Glob, Target)>,
    /// Clients' names of each bucket that has names other than its own.
    aliases: HashMap<BucketName, Vec<BucketName>>,
    named: Vec<(String, Arc<Origin>)>,
    pub(super) failovers: Failovers,
}

#[derive(Clone)]
pub(super) struct Target {
    /// Name of the origin in the configuration; `None`: the default one.
    pub(super) name: Option<Arc<str>>,
    pub(super) origin: Arc<Origin>,
    pub(super) bucket: Option<BucketName>,
    pub(super) realm: Realm,
}

/// Origin, name and realm of a client's bucket.
#[derive(Clone)]
pub struct Place {
    pub origin: Arc<Origin>,
    /// Name of the bucket at the origin; `None`: there is no bucket, or its name is the client's.
    alias_of: Option<BucketName>,
    /// Realm of its objects when fetched with hotset's own keys.
    pub realm: Realm,
    /// Whether the configuration maps the bucket.
    pub is_mapped: bool,
}

impl Place {
    /// Returns the name at the origin of the bucket that clients call `name`.
    pub fn bucket<'a>(&'a self, name: Option<&'a BucketName>) -> Option<&'a BucketName> {
        self.alias_of.as_ref().or(name)
    }

    /// Returns the name of the bucket at the origin, if it differs from the client's.
    pub fn alias_of(&self) -> Option<&BucketName> {
        self.alias_of.as_ref()
    }

    /// Returns the domain of hotset's own keys at the origin.
    pub fn own(&self) -> &Arc<Domain> {
        self.origin.domains().own()
    }
}

impl From<Arc<Origin>> for OriginSet {
    fn from(default: Arc<Origin>) -> Self {
        Self { default, routes: None, made: BTreeMap::new() }
    }
}

impl OriginSet {
    /// Builds a set. `named`: all named origins, including those without a bucket. Of several matching globs, the one
    /// with the longest text before its first wildcard applies.
    ///
    /// # Errors
    /// A pattern is neither a bucket name nor a glob.
    pub fn new(
        default: Arc<Origin>,
        named: Vec<(String, Arc<Origin>)>,
        mappings: Vec<Mapping>,
    ) -> Result<Self, InvalidGlob> {
        if mappings.is_empty() && named.is_empty() {
            return Ok(default.into());
        }
        let (mut exact, mut globs) = (HashMap::new(), Vec::new());
        let mut aliases: HashMap<_, Vec<_>> = HashMap::new();
        for Mapping { pattern, name, origin, bucket } in mappings {
            let realm = realm(name.as_deref(), bucket.as_ref(), &origin);
            let name = name.map(Arc::from);
            let target = Target { name, origin, bucket, realm };
            match BucketName::new(&pattern) {
                Ok(client) => {
                    if let Some(bucket) = &target.bucket {
                        aliases.entry(bucket.clone()).or_default().push(client.clone());
                    }
                    exact.insert(client, target);
                }
                Err(_) => globs.push((Glob::new(&pattern)?, target)),
            }
        }
        globs.sort_by(|(a, _), (b, _)| {
            let length = |glob: &Glob| std::cmp::Reverse(glob.literal().len());
            (length(a), a.as_str()).cmp(&(length(b), b.as_str()))
        });
        let failovers = Failovers::default();
        let routes = Routes { exact, globs, aliases, named, failovers };
        Ok(Self { default, routes: Some(routes), made: BTreeMap::new() })
    }

    /// Stores the origins by the configuration key for which they were made.
    #[must_use]
    pub fn with_made(self, made: BTreeMap<String, Arc<Origin>>) -> Self {
        Self { made, ..self }
    }

    /// Returns the origin that was made for a key of the configuration.
    pub fn made_for(&self, key: &str) -> Option<&Arc<Origin>> {
        self.made.get(key)
    }

    /// Iterates over the configuration keys of the origins that were made.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.made.keys().map(String::as_str)
    }

    /// Returns the default origin.
    pub fn default_origin(&self) -> &Arc<Origin> {
        &self.default
    }

    /// Returns the origin of this name, the default one without a name; `None`: it is not in the configuration.
    pub fn named(&self, name: Option<&str>) -> Option<&Arc<Origin>> {
        let Some(name) = name.filter(|name| *name != DEFAULT_ORIGIN) else {
            return Some(&self.default);
        };
        self.each().find(|(other, _)| *other == Some(name)).map(|(_, origin)| origin)
    }

    /// Whether any bucket is mapped to another origin or name.
    pub fn has_mappings(&self) -> bool {
        self.routes.is_some()
    }

    /// Whether all origins are Amazon's.
    pub fn are_aws(&self) -> bool {
        self.each().all(|(_, origin)| origin.endpoint().is_aws())
    }

    /// Iterates over each origin once, the default one first, with its name if it has one.
    pub(super) fn each(&self) -> impl Iterator<Item = (Option<&str>, &Arc<Origin>)> {
        let named = self.routes.iter().flat_map(|routes| &routes.named);
        let named = named.map(|(name, origin)| (Some(name.as_str()), origin));
        std::iter::once((None, &self.default)).chain(named)
    }

    fn target(&self, bucket: &BucketName) -> Option<&Target> {
        self.routes.as_ref()?.target(bucket)
    }

    /// Returns the place of a client's bucket; `None`: the service.
    pub fn place(&self, bucket: Option<&BucketName>) -> Place {
        match bucket.and_then(|bucket| self.target(bucket)) {
            Some(Target { origin, bucket, realm, .. }) => Place {
                origin: origin.clone(),
                alias_of: bucket.clone(),
                realm: realm.clone(),
                is_mapped: true,
            },
            None => Place {
                origin: self.default.clone(),
                alias_of: None,
                realm: self.default.domains().own().realm().clone(),
                is_mapped: false,
            },
        }
    }

    /// Returns the realm of a bucket's objects when fetched with hotset's own keys.
    pub fn realm_of(&self, bucket: Option<&BucketName>) -> &Realm {
        let target = bucket.and_then(|bucket| self.target(bucket));
        target.map_or_else(|| self.default.domains().own().realm(), |target| &target.realm)
    }

    /// Returns every realm in which an object of a client's bucket may be cached.
    pub fn realms_of(&self, bucket: &BucketName) -> Arc<[Realm]> {
        let realms = match self.target(bucket) {
            Some(target) => [target.realm.clone()].into(),
            None => self.default.domains().realms(),
        };
        self.with_failovers(realms)
    }

    /// Returns all client names for the bucket that clients call `bucket`, at any origin. Includes the name itself, but
    /// not other origins' buckets of that name.
    pub fn names_of(&self, bucket: &BucketName) -> Vec<BucketName> {
        self.clients_of(self.name_at_origin(bucket))
    }

    /// Returns the name at its origin of a client's bucket.
    pub fn name_at_origin<'a>(&'a self, bucket: &'a BucketName) -> &'a BucketName {
        self.target(bucket).and_then(|target| target.bucket.as_ref()).unwrap_or(bucket)
    }

    /// Returns all client names for a bucket, given its name at any origin.
    pub fn clients_of(&self, real: &BucketName) -> Vec<BucketName> {
        let Some(routes) = &self.routes else { return vec![real.clone()] };
        let mut names = routes.aliases.get(real).cloned().unwrap_or_default();
        let is_itself = |target: &Target| target.bucket.as_ref().is_none_or(|name| name == real);
        if self.target(real).is_none_or(is_itself) && !names.contains(real) {
            names.push(real.clone());
        }
        names
    }

    /// Whether a client's bucket belongs to the origin with this name. A name that is not in the configuration matches
    /// every bucket.
    pub fn is_of(&self, client: &BucketName, name: &str) -> bool {
        let wanted = Some(name).filter(|name| *name != DEFAULT_ORIGIN);
        let is_known = self.each().any(|(other, _)| other == wanted);
        let of = self.target(client).and_then(|target| target.name.as_deref());
        of == wanted || !is_known
    }

    /// Whether all client names for a bucket map to one origin, so that a statement about the bucket applies to that
    /// origin.
    pub fn is_of_one_origin(&self, real: &BucketName) -> bool {
        if self.routes.is_none() {
            return true;
        }
        let names = self.clients_of(real);
        let origins = names.iter().map(|name| self.place(Some(name)).origin);
        origins.map(|origin| Arc::as_ptr(&origin)).collect::<HashSet<_>>().len() < 2
    }

    /// Returns the origin of a client's bucket.
    pub fn of(&self, bucket: &BucketName) -> &Arc<Origin> {
        self.target(bucket).map_or(&self.default, |target| &target.origin)
    }

    /// Keeps the credentials of all origins valid for as long as they are in use. `running`: a set whose credentials
    /// are renewed already.
    pub fn renew_credentials(&self, running: Option<&Self>) {
        let mut begun: HashSet<_> =
            running.iter().flat_map(|set| set.all()).map(Arc::as_ptr).collect();
        // What is replaced goes on for reads under way.
        let kept: HashSet<_> = self.all().map(Arc::as_ptr).collect();
        let replaced = running.iter().flat_map(|set| set.all());
        for origin in replaced.filter(|origin| !kept.contains(&Arc::as_ptr(origin))) {
            origin.retire_credentials();
        }
        for origin in self.all().filter(|origin| begun.insert(Arc::as_ptr(origin))) {
            origin.renew_credentials();
        }
    }

    /// Iterates over every origin, with repetitions.
    fn all(&self) -> impl Iterator<Item = &Arc<Origin>> {
        let mapped = self.routes.iter().flat_map(Routes::targets);
        self.each().map(|(_, origin)| origin).chain(mapped)
    }

    /// Whether objects of this realm are requested from an origin of this set.
    pub(super) fn has_realm_of(&self, id: &ObjectId) -> bool {
        let is_mapped = match self.target(id.bucket()) {
            Some(target) => target.realm == *id.realm(),
            None => self.default.domains().of_realm(id.realm()).is_ok(),
        };
        is_mapped || self.is_failover(id.realm())
    }

    /// Describes the origins for `/readyz`, one line each.
    pub fn describe(&self) -> String {
        let line = |(name, origin): (Option<&str>, &Arc<Origin>)| match name {
            None => origin.describe(),
            Some(name) => format!("{name}: {}", origin.describe()),
        };
        self.each().map(line).collect()
    }

    /// Returns the health of the default origin, and of the others by name.
    pub fn report(&self) -> OriginsReport {
        let named =
            self.each().filter_map(|(name, origin)| Some((name?.to_owned(), origin.report())));
        OriginsReport { default: self.default.report(), named: named.collect() }
    }
}

impl Routes {
    pub(super) fn target(&self, bucket: &BucketName) -> Option<&Target> {
        if let Some(target) = self.exact.get(bucket) {
            return Some(target);
        }
        let text = Text::new(bucket.as_str());
        self.globs.iter().find(|(glob, _)| glob.matches(text)).map(|(_, target)| target)
    }

    fn targets(&self) -> impl Iterator<Item = &Arc<Origin>> {
        let globs = self.globs.iter().map(|(_, target)| target);
        self.exact.values().chain(globs).map(|target| &target.origin)
    }
}

impl Target {
    /// Returns the id of an object at its origin.
    pub(super) fn there(&self, id: &ObjectId) -> ObjectId {
        let bucket = self.bucket.as_ref().unwrap_or(id.bucket()).clone();
        let realm = self.origin.domains().own().realm();
        let there = ObjectId::new(realm, bucket, id.key().clone());
        let there = match id.version() {
            Some(version) => there.at(version.clone()),
            None => there,
        };
        if id.pays() { there.paid() } else { there }
    }

    /// Replaces the bucket name in an error by the client's name for it.
    pub(super) fn for_client(&self, mut error: OriginError, client: &BucketName) -> OriginError {
        if let Some(real) = &self.bucket
            && let Some(said) = error.said_mut()
        {
            let is_real = |text: &String| text == real.as_str();
            for (_, text) in said.details.iter_mut().filter(|(_, text)| is_real(text)) {
                client.as_str().clone_into(text);
            }
        }
        error
    }
}

/// Returns the realm of a mapped bucket. It differs from that of any other origin or bucket, whatever was mapped to
/// what before.
pub(super) fn realm(name: Option<&str>, bucket: Option<&BucketName>, origin: &Origin) -> Realm {
    let (name, bucket) = (name.unwrap_or_default(), bucket.map_or("", BucketName::as_str));
    let config = origin.config();
    // An endpoint begins with a scheme, so that none of the default origin is like it.
    let place = format!("{name}|{bucket}|{}", config.endpoint);
    Realm::new(&place, &config.credential_domain)
}
