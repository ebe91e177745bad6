//! Construction of the origin and of its credential domains.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::error::RunError;
use super::origins::{self, Planned, ToCheck};
use crate::auth::{Access, Credentials, IdentitiesError, IdentitySet, ReservedNames};
use crate::config::Config;
use crate::config::units::Secret;
use crate::origin::{
    Addressing, CredentialsConfig, IdentityCredentials, Origin, Origins, SessionKeysFrom, Source,
};
use crate::tls::authorities;

/// Finds hotset's own credentials, and builds the origin.
///
/// # Errors
/// [`RunError::Credentials`], [`RunError::Origin`], [`RunError::OriginAuthorities`].
pub(super) async fn find_origin(config: &Config) -> Result<Arc<Origin>, RunError> {
    let source = Source::new(&config.origin);
    let Some(found) = Box::pin(source.load()).await? else {
        if !config.origin.credentials.anonymous {
            log::warn!(
                "no credentials for the origin are set up: requests to it are not signed; if that is meant, set \
                 origin.credentials.anonymous: true"
            );
        }
        return origin(config, None);
    };
    check_authorities(config)?;
    Origin::with_source(config.origin.clone(), source, found)
        .map(Arc::new)
        .map_err(RunError::Origin)
}

/// The origin as a start would ask it, for who asks it without serving.
///
/// # Errors
/// One line: what stands in the way of a start.
pub async fn origin_to_check(to_check: &ToCheck) -> Result<Arc<Origin>, String> {
    let config = &to_check.config;
    let found = match to_check.has_sessions {
        true => Box::pin(with_sessions(config, None)).await,
        false => find_origin(config).await,
    };
    found.map_err(|error| error.to_string())
}

/// One line for people on the credentials that a start would find.
pub fn describe_credentials(config: &Config) -> String {
    let (source, anonymous) = (Source::new(&config.origin), config.origin.credentials.anonymous);
    if !anonymous && !source.is_set_up() {
        return "credentials for the origin: none are set up; a start would ask the instance's metadata service"
            .to_owned();
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let found = match runtime {
        Ok(runtime) => runtime.block_on(source.load()),
        Err(error) => return format!("warning: {error}"),
    };
    match found {
        Ok(Some(found)) => format!("credentials for the origin: {}", found.describe()),
        Ok(None) if anonymous => "credentials for the origin: none, as configured".to_owned(),
        Ok(None) => {
            "warning: no credentials for the origin are set up: requests would not be signed"
                .to_owned()
        }
        Err(error) => format!("warning: a start would be refused: {error}"),
    }
}

/// Builds the origin. `keys`: hotset's own; `None`: requests are not signed.
///
/// # Errors
/// [`RunError::Origin`], [`RunError::OriginAuthorities`].
pub(super) fn origin(config: &Config, keys: Option<Credentials>) -> Result<Arc<Origin>, RunError> {
    check_authorities(config)?;
    Origin::new(config.origin.clone(), keys).map(Arc::new).map_err(RunError::Origin)
}

/// Finds the credentials of each origin, and builds it.
///
/// # Errors
/// As [`find_origin`]; those of one of several say which.
pub(super) async fn find_origins(config: &Config) -> Result<Origins, RunError> {
    let default = find_origin(config).await?;
    build_origins(config, default, None).await
}

/// As [`find_origins`], with keys for the default origin from elsewhere; those without credentials of their own use them,
/// too.
///
/// # Errors
/// As [`find_origins`].
pub(super) async fn origins_with_keys(
    config: &Config,
    keys: Option<Credentials>,
) -> Result<Origins, RunError> {
    let copied = keys.as_ref().and_then(copy);
    let default = origin(config, keys)?;
    build_origins(config, default, copied.as_ref()).await
}

async fn build_origins(
    config: &Config,
    default: Arc<Origin>,
    keys: Option<&Credentials>,
) -> Result<Origins, RunError> {
    let mut made = BTreeMap::new();
    for Planned { key, settings, has_sessions } in origins::planned(config) {
        let keys = keys.filter(|_| settings.credentials == CredentialsConfig::default());
        let config = Config { origin: settings, ..config.clone() };
        let built = match keys {
            _ if has_sessions => Box::pin(with_sessions(&config, keys)).await,
            Some(keys) => origin(&config, copy(keys)),
            None => Box::pin(find_origin(&config)).await,
        };
        let in_use = |_| RunError::Origin("is in use".to_owned());
        let built = built.and_then(|built| Arc::try_unwrap(built).map_err(in_use));
        let named = |source| RunError::Named { key: key.clone(), source: Box::new(source) };
        made.insert(key.clone(), built.map_err(named)?);
    }
    Ok(origins::assemble(config, &default, made)?)
}

/// The origin of a directory bucket. `keys`: those to ask for sessions with; `None`: as the configuration says.
async fn with_sessions(
    config: &Config,
    keys: Option<&Credentials>,
) -> Result<Arc<Origin>, RunError> {
    check_authorities(config)?;
    let from = match keys.and_then(copy) {
        Some(keys) => SessionKeysFrom::Fixed(Arc::new(keys.for_directory_buckets())),
        None => SessionKeysFrom::Source(Source::new(&config.origin)),
    };
    let origin = Box::pin(Origin::with_sessions(config.origin.clone(), from)).await;
    origin.map(Arc::new).map_err(RunError::Origin)
}

fn copy(keys: &Credentials) -> Option<Credentials> {
    let secret = |secret: &Secret| Secret::new(secret.expose().to_owned());
    let token = keys.session_token().map(secret);
    Credentials::new(keys.access_key().to_owned(), secret(keys.secret_key()), token).ok()
}

fn check_authorities(config: &Config) -> Result<(), RunError> {
    if let Some(file) = &config.origin.ca_file {
        // pingora would panic.
        authorities(file).map_err(RunError::OriginAuthorities)?;
    }
    Ok(())
}

/// Loads the identities, and gives the origin the keys that they bring, now and whenever their file changes.
///
/// # Errors
/// [`RunError::Identities`].
pub(super) fn access(config: &Config, origins: &Origins) -> Result<Arc<Access>, RunError> {
    let (reserved, accept) = (reserved(config, origins), accept(origins.default_origin()));
    let access = Access::new(&config.auth, &config.origin.region, reserved, accept)?;
    Ok(Arc::new(access.with_path_prefixes(path_prefixes(config))))
}

/// Settings of authorisation that `access` decides by after a reload.
///
/// # Errors
/// [`IdentitiesError`].
pub(super) fn access_anew(
    access: &Access,
    config: &Config,
    before: &Config,
    origins: &Origins,
) -> Result<Access, IdentitiesError> {
    let (reserved, accept) = (reserved(config, origins), accept(origins.default_origin()));
    let region = &config.origin.region;
    let access = access.anew(&config.auth, &before.auth, region, reserved, accept)?;
    Ok(access.with_path_prefixes(path_prefixes(config)))
}

fn reserved(config: &Config, origins: &Origins) -> ReservedNames {
    let others = config.origins.values().map(|origin| origin.addressing);
    let mut addressing = others.chain([config.origin.addressing]);
    let is_virtual = addressing.any(|addressing| addressing != Addressing::Path);
    ReservedNames::new(config.auth.reserved.as_deref(), origins.are_aws(), is_virtual)
}

fn accept(origin: &Arc<Origin>) -> impl Fn(&IdentitySet) -> Result<(), String> + use<> {
    let origin = origin.clone();
    move |set| take_origin_keys(&origin, set)
}

fn path_prefixes(config: &Config) -> Vec<String> {
    config.listen.iter().filter_map(|listen| listen.path_prefix.clone()).collect()
}

/// From now on the origin is asked with the keys that these identities bring, and with no others but our own.
fn take_origin_keys(origin: &Origin, set: &IdentitySet) -> Result<(), String> {
    let brought = set.with_origin().map(|(identity, keys)| IdentityCredentials {
        identity: identity.name(),
        domain: keys.domain(),
        keys: keys.credentials(),
    });
    origin.domains().replace(brought)
}
