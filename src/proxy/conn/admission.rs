//! Server-wide limits on what clients may hold at the same time: connections, in total and per address, and requests.
//! One for all listeners.

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

/// Open connections and requests in flight, with their limits.
#[derive(Debug)]
pub struct Admission {
    connections: Arc<Permits>,
    /// Number of connections per address; an address without any has no entry.
    addresses: Mutex<HashMap<IpAddr, usize>>,
    /// [`usize::MAX`]: no limit.
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

    /// Replaces the limits. Connections and requests above the new limits run to their end.
    pub fn set_limits(self: &Arc<Self>, limits: &LimitsConfig) {
        let per_address = limits.connections_per_address.unwrap_or(usize::MAX);
        self.per_address.store(per_address, Ordering::Relaxed);
        self.requests_max.store(limits.requests, Ordering::Relaxed);
        self.connections.resize(limits.connections);
        self.clients.set(limits.per_identity, limits.per_address);
    }

    /// Returns the limits per client.
    pub(in crate::proxy) fn clients(&self) -> &ClientLimits {
        &self.clients
    }

    /// Returns each configured limit per client, with its highest use by one client and the limit.
    pub fn client_limits(&self) -> Vec<(Limit, u64, u64)> {
        self.clients.in_use()
    }

    /// Returns the number of open client connections, and their maximum.
    pub fn connections(&self) -> (usize, usize) {
        self.connections.usage()
    }

    /// Returns the number of requests in flight, and their maximum.
    pub fn requests(&self) -> (usize, usize) {
        (self.under_way(), self.requests_max.load(Ordering::Relaxed))
    }

    /// Returns the number of requests in flight.
    pub fn under_way(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }

    /// Returns the semaphore that has a permit for each connection.
    pub(in crate::proxy) fn slots(&self) -> &Arc<Semaphore> {
        self.connections.semaphore()
    }

    /// Waits until no connection is open.
    pub(in crate::proxy) async fn no_connections(&self) {
        self.connections.all_returned().await;
    }

    /// Counts a connection from an address; `None` if the address has reached its limit.
    pub(in crate::proxy) fn address(
        self: &Arc<Self>,
        address: Option<IpAddr>,
    ) -> Option<ConnectionPermit> {
        let most = self.per_address.load(Ordering::Relaxed);
        let Some(address) = address.filter(|_| most < usize::MAX) else {
            return Some(ConnectionPermit(None));
        };
        // A dual-stack listener may show the address of one client in either form.
        let address = address.to_canonical();
        let mut addresses = self.addresses.lock();
        let held = addresses.entry(address).or_default();
        if *held >= most {
            return None;
        }
        *held += 1;
        Some(ConnectionPermit(Some((self.clone(), address))))
    }

    /// Counts a request; `None` if the maximum is in flight.
    pub(in crate::proxy) fn request(self: &Arc<Self>) -> Option<RequestHeld> {
        let held = RequestHeld(self.clone());
        let before = self.requests.fetch_add(1, Ordering::Relaxed);
        (before < self.requests_max.load(Ordering::Relaxed)).then_some(held)
    }
}

/// Counts a connection of an address until it is dropped.
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

/// Counts a request in flight until it is dropped.
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
