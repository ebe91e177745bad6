//! Checks of single values.

use std::fmt::Display;
use std::net::SocketAddr;

use crate::config::ConfigError;
use crate::config::units::HumanDuration;
use crate::tls::config::{ClientAuth, TlsConfig};

pub(super) fn check_tls(below: &str, tls: &TlsConfig) -> Result<(), ConfigError> {
    let key = |name: &str| format!("{below}.{name}");
    let first = [("cert".to_owned(), &tls.cert), ("key".to_owned(), &tls.key)];
    let others = tls.certificates.iter().enumerate().flat_map(|(n, pair)| {
        let name = |part: &str| format!("certificates[{n}].{part}");
        [(name("cert"), &pair.cert), (name("key"), &pair.key)]
    });
    for (name, file) in first.into_iter().chain(others) {
        if file.as_os_str().is_empty() {
            return wrong(key(&name), "a file is needed");
        }
    }
    match (&tls.client_ca, tls.client_auth) {
        (None, ClientAuth::Optional | ClientAuth::Required) => {
            wrong(key("client_ca"), "a file is required unless client_auth is none")
        }
        (Some(_), ClientAuth::None) => {
            wrong(key("client_auth"), "must be optional or required, since client_ca is set")
        }
        _ => greater_than_zero(&key("reload"), tls.reload),
    }
}

pub(super) fn wrong(key: impl Display, problem: impl Display) -> Result<(), ConfigError> {
    Err(ConfigError::at(key, problem))
}

pub(super) fn at_least_one(key: &str, value: impl TryInto<u64>) -> Result<(), ConfigError> {
    match value.try_into() {
        Ok(0) => wrong(key, "must be at least 1"),
        _ => Ok(()),
    }
}

pub(super) fn greater_than_zero(key: &str, value: HumanDuration) -> Result<(), ConfigError> {
    if value.is_zero() { wrong(key, "must be greater than zero") } else { Ok(()) }
}

/// Parses `ip:port`; port 0 is chosen by the system and thus never occupied.
pub(super) fn free_address(
    key: &str,
    text: &str,
    taken: &[SocketAddr],
) -> Result<SocketAddr, ConfigError> {
    let address: SocketAddr = text.parse().map_err(|_| {
        ConfigError::at(key, format_args!("`{text}` is not an address such as 127.0.0.1:9000"))
    })?;
    if address.port() != 0 && taken.contains(&address) {
        return Err(ConfigError::at(
            key,
            format_args!("{address} is used by another listener already"),
        ));
    }
    Ok(address)
}
