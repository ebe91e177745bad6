//! Names and region by which clients address a listener.

use http::HeaderValue;

use crate::auth::AuthMode;
use crate::config::Config;
use crate::origin::Endpoint;
use crate::proxy::ListenConfig;
use crate::s3::HostNames;

/// Returns the region that clients sign for, where it is not the origin's.
pub(super) fn clients_region(config: &Config) -> Option<HeaderValue> {
    let region = config.auth.region.as_ref().filter(|region| **region != config.origin.region)?;
    HeaderValue::from_str(region).ok().filter(|_| config.auth.mode == AuthMode::Verify)
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
