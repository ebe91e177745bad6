//! Health reports of the origin, as text and as JSON.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::Serialize;

use super::addresses::AddressReport;
use super::client::Origin;
use super::outages::State;

/// The health of the origin.
#[derive(Debug, Clone, Serialize)]
pub struct OriginReport {
    pub endpoint: String,
    pub state: State,
    /// Duration of the outage.
    pub failing_seconds: Option<u64>,
    /// The first failure of the outage, with advice on its cause.
    pub reason: Option<String>,
    /// Whether the circuit breaker is open.
    pub only_probed: bool,
    /// Addresses in use.
    pub addresses: Vec<SocketAddr>,
    /// Addresses in use, with their health.
    pub by_address: Vec<AddressReport>,
    /// Reason why the addresses are old, if the name no longer resolves.
    pub addresses_old: Option<String>,
}

/// The health of all origins.
#[derive(Debug, Clone, Serialize)]
pub struct OriginsReport {
    /// Report of the default origin.
    #[serde(flatten)]
    pub default: OriginReport,
    /// Reports of the other origins, by name.
    pub named: BTreeMap<String, OriginReport>,
}

impl Origin {
    /// Returns the information of [`Origin::describe`] as a structure.
    pub fn report(&self) -> OriginReport {
        let (state, outage) = self.health().state();
        let (failing_seconds, reason) = outage.unzip();
        let endpoint = self.endpoint();
        let addresses = endpoint.known_addresses();
        OriginReport {
            endpoint: self.config().endpoint.clone(),
            state,
            failing_seconds,
            reason,
            only_probed: self.health().is_only_probed(),
            by_address: endpoint.addresses().report(&addresses),
            addresses,
            addresses_old: endpoint.describe_addresses(),
        }
    }

    /// Describes the origin for `/readyz` in one line.
    pub fn describe(&self) -> String {
        let endpoint = &self.config().endpoint;
        let health = self.health().describe();
        match self.endpoint().describe_addresses() {
            Some(old) => format!("{health}origin {endpoint}: {old}\n"),
            None => health,
        }
    }
}
