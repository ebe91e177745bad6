//! Open connections of all origins, for metrics.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use super::Origins;
use crate::metrics::connections::{self, Open};
use crate::origin::Origin;

impl Origins {
    /// Sets the gauges of open connections.
    pub fn set_connection_gauges(&self) {
        let set = self.in_force();
        let of = |(name, origin): (Option<&str>, &Arc<Origin>)| {
            let mut open = BTreeMap::new();
            origin.count_connections(&mut open);
            (name.map(str::to_owned), open)
        };
        connections::set(set.each().map(of));
    }
}

impl Origin {
    /// Adds the open connections to each address of this origin; zero for known addresses without any.
    fn count_connections(&self, open: &mut BTreeMap<SocketAddr, Open>) {
        for address in self.endpoint().known_addresses() {
            open.entry(address).or_default();
        }
        for connections in self.locator().connections() {
            let (in_use, idle) = connections.count();
            for (address, count) in in_use {
                open.entry(address).or_default().in_use += count;
            }
            for address in idle {
                open.entry(address).or_default().idle += 1;
            }
        }
    }
}
