//! The identities file: YAML in, an [`IdentitySet`] out.
//!
//! Invariant: what is wrong is said in one line that names the key, and never shows a value that could be a
//! secret. A file without a single identity is wrong: it is more likely half written than meant.

use std::collections::HashMap;
use std::fmt::Display;
use std::sync::Arc;
use std::time::SystemTime;

use chrono::DateTime;
use ipnet::IpNet;
use serde::Deserialize;

use super::IdentitySet;
use super::identity::{Grant, Identity};
use super::pattern::Pattern;
use crate::auth::{Credentials, InvalidCredentials};
use crate::config::units::Secret;
use crate::s3::Action;

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
    allow: Vec<Allow>,
    #[serde(default)]
    networks: Vec<String>,
    expires: Option<String>,
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

/// Reads a file's text.
///
/// # Errors
/// One line that names the key.
pub(super) fn parse(text: &str) -> Result<IdentitySet, String> {
    let file: File = serde_yaml::from_str(text).map_err(|error| explain(&error.to_string()))?;
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
    fn identity(self) -> Result<Identity, Wrong> {
        if self.name.is_empty() || self.name.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return wrong("name", "must be a word");
        }
        let allow = self.allow.iter().enumerate().map(|(index, allow)| allow.grant(index));
        Ok(Identity {
            allow: allow.collect::<Result<_, _>>()?,
            networks: networks(&self.networks)?,
            expires: self.expires.as_deref().map(instant).transpose()?,
            credentials: credentials(
                self.anonymous,
                self.access_key,
                self.secret_key,
                self.session_token,
            )?,
            name: self.name,
        })
    }
}

fn credentials(
    anonymous: bool,
    access_key: Option<String>,
    secret_key: Option<Secret>,
    session_token: Option<Secret>,
) -> Result<Option<Credentials>, Wrong> {
    if anonymous {
        let keys = [
            ("access_key", access_key.is_some()),
            ("secret_key", secret_key.is_some()),
            ("session_token", session_token.is_some()),
        ];
        return match keys.iter().find(|(_, is_there)| *is_there) {
            Some((key, _)) => wrong(*key, "the anonymous identity has no keys"),
            None => Ok(None),
        };
    }
    let Some(access_key) = access_key else {
        return wrong("access_key", "is missing");
    };
    let Some(secret_key) = secret_key else {
        return wrong("secret_key", "is missing");
    };
    let checked = Credentials::new(access_key, secret_key, session_token);
    checked.map(Some).or_else(|error| match error {
        InvalidCredentials::AccessKey => wrong("access_key", error),
        InvalidCredentials::SecretKey => wrong("secret_key", error),
        InvalidCredentials::SessionToken => wrong("session_token", error),
    })
}

impl Allow {
    fn grant(&self, index: usize) -> Result<Grant, Wrong> {
        let key = |name: &str| format!("allow[{index}].{name}");
        if self.actions.is_empty() {
            return wrong(key("actions"), "an empty list allows nothing");
        }
        if self.resources.is_empty() {
            return wrong(key("resources"), "an empty list allows nothing");
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
        let Some(credentials) = identity.credentials() else {
            return match self.anonymous.replace(identity) {
                Some(_) => wrong("anonymous", "there is one already"),
                None => Ok(()),
            };
        };
        let access_key = credentials.access_key().to_owned();
        match self.by_access_key.contains_key(&access_key) {
            true => wrong("access_key", format_args!("`{access_key}` is there twice")),
            false => {
                self.by_access_key.insert(access_key, identity);
                Ok(())
            }
        }
    }
}

/// The reader's error in one line, without the value that it found.
fn explain(error: &str) -> String {
    let mut line = error.split_whitespace().collect::<Vec<_>>().join(" ");
    for what in ["invalid type: ", "invalid value: "] {
        let Some(from) = line.find(what).map(|at| at + what.len()) else { continue };
        let to = line.rfind(", expected").filter(|to| *to > from).unwrap_or(line.len());
        let kind = line[from..to].split(' ').next().unwrap_or_default().to_owned();
        line.replace_range(from..to, &kind);
    }
    line
}

/// Who is there, by what they are known.
pub(super) type ByAccessKey = HashMap<String, Arc<Identity>>;

#[cfg(test)]
mod tests;
