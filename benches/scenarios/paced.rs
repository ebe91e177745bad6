//! Load at a fixed rate: each request is sent at its time, whatever happened to earlier ones, and no failure ends the
//! run.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{JoinSet, LocalSet};
use tokio::time::{Instant, sleep_until, timeout};

use crate::Result;
use crate::content::Object;
use crate::load::{Client, Get, Refused};

/// Timeout of a request.
const LIMIT: Duration = Duration::from_secs(30);

/// The outcome of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Right,
    /// An error status.
    Refused(u16),
    /// A broken connection, a truncated response, or wrong bytes.
    Broken,
}

/// One request of a run.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Time at which the request was due, since the start of the run.
    pub at: Duration,
    pub took: Duration,
    pub outcome: Outcome,
}

/// Load of requests at a fixed rate.
#[derive(Clone)]
pub struct Load {
    pub address: SocketAddr,
    /// Prefix of all object names.
    pub name: &'static str,
    pub size: u64,
    /// Number of clients, which never wait for one another.
    pub clients: u32,
    /// Interval between requests of all clients together.
    pub every: Duration,
    /// Number of objects requested in turn; `None`: each is requested once.
    pub objects: Option<u32>,
}

impl Load {
    /// Sends requests for `time`, while `beside` runs to its end. The samples are in the order of their due times.
    ///
    /// # Errors
    /// The error of `beside`.
    pub async fn run<T>(
        &self,
        time: Duration,
        beside: impl AsyncFnOnce(Instant) -> Result<T>,
    ) -> Result<(Vec<Sample>, T)> {
        let local = LocalSet::new();
        let begin = Instant::now();
        let load = Rc::new(self.clone());
        let mut clients = JoinSet::new();
        for number in 0..self.clients {
            let load = load.clone();
            clients.spawn_local_on(async move { load.client(number, begin, time).await }, &local);
        }
        local
            .run_until(async {
                let beside = beside(begin).await?;
                let mut samples: Vec<Sample> = Vec::new();
                while let Some(more) = clients.join_next().await {
                    samples.extend(more?);
                }
                samples.sort_unstable_by_key(|sample| sample.at);
                Ok((samples, beside))
            })
            .await
    }

    /// Runs one client, which sends every `clients`-th request, except those whose time passed while it was busy.
    async fn client(&self, number: u32, begin: Instant, time: Duration) -> Vec<Sample> {
        let (mut samples, mut kept, mut told) = (Vec::new(), None, false);
        let mut turn = number;
        while self.every * turn < time {
            let at = self.every * turn;
            sleep_until(begin + at).await;
            let object = self.objects.map_or(turn, |objects| turn % objects);
            let name = format!("{}{object}", self.name);
            let get = Get::whole(&Arc::new(Object::new(&name, self.size)));
            let start = Instant::now();
            let (client, outcome) = match timeout(LIMIT, self.get(kept, &get)).await {
                Ok(Ok(client)) => (Some(client), Outcome::Right),
                Ok(Err(error)) => {
                    let refused = error.downcast_ref::<Refused>();
                    if refused.is_none() && !told {
                        eprintln!("a client failed: {error}");
                        told = true;
                    }
                    (
                        None,
                        refused.map_or(Outcome::Broken, |refused| Outcome::Refused(refused.status)),
                    )
                }
                Err(_) => (None, Outcome::Broken),
            };
            kept = client;
            samples.push(Sample { at, took: start.elapsed(), outcome });
            turn += self.clients;
            while begin + self.every * turn + LIMIT < Instant::now() {
                turn += self.clients;
            }
        }
        samples
    }

    async fn get(&self, kept: Option<Client>, get: &Get) -> Result<Client> {
        let mut client = match kept {
            Some(client) => client,
            None => Client::connect(self.address).await?,
        };
        client.get(get).await?;
        Ok(client)
    }
}

/// Returns the number of samples that failed.
pub fn failed(samples: &[Sample]) -> usize {
    samples.iter().filter(|sample| sample.outcome != Outcome::Right).count()
}

/// Returns a quantile of the samples' times, in per mille; zero if there are none.
pub fn quantile(samples: &[Sample], per_mille: usize) -> Duration {
    let mut times: Vec<_> = samples.iter().map(|sample| sample.took).collect();
    times.sort_unstable();
    let index = (times.len() * per_mille / 1000).min(times.len().saturating_sub(1));
    times.get(index).copied().unwrap_or_default()
}
