//! Connections in use to each address of an endpoint, and their limit.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;

use super::slots::{Slot, Slots, Urgency};

/// Number of addresses beyond which entries without a connection are removed.
const MOST: usize = 512;

/// A set of [`Slots`] per address. Among waiting requests, the most urgent gets the next connection.
#[derive(Debug)]
pub(super) struct AddressSlots {
    by_address: Mutex<HashMap<SocketAddr, Arc<Slots>>>,
    most: Option<usize>,
}

impl AddressSlots {
    /// Limits connections in use to `most` per address; `None`: they are only counted.
    pub(super) fn new(most: Option<usize>) -> Self {
        Self { by_address: Mutex::default(), most }
    }

    /// Returns the connection limit of one address.
    pub(super) fn most(&self) -> Option<usize> {
        self.most
    }

    fn of(&self, address: SocketAddr) -> Arc<Slots> {
        let mut by_address = self.by_address.lock();
        if by_address.len() >= MOST && !by_address.contains_key(&address) {
            // A slot, and a task that waits for one, holds a reference to its entry.
            by_address.retain(|_, slots| Arc::strong_count(slots) > 1);
        }
        let new = || Slots::new(self.most.unwrap_or(usize::MAX));
        by_address.entry(address).or_insert_with(new).clone()
    }

    /// Takes a connection slot of this address, if one is free.
    pub(super) fn try_take(&self, address: SocketAddr, urgency: &Urgency) -> Option<Slot> {
        self.of(address).try_take(urgency.class())
    }

    /// Takes a slot of the first of `addresses` that has one free; if none has, waits for the first address.
    pub(super) async fn take(
        &self,
        addresses: &[SocketAddr],
        urgency: &Urgency,
    ) -> (SocketAddr, Slot) {
        let free = |address: &SocketAddr| Some((*address, self.try_take(*address, urgency)?));
        if let Some(taken) = addresses.iter().find_map(free) {
            return taken;
        }
        let slots = self.of(addresses[0]);
        (addresses[0], slots.take(urgency).await)
    }

    /// Returns the number of connections in use by address.
    pub(super) fn in_use(&self) -> Vec<(SocketAddr, usize)> {
        let by_address = self.by_address.lock();
        let used = by_address.iter().map(|(address, slots)| (*address, slots.in_use()));
        used.filter(|(_, in_use)| *in_use > 0).collect()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;
    use crate::origin::Class;

    fn address(n: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], n))
    }

    #[tokio::test]
    async fn an_address_that_is_full_is_passed_over_and_the_first_is_waited_for() {
        let slots = AddressSlots::new(Some(2));
        let (urgency, both) = (Urgency::new(Class::Metadata), [address(1), address(2)]);
        let mut taken = Vec::new();
        for expected in [1, 1, 2, 2] {
            let (at, slot) = slots.take(&both, &urgency).now_or_never().unwrap();
            assert_eq!(at, address(expected));
            taken.push(slot);
        }
        assert!(slots.try_take(address(2), &urgency).is_none());
        let mut waits = Box::pin(slots.take(&both, &urgency));
        assert!(futures_util::poll!(&mut waits).is_pending());
        taken.remove(0);
        assert!(matches!(waits.now_or_never(), Some((at, _)) if at == address(1)));
    }

    #[tokio::test]
    async fn of_two_connections_one_is_left_for_metadata() {
        let slots = AddressSlots::new(Some(2));
        let read = slots.try_take(address(1), &Urgency::new(Class::Read)).unwrap();
        assert!(slots.try_take(address(1), &Urgency::new(Class::Read)).is_none());
        let head = slots.try_take(address(1), &Urgency::new(Class::Metadata)).unwrap();
        assert_eq!(slots.in_use(), [(address(1), 2)]);
        drop((read, head));
        assert!(slots.in_use().is_empty());
    }

    #[tokio::test]
    async fn addresses_without_connections_are_forgotten_and_the_others_not() {
        let slots = AddressSlots::new(Some(1));
        let urgency = Urgency::new(Class::Read);
        let held = slots.try_take(address(9), &urgency).unwrap();
        for n in 0..3000 {
            drop(slots.try_take(address(n + 1000), &urgency).unwrap());
        }
        assert!(slots.by_address.lock().len() <= MOST);
        assert!(slots.try_take(address(9), &urgency).is_none());
        drop(held);
        assert!(slots.try_take(address(9), &urgency).is_some());
    }
}
