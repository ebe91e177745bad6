//! Credential domains: the credentials of origin requests, and the objects that they may share
//! (R1).
//!
//! A domain is a [`Realm`] and the keys that sign for it. Hotset's own always exists; an identity may bring another.
//! Invariants: what is fetched for a realm is signed with that realm's keys, or not fetched at all once they are gone;
//! two domains share a realm only where a name says so, and then the first of them fetches. A realm stays in
//! [`Domains::realms`] until the process ends: a write through one realm must invalidate the object in all, since they
//! are the same objects at the same origin.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use parking_lot::RwLock;

use super::version_access::VersionAccess;
use super::{OriginConfig, OriginError};
use crate::auth::{Credentials, Signer};
use crate::s3::{Realm, S3Error};

/// Maximum realms since the start: a write invalidates objects in each.
pub const MAX_REALMS: usize = 256;

/// A realm and the keys that sign for it.
#[derive(Debug)]
pub struct Domain {
    realm: Realm,
    signer: ArcSwapOption<Signer>,
    /// Buckets in which the keys may read by version id (R3).
    pub(super) version_access: VersionAccess,
}

impl Domain {
    fn new(realm: Realm, signer: Option<Signer>) -> Self {
        let signer = ArcSwapOption::from_pointee(signer);
        Self { realm, signer, version_access: VersionAccess::default() }
    }

    /// Returns the realm of its objects.
    pub fn realm(&self) -> &Realm {
        &self.realm
    }

    /// Returns the current signer; `None`: requests are sent unsigned.
    pub fn signer(&self) -> Option<Arc<Signer>> {
        self.signer.load_full()
    }

    fn has_keys(&self, keys: Option<&Credentials>) -> bool {
        let parts = |keys: &Credentials| {
            let token = keys.session_token().map(|token| token.expose().to_owned());
            (keys.access_key().to_owned(), keys.secret_key().expose().to_owned(), token)
        };
        self.signer().map(|signer| parts(signer.credentials())) == keys.map(parts)
    }
}

/// Origin credentials of one identity.
#[derive(Debug, Clone, Copy)]
pub struct IdentityCredentials<'a> {
    /// Name of the identity, see [`Domains::for_identity`].
    pub identity: &'a str,
    /// Name of its credential domain, as `origin.credential_domain`.
    pub domain: &'a str,
    /// `None`: requests are sent unsigned.
    pub keys: Option<&'a Arc<Credentials>>,
}

/// All credential domains of one origin.
#[derive(Debug)]
pub struct Domains {
    endpoint: String,
    region: String,
    own: Arc<Domain>,
    others: RwLock<Others>,
}

#[derive(Debug)]
struct Others {
    /// Domains in the order in which identities brought them.
    domains: Vec<Arc<Domain>>,
    by_identity: HashMap<String, Arc<Domain>>,
    realms: Arc<[Realm]>,
}

impl Domains {
    /// Creates the set with hotset's own domain only.
    pub fn new(config: &OriginConfig, keys: Option<Credentials>) -> Self {
        let realm = Realm::new(&config.endpoint, &config.credential_domain);
        let signer = keys.map(|keys| Signer::new(Arc::new(keys), &config.region));
        let others = Others {
            domains: Vec::new(),
            by_identity: HashMap::new(),
            realms: Arc::new([realm.clone()]),
        };
        Self {
            endpoint: config.endpoint.clone(),
            region: config.region.clone(),
            own: Arc::new(Domain::new(realm, signer)),
            others: RwLock::new(others),
        }
    }

    /// Returns hotset's own domain.
    pub fn own(&self) -> &Arc<Domain> {
        &self.own
    }

    /// Replaces the keys that sign hotset's own requests. Returns whether they changed.
    pub(super) fn replace_own(&self, keys: Credentials) -> bool {
        if self.own.has_keys(Some(&keys)) {
            return false;
        }
        self.own.signer.store(Some(Arc::new(Signer::new(Arc::new(keys), &self.region))));
        true
    }

    /// Returns the domain of an identity that has keys of its own; `None` when they are gone.
    pub fn for_identity(&self, identity: &str) -> Option<Arc<Domain>> {
        self.others.read().by_identity.get(identity).cloned()
    }

    /// Returns the domain that fetches for a realm.
    ///
    /// # Errors
    /// [`OriginError::Denied`] when the keys of the realm are gone.
    pub fn of_realm(&self, realm: &Realm) -> Result<Arc<Domain>, OriginError> {
        if self.own.realm == *realm {
            return Ok(self.own.clone());
        }
        let others = self.others.read();
        let found = others.domains.iter().find(|domain| domain.realm == *realm);
        found.cloned().ok_or_else(|| OriginError::Denied(S3Error::access_denied()))
    }

    /// Returns every realm in which an object may be cached.
    pub fn realms(&self) -> Arc<[Realm]> {
        self.others.read().realms.clone()
    }

    /// Replaces the credentials of all identities. Leaves out those whose realm would exceed [`MAX_REALMS`] since the
    /// start: nothing is requested in their name. All others take effect.
    ///
    /// # Errors
    /// One line that names the identities left out.
    pub fn replace<'a>(
        &self,
        brought: impl Iterator<Item = IdentityCredentials<'a>>,
    ) -> Result<(), String> {
        let mut others = self.others.write();
        let mut next = Others {
            domains: Vec::new(),
            by_identity: HashMap::new(),
            realms: others.realms.clone(),
        };
        let mut realms = others.realms.to_vec();
        let mut left_out = Vec::new();
        for IdentityCredentials { identity, domain, keys } in brought {
            let realm = Realm::new(&self.endpoint, domain);
            if !realms.contains(&realm) {
                if realms.len() >= MAX_REALMS {
                    left_out.push(identity);
                    continue;
                }
                realms.push(realm.clone());
            }
            let known = others.by_identity.get(identity);
            let known = known
                .filter(|known| known.realm == realm && known.has_keys(keys.map(|keys| &**keys)));
            let domain = known.cloned().unwrap_or_else(|| {
                let signer = keys.map(|keys| Signer::new(keys.clone(), &self.region));
                Arc::new(Domain::new(realm, signer))
            });
            next.domains.push(domain.clone());
            next.by_identity.insert(identity.to_owned(), domain);
        }
        next.realms = realms.into();
        *others = next;
        match left_out.first() {
            None => Ok(()),
            Some(first) => Err(format!(
                "more than {MAX_REALMS} credential domains since the start: {} identities with keys for the origin \
                 are refused until a restart, `{first}` first",
                left_out.len()
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(access_key: &str) -> Credentials {
        Credentials::new(access_key.to_owned(), "secret".into(), None).unwrap()
    }

    fn domains() -> Domains {
        Domains::new(&OriginConfig::default(), Some(keys("OWN")))
    }

    fn bring(domains: &Domains, all: &[(&str, &str, &str)]) -> Result<(), String> {
        let all: Vec<_> =
            all.iter().map(|(who, domain, key)| (who, domain, Arc::new(keys(key)))).collect();
        let brought =
            |(identity, domain, keys)| IdentityCredentials { identity, domain, keys: Some(keys) };
        domains.replace(all.iter().map(|(who, domain, keys)| (**who, **domain, keys)).map(brought))
    }

    fn signs(domain: &Domain) -> String {
        domain.signer().unwrap().credentials().access_key().to_owned()
    }

    #[test]
    fn r1_a_realm_is_fetched_with_its_own_keys_or_not_at_all() {
        let domains = domains();
        bring(&domains, &[("alice", "a", "AK-A"), ("bob", "b", "AK-B")]).unwrap();
        let alice = domains.for_identity("alice").unwrap();
        assert_eq!([signs(&alice), signs(domains.own())], ["AK-A", "OWN"]);
        assert_ne!(alice.realm(), domains.own().realm());
        assert_eq!(signs(&domains.of_realm(alice.realm()).unwrap()), "AK-A");
        assert_eq!(signs(&domains.of_realm(domains.own().realm()).unwrap()), "OWN");
        bring(&domains, &[("bob", "b", "AK-B")]).unwrap();
        assert!(domains.for_identity("alice").is_none());
        let gone = domains.of_realm(alice.realm()).unwrap_err();
        assert!(matches!(gone, OriginError::Denied(_)));
        assert!(domains.realms().contains(alice.realm()), "it may still be cached");
    }

    #[test]
    fn r1_a_realm_is_shared_only_by_its_name_and_the_first_of_them_fetches() {
        let domains = domains();
        let own = OriginConfig::default().credential_domain;
        let all = [("a", "team", "AK-A"), ("b", "team", "AK-B"), ("c", own.as_str(), "AK-C")];
        bring(&domains, &all).unwrap();
        let [a, b, c] = ["a", "b", "c"].map(|who| domains.for_identity(who).unwrap());
        assert_eq!(a.realm(), b.realm());
        assert_eq!([signs(&a), signs(&b), signs(&c)], ["AK-A", "AK-B", "AK-C"]);
        assert_eq!(signs(&domains.of_realm(b.realm()).unwrap()), "AK-A");
        assert_eq!(signs(&domains.of_realm(c.realm()).unwrap()), "OWN");
        assert_eq!(domains.realms().len(), 2);
    }

    #[test]
    fn keys_that_changed_sign_at_once_and_those_that_did_not_keep_their_signer() {
        let domains = domains();
        bring(&domains, &[("a", "a", "AK1"), ("b", "b", "AK2")]).unwrap();
        let before = ["a", "b"].map(|who| domains.for_identity(who).unwrap());
        bring(&domains, &[("a", "a", "AK1"), ("b", "b", "AK3")]).unwrap();
        let after = ["a", "b"].map(|who| domains.for_identity(who).unwrap());
        assert!(Arc::ptr_eq(&before[0], &after[0]));
        assert_eq!(signs(&domains.of_realm(before[1].realm()).unwrap()), "AK3");
    }

    #[test]
    fn our_own_keys_are_replaced_for_whoever_has_the_domain_already() {
        let domains = domains();
        let own = domains.own().clone();
        assert!(!domains.replace_own(keys("OWN")), "they are the same");
        assert!(domains.replace_own(keys("NEXT")));
        assert_eq!(signs(&own), "NEXT");
    }

    #[test]
    fn realms_are_bounded_since_the_start() {
        let domains = domains();
        for round in 0..MAX_REALMS - 1 {
            bring(&domains, &[("a", &format!("d{round}"), "AK")]).unwrap();
        }
        let refused = bring(&domains, &[("a", "one-more", "AK"), ("b", "d1", "AK")]).unwrap_err();
        assert!(refused.contains("1 identities") && refused.contains("`a`"), "{refused}");
        assert!(domains.for_identity("a").is_none(), "its keys of before are not what it has now");
        assert!(domains.for_identity("b").is_some(), "all others hold");
        assert_eq!(domains.realms().len(), MAX_REALMS);
        bring(&domains, &[("a", "d0", "AK")]).unwrap();
        assert!(domains.for_identity("a").is_some());
    }
}
