//! A name server inside the test (RFC 1035), over UDP at port 53 of the loopback interface.
//!
//! That port is free in a network of the test's own only: see [`super::in_own_network`].

use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::fake_s3::Gate;
use super::{lock, within};

const TYPE_A: u16 = 1;
const TYPE_AAAA: u16 = 28;
const NO_ERROR: u16 = 0;
const SERVFAIL: u16 = 2;
const NXDOMAIN: u16 = 3;
/// Flags of a response to a recursive query.
const RESPONSE: u16 = 0x8180;

/// Response to the queries of one lookup, for IPv4 and for IPv6.
#[derive(Clone, Debug)]
pub enum DnsReply {
    Addresses(Vec<IpAddr>),
    ServFail,
    /// No response at all.
    Nothing,
    /// The response waits at the gate.
    Held(Gate, Vec<IpAddr>),
}

type Replies = dyn Fn(usize) -> DnsReply + Send + Sync;

/// The name server, of one name.
pub struct FakeDns {
    state: Arc<State>,
    task: JoinHandle<()>,
}

struct State {
    name: String,
    replies: Mutex<Arc<Replies>>,
    /// Number of queries for IPv4 addresses, of which each lookup sends one.
    lookups: watch::Sender<usize>,
}

impl Drop for FakeDns {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl FakeDns {
    /// Starts the server of `name`. `replies` gets the number of lookups before.
    ///
    /// # Panics
    /// When port 53 is not free.
    pub async fn start(
        name: &str,
        replies: impl Fn(usize) -> DnsReply + Send + Sync + 'static,
    ) -> FakeDns {
        let socket = UdpSocket::bind("127.0.0.1:53").await;
        let socket = Arc::new(socket.expect("port 53 of a network of the test's own"));
        let replies: Arc<Replies> = Arc::new(replies);
        let state = Arc::new(State {
            name: name.to_owned(),
            replies: Mutex::new(replies),
            lookups: watch::Sender::new(0),
        });
        let task = tokio::spawn(serve(socket, state.clone()));
        FakeDns { state, task }
    }

    /// Replies otherwise from now on; the number begins at 0 again.
    pub fn replies(&self, replies: impl Fn(usize) -> DnsReply + Send + Sync + 'static) {
        let before = self.lookups();
        *lock(&self.state.replies) = Arc::new(move |lookups| replies(lookups - before));
    }

    /// Returns the number of lookups so far.
    #[must_use]
    pub fn lookups(&self) -> usize {
        *self.state.lookups.borrow()
    }

    /// Waits until there were `count` lookups; panics after 10 s.
    #[track_caller]
    pub fn wait_for(&self, count: usize) -> impl Future<Output = ()> {
        let mut lookups = self.state.lookups.subscribe();
        within(&format!("{count} lookups"), async move {
            lookups.wait_for(|lookups| *lookups >= count).await.expect("the server is there");
        })
    }
}

async fn serve(socket: Arc<UdpSocket>, state: Arc<State>) {
    let mut buffer = [0; 1500];
    loop {
        let (length, from) = socket.recv_from(&mut buffer).await.expect("a socket of our own");
        let query = Query::parse(&buffer[..length]);
        if query.name != state.name {
            let _ = socket.send_to(&query.response(NXDOMAIN, &[]), from).await;
            continue;
        }
        let before = *state.lookups.borrow();
        let lookup = if query.kind == TYPE_A { before } else { before.saturating_sub(1) };
        // The query for IPv6 comes second.
        let reply = (lock(&state.replies).clone())(lookup);
        if query.kind == TYPE_A {
            state.lookups.send_modify(|lookups| *lookups += 1);
        }
        let socket = socket.clone();
        tokio::spawn(async move {
            let response = match reply {
                DnsReply::Nothing => return,
                DnsReply::ServFail => query.response(SERVFAIL, &[]),
                DnsReply::Addresses(addresses) => query.response(NO_ERROR, &addresses),
                DnsReply::Held(gate, addresses) => {
                    gate.pass().await;
                    query.response(NO_ERROR, &addresses)
                }
            };
            let _ = socket.send_to(&response, from).await;
        });
    }
}

struct Query {
    id: [u8; 2],
    name: String,
    kind: u16,
    /// The question, as it came.
    question: Vec<u8>,
}

impl Query {
    fn parse(message: &[u8]) -> Query {
        let (mut at, mut labels) = (12, Vec::new());
        while message[at] != 0 {
            let label = &message[at + 1..=at + usize::from(message[at])];
            labels.push(String::from_utf8_lossy(label).to_ascii_lowercase());
            at += 1 + label.len();
        }
        let kind = u16::from_be_bytes([message[at + 1], message[at + 2]]);
        let question = message[12..at + 5].to_vec();
        Query { id: [message[0], message[1]], name: labels.join("."), kind, question }
    }

    /// Returns a response with those of the addresses that the query is for.
    fn response(&self, code: u16, addresses: &[IpAddr]) -> Vec<u8> {
        let kind = |address: &IpAddr| if address.is_ipv4() { TYPE_A } else { TYPE_AAAA };
        let asked: Vec<_> = addresses.iter().filter(|address| kind(address) == self.kind).collect();
        let count = u16::try_from(asked.len()).expect("a few addresses");
        let mut message = self.id.to_vec();
        for field in [RESPONSE | code, 1, count, 0, 0] {
            message.extend(field.to_be_bytes());
        }
        message.extend(&self.question);
        for address in asked {
            let octets = match address {
                IpAddr::V4(address) => address.octets().to_vec(),
                IpAddr::V6(address) => address.octets().to_vec(),
            };
            // The name of the question, the class of the internet, and a second to live.
            message.extend([0xc0, 12]);
            message.extend(self.kind.to_be_bytes());
            message.extend([0, 1, 0, 0, 0, 1, 0]);
            message.push(u8::try_from(octets.len()).expect("4 or 16"));
            message.extend(octets);
        }
        message
    }
}
