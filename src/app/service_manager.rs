//! Notifications to a service manager by the protocol of `sd_notify(3)`: ready, stopping, alive.
//!
//! Without `NOTIFY_SOCKET` in the environment nothing is sent.

use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use crate::config::ShutdownConfig;

/// Time for the rest of the shutdown after the grace period: the disk tier's last writes, the process itself.
const AFTER_GRACE: Duration = Duration::from_secs(30);

/// The service manager of this process.
#[derive(Debug, Default)]
pub(super) struct ServiceManager {
    socket: Option<UnixDatagram>,
    /// Interval after which it kills a silent process.
    watchdog: Option<Duration>,
}

impl ServiceManager {
    pub(super) fn from_environment() -> Self {
        let variable = |name| std::env::var(name).ok();
        let Some(address) = variable("NOTIFY_SOCKET") else { return Self::default() };
        let socket = connect(&address).inspect_err(|error| {
            log::warn!("NOTIFY_SOCKET: cannot connect to {address}: {error}; the service manager is told nothing");
        });
        let own = |process: String| process == std::process::id().to_string();
        let watched = variable("WATCHDOG_PID").is_none_or(own);
        let time = variable("WATCHDOG_USEC").and_then(|time| time.parse().ok());
        let watchdog = time.filter(|time| watched && *time > 0).map(Duration::from_micros);
        Self { socket: socket.ok(), watchdog }
    }

    /// Reports that everything is bound and served.
    pub(super) fn ready(&self, endpoints: &[String]) {
        self.tell(&format!("READY=1\nSTATUS=serving S3 on {}", endpoints.join(", ")));
    }

    /// Reports the shutdown, and its maximum duration.
    pub(super) fn stopping(&self, shutdown: &ShutdownConfig) {
        let most = shutdown.delay.0 + shutdown.grace.0 + AFTER_GRACE;
        self.tell(&format!(
            "STOPPING=1\nEXTEND_TIMEOUT_USEC={}\nSTATUS=finishing requests under way",
            most.as_micros()
        ));
    }

    /// Reports for ever, at half the watchdog interval, that the runtime executes tasks.
    pub(super) async fn keep_alive(&self) {
        let Some(watchdog) = self.watchdog else { return };
        let mut tick = interval((watchdog / 2).max(Duration::from_millis(1)));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            self.tell("WATCHDOG=1");
        }
    }

    fn tell(&self, state: &str) {
        if let Some(socket) = &self.socket
            && let Err(error) = socket.send(state.as_bytes())
        {
            log::debug!("the service manager was not told {state:?}: {error}");
        }
    }
}

/// Connects to a path, or to a name after `@` in the abstract namespace. Sending never blocks.
fn connect(address: &str) -> io::Result<UnixDatagram> {
    let address = match address.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(address)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_reach_a_socket_in_the_abstract_namespace() {
        let name = format!("hotset-notify-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let manager = UnixDatagram::bind_addr(&address).unwrap();
        let service = ServiceManager { socket: connect(&format!("@{name}")).ok(), watchdog: None };
        service.ready(&["http://127.0.0.1:9000".to_owned()]);
        let mut told = [0; 256];
        let length = manager.recv(&mut told).unwrap();
        assert_eq!(&told[..length], b"READY=1\nSTATUS=serving S3 on http://127.0.0.1:9000");
    }
}
