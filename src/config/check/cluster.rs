//! Checks of `cluster`, and of it against the admin port that replicas speak over.

use std::net::SocketAddr;

use super::values::wrong;
use crate::admin::config::AdminConfig;
use crate::cluster::config::ClusterConfig;
use crate::config::ConfigError;

const KEY: &str = "cluster.peers";

pub(super) fn check(cluster: &ClusterConfig, admin: &AdminConfig) -> Result<(), ConfigError> {
    if let Err((index, problem)) = cluster.check() {
        return match index {
            Some(index) => wrong(format_args!("{KEY}[{index}]"), problem),
            None => wrong(KEY, problem),
        };
    }
    if cluster.peers.is_none() {
        return Ok(());
    }
    let Some(address) = &admin.address else {
        return wrong(
            KEY,
            "admin.address is required, since replicas communicate over the admin port",
        );
    };
    let on_loopback = address.parse::<SocketAddr>().is_ok_and(|a| a.ip().is_loopback());
    if !on_loopback && admin.token.is_none() && admin.token_file.is_none() {
        return wrong(
            KEY,
            "replicas need a token that all of them have: admin.token or admin.token_file",
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(cluster: &str, admin: &str) -> Option<String> {
        let cluster = crate::yaml::from_str(cluster).unwrap();
        let admin = crate::yaml::from_str(admin).unwrap();
        check(&cluster, &admin).err().map(|error| error.to_string())
    }

    #[test]
    fn peers_need_an_admin_port_and_a_token_where_others_reach_it() {
        let peers = "peers: hotset-peers:9001";
        assert_eq!(refused("peers: null", "address: null"), None);
        assert!(refused(peers, "address: null").unwrap().contains("admin.address is required"));
        let open = "address: 0.0.0.0:9001";
        assert!(
            refused(peers, open).unwrap().contains("admin.token"),
            "nobody else could be told apart"
        );
        let token = "{ address: '0.0.0.0:9001', token: sixteen-bytes-xx }";
        assert_eq!(refused(peers, token), None);
        assert_eq!(refused(peers, "{ address: '0.0.0.0:9001', token_file: /x }"), None);
        assert_eq!(refused("peers: [127.0.0.1:9001]", "{}"), None);
        let wrong = refused("peers: [a:1, https://b:1]", token).unwrap();
        assert!(wrong.starts_with("cluster.peers[1]: ") && wrong.contains("plain HTTP"), "{wrong}");
    }
}
