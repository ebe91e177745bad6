//! The origin, and in whose name it is asked.

use std::sync::Arc;

use super::RunError;
use crate::auth::{Access, Credentials, IdentitySet, ReservedNames};
use crate::config::Config;
use crate::origin::{Addressing, Brought, Origin};
use crate::tls::authorities;

/// Builds the origin. `keys`: hotset's own; `None`: requests are not signed.
///
/// # Errors
/// [`RunError::Origin`], [`RunError::OriginAuthorities`].
pub(super) fn origin(config: &Config, keys: Option<Credentials>) -> Result<Arc<Origin>, RunError> {
    if let Some(file) = &config.origin.ca_file {
        // pingora would panic.
        authorities(file).map_err(RunError::OriginAuthorities)?;
    }
    Origin::new(config.origin.clone(), keys).map(Arc::new).map_err(RunError::Origin)
}

/// Loads the identities, and gives the origin the keys that they bring, now and whenever their file changes.
///
/// # Errors
/// [`RunError::Identities`].
pub(super) fn access(config: &Config, origin: &Arc<Origin>) -> Result<Arc<Access>, RunError> {
    let asked = origin.clone();
    let brought = move |set: &IdentitySet| take_origin_keys(&asked, set);
    let reserved = ReservedNames::new(
        config.auth.reserved.as_deref(),
        origin.endpoint().is_aws(),
        config.origin.addressing == Addressing::Virtual,
    );
    let access = Access::new(&config.auth, &config.origin.region, reserved, brought)?;
    let prefixes = config.listen.iter().filter_map(|listen| listen.path_prefix.clone());
    Ok(Arc::new(access.with_path_prefixes(prefixes.collect())))
}

/// From now on the origin is asked with the keys that these identities bring, and with no others but our own.
fn take_origin_keys(origin: &Origin, set: &IdentitySet) -> Result<(), String> {
    let brought = set.with_origin().map(|(identity, keys)| Brought {
        bringer: identity.name(),
        domain: keys.domain(),
        keys: keys.credentials(),
    });
    origin.domains().replace(brought)
}
