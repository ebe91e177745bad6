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

/// The API, and what it acts on.
pub struct Api {
    pub cache: Arc<Cache>,
    pub warmer: Arc<Warmer>,
    pub rules: Arc<Rules>,
    pub mode: AuthMode,
    pub token: Token,
    /// Whether only this machine can connect.
    pub on_loopback: bool,
    /// `None`: there are no other replicas.
    pub cluster: Option<Arc<Cluster>>,
    pub audit: AuditLogger,
    pub inspect: Arc<Inspect>,
    pub stats: Stats,
    pub reload: Reload,
}

/// Reloads the configuration, or with `true` says what that would change: the answer's body, or what is wrong in one line.
pub type Reload = Box<dyn Fn(bool) -> Reloaded + Send + Sync>;

/// The outcome of a reload that is under way.
pub type Reloaded = Pin<Box<dyn Future<Output = Result<Value, String>> + Send>>;
