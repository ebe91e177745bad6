//! Checks of `cluster`, and of its relation to the admin port, over which replicas communicate.

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
    let is_tls = admin.tls.is_some();
    let of_tls = [
        ("cluster.server_name", cluster.server_name.is_some()),
        ("cluster.ca_file", cluster.ca_file.is_some()),
    ];
    if let Some((key, _)) = of_tls.into_iter().find(|(_, is_set)| *is_set && !is_tls) {
        return wrong(key, "only valid with admin.tls");
    }
    let Some(peers) = &cluster.peers else { return Ok(()) };
    let (other, why) = match is_tls {
        true => ("http://", "replicas speak TLS to each other, as admin.tls says"),
        false => ("https://", "replicas speak plain HTTP to each other without admin.tls"),
    };
    if let Some(index) = peers.iter().position(|peer| peer.starts_with(other)) {
        return wrong(format_args!("{KEY}[{index}]"), why);
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
        let tls = "{ address: '127.0.0.1:9001', tls: { cert: /c, key: /k } }";
        assert_eq!(refused("{ peers: [https://a:1, b:1], server_name: a }", tls), None);
        let wrong = refused("peers: [http://a:1]", tls).unwrap();
        assert!(wrong.starts_with("cluster.peers[0]: ") && wrong.contains("TLS"), "{wrong}");
        let wrong = refused("{ peers: [a:1], ca_file: /ca }", token).unwrap();
        assert!(wrong.starts_with("cluster.ca_file: "), "{wrong}");
    }
}
