//! Name resolution of the configured peers.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::net::lookup_host;
use tokio::time::timeout;

use super::Cluster;
use super::config::host_and_port;

/// Interval between lookups of names.
pub(super) const EVERY: Duration = Duration::from_secs(5);
/// The interval as long as there may be replicas that are not found yet.
pub(super) const LOOKING_EVERY: Duration = Duration::from_millis(500);
const TIMEOUT: Duration = Duration::from_secs(2);

impl Cluster {
    /// Adds all addresses of the configured peers. If a name cannot be resolved, the known addresses stay.
    pub(super) async fn resolve(&self) {
        self.found(join_all(self.peers.iter().map(|peer| look_up(peer))).await);
    }

    /// Applies the result of a lookup, by name; `None`: the name could not be resolved.
    fn found(&self, found: Vec<Option<Vec<SocketAddr>>>) {
        let whole = found.iter().all(Option::is_some);
        let mut addresses: Vec<SocketAddr> = found.into_iter().flatten().flatten().collect();
        addresses.sort_unstable();
        addresses.dedup();
        for address in &addresses {
            self.join(*address, true);
        }
        if whole {
            self.members.listed(&addresses);
        }
    }

    /// Adds an address; `listed`: it is configured.
    fn join(&self, address: SocketAddr, listed: bool) {
        if let Some(peer) = self.members.add(address, listed) {
            log::info!("cluster: {address} is another replica");
            self.run_link(peer);
        }
    }
}

/// Whether a peer is configured by name, and not by address.
pub(super) fn is_name(peer: &str) -> bool {
    host_and_port(peer).is_ok_and(|(host, _)| host.parse::<IpAddr>().is_err())
}

async fn look_up(peer: &str) -> Option<Vec<SocketAddr>> {
    let (host, port) = host_and_port(peer).ok()?;
    match timeout(TIMEOUT, lookup_host((host, port))).await {
        Ok(Ok(found)) => Some(found.collect()),
        Ok(Err(error)) => {
            log::debug!("cluster.peers: {host} cannot be looked up: {error}");
            None
        }
        Err(_) => {
            log::debug!("cluster.peers: {host} cannot be looked up in time");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::cache::{Cache, CacheConfig, RuleConfig, Rules};
    use crate::cluster::wire::LeaseAnswer;
    use crate::origin::{Origin, OriginConfig};

    async fn cluster(peers: &[&str]) -> Arc<Cluster> {
        let origin = Arc::new(Origin::new(OriginConfig::default(), None).unwrap());
        let rules = [RuleConfig::default()];
        let cache = Cache::new(&CacheConfig::default(), &rules, origin).unwrap();
        let rules = Arc::new(Rules::new(&rules).unwrap());
        let peers: Vec<_> = peers.iter().map(ToString::to_string).collect();
        Cluster::start(&peers, cache, rules, (Arc::new(|| Ok(None)), None), 9001).await
    }

    fn at(last: u8) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, last], 9001))
    }

    /// Applies these addresses as those of a headless Service.
    fn find(cluster: &Cluster, addresses: &[u8]) {
        cluster.found(vec![Some(addresses.iter().map(|last| at(*last)).collect())]);
    }

    fn known(cluster: &Cluster) -> Vec<SocketAddr> {
        let mut known: Vec<_> = cluster.members.all().iter().map(|peer| peer.address).collect();
        known.sort_unstable();
        known
    }

    fn answers(cluster: &Cluster, last: u8, session: u64) {
        let peers = cluster.members.all();
        let peer = peers.iter().find(|peer| peer.address == at(last)).unwrap();
        let answer = LeaseAnswer { session, granted: None, promised: true };
        cluster.members.answered(peer, crate::cache::boot_time(), &answer);
    }

    fn fails(cluster: &Cluster, last: u8, why: crate::cluster::lease::Failure) {
        let peers = cluster.members.all();
        let peer = peers.iter().find(|peer| peer.address == at(last)).unwrap();
        cluster.members.failed(peer, why, crate::cache::boot_time(), "a test");
    }

    #[tokio::test]
    async fn replicas_come_with_their_addresses_and_stay_as_long_as_they_answer() {
        let cluster = cluster(&[]).await;
        find(&cluster, &[1, 2, 3]);
        assert_eq!(known(&cluster), [at(1), at(2), at(3)]);
        answers(&cluster, 1, 11);
        answers(&cluster, 2, 12);
        // The name does not resolve to a draining replica any more, which still answers.
        find(&cluster, &[2, 4]);
        assert_eq!(known(&cluster), [at(1), at(2), at(3), at(4)]);
        // A failed lookup changes nothing.
        cluster.found(vec![None]);
        for last in [1, 2, 3] {
            fails(&cluster, last, crate::cluster::lease::Failure::Refused);
        }
        assert_eq!(known(&cluster), [at(2), at(4)], "those that are listed stay");
        find(&cluster, &[4]);
        assert_eq!(known(&cluster), [at(4)]);
    }

    #[tokio::test]
    async fn a_replica_of_two_addresses_counts_once_and_is_told_from_this_one() {
        let cluster = cluster(&[]).await;
        find(&cluster, &[1, 2, 3]);
        answers(&cluster, 1, 11);
        answers(&cluster, 2, 11);
        answers(&cluster, 3, cluster.members.own());
        let numbers = cluster.members.announce(&"x".into(), |_| {});
        let told: Vec<_> = numbers.iter().map(|(peer, _)| peer.address).collect();
        assert_eq!(told, [at(1)]);
    }

    #[tokio::test]
    async fn nothing_is_certain_before_this_process_is_found_by_its_name() {
        let cluster = cluster(&["nobody.invalid:9001"]).await;
        cluster.members.is_awake();
        assert!(cluster.members.is_looking() && !cluster.cache.is_certain());
        find(&cluster, &[1]);
        answers(&cluster, 1, cluster.members.own());
        assert!(!cluster.members.is_looking() && cluster.cache.is_certain());
    }

    #[tokio::test]
    async fn nothing_is_certain_with_more_replicas_than_are_taken_in() {
        let cluster = cluster(&[]).await;
        cluster.members.is_awake();
        assert!(cluster.cache.is_certain(), "alone");
        let all: Vec<u8> = (1..=65).collect();
        find(&cluster, &all);
        assert_eq!(known(&cluster).len(), 64);
        for last in 1..=64 {
            fails(&cluster, last, crate::cluster::lease::Failure::Refused);
        }
        assert!(!cluster.cache.is_certain(), "one is not known");
        find(&cluster, &all[..64]);
        assert!(cluster.cache.is_certain(), "all of them are gone");
    }
}
