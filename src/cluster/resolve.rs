//! Looking up the configured peers.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::net::lookup_host;
use tokio::time::timeout;

use super::Cluster;
use super::config::host_and_port;

/// Interval between look-ups of names.
pub(super) const EVERY: Duration = Duration::from_secs(5);
const TIMEOUT: Duration = Duration::from_secs(2);

impl Cluster {
    /// Takes in all addresses of the configured peers. When one cannot be looked up those that are known stay.
    pub(super) async fn resolve(&self) {
        let found = join_all(self.peers.iter().map(|peer| look_up(peer))).await;
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

    /// Takes in an address; `listed`: by the configuration.
    fn join(&self, address: SocketAddr, listed: bool) {
        if let Some(peer) = self.members.add(address, listed) {
            log::info!("cluster: {address} is another replica");
            self.run_link(peer);
        }
    }
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
