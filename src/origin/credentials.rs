//! Where our own credentials come from: the environment, else the shared credentials file.
//!
//! Source: AWS SDKs and Tools Reference Guide, "Shared config and credentials files". Invariant:
//! half of a pair, a file that was named and is not there, or a profile without keys is an error
//! that names what is missing; it never turns into unsigned requests. Only where nothing at all was
//! set up, and the caller asks for it, is the answer "anonymous" ([`load_or_anonymous`]). Errors
//! never show a secret.

use std::io;
use std::path::{Path, PathBuf};

use super::config::CredentialsConfig;
use crate::auth::{Credentials, InvalidCredentials};
use crate::config::units::Secret;

const ACCESS_KEY: &str = "AWS_ACCESS_KEY_ID";
const SECRET_KEY: &str = "AWS_SECRET_ACCESS_KEY";
const SESSION_TOKEN: &str = "AWS_SESSION_TOKEN";
const FILE: &str = "AWS_SHARED_CREDENTIALS_FILE";
const PROFILE: &str = "AWS_PROFILE";
const DEFAULT_PROFILE: &str = "default";

/// Why there are no credentials; each message is one line and names what is missing.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// Neither the environment nor a file at the usual place says anything.
    #[error("no credentials: set {ACCESS_KEY} and {SECRET_KEY}, or write {}", usual.display())]
    NotFound {
        /// Where the file was looked for.
        usual: PathBuf,
    },
    /// One half of the pair is set in the environment.
    #[error("{missing} is not set, but {set} is")]
    HalfSet {
        /// The variable to set.
        missing: &'static str,
        /// The variable that is set.
        set: &'static str,
    },
    /// The file cannot be read.
    #[error("credentials file {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file has no such section.
    #[error("credentials file {}: there is no profile [{profile}]", path.display())]
    NoProfile {
        /// The file.
        path: PathBuf,
        /// The section looked for.
        profile: String,
    },
    /// The section lacks a key. Only static keys are supported, no roles, SSO or processes.
    #[error("credentials file {}: profile [{profile}] has no {key}", path.display())]
    NoKey {
        /// The file.
        path: PathBuf,
        /// The section.
        profile: String,
        /// The key to add.
        key: &'static str,
    },
    /// A value cannot be used.
    #[error("credentials from {place}: {source}")]
    Invalid {
        /// `the environment`, or the file and the profile.
        place: String,
        /// What is wrong with it.
        source: InvalidCredentials,
    },
}

/// Loads the credentials: `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and `AWS_SESSION_TOKEN`;
/// else a profile of the configured file, of `AWS_SHARED_CREDENTIALS_FILE` or of
/// `~/.aws/credentials`, the first that is named. `AWS_PROFILE` counts where the configured profile
/// is `default`.
///
/// `env` looks up one variable of the environment; an empty one counts as not set.
///
/// # Errors
/// Every [`CredentialsError`].
pub fn load(
    config: &CredentialsConfig,
    env: impl Fn(&str) -> Option<String>,
) -> Result<Credentials, CredentialsError> {
    let var = |name: &str| {
        env(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
    };
    match (var(ACCESS_KEY), var(SECRET_KEY)) {
        (Some(access_key), Some(secret_key)) => {
            let keys = Keys { access_key, secret_key, session_token: var(SESSION_TOKEN) };
            keys.check(|| "the environment".to_owned())
        }
        (Some(_), None) => Err(CredentialsError::HalfSet { missing: SECRET_KEY, set: ACCESS_KEY }),
        (None, Some(_)) => Err(CredentialsError::HalfSet { missing: ACCESS_KEY, set: SECRET_KEY }),
        (None, None) => from_file(config, var),
    }
}

/// Like [`load`], but where nothing at all was set up the answer is `None`: requests go out
/// unsigned.
///
/// # Errors
/// Every [`CredentialsError`] but [`CredentialsError::NotFound`].
pub fn load_or_anonymous(
    config: &CredentialsConfig,
    env: impl Fn(&str) -> Option<String>,
) -> Result<Option<Credentials>, CredentialsError> {
    match load(config, env) {
        Ok(credentials) => Ok(Some(credentials)),
        Err(CredentialsError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The file that they come from, if it is not the environment.
pub fn file(config: &CredentialsConfig, env: impl Fn(&str) -> Option<String>) -> Option<PathBuf> {
    let var = |name: &str| env(name).filter(|value| !value.trim().is_empty());
    match var(ACCESS_KEY).or_else(|| var(SECRET_KEY)) {
        Some(_) => None,
        None => Some(file_path(config, var).1),
    }
}

/// Whether the file is named, and where it is.
fn file_path(config: &CredentialsConfig, var: impl Fn(&str) -> Option<String>) -> (bool, PathBuf) {
    let named = config.file.clone().or_else(|| var(FILE).map(PathBuf::from));
    let usual = PathBuf::from(var("HOME").unwrap_or_else(|| "~".to_owned()));
    (named.is_some(), named.unwrap_or_else(|| usual.join(".aws").join("credentials")))
}

fn from_file(
    config: &CredentialsConfig,
    var: impl Fn(&str) -> Option<String>,
) -> Result<Credentials, CredentialsError> {
    let (is_named, path) = file_path(config, &var);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound && !is_named => {
            return Err(CredentialsError::NotFound { usual: path });
        }
        Err(source) => return Err(CredentialsError::Unreadable { path, source }),
    };
    let profile = match config.profile.as_str() {
        DEFAULT_PROFILE => var(PROFILE).unwrap_or_else(|| DEFAULT_PROFILE.to_owned()),
        profile => profile.to_owned(),
    };
    from_profile(&text, &path, &profile)
}

fn from_profile(text: &str, path: &Path, profile: &str) -> Result<Credentials, CredentialsError> {
    let section = find_profile(text, profile).ok_or_else(|| CredentialsError::NoProfile {
        path: path.to_owned(),
        profile: profile.to_owned(),
    })?;
    let required = |value: Option<String>, key| {
        value.ok_or_else(|| CredentialsError::NoKey {
            path: path.to_owned(),
            profile: profile.to_owned(),
            key,
        })
    };
    let keys = Keys {
        access_key: required(section.access_key, "aws_access_key_id")?,
        secret_key: required(section.secret_key, "aws_secret_access_key")?,
        session_token: section.session_token,
    };
    keys.check(|| format!("{}, profile [{profile}]", path.display()))
}

/// What was read and not yet checked. No Debug: it is secret.
struct Keys {
    access_key: String,
    secret_key: String,
    session_token: Option<String>,
}

impl Keys {
    fn check(self, place: impl Fn() -> String) -> Result<Credentials, CredentialsError> {
        let token = self.session_token.map(Secret::new);
        Credentials::new(self.access_key, Secret::new(self.secret_key), token)
            .map_err(|source| CredentialsError::Invalid { place: place(), source })
    }
}

#[derive(Default)]
struct Section {
    access_key: Option<String>,
    secret_key: Option<String>,
    session_token: Option<String>,
}

/// Reads the section `[profile]`, wherever and however often it stands; `None` when it does not. A
/// later value wins; lines that begin with `#` or `;` are comments, and keys of no interest are
/// passed over.
fn find_profile(text: &str, profile: &str) -> Option<Section> {
    let mut found: Option<Section> = None;
    let mut inside = false;
    for line in text.trim_start_matches('\u{feff}').lines().map(str::trim) {
        if line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.split(']').next()) {
            inside = name.trim() == profile;
            if inside {
                found.get_or_insert_default();
            }
        } else if let (true, Some(section), Some((key, value))) =
            (inside, found.as_mut(), line.split_once('='))
        {
            section.set(key.trim(), value.trim());
        }
    }
    found
}

impl Section {
    fn set(&mut self, key: &str, value: &str) {
        let field = match key.to_ascii_lowercase().as_str() {
            "aws_access_key_id" => &mut self.access_key,
            "aws_secret_access_key" => &mut self.secret_key,
            "aws_session_token" => &mut self.session_token,
            _ => return,
        };
        *field = Some(value.to_owned()).filter(|value| !value.is_empty());
    }
}

#[cfg(test)]
mod tests;
