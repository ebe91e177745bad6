//! Speed of an origin: its time to a response head, and the rates of its connections.

use crate::support::lock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::{Instant, sleep, sleep_until};

/// The speed of responses. Clones share the rate of all connections together, and the count of responses under way.
#[derive(Clone, Debug)]
pub struct Pace {
    first_byte: Duration,
    each: Rate,
    all: Option<Arc<Mutex<Due>>>,
    under_way: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

/// Bytes per second.
type Rate = u64;

/// Time at which the next bytes may be sent.
#[derive(Debug)]
struct Due {
    rate: Rate,
    at: Instant,
}

impl Due {
    fn new(rate: Rate) -> Due {
        Due { rate, at: Instant::now() }
    }

    /// Returns the time at which `bytes` more have been sent.
    fn after(&mut self, bytes: u64) -> Instant {
        let takes = Duration::from_nanos(bytes * 1_000_000_000 / self.rate);
        self.at = self.at.max(Instant::now()) + takes;
        self.at
    }
}

impl Pace {
    /// Makes connections that are limited by themselves: `each` bytes per second, `first_byte` after the request.
    #[must_use]
    pub fn new(first_byte: Duration, each: Rate) -> Pace {
        let (under_way, most) = Default::default();
        Pace { first_byte, each, all: None, under_way, most }
    }

    /// Limits all connections together to `rate` bytes per second.
    #[must_use]
    pub fn sharing(self, rate: Rate) -> Pace {
        Pace { all: Some(Arc::new(Mutex::new(Due::new(rate)))), ..self }
    }

    /// Returns the maximum number of concurrent responses since the last call.
    #[must_use]
    pub fn take_most(&self) -> usize {
        self.most.swap(self.under_way.load(Ordering::SeqCst), Ordering::SeqCst)
    }

    /// Waits for the time to the response head.
    pub(super) async fn begin(&self) -> Response {
        let now = self.under_way.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        let response = Response { due: Due::new(self.each), pace: self.clone() };
        sleep(self.first_byte).await;
        response
    }
}

/// A response under way.
#[derive(Debug)]
pub(super) struct Response {
    pace: Pace,
    due: Due,
}

impl Response {
    /// Waits until `bytes` more may be sent.
    pub(super) async fn allows(&mut self, bytes: u64) {
        let shared = self.pace.all.as_ref().map(|all| lock(all).after(bytes));
        let own = self.due.after(bytes);
        sleep_until(shared.map_or(own, |shared| shared.max(own))).await;
    }
}

impl Drop for Response {
    fn drop(&mut self) {
        self.pace.under_way.fetch_sub(1, Ordering::SeqCst);
    }
}
