//! The origin: connections, requests, retries, health and credentials.
//!
//! Invariant of this module: bytes of an object that leave it were validated against the request (version, range,
//! length), and a body that ends early is never passed on as complete. It does not depend on caching: blocks, freshness
//! and flights belong to `cache`.

mod access_point;
mod address_slots;
mod addresses;
mod ask;
mod asked;
mod body;
mod breaker;
mod checked;
mod client;
mod clock;
pub mod config;
mod connections;
mod connector;
pub mod credentials;
mod directory_bucket;
mod domains;
mod endpoint;
mod endpoint_variant;
mod error;
mod exchange;
mod get;
mod health;
mod hedging;
mod keep_alive;
mod late_body;
mod latencies;
mod list;
mod loops;
mod misdirected;
mod origins;
#[cfg(test)]
mod outage;
mod outages;
mod pass_through;
mod pool;
mod recent;
mod refused;
mod regions;
mod relocate;
mod report;
mod request;
mod resolver;
mod retry;
mod slots;
mod touch;
mod version_access;
mod width;

pub use access_point::{AccessPoint, NotAnAccessPoint};
pub use addresses::AddressState;
pub use ask::AuthorizationResponse;
pub use asked::{Asked, Pin};
pub use body::{Answer, Body};
pub use client::Origin;
pub use config::{
    Addressing, BackoffConfig, BucketConfig, CredentialsConfig, DEFAULT_ORIGIN, OriginConfig,
    RetryBudgetConfig,
};
pub use connections::{Attempt, PassThrough};
pub(crate) use connector::NO_AUTHORITIES;
pub use credentials::{CredentialsError, Found, Source};
pub use directory_bucket::{DirectoryBucket, SessionKeysFrom};
pub use domains::{Domain, Domains, IdentityCredentials, MAX_REALMS};
pub use endpoint::Endpoint;
pub use error::{OriginError, with_causes};
pub use loops::{CDN_LOOP, LoopGuard};
pub use origins::{Mapping, OriginSet, Origins, Place};
pub use outages::State as OriginState;
pub use pass_through::Redirected;
pub use regions::{Site, in_region};
pub use report::{OriginReport, OriginsReport};
pub use slots::{Class, Urgency};
pub use width::{Sizes, Width};
