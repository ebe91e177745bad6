//! Syslog messages (RFC 5424), one per datagram: to a Unix socket, or over UDP (RFC 5426).

use std::io::{self, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use super::output::Output;
use super::text::timestamp;

/// Maximum time for which a datagram waits for a full socket.
const TIMEOUT: Duration = Duration::from_secs(1);
/// Maximum bytes of a datagram, below the limits of UDP and the kernel's default buffers; longer lines are truncated.
const MOST: usize = 60_000;
/// The severity "informational" (RFC 5424, section 6.2.1).
const INFORMATIONAL: u8 = 6;

/// A facility of RFC 5424, section 6.2.1.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Facility {
    /// "security/authorization messages", which many systems store separately.
    AuthPriv = 10,
    Local0 = 16,
}

pub(super) struct Syslog {
    to: Destination,
    /// The socket; `None`: to be connected.
    socket: Option<Socket>,
    /// Fields of each message after its time.
    fields: String,
    priority: u8,
    message: Vec<u8>,
}

enum Destination {
    Local(PathBuf),
    Remote(SocketAddr),
}

enum Socket {
    Local(UnixDatagram),
    Remote(UdpSocket),
}

impl Syslog {
    pub(super) fn local(path: PathBuf, name: &str, facility: Facility) -> Self {
        Self::new(Destination::Local(path), name, facility)
    }

    pub(super) fn remote(address: SocketAddr, name: &str, facility: Facility) -> Self {
        Self::new(Destination::Remote(address), name, facility)
    }

    fn new(to: Destination, name: &str, facility: Facility) -> Self {
        let system = rustix::system::uname();
        let host = system.nodename().to_string_lossy();
        let host: String = host.chars().filter(char::is_ascii_graphic).take(255).collect();
        let host = if host.is_empty() { "-" } else { &host };
        // No structured data.
        let fields = format!(" {host} hotset {} {name} - ", std::process::id());
        let priority = facility as u8 * 8 + INFORMATIONAL;
        Self { to, socket: None, fields, priority, message: Vec::new() }
    }

    fn send(&mut self, line: &[u8]) -> io::Result<()> {
        if self.socket.is_none() {
            self.socket = Some(self.to.connect()?);
        }
        self.message.clear();
        write!(self.message, "<{}>1 ", self.priority)?;
        timestamp(&mut self.message, SystemTime::now());
        self.message.extend_from_slice(self.fields.as_bytes());
        self.message.extend_from_slice(line);
        self.message.truncate(MOST);
        match &self.socket {
            Some(Socket::Local(socket)) => socket.send(&self.message)?,
            Some(Socket::Remote(socket)) => socket.send(&self.message)?,
            None => return Err(io::ErrorKind::NotConnected.into()),
        };
        Ok(())
    }
}

impl Destination {
    fn connect(&self) -> io::Result<Socket> {
        match self {
            Self::Local(path) => {
                let socket = UnixDatagram::unbound()?;
                socket.connect(path)?;
                socket.set_write_timeout(Some(TIMEOUT))?;
                Ok(Socket::Local(socket))
            }
            Self::Remote(address) => {
                let socket = match address {
                    SocketAddr::V4(_) => UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?,
                    SocketAddr::V6(_) => UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0))?,
                };
                socket.connect(address)?;
                socket.set_write_timeout(Some(TIMEOUT))?;
                Ok(Socket::Remote(socket))
            }
        }
    }
}

impl Output for Syslog {
    /// Writes lines as datagrams. After a failure the rest of the batch is dropped, too; the next one connects a new
    /// socket, since the logger may have restarted.
    fn write_lines(&mut self, lines: &[u8]) -> io::Result<u64> {
        let mut lost = 0;
        for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            if lost > 0 || self.send(line).is_err() {
                self.socket = None;
                lost += 1;
            }
        }
        Ok(lost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_is_a_message_of_rfc_5424() {
        let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = receiver.local_addr().unwrap();
        let mut syslog = Syslog::remote(address, "access", Facility::Local0);
        assert_eq!(syslog.write_lines(b"one line\nanother\n").unwrap(), 0);
        for line in ["one line", "another"] {
            let mut buffer = [0; 1000];
            let length = receiver.recv(&mut buffer).unwrap();
            let message = std::str::from_utf8(&buffer[..length]).unwrap();
            let fields: Vec<&str> = message.splitn(8, ' ').collect();
            assert_eq!(fields[0], "<134>1");
            assert!(chrono::DateTime::parse_from_rfc3339(fields[1]).is_ok(), "{message}");
            assert_eq!(fields[3..7], ["hotset", &std::process::id().to_string(), "access", "-"]);
            assert_eq!(fields[7], line);
        }
    }

    #[test]
    fn a_logger_that_is_started_anew_gets_what_comes_then() {
        let path = std::env::temp_dir().join(format!("hotset-syslog-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let mut syslog = Syslog::local(path.clone(), "audit", Facility::AuthPriv);
        assert_eq!(syslog.write_lines(b"1\n2\n").unwrap(), 2, "nobody is there");
        for _ in 0..2 {
            let receiver = UnixDatagram::bind(&path).unwrap();
            let lost = syslog.write_lines(b"3\n").unwrap();
            if lost == 1 {
                // Only a send says that the old socket is gone.
                assert_eq!(syslog.write_lines(b"3\n").unwrap(), 0);
            }
            let mut buffer = [0; 1000];
            let length = receiver.recv(&mut buffer).unwrap();
            assert!(buffer[..length].starts_with(b"<86>1 ") && buffer[..length].ends_with(b" 3"));
            std::fs::remove_file(&path).unwrap();
        }
    }
}
