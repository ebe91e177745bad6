//! Load at a fixed rate: each request at its time, whatever became of those before it, and no failure ends the run.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{JoinSet, LocalSet};
use tokio::time::{Instant, sleep_until, timeout};

use crate::Result;
use crate::content::Object;
use crate::load::{Client, Get, Refused};

/// No request takes as long as this.
const LIMIT: Duration = Duration::from_secs(30);

/// The outcome of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Right,
    /// An error status and nothing else.
    Refused(u16),
    /// A broken connection, an answer that is too short, or wrong bytes.
    Broken,
}

/// One request of a run.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// When it was to be sent, since the begin of the run.
    pub at: Duration,
    pub took: Duration,
    pub outcome: Outcome,
}

/// A rate of requests.
#[derive(Clone)]
pub struct Load {
    pub address: SocketAddr,
    /// The begin of all names.
    pub name: &'static str,
    pub size: u64,
    /// Clients, which never wait for one another.
    pub clients: u32,
    /// Between two requests of all clients together.
    pub every: Duration,
    /// Objects that are asked for in turn; `None`: each once.
    pub objects: Option<u32>,
}

impl Load {
    /// Sends requests for `time`; the samples are in the order of their times. Meanwhile `beside` runs to its end.
    ///
    /// # Errors
    /// That of `beside`.
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

    /// One client: every `clients`-th request, those left out whose time is over when it is free again.
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

/// How many samples were not answered rightly.
pub fn failed(samples: &[Sample]) -> usize {
    samples.iter().filter(|sample| sample.outcome != Outcome::Right).count()
}

/// A quantile of the times of some samples, in parts of a thousand; zero of none.
pub fn quantile(samples: &[Sample], per_mille: usize) -> Duration {
    let mut times: Vec<_> = samples.iter().map(|sample| sample.took).collect();
    times.sort_unstable();
    let index = (times.len() * per_mille / 1000).min(times.len().saturating_sub(1));
    times.get(index).copied().unwrap_or_default()
}
