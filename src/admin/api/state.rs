//! State of the API.

use std::pin::Pin;
use std::sync::Arc;

use serde_json::Value;

use crate::admin::stats::Stats;
use crate::admin::token::Token;
use crate::auth::AuthMode;
use crate::cache::{Cache, Rules};
use crate::cluster::Cluster;
use crate::inspect::Inspect;
use crate::logging::audit::AuditLogger;
use crate::warm::Warmer;

/// The API, with the modules that it controls.
pub struct Api {
    pub cache: Arc<Cache>,
    pub warmer: Arc<Warmer>,
    pub rules: Arc<Rules>,
    pub mode: AuthMode,
    pub token: Token,
    /// Whether the port listens on a loopback address.
    pub on_loopback: bool,
    /// Other replicas; `None`: there are none.
    pub cluster: Option<Arc<Cluster>>,
    pub audit: AuditLogger,
    pub inspect: Arc<Inspect>,
    pub stats: Stats,
    pub reload: Reload,
}

/// Reloads the configuration, or with `true` reports the changes only. Returns the response body, or one line with the
/// error.
pub type Reload = Box<dyn Fn(bool) -> Reloaded + Send + Sync>;

/// A reload under way.
pub type Reloaded = Pin<Box<dyn Future<Output = Result<Value, String>> + Send>>;
