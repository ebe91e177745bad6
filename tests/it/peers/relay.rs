//! A network between replicas that a test can cut: everything sent to a replica's admin port passes through it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Traffic that a relay passes on; the rest waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passes {
    All,
    /// Lease requests and their responses, but no pushed messages.
    Questions,
    Nothing,
}

/// A relay in front of one replica.
pub struct Relay {
    passes: watch::Sender<Passes>,
    answers: Arc<AtomicU64>,
    _running: JoinSet<()>,
}

impl Relay {
    /// Listens at an address, and forwards to another one.
    pub fn start(listener: TcpListener, to: SocketAddr) -> Self {
        let passes = watch::Sender::new(Passes::All);
        let answers = Arc::new(AtomicU64::new(0));
        let mut running = JoinSet::new();
        let (passing, counted) = (passes.subscribe(), answers.clone());
        running.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let Ok((from, _)) = listener.accept().await else { return };
                connections.spawn(pass(from, to, passing.clone(), counted.clone()));
            }
        });
        Self { passes, answers, _running: running }
    }

    pub fn set(&self, passes: Passes) {
        self.passes.send_replace(passes);
    }

    /// Returns the number of responses to lease requests so far.
    pub fn answers(&self) -> u64 {
        self.answers.load(Ordering::Relaxed)
    }
}

async fn pass(
    mut from: TcpStream,
    to: SocketAddr,
    mut passing: watch::Receiver<Passes>,
    answers: Arc<AtomicU64>,
) {
    let Ok(mut to) = TcpStream::connect(to).await else { return };
    let (mut sent, mut answered) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    let mut is_push = false;
    loop {
        tokio::select! {
            read = from.read(&mut sent) => {
                let Ok(length @ 1..) = read else { return };
                is_push |= sent[..length].starts_with(b"POST /cluster/v1/push");
                let may = |passes: &Passes| match passes {
                    Passes::All => true,
                    Passes::Questions => !is_push,
                    Passes::Nothing => false,
                };
                if passing.wait_for(may).await.is_err() || to.write_all(&sent[..length]).await.is_err() {
                    return;
                }
            }
            read = to.read(&mut answered) => {
                let Ok(length @ 1..) = read else { return };
                answers.fetch_add(u64::from(!is_push), Ordering::Relaxed);
                if from.write_all(&answered[..length]).await.is_err() {
                    return;
                }
            }
        }
    }
}
