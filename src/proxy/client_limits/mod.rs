//! Rate and concurrency limits per identity and per client address: requests a second, requests in flight, and bytes
//! a second.
//!
//! A request is charged once: to its address before it is parsed, and to its identity as soon as that is known. It
//! holds its [`Charge`] to its end. A request above a limit of requests is refused; a body above the limit of bytes
//! waits. Where nothing is configured, no entry is made and no lock is taken.

mod table;
mod token_bucket;

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::time::sleep;

use self::table::{Closest, Exceeded, Held, Table, Use};
use crate::auth::{ClientLimit, Identity};
use crate::metrics::limits::{self, Limit};
use crate::metrics::wire::{self, Refused};
use crate::s3::S3Error;

/// Maximum number of clients that are told apart, for each of both kinds of limits.
const CLIENTS: usize = 65_536;

/// Upper and lower bound of the body bytes sent at once to a client whose bytes are limited.
const STEP_MAX: u64 = 1 << 20;
const STEP_MIN: u64 = 16 << 10;

/// Limits of all clients and their use. One for all listeners.
pub(in crate::proxy) struct ClientLimits {
    limits: ArcSwap<Limits>,
    /// Whether `limits` has any limit, readable without loading it.
    limits_addresses: AtomicBool,
    limits_identities: AtomicBool,
    addresses: Arc<Table<IpAddr>>,
    identities: Arc<Table<String>>,
}

#[derive(Debug, Clone, Copy)]
struct Limits {
    per_identity: ClientLimit,
    per_address: ClientLimit,
}

/// A limit that a request reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::proxy) enum Reached {
    OfAddress(Exceeded),
    OfIdentity(Exceeded),
}

impl Reached {
    /// Returns the metric label of the limit, and that of the requests that it refuses.
    fn labels(self) -> (Limit, Refused) {
        match self {
            Self::OfAddress(Exceeded::RequestsPerSecond) => {
                (Limit::AddressRequestRate, Refused::AddressRequestRate)
            }
            Self::OfAddress(Exceeded::Requests) => {
                (Limit::AddressRequests, Refused::AddressRequests)
            }
            Self::OfIdentity(Exceeded::RequestsPerSecond) => {
                (Limit::IdentityRequestRate, Refused::IdentityRequestRate)
            }
            Self::OfIdentity(Exceeded::Requests) => {
                (Limit::IdentityRequests, Refused::IdentityRequests)
            }
        }
    }

    /// Counts a refused request, and returns the error for its client.
    pub(in crate::proxy) fn refuse(self) -> S3Error {
        let (limit, refused) = self.labels();
        wire::refused(refused);
        let mut error = super::response::refusal::slow_down();
        error.message = format!("Please reduce your request rate ({}).", limit.label()).into();
        error
    }
}

/// Charge of a request against the limits of its client; released when it is dropped.
#[derive(Debug, Default)]
pub(in crate::proxy) struct Charge {
    address: Option<Held<IpAddr>>,
    identity: Option<Held<String>>,
}

impl std::fmt::Debug for ClientLimits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientLimits").field("limits", &self.limits).finish_non_exhaustive()
    }
}

impl ClientLimits {
    pub(in crate::proxy) fn new(per_identity: ClientLimit, per_address: ClientLimit) -> Self {
        Self {
            limits: ArcSwap::from_pointee(Limits { per_identity, per_address }),
            limits_addresses: AtomicBool::new(!per_address.is_none()),
            limits_identities: AtomicBool::new(!per_identity.is_none()),
            addresses: Table::new(CLIENTS),
            identities: Table::new(CLIENTS),
        }
    }

    /// Replaces the limits, for requests that begin from now on.
    pub(in crate::proxy) fn set(&self, per_identity: ClientLimit, per_address: ClientLimit) {
        self.limits.store(Arc::new(Limits { per_identity, per_address }));
        self.limits_addresses.store(!per_address.is_none(), Ordering::Relaxed);
        self.limits_identities.store(!per_identity.is_none(), Ordering::Relaxed);
    }

    /// Charges a request to its address, unless it has been. `None`: a Unix socket, which has no address.
    ///
    /// # Errors
    /// The limit that the address has reached.
    pub(in crate::proxy) fn charge_address(
        &self,
        charge: &mut Charge,
        address: Option<IpAddr>,
    ) -> Result<(), Reached> {
        if !self.limits_addresses.load(Ordering::Relaxed) || charge.address.is_some() {
            return Ok(());
        }
        let Some(address) = address else { return Ok(()) };
        let limit = self.limits.load().per_address;
        let held = self.addresses.begin(&network_of(address), &limit);
        charge.address = Some(held.map_err(Reached::OfAddress)?);
        Ok(())
    }

    /// Charges a request to its identity, unless it has been. `None`: the identity is not known.
    ///
    /// # Errors
    /// The limit that the identity has reached.
    pub(in crate::proxy) fn charge_identity(
        &self,
        charge: &mut Charge,
        identity: Option<&Identity>,
    ) -> Result<(), Reached> {
        let Some(identity) = identity.filter(|_| charge.identity.is_none()) else { return Ok(()) };
        let own = identity.limits();
        if own.is_none() && !self.limits_identities.load(Ordering::Relaxed) {
            return Ok(());
        }
        let configured = self.limits.load().per_identity;
        let limit = own.map_or(configured, |own| own.over(&configured));
        if limit.is_none() {
            return Ok(());
        }
        let held = self.identities.begin(identity.name(), &limit);
        charge.identity = Some(held.map_err(Reached::OfIdentity)?);
        Ok(())
    }

    /// Returns each configured limit with its use by the client that is closest to it, and the limit of that client.
    pub(in crate::proxy) fn in_use(&self) -> Vec<(Limit, u64, u64)> {
        let Limits { per_identity, per_address } = **self.limits.load();
        let mut found = of_kind(IDENTITY, self.identities.in_use(&per_identity));
        if !per_address.is_none() {
            found.extend(of_kind(ADDRESS, self.addresses.in_use(&per_address)));
        }
        found
    }
}

fn of_kind([rate, bytes, requests]: [Limit; 3], used: Use) -> Vec<(Limit, u64, u64)> {
    let all = [
        (rate, used.requests_per_second),
        (bytes, used.bytes_per_second),
        (requests, used.requests),
    ];
    all.into_iter()
        .filter_map(|(key, Closest(of))| of.map(|(used, limit)| (key, used, limit)))
        .collect()
}

const IDENTITY: [Limit; 3] =
    [Limit::IdentityRequestRate, Limit::IdentityByteRate, Limit::IdentityRequests];
const ADDRESS: [Limit; 3] =
    [Limit::AddressRequestRate, Limit::AddressByteRate, Limit::AddressRequests];

/// Returns the address that a client is counted by: an IPv6 address becomes its /64, all of which one host may have.
fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let network = u128::from(address) & !u128::from(u64::MAX);
            IpAddr::V6(Ipv6Addr::from(network))
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

impl Charge {
    /// Releases the charge to an identity: the request turned out to be another identity's.
    pub(in crate::proxy) fn forget_identity(&mut self) {
        self.identity = None;
    }

    /// Whether a byte rate limit applies to this request.
    fn is_paced(&self) -> bool {
        let address = self.address.as_ref().and_then(Held::byte_rate);
        address.is_some() || self.identity.as_ref().is_some_and(|held| held.byte_rate().is_some())
    }

    /// Returns the number of body bytes to send at once; `None`: no bound.
    pub(in crate::proxy) fn step(&self) -> Option<usize> {
        let address = self.address.as_ref().and_then(Held::byte_rate);
        let identity = self.identity.as_ref().and_then(Held::byte_rate);
        let rate = address.into_iter().chain(identity).min()?;
        usize::try_from((rate / 8).clamp(STEP_MIN, STEP_MAX)).ok()
    }

    /// Takes body bytes if they need not wait; returns false and takes nothing if they would have to.
    pub(in crate::proxy) fn take_if_free(&self, bytes: u64) -> bool {
        let is_free = self.address.as_ref().is_none_or(Held::has_credit)
            && self.identity.as_ref().is_none_or(Held::has_credit);
        if is_free {
            self.take(bytes);
        }
        is_free
    }

    /// Takes body bytes, and returns the time that they have to wait.
    pub(in crate::proxy) fn take(&self, bytes: u64) -> Duration {
        let address = self.address.as_ref().map(|held| held.take_bytes(bytes));
        let identity = self.identity.as_ref().map(|held| held.take_bytes(bytes));
        let waits =
            [(address, Limit::AddressByteRate), (identity, Limit::IdentityByteRate)].into_iter();
        let waits = waits.filter_map(|(wait, limit)| Some((wait?, limit)));
        let Some((wait, limit)) = waits.max_by_key(|(wait, _)| *wait) else {
            return Duration::ZERO;
        };
        if wait > Duration::ZERO {
            limits::delayed(limit, bytes);
        }
        wait
    }

    /// Waits until body bytes may be sent. Bytes whose wait is cancelled are not counted.
    pub(in crate::proxy) async fn pace(&self, bytes: u64) {
        if !self.is_paced() {
            return;
        }
        let mut taken = Taken { charge: self, bytes };
        let wait = self.take(bytes);
        if wait > Duration::ZERO {
            sleep(wait).await;
        }
        taken.bytes = 0;
    }
}

/// Bytes taken from the limits, which are put back unless they are sent.
struct Taken<'a> {
    charge: &'a Charge,
    bytes: u64,
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.charge.address.iter().for_each(|held| held.put_back(self.bytes));
            self.charge.identity.iter().for_each(|held| held.put_back(self.bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::units::ByteSize;

    fn limits(per_address: ClientLimit) -> ClientLimits {
        ClientLimits::new(ClientLimit::default(), per_address)
    }

    const ONE: ClientLimit =
        ClientLimit { requests_per_second: Some(1), bytes_per_second: None, requests: None };

    #[tokio::test(start_paused = true)]
    async fn addresses_of_one_network_are_one_client() {
        let limits = limits(ONE);
        let charge = |address: &str| {
            limits.charge_address(&mut Charge::default(), Some(address.parse().unwrap()))
        };
        for (address, is_new) in [
            ("10.0.0.1", true),
            ("::ffff:10.0.0.1", false),
            ("10.0.0.2", true),
            ("2001:db8:0:1::1", true),
            ("2001:db8:0:1:ffff::2", false),
            ("2001:db8:0:2::1", true),
        ] {
            assert_eq!(charge(address).is_ok(), is_new, "{address}");
        }
        assert!(limits.charge_address(&mut Charge::default(), None).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_is_charged_once_however_often_it_is_looked_at() {
        let limits = limits(ONE);
        let (mut charge, address) = (Charge::default(), Some(IpAddr::from([10, 0, 0, 1])));
        for _ in 0..3 {
            limits.charge_address(&mut charge, address).unwrap();
        }
        let second = limits.charge_address(&mut Charge::default(), address);
        assert_eq!(second.unwrap_err(), Reached::OfAddress(Exceeded::RequestsPerSecond));
    }

    #[tokio::test(start_paused = true)]
    async fn a_reload_limits_what_was_not_limited_and_lifts_it_again() {
        let limits = limits(ClientLimit::default());
        let address = Some(IpAddr::from([10, 0, 0, 1]));
        let charge = || limits.charge_address(&mut Charge::default(), address).is_ok();
        assert!(charge() && charge() && limits.in_use().is_empty());
        limits.set(ClientLimit::default(), ONE);
        assert!(charge() && !charge());
        assert_eq!(limits.in_use(), [(Limit::AddressRequestRate, 0, 1)]);
        limits.set(ClientLimit::default(), ClientLimit::default());
        assert!(charge() && charge());
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_wait_and_a_wait_that_is_given_up_leaves_no_debt() {
        let bytes_per_second = Some(ByteSize::kib(16));
        let limits = limits(ClientLimit { bytes_per_second, ..ClientLimit::default() });
        let mut charge = Charge::default();
        limits.charge_address(&mut charge, Some(IpAddr::from([10, 0, 0, 1]))).unwrap();
        assert_eq!(charge.step(), Some(16 << 10));
        let started = tokio::time::Instant::now();
        for _ in 0..4 {
            charge.pace(16 << 10).await;
        }
        // The first second's bytes are available at once, and the piece that is sent last is not waited for. The
        // clock is paused.
        assert_eq!(started.elapsed().as_secs(), 2);
        assert!(!charge.take_if_free(1));
        for _ in 0..1000 {
            let pace = charge.pace(1 << 20);
            tokio::pin!(pace);
            assert!(futures_util::poll!(pace).is_pending());
        }
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(charge.take_if_free(1));
    }
}
