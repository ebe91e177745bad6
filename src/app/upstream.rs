//! Construction of the origin and of its credential domains.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::error::RunError;
use super::origins::{self, Planned, ToCheck};
use crate::auth::{Access, AuthMode, Credentials, IdentitiesError, IdentitySet, ReservedNames};
use crate::cache::CacheConfig;
use crate::config::Config;
use crate::config::units::Secret;
use crate::origin::{
    Addressing, CredentialsConfig, IdentityCredentials, Origin, OriginSet, Origins,
    SessionKeysFrom, Source,
};
use crate::tls::authorities;

/// Finds hotset's own credentials, and builds the origin.
///
/// # Errors
/// [`RunError::Credentials`], [`RunError::Origin`], [`RunError::OriginAuthorities`].
pub(super) async fn find_origin(config: &Config) -> Result<Arc<Origin>, RunError> {
    let source = Source::new(&config.origin);
    if source.is_anonymous() {
        return origin(config, None);
    }
    let found = Box::pin(source.load()).await?;
    check_authorities(config)?;
    Origin::with_source(config.origin.clone(), source, found)
        .map(Arc::new)
        .map_err(RunError::Origin)
}

/// Returns the key `cache`, restricted by the mode: in `transparent` mode nothing is fetched that no client requested.
pub(super) fn cache_config(config: &Config) -> CacheConfig {
    let predict_reads = config.cache.predict_reads && config.auth.mode != AuthMode::Transparent;
    CacheConfig { predict_reads, ..config.cache.clone() }
}

/// Builds the origin as a start would, for checks without serving.
///
/// # Errors
/// One line: the error that would prevent a start.
pub async fn origin_to_check(to_check: &ToCheck) -> Result<Arc<Origin>, String> {
    let config = &to_check.config;
    let found = match to_check.has_sessions {
        true => Box::pin(with_sessions(config, None)).await,
        false => find_origin(config).await,
    };
    found.map_err(|error| error.to_string())
}

/// Describes in one line for each origin the credentials that a start would find. Asks each source once.
pub fn describe_credentials(config: &Config) -> Vec<String> {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return vec![format!("warning: {error}")],
    };
    let mut known: Vec<(Source, Result<String, String>)> = Vec::new();
    let mut describe = |ToCheck { key, config, .. }: &ToCheck| {
        let source = Source::new(&config.origin);
        let found = match known.iter().find(|(other, _)| *other == source) {
            Some((_, found)) => found.clone(),
            None => {
                let found = runtime.block_on(credentials_of(&source));
                known.push((source, found.clone()));
                found
            }
        };
        let name = if key == "origin" { "the origin" } else { key };
        match found {
            Ok(found) => format!("credentials for {name}: {found}"),
            Err(problem) => format!("warning: credentials for {name}: {problem}"),
        }
    };
    origins::origins_to_check(config, None).iter().map(&mut describe).collect()
}

/// Describes the credentials of a source; an error is a sentence for a warning.
async fn credentials_of(source: &Source) -> Result<String, String> {
    match source.load_to_check().await {
        Ok(Some(found)) => Ok(found.describe()),
        Ok(None) if source.is_anonymous() => Ok("none, as configured".to_owned()),
        Ok(None) => Err(
            "none are set up, and the instance metadata service has none: requests would not be \
                         signed"
                .to_owned(),
        ),
        Err(error) => Err(format!("a start would be refused: {error}")),
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

/// Source of the keys of all origins without credentials of their own.
pub(super) enum KeysFrom {
    /// The configured sources.
    Sources,
    /// Keys passed in by the caller; `None`: requests to the default origin are not signed.
    Caller(Option<Credentials>),
}

/// Builds all origins, with the credentials of each. `before`: unchanged origins of this set are kept, with their
/// connections and learned state.
///
/// # Errors
/// As [`find_origin`]; an error of one of several names it.
pub(super) async fn build_origins(
    config: &Config,
    keys: &KeysFrom,
    before: Option<&OriginSet>,
) -> Result<OriginSet, RunError> {
    let default = default_origin(config, keys, before.map(OriginSet::default_origin)).await?;
    let mut made = BTreeMap::new();
    for Planned { key, settings, has_sessions } in origins::planned(config) {
        let same = before.and_then(|set| set.made_for(&key));
        if let Some(same) = same.filter(|same| *same.config() == settings) {
            made.insert(key, same.clone());
            continue;
        }
        let keys = match keys {
            KeysFrom::Caller(keys) if settings.credentials == CredentialsConfig::default() => {
                keys.as_ref()
            }
            _ => None,
        };
        let config = Config { origin: settings, ..config.clone() };
        let built = match keys {
            _ if has_sessions => Box::pin(with_sessions(&config, keys)).await,
            Some(keys) => origin(&config, copy(keys)),
            None => Box::pin(find_origin(&config)).await,
        };
        let named = |source| RunError::Named { key: key.clone(), source: Box::new(source) };
        let built = built.and_then(unshared).map_err(named)?;
        let built = built.beside(&default, origins::name_of(&key));
        made.insert(key, Arc::new(built));
    }
    Ok(origins::assemble(config, default, made)?)
}

async fn default_origin(
    config: &Config,
    keys: &KeysFrom,
    before: Option<&Arc<Origin>>,
) -> Result<Arc<Origin>, RunError> {
    if let Some(same) = before.filter(|same| *same.config() == config.origin) {
        return Ok(same.clone());
    }
    let built = match keys {
        KeysFrom::Sources => Box::pin(find_origin(config)).await?,
        KeysFrom::Caller(keys) => origin(config, keys.as_ref().and_then(copy))?,
    };
    match before {
        None => Ok(built),
        Some(before) => Ok(Arc::new(unshared(built)?.succeeding(before))),
    }
}

fn unshared(origin: Arc<Origin>) -> Result<Origin, RunError> {
    Arc::try_unwrap(origin).map_err(|_| RunError::Origin("is in use".to_owned()))
}

/// Builds the origin of a directory bucket. `keys`: those that request sessions; `None`: the configured ones.
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

/// Loads the identities, and gives the origin their keys, now and whenever their file changes.
///
/// # Errors
/// [`RunError::Identities`].
pub(super) fn access(config: &Config, origins: &Origins) -> Result<Arc<Access>, RunError> {
    let reserved = reserved(config, &origins.in_force());
    let access = Access::new(&config.auth, &config.origin.region, reserved, accept(origins))?;
    Ok(Arc::new(access.with_path_prefixes(path_prefixes(config))))
}

/// Returns the new authorisation settings of `access` after a reload. `next`: the new origins.
///
/// # Errors
/// [`IdentitiesError`].
pub(super) fn access_anew(
    access: &Access,
    config: &Config,
    before: &Config,
    origins: &Origins,
    next: &OriginSet,
) -> Result<Access, IdentitiesError> {
    let (reserved, accept) = (reserved(config, next), accept(origins));
    let region = &config.origin.region;
    let access = access.anew(&config.auth, &before.auth, region, reserved, accept)?;
    give_origin_keys(&access, next.default_origin());
    Ok(access.with_path_prefixes(path_prefixes(config)))
}

fn reserved(config: &Config, origins: &OriginSet) -> ReservedNames {
    let others = config.origins.values().map(|origin| origin.addressing);
    let mut addressing = others.chain([config.origin.addressing]);
    let is_virtual = addressing.any(|addressing| addressing != Addressing::Path);
    ReservedNames::new(config.auth.reserved.as_deref(), origins.are_aws(), is_virtual)
}

/// Gives the keys of identities to the default origin in force at that time.
fn accept(origins: &Origins) -> impl Fn(&IdentitySet) -> Result<(), String> + use<> {
    let origins = origins.clone();
    move |set| take_origin_keys(&origins.default_origin(), set)
}

/// Gives an origin the keys of the identities in force.
pub(super) fn give_origin_keys(access: &Access, origin: &Origin) {
    if let Some(set) = access.identities()
        && let Err(problem) = take_origin_keys(origin, &set)
    {
        log::error!("auth.identities: {problem}; all else in it holds");
    }
}

fn path_prefixes(config: &Config) -> Vec<String> {
    config.listen.iter().filter_map(|listen| listen.path_prefix.clone()).collect()
}

/// Replaces the keys of identities at an origin; hotset's own stay.
fn take_origin_keys(origin: &Origin, set: &IdentitySet) -> Result<(), String> {
    let brought = set.with_origin().map(|(identity, keys)| IdentityCredentials {
        identity: identity.name(),
        domain: keys.domain(),
        keys: keys.credentials(),
    });
    origin.domains().replace(brought)
}
