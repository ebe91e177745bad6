//! Names and region by which clients address a listener.

use http::HeaderValue;

use crate::auth::AuthMode;
use crate::config::Config;
use crate::origin::Endpoint;
use crate::proxy::{ListenConfig, PathPrefix};
use crate::s3::HostNames;

/// Returns the region that clients must sign for, whatever their bucket's is; `None`: any will do.
pub(super) fn clients_region(config: &Config) -> Option<HeaderValue> {
    let region = config.auth.region.as_ref().unwrap_or(&config.origin.region);
    HeaderValue::from_str(region).ok().filter(|_| config.auth.mode == AuthMode::Verify)
}

/// Returns the prefix of a listener's paths, and which buckets cannot be named because of those of all listeners.
pub(super) fn path_prefix(config: &Config, listen: &ListenConfig) -> PathPrefix {
    let all = config.listen.iter().filter_map(|listen| listen.path_prefix.as_deref());
    PathPrefix::new(listen.path_prefix.as_deref(), all)
}

/// Returns the names under which a listener is reached (R24).
pub(super) fn host_names(config: &Config, listen: &ListenConfig, origin: &Endpoint) -> HostNames {
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
