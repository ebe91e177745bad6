//! Configuration of the other replicas, the key `cluster`.

use std::path::PathBuf;

use serde::{Deserialize, Deserializer, Serialize};

/// The other replicas of this hotset, which tell each other what they invalidate.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct ClusterConfig {
    /// Admin ports of the replicas: one `name:port`, such as that of a headless Service, or a list.
    /// A list may include this replica. Names are resolved every few seconds, and each address is a
    /// replica. All need the same `admin.token`, unless they listen on loopback. `None`: no other
    /// replicas.
    #[serde(deserialize_with = "one_or_many")]
    #[cfg_attr(test, schemars(with = "Option<OneOrMany>"))]
    pub peers: Option<Vec<String>>,
    /// With `admin.tls`: the name in the certificates of all replicas; `None`: that of the first
    /// item of `peers`.
    pub server_name: Option<String>,
    /// With `admin.tls`: PEM file with the authorities of the replicas' certificates; `None`: those
    /// of the system.
    pub ca_file: Option<PathBuf>,
}

// A single item needs no brackets.
#[derive(Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

fn one_or_many<'de, D: Deserializer<'de>>(input: D) -> Result<Option<Vec<String>>, D::Error> {
    Ok(Option::<OneOrMany>::deserialize(input)?.map(|peers| match peers {
        OneOrMany::One(peer) => vec![peer],
        OneOrMany::Many(peers) => peers,
    }))
}

impl ClusterConfig {
    /// Maximum number of items of `peers`.
    pub const PEERS_MAX: usize = 64;

    /// The name in the certificates of all replicas; `None`: there are no peers.
    pub fn server_name(&self) -> Option<&str> {
        let first = self.peers.as_deref().unwrap_or_default().first();
        let first = first.and_then(|peer| host_and_port(peer).ok()).map(|(host, _)| host);
        self.server_name.as_deref().or(first)
    }

    /// Validates `peers`; an error is the index of the item, if it is one, and the problem.
    ///
    /// # Errors
    /// The first item found wrong.
    pub fn check(&self) -> Result<(), (Option<usize>, String)> {
        let peers = self.peers.as_deref().unwrap_or_default();
        if peers.len() > Self::PEERS_MAX {
            let most = Self::PEERS_MAX;
            return Err((None, format!("{} items are more than {most}", peers.len())));
        }
        for (index, peer) in peers.iter().enumerate() {
            host_and_port(peer).map_err(|problem| (Some(index), problem))?;
            if peers[..index].contains(peer) {
                return Err((Some(index), format!("`{peer}` is listed twice")));
            }
        }
        Ok(())
    }
}

/// Splits `host:port`, with `http://` or `https://` before it or without. An IPv6 address has brackets in the text, and
/// none in the result.
///
/// # Errors
/// Description of the fault.
pub(super) fn host_and_port(text: &str) -> Result<(&str, u16), String> {
    let wrong = || format!("`{text}` is not the admin port of a replica, host:port");
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    let rest = rest.unwrap_or(text);
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let (host, port) = rest.rsplit_once(':').ok_or_else(wrong)?;
    let port = port.parse().ok().filter(|port| *port > 0).ok_or_else(wrong)?;
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let is_name = |host: &str| {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
        !host.is_empty() && host.len() <= 253 && host.bytes().all(allowed)
    };
    match address {
        Some(address) if address.parse::<std::net::Ipv6Addr>().is_ok() => Ok((address, port)),
        None if is_name(host) => Ok((host, port)),
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_peer_does_without_brackets() {
        let peers = |yaml: &str| crate::yaml::from_str::<ClusterConfig>(yaml).unwrap().peers;
        assert_eq!(peers("peers: hotset:9001").unwrap(), ["hotset:9001"]);
        assert_eq!(peers("peers: [a:1, b:2]").unwrap(), ["a:1", "b:2"]);
        assert_eq!(peers("peers: null"), None);
        assert_eq!(peers("{}"), None);
    }

    #[test]
    fn a_peer_is_a_host_and_a_port() {
        for (text, parts) in [
            ("hotset-peers.ns.svc:9001", ("hotset-peers.ns.svc", 9001)),
            ("http://10.0.0.1:9001", ("10.0.0.1", 9001)),
            ("http://h:1/", ("h", 1)),
            ("https://h:1", ("h", 1)),
            ("[fd00::1]:9001", ("fd00::1", 9001)),
        ] {
            assert_eq!(host_and_port(text), Ok(parts));
        }
        for text in
            ["hotset", "h:0", "h:99999", ":9001", "ftp://h:1", "h:1/x", "fd00::1:9001", "u@h:1"]
        {
            assert!(host_and_port(text).is_err(), "{text}");
        }
        let twice = ClusterConfig {
            peers: Some(vec!["a:1".into(), "a:1".into()]),
            ..ClusterConfig::default()
        };
        assert_eq!(twice.check().unwrap_err().0, Some(1));
        assert_eq!(twice.server_name(), Some("a"));
        let named = ClusterConfig { server_name: Some("b".to_owned()), ..twice };
        assert_eq!(named.server_name(), Some("b"));
        assert_eq!(ClusterConfig::default().server_name(), None);
    }
}
