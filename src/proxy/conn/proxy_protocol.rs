//! PROXY protocol, versions 1 and 2: the header with which a load balancer names the client of a connection
//! (<https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>).
//!
//! Only configured addresses may send the header, and they must: whoever else could send it would choose its own
//! address. From anybody else it is malformed HTTP or TLS.

use std::io;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use proxy_header::{Error, ParseConfig, Protocol, ProxyHeader};
use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt;

use super::transport::Socket;

/// Maximum bytes that are read of a header: version 2 has up to 232 bytes, and what balancers add.
const MAX: usize = 2048;
/// Maximum length of a version 1 header, as its specification counts.
const V1_MAX: usize = 107;

/// Load balancers that send a PROXY header, the key `listen[].proxy_protocol`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct ProxyProtocolConfig {
    /// Networks of the load balancers, such as `10.0.0.0/8`. Connections from them must begin with
    /// a PROXY header; all others must not.
    #[cfg_attr(test, schemars(with = "Vec<String>"))]
    pub from: Vec<IpNet>,
}

impl ProxyProtocolConfig {
    /// Whether connections from `address` must begin with a PROXY header.
    pub(in crate::proxy) fn expects(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.from.iter().any(|network| network.contains(&address))
    }
}

/// Reads the header off a new connection and returns the client's address. For a health check of the balancer's, or a
/// header without an address, it is the balancer's own. The caller bounds the time.
///
/// # Errors
/// `InvalidData`: the bytes are no PROXY header. Otherwise I/O errors of the socket.
pub(in crate::proxy) async fn read_header(
    socket: &mut Socket,
    balancer: SocketAddr,
) -> io::Result<SocketAddr> {
    let config = ParseConfig { include_tlvs: false, allow_v1: true, allow_v2: true };
    let mut bytes = Vec::with_capacity(MAX);
    loop {
        let room = MAX - bytes.len();
        if room == 0 || (&mut *socket).take(room as u64).read_buf(&mut bytes).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match ProxyHeader::parse(&bytes, config) {
            Err(Error::BufferTooShort) => {}
            Err(error) => return Err(io::Error::new(io::ErrorKind::InvalidData, error)),
            Ok((_, length)) if bytes.starts_with(b"P") && length > V1_MAX => {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "version 1 is not that long",
                ));
            }
            Ok((header, length)) => {
                let client = match header.proxied_address() {
                    Some(address) if address.protocol == Protocol::Datagram => {
                        return Err(io::Error::new(io::ErrorKind::InvalidData, "not a stream"));
                    }
                    Some(address) => address.source,
                    None => balancer,
                };
                socket.unread(bytes.split_off(length));
                return Ok(client);
            }
        }
    }
}
