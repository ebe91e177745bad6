//! The origin's name, resolved by the system's resolver at a name server that changes, fails, or says nothing.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use futures_util::future::join_all;
use hotset::config::Config;
use hotset::origin::RetryBudgetConfig;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::support::{
    Always, Authority, DnsReply, FakeDns, FakeS3, Fault, Gate, Matcher, Object, Scratch, TestProxy,
    TlsFront, in_own_network, within,
};

const NAME: &str = "s3.test";
/// Time after which a name is looked up again.
const LOOKED_UP_AGAIN: Duration = Duration::from_secs(6);

fn loopback(last: u8) -> IpAddr {
    Ipv4Addr::new(127, 0, 0, last).into()
}

fn addresses(last: impl IntoIterator<Item = u8>) -> DnsReply {
    DnsReply::Addresses(last.into_iter().map(loopback).collect())
}

async fn advance(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

/// Reads a key that was never read, over a new connection. Returns the status.
async fn read(s3: &FakeS3, proxy: &TestProxy, key: &str) -> u16 {
    s3.put("data", key, Object::bytes("content"));
    let answer = proxy.client().get(&format!("/data/{key}")).send().await;
    assert!(answer.status != 200 || answer.text() == "content", "{key}");
    answer.status.as_u16()
}

/// Starts hotset in front of an origin by its name, without retries.
async fn start(s3: &FakeS3, change: impl FnOnce(&mut Config)) -> TestProxy {
    s3.fault(Matcher::any(), Always, Fault::CloseAfterAnswer);
    TestProxy::start_with(s3, |config| {
        config.origin.endpoint = format!("http://{NAME}:{}", s3.addr().port());
        config.origin.attempts = 1;
        config.origin.retry_budget = RetryBudgetConfig { percent: 0, floor: 0 };
        config.origin.circuit_breaker = false;
        change(config);
    })
    .await
}

#[test]
fn all_addresses_that_changing_answers_give_are_used() {
    in_own_network("dns::all_addresses_that_changing_answers_give_are_used", async {
        // S3 gives a few of many, and others each time.
        let replies = |n| if n % 2 == 0 { addresses(1..=4) } else { addresses(5..=8) };
        let dns = FakeDns::start(NAME, replies).await;
        let (s3, scratch, authority) = (FakeS3::start().await, Scratch::new(), Authority::new("a"));
        let all: Vec<IpAddr> = (1..=8).map(loopback).collect();
        let front = TlsFront::start(&s3, &authority.sign(&[NAME]), &all).await;
        let ca_file = scratch.file("ca.pem", &authority.pem());
        let proxy = start(&s3, |config| {
            config.origin.endpoint = format!("https://{NAME}:{}", front.port());
            config.origin.ca_file = Some(ca_file.into());
        })
        .await;
        let used = || {
            let mut used: HashMap<IpAddr, usize> = HashMap::new();
            for handshake in front.handshakes() {
                *used.entry(handshake.address).or_default() += 1;
            }
            used
        };
        for n in 0..16 {
            assert_eq!(read(&s3, &proxy, &format!("first-{n}")).await, 200);
        }
        let first = used();
        assert!(first.len() == 4 && first.values().all(|count| *count == 4), "{first:?}");
        advance(LOOKED_UP_AGAIN).await;
        assert_eq!(read(&s3, &proxy, "between").await, 200);
        dns.wait_for(2).await;
        within("an address of the second answer to be used", async {
            for n in 0.. {
                assert_eq!(read(&s3, &proxy, &format!("until-{n}")).await, 200);
                if used().len() > 4 {
                    break;
                }
            }
        })
        .await;
        front.forget();
        for n in 0..32 {
            assert_eq!(read(&s3, &proxy, &format!("then-{n}")).await, 200);
        }
        let then = used();
        assert!(then.len() == 8 && then.values().all(|count| *count == 4), "{then:?}");
    });
}

#[test]
fn the_last_good_addresses_are_used_while_the_name_server_fails() {
    in_own_network("dns::the_last_good_addresses_are_used_while_the_name_server_fails", async {
        let dns = FakeDns::start(NAME, |_| addresses([1])).await;
        let s3 = FakeS3::start().await;
        let proxy = start(&s3, |_| {}).await;
        assert_eq!(read(&s3, &proxy, "first").await, 200);
        let failures = [
            (DnsReply::ServFail, "Temporary failure in name resolution"),
            (DnsReply::Addresses(Vec::new()), "No address associated with hostname"),
            (DnsReply::Nothing, "timed out waiting for name resolution"),
        ];
        for (n, (failure, cause)) in failures.into_iter().enumerate() {
            let (before, what) = (dns.lookups(), format!("{failure:?}"));
            dns.replies(move |_| failure.clone());
            advance(LOOKED_UP_AGAIN).await;
            assert_eq!(read(&s3, &proxy, &format!("asks-{n}")).await, 200, "{what}");
            dns.wait_for(before + 1).await;
            let says = async {
                let is_said = |page: &str| {
                    page.contains("its last addresses are used") && page.contains(cause)
                };
                while !is_said(&proxy.admin_text("/readyz").await) {}
            };
            within("readiness to say so", says).await;
            assert_eq!(read(&s3, &proxy, &format!("later-{n}")).await, 200, "{what}");
        }
        // Once it answers again, what it answers is used.
        let second = s3.listen_at(loopback(2));
        s3.go_down().await;
        let before = dns.lookups();
        dns.replies(|_| addresses([2]));
        advance(LOOKED_UP_AGAIN).await;
        assert_eq!(read(&s3, &proxy, "old").await, 503);
        dns.wait_for(before + 1).await;
        within(&format!("a read from {second}"), async {
            for n in 0.. {
                if read(&s3, &proxy, &format!("new-{n}")).await == 200 {
                    break;
                }
            }
        })
        .await;
    });
}

#[test]
fn all_requests_that_wait_for_the_first_look_up_share_it() {
    in_own_network("dns::all_requests_that_wait_for_the_first_look_up_share_it", async {
        let s3 = FakeS3::start().await;
        for (gate, expected) in [(Some(Gate::new()), 200), (None, 503)] {
            let held = gate.clone();
            let dns = FakeDns::start(NAME, move |_| match &held {
                Some(gate) => DnsReply::Held(gate.clone(), vec![loopback(1)]),
                None => DnsReply::Nothing,
            })
            .await;
            let proxy = start(&s3, |_| {}).await;
            let reads = (0..30).map(|n| format!("{expected}-{n}"));
            let reads = reads.map(|key| {
                let (s3, proxy) = (&s3, &proxy);
                async move { read(s3, proxy, &key).await }
            });
            let release = async {
                let waits = async {
                    // A read of the metrics is no request of a client.
                    while proxy.metric("hotset_requests_in_flight").await < 30.0 {}
                };
                within("all requests to wait", waits).await;
                gate.iter().for_each(Gate::open);
            };
            let (statuses, ()) = tokio::join!(join_all(reads), release);
            assert_eq!(statuses, [expected; 30]);
            assert_eq!(dns.lookups(), 1);
            drop(dns);
            tokio::task::yield_now().await;
        }
    });
}

/// Makes an address that takes no connection: its queue is full.
async fn full(address: SocketAddr) -> (TcpListener, TcpStream) {
    let socket = TcpSocket::new_v6().unwrap();
    socket.bind(address).unwrap();
    let listener = socket.listen(0).unwrap();
    (listener, TcpStream::connect(address).await.unwrap())
}

#[test]
fn an_ipv6_address_that_is_dead_costs_no_error() {
    in_own_network("dns::an_ipv6_address_that_is_dead_costs_no_error", async {
        let no_route: IpAddr = "2001:db8::1".parse().unwrap();
        let here = IpAddr::from(Ipv6Addr::LOCALHOST);
        for (dead, is_silent) in [(here, true), (here, false), (no_route, false)] {
            let reply = DnsReply::Addresses(vec![dead, loopback(1)]);
            let dns = FakeDns::start(NAME, move |_| reply.clone()).await;
            let s3 = FakeS3::start().await;
            let silent = match is_silent {
                true => Some(full(SocketAddr::new(dead, s3.addr().port())).await),
                false => None,
            };
            let proxy = start(&s3, |config| {
                config.origin.connect_timeout = "200ms".parse().unwrap();
            })
            .await;
            for n in 0..20 {
                let key = format!("key-{n}");
                assert_eq!(read(&s3, &proxy, &key).await, 200, "{dead} {is_silent}");
                let client = proxy.client();
                let list = client.get(&format!("/data?list-type=2&prefix={key}")).send().await;
                assert_eq!(list.status, 200, "{dead} {is_silent}");
                let write = client.put(&format!("/data/new-{n}")).body("x").send().await;
                assert_eq!(write.status, 200, "{dead} {is_silent}");
            }
            assert_eq!(dns.lookups(), 1);
            drop((dns, silent));
            tokio::task::yield_now().await;
        }
    });
}
