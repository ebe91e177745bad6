//! Parsing of the identities file into an [`IdentitySet`].
//!
//! Invariant: errors are one line that names the key, and never show a value that could be a secret. A file without any
//! identity is invalid: it is more likely incomplete than intended.

use std::fmt::{self, Display};
use std::sync::Arc;
use std::time::SystemTime;

use chrono::DateTime;
use ipnet::IpNet;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::IdentitySet;
use super::identity::{CertificateId, Grant, Identity, OriginKeys};
use super::pattern::Pattern;
use crate::auth::{ClientLimit, ClientLimitOverride, Credentials, InvalidCredentials};
use crate::config::units::Secret;
use crate::s3::Action;
use crate::yaml;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    identities: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    #[serde(default)]
    anonymous: bool,
    access_key: Option<String>,
    secret_key: Option<Secret>,
    session_token: Option<Secret>,
    #[serde(default)]
    keys: Vec<KeyEntry>,
    allow: Vec<Allow>,
    #[serde(default)]
    networks: Vec<String>,
    expires: Option<String>,
    #[serde(default)]
    certificates: Vec<String>,
    origin: Option<OriginEntry>,
    limits: Option<ClientLimitOverride>,
}

/// Additional keys of an identity.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyEntry {
    access_key: String,
    secret_key: Secret,
    session_token: Option<Secret>,
}

/// The value `anonymous`, or keys.
enum OriginEntry {
    Anonymous,
    Keys(OriginKeysEntry),
}

impl<'de> Deserialize<'de> for OriginEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EntryVisitor;
        impl<'de> Visitor<'de> for EntryVisitor {
            type Value = OriginEntry;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`anonymous` or keys")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<OriginEntry, E> {
                match text {
                    "anonymous" => Ok(OriginEntry::Anonymous),
                    _ => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
                }
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<OriginEntry, A::Error> {
                OriginKeysEntry::deserialize(MapAccessDeserializer::new(map)).map(OriginEntry::Keys)
            }
        }
        deserializer.deserialize_any(EntryVisitor)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OriginKeysEntry {
    access_key: String,
    secret_key: Secret,
    session_token: Option<Secret>,
    domain: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Allow {
    actions: Vec<ActionName>,
    resources: Vec<String>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum ActionName {
    Read,
    Write,
    List,
    Delete,
    Admin,
}

impl From<ActionName> for Action {
    fn from(name: ActionName) -> Self {
        match name {
            ActionName::Read => Self::Read,
            ActionName::Write => Self::Write,
            ActionName::List => Self::List,
            ActionName::Delete => Self::Delete,
            ActionName::Admin => Self::Admin,
        }
    }
}

/// Parses the text of a file.
///
/// # Errors
/// One line that names the key.
pub(super) fn parse(text: &str) -> Result<IdentitySet, String> {
    let file: File = yaml::from_str(text).map_err(|error| explain(&error))?;
    if file.identities.is_empty() {
        return Err("identities: at least one is needed".to_owned());
    }
    let mut set = IdentitySet::default();
    for (index, entry) in file.identities.into_iter().enumerate() {
        let wrong = |(key, problem)| format!("identities[{index}].{key}: {problem}");
        let identity = Arc::new(entry.identity().map_err(wrong)?);
        set.add(identity).map_err(wrong)?;
    }
    Ok(set)
}

type Wrong = (String, String);

fn wrong<T>(key: impl Into<String>, problem: impl Display) -> Result<T, Wrong> {
    Err((key.into(), problem.to_string()))
}

impl Entry {
    fn identity(mut self) -> Result<Identity, Wrong> {
        word("name", &self.name)?;
        let credentials = self.credentials()?;
        let allow = self.allow.iter().enumerate().map(|(index, allow)| allow.grant(index));
        let certificates = self.certificates.iter().enumerate().map(certificate);
        Ok(Identity {
            credentials,
            allow: allow.collect::<Result<_, _>>()?,
            networks: networks(&self.networks)?,
            expires: self.expires.as_deref().map(instant).transpose()?,
            certificates: certificates.collect::<Result<_, _>>()?,
            origin: self.origin.map(|origin| origin.keys(&self.name)).transpose()?,
            limits: self.limits.map(own_limits).transpose()?,
            name: self.name,
        })
    }

    /// Returns the keys of an identity; none: it is identified by a certificate, or anonymous.
    fn credentials(&mut self) -> Result<Vec<Credentials>, Wrong> {
        let known_otherwise = !(self.certificates.is_empty() && self.keys.is_empty());
        let own = (self.access_key.take(), self.secret_key.take(), self.session_token.take());
        let own = match own {
            (None, None, None) if self.anonymous != known_otherwise => None,
            _ if self.anonymous => return wrong("anonymous", "has neither keys nor certificates"),
            (None, ..) => return wrong("access_key", "is missing"),
            (_, None, _) => return wrong("secret_key", "is missing"),
            (Some(access_key), Some(secret_key), session_token) => {
                Some(checked("", access_key, secret_key, session_token))
            }
        };
        let further = self.keys.drain(..).enumerate().map(|(index, key)| {
            let KeyEntry { access_key, secret_key, session_token } = key;
            checked(&format!("keys[{index}]."), access_key, secret_key, session_token)
        });
        own.into_iter().chain(further).collect()
    }
}

impl OriginEntry {
    fn keys(self, name: &str) -> Result<OriginKeys, Wrong> {
        // No configured domain contains a blank.
        let own_domain = || format!("identity {name}");
        let keys = match self {
            Self::Anonymous => return Ok(OriginKeys { domain: own_domain(), credentials: None }),
            Self::Keys(keys) => keys,
        };
        if let Some(domain) = &keys.domain {
            word("origin.domain", domain)?;
        }
        let domain = keys.domain.unwrap_or_else(own_domain);
        let keys = checked("origin.", keys.access_key, keys.secret_key, keys.session_token)?;
        Ok(OriginKeys { domain, credentials: Some(Arc::new(keys)) })
    }
}

fn own_limits(limits: ClientLimitOverride) -> Result<ClientLimitOverride, Wrong> {
    match limits.over(&ClientLimit::default()).problem() {
        Some((key, problem)) => wrong(format!("limits.{key}"), problem),
        None => Ok(limits),
    }
}

fn word(key: &str, text: &str) -> Result<(), Wrong> {
    match text.is_empty() || text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        true => wrong(key, "must be non-empty and contain no whitespace"),
        false => Ok(()),
    }
}

fn checked(
    below: &str,
    access_key: String,
    secret_key: Secret,
    session_token: Option<Secret>,
) -> Result<Credentials, Wrong> {
    Credentials::new(access_key, secret_key, session_token).or_else(|error| {
        let key = match error {
            InvalidCredentials::AccessKey => "access_key",
            InvalidCredentials::SecretKey => "secret_key",
            InvalidCredentials::SessionToken => "session_token",
        };
        wrong(format!("{below}{key}"), error)
    })
}

/// Parses a certificate id: `sha256:` and 64 hex digits, with or without colons between them; `dns:`, `uri:` or
/// `email:` and a name; or a bare name, where a colon marks a URI and an `@` a mail address.
fn certificate((index, text): (usize, &String)) -> Result<CertificateId, Wrong> {
    let key = format!("certificates[{index}]");
    let Some(digits) = text.strip_prefix("sha256:") else {
        let (kind, name) = match text.split_once(':') {
            Some((kind @ ("dns" | "uri" | "email"), name)) => (kind, name),
            Some(_) => ("uri", text.as_str()),
            None if text.contains('@') => ("email", text.as_str()),
            None => ("dns", text.as_str()),
        };
        word(&key, name)?;
        return Ok(match kind {
            "uri" => CertificateId::uri(name),
            "email" => CertificateId::email(name),
            _ => CertificateId::dns(name),
        });
    };
    let digits = digits.replace(':', "");
    let is_hex = digits.len() == 64 && digits.bytes().all(|b| b.is_ascii_hexdigit());
    if !is_hex {
        return wrong(key, format_args!("`{text}` is not sha256: and 64 hex digits"));
    }
    let byte = |at: usize| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).unwrap_or_default();
    Ok(CertificateId::Sha256(std::array::from_fn(byte)))
}

impl Allow {
    fn grant(&self, index: usize) -> Result<Grant, Wrong> {
        let key = |name: &str| format!("allow[{index}].{name}");
        if self.actions.is_empty() {
            return wrong(
                key("actions"),
                "an empty list would refuse every bucket; remove the key to allow all",
            );
        }
        if self.resources.is_empty() {
            return wrong(
                key("resources"),
                "an empty list would refuse every bucket; remove the key to allow all",
            );
        }
        let pattern = |(item, text): (usize, &String)| {
            let place = || format!("{}[{item}]", key("resources"));
            Pattern::new(text).or_else(|error| wrong(place(), format_args!("`{text}` {error}")))
        };
        Ok(Grant {
            actions: self.actions.iter().copied().map(Action::from).collect(),
            resources: self.resources.iter().enumerate().map(pattern).collect::<Result<_, _>>()?,
        })
    }
}

fn networks(texts: &[String]) -> Result<Vec<IpNet>, Wrong> {
    let network = |(index, text): (usize, &String)| {
        let key = || format!("networks[{index}]");
        let parsed = text.parse::<IpNet>().ok();
        let parsed =
            parsed.or_else(|| text.parse().ok().map(|address: std::net::IpAddr| address.into()));
        match parsed {
            None => wrong(key(), format_args!("`{text}` is not a network such as 10.0.0.0/8")),
            Some(network) if network.trunc() != network => {
                let meant = network.trunc();
                wrong(key(), format_args!("`{text}` has bits beside the network: write {meant}"))
            }
            Some(network) => Ok(network),
        }
    };
    texts.iter().enumerate().map(network).collect()
}

fn instant(text: &str) -> Result<SystemTime, Wrong> {
    match DateTime::parse_from_rfc3339(text) {
        Ok(at) => Ok(at.into()),
        Err(_) => {
            wrong("expires", format_args!("`{text}` is not a time such as 2030-01-31T12:00:00Z"))
        }
    }
}

impl IdentitySet {
    fn add(&mut self, identity: Arc<Identity>) -> Result<(), Wrong> {
        if !self.names.insert(identity.name.clone()) {
            return wrong("name", format_args!("`{}` is there twice", identity.name));
        }
        self.in_order.push(identity.clone());
        for (index, id) in identity.certificates.iter().enumerate() {
            if self.by_certificate.insert(id.clone(), identity.clone()).is_some() {
                return wrong(
                    format!("certificates[{index}]"),
                    format_args!("`{id}` is there twice"),
                );
            }
        }
        for credentials in identity.credentials() {
            let access_key = credentials.access_key().to_owned();
            if self.by_access_key.insert(access_key.clone(), identity.clone()).is_some() {
                return wrong("access_key", format_args!("`{access_key}` is there twice"));
            }
        }
        let is_anonymous = identity.credentials().is_empty() && identity.certificates.is_empty();
        if is_anonymous && self.anonymous.replace(identity).is_some() {
            return wrong("anonymous", "there is one already");
        }
        Ok(())
    }
}

/// Formats a parser error in one line, without the value that it found.
fn explain(error: &yaml::Error) -> String {
    let key = error.key().map(|key| format!("{key}: ")).unwrap_or_default();
    let problem = error.problem_without_value();
    let place = error.place().map(|at| format!(" (line {}, column {})", at.line, at.column));
    format!("{key}{problem}{}", place.unwrap_or_default())
}

#[cfg(test)]
mod tests;
