//! Ports that must be known before anything listens on them.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};

/// First port, below the ephemeral ports of Linux (`net.ipv4.ip_local_port_range`): nobody gets one by chance.
const FIRST: u16 = 12_000;
const COUNT: u16 = 20_000;

/// Returns a port of the loopback interface that nobody listens on; each is returned once.
///
/// # Panics
/// When all are taken.
pub fn unused_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Concurrent test processes begin at different ports.
    let begin = u16::try_from(std::process::id() % u32::from(COUNT)).expect("less than COUNT");
    (0..COUNT)
        .map(|_| FIRST + (begin + NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT)
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .expect("a free port")
}
