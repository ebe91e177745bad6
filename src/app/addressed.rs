//! Names and region by which clients address a listener.

use std::sync::Arc;

use http::HeaderValue;

use crate::auth::AuthMode;
use crate::config::Config;
use crate::origin::Endpoint;
use crate::proxy::{Addressed, ListenConfig, PathPrefix};
use crate::s3::HostNames;

/// Returns the names and the region of a listener.
pub(super) fn addressed(
    config: &Config,
    listen: &ListenConfig,
    origin: &Endpoint,
) -> Arc<Addressed> {
    let (host_names, region) = (host_names(config, listen, origin), clients_region(config));
    Arc::new(Addressed { host_names, region })
}

/// Returns the region that clients must sign for, whatever their bucket's is; `None`: any.
fn clients_region(config: &Config) -> Option<HeaderValue> {
    let region = config.auth.region.as_ref().unwrap_or(&config.origin.region);
    HeaderValue::from_str(region).ok().filter(|_| config.auth.mode == AuthMode::Verify)
}

/// Returns the prefix of a listener's paths, and the bucket names that the prefixes of all listeners hide.
pub(super) fn path_prefix(config: &Config, listen: &ListenConfig) -> PathPrefix {
    let all = config.listen.iter().filter_map(|listen| listen.path_prefix.as_deref());
    PathPrefix::new(listen.path_prefix.as_deref(), all)
}

/// Returns the host names of a listener (R24).
fn host_names(config: &Config, listen: &ListenConfig, origin: &Endpoint) -> HostNames {
    let mut domains = listen.domains.clone();
    match config.auth.mode {
        AuthMode::Trust => HostNames::private(domains),
        // A name proves nothing, and a signature cannot be had by luring a browser (R24).
        AuthMode::Verify => HostNames::any(domains),
        AuthMode::Transparent => {
            domains.push(origin.name().to_owned());
            HostNames::any(domains)
        }
    }
}
