//! State shared by the requests of a listener; `handlers` and pingora's hooks work on it.

use std::sync::Arc;

use arc_swap::ArcSwap;
use http::HeaderValue;

use super::access_log::AccessLogger;
use super::config::LimitsConfig;
use super::conn::admission::Admission;
use super::handlers::owners::ConfirmedBucketOwners;
use super::path_prefix::PathPrefix;
use super::recent_errors::RecentErrors;
use super::response::cors_rules::CorsRules;
use crate::auth::Access;
use crate::cache::{Cache, Rules};
use crate::cluster::Cluster;
use crate::inspect::Inspect;
use crate::logging::audit::AuditLogger;
use crate::origin::Origins;
use crate::s3::HostNames;

/// Shared state of all requests; one per listener.
#[derive(Clone)]
pub struct Gateway {
    pub cache: Arc<Cache>,
    pub origins: Origins,
    pub access: Arc<Access>,
    pub rules: Arc<Rules>,
    pub owners: Arc<ConfirmedBucketOwners>,
    /// `None`: there are no other replicas.
    pub cluster: Option<Arc<Cluster>>,
    pub cors: Arc<CorsRules>,
    pub log: AccessLogger,
    pub audit: AuditLogger,
    pub errors: Arc<RecentErrors>,
    /// One for all listeners.
    pub inspect: Arc<Inspect>,
    pub limits: Arc<ArcSwap<LimitsConfig>>,
    /// One for all listeners.
    pub admission: Arc<Admission>,
    pub path_prefix: PathPrefix,
    pub addressed: Arc<ArcSwap<Addressed>>,
}

/// Names and region by which clients address a listener.
pub struct Addressed {
    /// Host names under which the listener is reached.
    pub host_names: HostNames,
    /// Region that clients sign for, where it is not the origin's.
    pub region: Option<HeaderValue>,
}
