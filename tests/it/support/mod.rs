//! Support library of the integration tests: an origin that misbehaves on demand, clients that show every byte.
//!
//! - [`FakeS3`]: an S3 origin inside the test. It serves objects of any size without storing them, records every
//!   request, and breaks its responses exactly where a [`Fault`] says.
//! - [`Client`]: a raw HTTP/1.1 client that never hides a truncated response; [`H2Client`] does the same over HTTP/2
//!   with prior knowledge.
//! - [`Gate`]: holds a request at a chosen point, so that races are played out step by step.
//!
//! Two invariants. Nothing here sleeps: a test waits for an event ([`FakeS3::wait_for`], [`Gate::wait_reached`]), and
//! every wait has a timeout, so a hanging test fails with a message. And nothing here but [`TestProxy`] and
//! [`our_signature`] knows the crate under test: the rest has its own implementation of S3 and HTTP.
#![allow(dead_code, unused_imports, reason = "a support library: no single test uses all of it")]

mod api;
mod authority;
mod cgroup;
mod child;
pub mod client;
mod fake_agent;
mod fake_dns;
pub mod fake_s3;
mod fake_sqs;
mod faulty_disk;
mod form;
mod history;
mod own_network;
mod ports;
mod proxy;
mod readers;
mod scratch;
mod signature;
pub mod sigv4;
mod tls_front;

pub use api::Api;
pub use authority::{Authority, Pair, TlsClient, tls_over};
pub use cgroup::LimitedGroup;
pub use child::{Process, hotset, run};
pub use client::{Broken, Client, H2Client, H2Stream, Request, Response, ResponseStream, Upload};
pub use fake_agent::{Asked, FakeAgent};
pub use fake_dns::{DnsReply, FakeDns};
pub use fake_s3::Repeat::{self, Always, Times};
pub use fake_s3::{FakeS3, Fault, Gate, Matcher, OWNER, Object, Pace, Seen, Tells};
pub use fake_sqs::FakeSqs;
pub use faulty_disk::FaultyDisk;
pub use form::Form;
pub use history::{History, is_of};
pub use own_network::in_own_network;
pub use ports::unused_port;
pub use proxy::{TestProxy, setup, test_config};
pub use readers::Readers;
pub use scratch::Scratch;
pub use signature::{our_signature, our_signature_for, session_signature_for};
pub use sigv4::Signed;
pub use tls_front::{Handshake, TlsFront};

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Timeout of a test for an event that must happen at once.
pub const EVENT_LIMIT: Duration = Duration::from_secs(10);

/// Timeout of a client for one step of a response: longer than [`EVENT_LIMIT`], so that the wait with the better
/// message fails first.
pub const CLIENT_LIMIT: Duration = Duration::from_secs(20);

/// Waits for `future`, at most [`EVENT_LIMIT`].
///
/// # Panics
/// When the limit passes; the message names the caller's line and `what`.
#[track_caller]
pub fn within<F: Future>(what: &str, future: F) -> impl Future<Output = F::Output> + use<F> {
    bounded(EVENT_LIMIT, what.to_owned(), future)
}

/// Waits for `future`, at most `limit`, and panics with the caller's line when that passes.
#[track_caller]
pub(crate) fn bounded<F: Future>(
    limit: Duration,
    what: String,
    future: F,
) -> impl Future<Output = F::Output> {
    let caller = std::panic::Location::caller();
    async move {
        tokio::time::timeout(limit, future)
            .await
            .unwrap_or_else(|_| panic!("{caller}: waited {limit:?} for {what}"))
    }
}

/// Locks, also after a failed assertion in another thread: that one is the failure to report.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns the sum of the series on a `/metrics` page that have the name and the labels of `series`, and maybe
/// others.
///
/// # Panics
/// When a value is not a number.
fn sum_of_series(page: &str, series: &str) -> f64 {
    let (name, labels) = series.split_once('{').unwrap_or((series, ""));
    let wanted: Vec<&str> = labels.trim_end_matches('}').split("\",").collect();
    let value = |line: &str| {
        let rest = line.strip_prefix(name)?;
        let (labels, value) = match rest.strip_prefix('{') {
            Some(rest) => rest.rsplit_once("} ")?,
            None => ("", rest.strip_prefix(' ')?),
        };
        let has = |wanted: &&str| labels.contains(wanted.trim_end_matches('"'));
        wanted.iter().all(has).then(|| value.parse::<f64>().expect("a number"))
    };
    page.lines().filter_map(value).sum()
}
