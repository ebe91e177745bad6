//! How much of the server clients may hold at the same time: connections, in total and of one address, and
//! requests. One for all listeners.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::Semaphore;

use crate::metrics::limits::Limit;
use crate::permits::Permits;
use crate::proxy::client_limits::ClientLimits;
use crate::proxy::config::LimitsConfig;

/// What is held, and the bounds of it.
#[derive(Debug)]
pub struct Admission {
    connections: Arc<Permits>,
    /// Connections by address; an address without any is not in it.
    addresses: Mutex<HashMap<IpAddr, usize>>,
    /// [`usize::MAX`]: no bound.
    per_address: AtomicUsize,
    requests: AtomicUsize,
    requests_max: AtomicUsize,
    clients: ClientLimits,
}

impl Admission {
    pub fn new(limits: &LimitsConfig) -> Arc<Self> {
        Arc::new(Self {
            connections: Permits::new(limits.connections),
            addresses: Mutex::default(),
            per_address: AtomicUsize::new(limits.connections_per_address.unwrap_or(usize::MAX)),
            requests: AtomicUsize::new(0),
            requests_max: AtomicUsize::new(limits.requests),
            clients: ClientLimits::new(limits.per_identity, limits.per_address),
        })
    }

    /// Keeps to other limits. What is open or under way above them goes on to its end.
    pub fn set_limits(self: &Arc<Self>, limits: &LimitsConfig) {
        let per_address = limits.connections_per_address.unwrap_or(usize::MAX);
        self.per_address.store(per_address, Ordering::Relaxed);
        self.requests_max.store(limits.requests, Ordering::Relaxed);
        self.connections.resize(limits.connections);
        self.clients.set(limits.per_identity, limits.per_address);
    }

    /// The limits of each client.
    pub(in crate::proxy) fn clients(&self) -> &ClientLimits {
        &self.clients
    }

    /// Each limit of clients that is configured: the most that one client uses of it, and the limit.
    pub fn client_limits(&self) -> Vec<(Limit, u64, u64)> {
        self.clients.in_use()
    }

    /// Client connections that are open, and how many may be.
    pub fn connections(&self) -> (usize, usize) {
        self.connections.usage()
    }

    /// Requests under way, and how many may be.
    pub fn requests(&self) -> (usize, usize) {
        (self.under_way(), self.requests_max.load(Ordering::Relaxed))
    }

    /// Requests under way now.
    pub fn under_way(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }

    /// A permit for each connection that there may be.
    pub(in crate::proxy) fn slots(&self) -> &Arc<Semaphore> {
        self.connections.semaphore()
    }

    /// Waits until no connection is left.
    pub(in crate::proxy) async fn no_connections(&self) {
        self.connections.all_returned().await;
    }

    /// Counts a connection from an address; `None` when it has as many as it may.
    pub(in crate::proxy) fn address(
        self: &Arc<Self>,
        address: Option<IpAddr>,
    ) -> Option<ConnectionPermit> {
        let most = self.per_address.load(Ordering::Relaxed);
        let Some(address) = address.filter(|_| most < usize::MAX) else {
            return Some(ConnectionPermit(None));
        };
        // The same client, whether a dual-stack listener shows its address in one form or the other.
        let address = address.to_canonical();
        let mut addresses = self.addresses.lock();
        let held = addresses.entry(address).or_default();
        if *held >= most {
            return None;
        }
        *held += 1;
        Some(ConnectionPermit(Some((self.clone(), address))))
    }

    /// Counts a request; `None` when as many are under way as may be.
    pub(in crate::proxy) fn request(self: &Arc<Self>) -> Option<RequestHeld> {
        let held = RequestHeld(self.clone());
        let before = self.requests.fetch_add(1, Ordering::Relaxed);
        (before < self.requests_max.load(Ordering::Relaxed)).then_some(held)
    }
}

/// A connection of an address, until it is dropped.
#[derive(Debug)]
pub(in crate::proxy) struct ConnectionPermit(Option<(Arc<Admission>, IpAddr)>);

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        let Some((admission, address)) = self.0.take() else { return };
        let mut addresses = admission.addresses.lock();
        if let Some(held) = addresses.get_mut(&address) {
            *held -= 1;
            if *held == 0 {
                addresses.remove(&address);
            }
        }
    }
}

/// A request under way, until it is dropped.
#[derive(Debug)]
pub(in crate::proxy) struct RequestHeld(Arc<Admission>);

impl Drop for RequestHeld {
    fn drop(&mut self) {
        self.0.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission(connections_per_address: usize, requests: usize) -> Arc<Admission> {
        Admission::new(&LimitsConfig {
            connections_per_address: Some(connections_per_address),
            requests,
            ..LimitsConfig::default()
        })
    }

    #[test]
    fn an_address_has_its_connections_back_when_they_end_and_leaves_nothing() {
        let admission = admission(2, 1);
        let one: IpAddr = "10.0.0.1".parse().unwrap();
        let mapped: IpAddr = "::ffff:10.0.0.1".parse().unwrap();
        let held =
            [admission.address(Some(one)).unwrap(), admission.address(Some(mapped)).unwrap()];
        assert!(admission.address(Some(one)).is_none());
        assert!(admission.address("10.0.0.2".parse().ok()).is_some());
        assert!(admission.address(None).is_some());
        drop(held);
        assert!(admission.address(Some(one)).is_some());
        assert!(admission.addresses.lock().is_empty());
    }

    #[test]
    fn a_request_too_many_is_not_counted() {
        let admission = admission(1, 1);
        let held = admission.request().unwrap();
        for _ in 0..3 {
            assert!(admission.request().is_none());
        }
        drop(held);
        assert!(admission.request().is_some());
    }
}
