//! `hotset health`: checks whether the server of this configuration is ready, for container probes in images without
//! another HTTP client.
//!
//! The exit code is 0 or 1 and nothing else: some probes reserve 2. Everything takes at most [`TIMEOUT`], so that a
//! probe prints its error before it is killed.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::config_file::ConfigFile;
use crate::tls::connector_to_any;

const TIMEOUT: Duration = Duration::from_secs(3);
/// Bytes of the response that contain its status: `HTTP/1.1 200`.
const STATUS_BYTES: usize = 12;

pub(super) fn run(file: &ConfigFile) -> ExitCode {
    match ask(file) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("hotset: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn ask(file: &ConfigFile) -> Result<(), String> {
    let config = file.load().map_err(|error| error.to_string())?;
    let address = config.admin.address.ok_or("admin.address: is off, so health cannot be asked")?;
    let address: SocketAddr =
        address.parse().map_err(|_| format!("admin.address: `{address}` is not an address"))?;
    let address = reachable(address);
    let tls = config.admin.tls.is_some();
    let asked = if tls { status_over_tls(address, TIMEOUT) } else { status(address, TIMEOUT) };
    match asked {
        Ok(200) => Ok(()),
        Ok(status) => Err(format!("{address} answers {status} to /readyz")),
        Err(error) => Err(format!("{address} does not answer: {error}")),
    }
}

/// Returns the address at which a server listening on `address` is reachable from its own machine.
pub(super) fn reachable(mut address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    address
}

/// Returns the status of the response to `GET /readyz`.
fn status(address: SocketAddr, limit: Duration) -> io::Result<u16> {
    let deadline = Instant::now() + limit;
    let mut stream = TcpStream::connect_timeout(&address, limit)?;
    stream.set_write_timeout(Some(left(deadline)?))?;
    stream.write_all(request(address).as_bytes())?;

    let mut answer = [0; STATUS_BYTES];
    let mut filled = 0;
    while filled < answer.len() {
        stream.set_read_timeout(Some(left(deadline)?))?;
        match stream.read(&mut answer[filled..])? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => filled += read,
        }
    }
    parse_status(&answer).ok_or_else(|| io::Error::other("the answer is not HTTP"))
}

/// As [`status`], over TLS. Any certificate is accepted, even an expired one: nothing secret is sent, and an impostor
/// at an address of this machine would not need TLS.
fn status_over_tls(address: SocketAddr, limit: Duration) -> io::Result<u16> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let asked = async {
        let stream = tokio::net::TcpStream::connect(address).await?;
        let name = ServerName::IpAddress(address.ip().into());
        let mut stream = connector_to_any().connect(name, stream).await?;
        stream.write_all(request(address).as_bytes()).await?;
        let mut answer = [0; STATUS_BYTES];
        stream.read_exact(&mut answer).await?;
        parse_status(&answer).ok_or_else(|| io::Error::other("the answer is not HTTP"))
    };
    runtime.block_on(async {
        let asked = tokio::time::timeout(limit, asked).await;
        asked.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    })
}

fn request(address: SocketAddr) -> String {
    format!("GET /readyz HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n")
}

/// Returns the time until `deadline`; an error if it has passed, as sockets reject zero timeouts.
fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}

fn parse_status(answer: &[u8]) -> Option<u16> {
    let digits = answer.strip_prefix(b"HTTP/1.1 ").or_else(|| answer.strip_prefix(b"HTTP/1.0 "))?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// Returns the status read from a server that answers `text` and closes.
    fn asked(text: &'static str) -> io::Result<u16> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                request.push(byte[0]);
            }
            assert!(request.starts_with(b"GET /readyz HTTP/1.1\r\n"));
            stream.write_all(text.as_bytes()).unwrap();
        });
        let result = status(address, TIMEOUT);
        server.join().unwrap();
        result
    }

    #[test]
    fn the_status_of_the_answer_is_read() {
        assert_eq!(asked("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").unwrap(), 200);
        assert_eq!(asked("HTTP/1.1 503 Service Unavailable\r\n\r\n").unwrap(), 503);
    }

    #[test]
    fn what_is_not_an_answer_is_an_error() {
        assert!(asked("").is_err());
        assert!(asked("HTTP/1.1 2").is_err());
        assert!(asked("SSH-2.0-OpenSSH_9.2\r\n").is_err());
    }

    #[test]
    fn a_server_that_says_nothing_or_is_not_there_is_an_error_in_time() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        assert!(status(address, Duration::from_millis(20)).is_err());
        drop(listener);
        assert!(status(address, TIMEOUT).is_err());
    }

    #[test]
    fn an_unspecified_address_is_asked_on_loopback() {
        let asked = |text: &str| reachable(text.parse().unwrap()).to_string();
        assert_eq!(asked("0.0.0.0:9001"), "127.0.0.1:9001");
        assert_eq!(asked("[::]:9001"), "[::1]:9001");
        assert_eq!(asked("10.0.0.1:9001"), "10.0.0.1:9001");
    }
}
