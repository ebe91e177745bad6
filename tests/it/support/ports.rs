//! Ports that are to be known before anybody listens on them.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};

/// Below those that Linux gives to whoever asks for any (`net.ipv4.ip_local_port_range`): nobody takes one by chance.
const FIRST: u16 = 12_000;
const COUNT: u16 = 20_000;

/// A port of the loopback that nobody listens on, handed out once.
///
/// # Panics
/// When all are taken.
pub fn unused_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Two test processes at the same time begin at different places.
    let begin = u16::try_from(std::process::id() % u32::from(COUNT)).expect("less than COUNT");
    (0..COUNT)
        .map(|_| FIRST + (begin + NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT)
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .expect("a free port")
}
