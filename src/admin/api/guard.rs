//! Authorisation of API requests: senders with the token; without one, local clients other than browsers sent by
//! another site.
//!
//! Of web pages only the one served here may use it: its origin is the one in `Host`. A browser's form cannot send
//! JSON, and JSON from a script of another site needs a CORS preflight, which is not answered. A host name that another
//! site points to this machine is not accepted as local.

use std::net::IpAddr;

use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap};
use hyper::{Method, StatusCode};

use super::answer::Refusal;
use super::state::Api;
use crate::admin::token::Rights;
use crate::auth::{AllowedOrigins, bearer};

/// The sender of an authorised request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Caller {
    Token,
    ReadToken,
    LocalUser,
}

impl Caller {
    /// Returns the sender's name in the audit log.
    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Token => "admin.token",
            Self::ReadToken => "admin.read_token",
            Self::LocalUser => "local user",
        }
    }
}

/// Authorises a request, and returns its sender.
///
/// # Errors
/// The response of the refusal.
pub(super) async fn admit(
    api: &Api,
    method: &Method,
    headers: &HeaderMap,
) -> Result<Caller, Refusal> {
    let mut caller = Caller::LocalUser;
    if api.token.is_set() {
        caller = check_token(api, headers).await?;
        if caller == Caller::ReadToken && *method != Method::GET {
            let why = "admin.read_token may only read; admin.token is needed";
            return Err(refuse(caller, StatusCode::FORBIDDEN, why));
        }
    } else if !api.on_loopback {
        let why = "the API is closed here: set admin.token or admin.token_file, or listen on a loopback address";
        return Err(Refusal::new(StatusCode::FORBIDDEN, why));
    } else if !names_this_machine(headers) {
        let why =
            "the Host header is neither an address nor localhost; with admin.token any may be used";
        return Err(Refusal::new(StatusCode::FORBIDDEN, why));
    } else if let Err(refused) = own_origins(headers).check(method, headers) {
        let why = format!("{refused}; with admin.token any may be used");
        return Err(Refusal::new(StatusCode::FORBIDDEN, why));
    }
    if *method == Method::POST && !is_json(headers) {
        let why = "Content-Type must be application/json";
        return Err(refuse(caller, StatusCode::UNSUPPORTED_MEDIA_TYPE, why));
    }
    Ok(caller)
}

fn refuse(caller: Caller, status: StatusCode, why: &str) -> Refusal {
    Refusal { identity: Some(caller.label()), ..Refusal::new(status, why) }
}

async fn check_token(api: &Api, headers: &HeaderMap) -> Result<Caller, Refusal> {
    let said = headers.get(AUTHORIZATION).and_then(|value| bearer(value.as_bytes()));
    let rights = match said {
        Some(said) => api.token.rights(said).await.map_err(|error| {
            log::error!("cannot read {error}");
            let why = "cannot read admin.token_file or admin.read_token_file";
            Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, why)
        })?,
        None => None,
    };
    match rights {
        Some(Rights::All) => Ok(Caller::Token),
        Some(Rights::Read) => Ok(Caller::ReadToken),
        None => {
            let why = "Authorization: Bearer with the token of admin.token is needed";
            Err(Refusal::new(StatusCode::UNAUTHORIZED, why))
        }
    }
}

fn names_this_machine(headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
    let Ok(authority) = http::uri::Authority::try_from(host.as_bytes()) else { return false };
    let name = authority.host();
    let address = name.strip_prefix('[').and_then(|n| n.strip_suffix(']')).unwrap_or(name);
    name.eq_ignore_ascii_case("localhost") || address.parse::<IpAddr>().is_ok()
}

/// Returns the origin of the page served here. The name in `Host` was checked to be local, which no other site's is.
fn own_origins(headers: &HeaderMap) -> AllowedOrigins {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    AllowedOrigins::new(&[format!("http://{host}"), format!("https://{host}")])
}

fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let kind = value.and_then(|value| value.split(';').next());
    kind.is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_and_localhost_are_this_machine() {
        let named = |host: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(HOST, host.parse().unwrap());
            names_this_machine(&headers)
        };
        for host in ["127.0.0.1:9001", "127.0.0.1", "[::1]:9001", "localhost:9001", "LOCALHOST"] {
            assert!(named(host), "{host}");
        }
        for host in
            ["evil.example", "localhost.evil.example:9001", "127.0.0.1.evil.example", "", "a b"]
        {
            assert!(!named(host), "{host}");
        }
        assert!(!names_this_machine(&HeaderMap::new()));
    }

    #[test]
    fn json_is_told_by_its_type() {
        let json =
            |kind: &str| is_json(&HeaderMap::from_iter([(CONTENT_TYPE, kind.parse().unwrap())]));
        assert!(json("application/json") && json("Application/JSON; charset=utf-8"));
        assert!(!json("text/plain") && !json("application/json-patch+json"));
        assert!(!is_json(&HeaderMap::new()));
    }
}
