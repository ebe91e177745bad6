//! Several real hotset processes in front of one origin, connected by `cluster.peers`.

use std::sync::Arc;

use super::relay::Relay;
use crate::support::{Client, FakeS3, Object, Process, Response, Scratch, unused_port, within};

pub const TOKEN: &str = "a-token-for-peers";

pub struct Replicas {
    pub s3: Arc<FakeS3>,
    scratch: Scratch,
    /// Admin addresses, one per replica, kept over restarts.
    addresses: Vec<String>,
    /// Admin addresses that the replicas listen on; behind relays, the same ports of another address.
    bound: Vec<String>,
    pub relays: Vec<Relay>,
    /// Configuration of the peers; `ADDRESS` stands for the replica's own address.
    pub peers: Option<String>,
    pub tokens: Vec<&'static str>,
    /// Further keys of the configuration; `DISK` stands for a folder of each replica's own.
    more: String,
    processes: Vec<Option<Process>>,
}

impl Replicas {
    /// Starts the replicas, and waits until each has a lease of each other one.
    pub async fn start(count: usize, more: &str) -> Self {
        let mut replicas = Self::new(count, more).await;
        replicas.spawn_all().await;
        replicas
    }

    /// As [`Replicas::start`], each behind a relay.
    pub async fn start_behind_relays(count: usize, more: &str) -> Self {
        let mut replicas = Self::new(count, more).await;
        for address in &replicas.addresses {
            let (_, port) = address.rsplit_once(':').expect("a port");
            let bound = format!("127.0.0.2:{port}");
            let listener = tokio::net::TcpListener::bind(address).await.expect("it is free");
            replicas.relays.push(Relay::start(listener, bound.parse().unwrap()));
            replicas.bound.push(bound);
        }
        replicas.spawn_all().await;
        replicas
    }

    /// Prepares the replicas without starting any.
    pub async fn new(count: usize, more: &str) -> Self {
        // The replicas must know each other's addresses before they start.
        let addresses = (0..count).map(|_| format!("127.0.0.1:{}", unused_port())).collect();
        Self {
            s3: Arc::new(FakeS3::start().await),
            scratch: Scratch::new(),
            addresses,
            bound: Vec::new(),
            relays: Vec::new(),
            peers: None,
            tokens: vec![TOKEN; count],
            more: more.to_owned(),
            processes: (0..count).map(|_| None).collect(),
        }
    }

    async fn spawn_all(&mut self) {
        for index in 0..self.processes.len() {
            self.spawn(index).await;
        }
        let others = u32::try_from(self.processes.len() - 1).expect("a few");
        self.all_live(others).await;
    }

    /// Starts a replica that does not run.
    pub async fn spawn(&mut self, index: usize) {
        assert!(self.processes[index].is_none());
        let disk = self.scratch.path(&format!("disk-{index}"));
        let address = self.bound.get(index).unwrap_or(&self.addresses[index]);
        let peers = self.peers.clone().unwrap_or_else(|| format!("{:?}", self.addresses));
        let text = format!(
            "listen: [{{ address: 127.0.0.1:0 }}]\n\
             admin: {{ address: '{address}', token: {} }}\n\
             cluster: {{ peers: {} }}\n\
             origin: {{ endpoint: '{}', backoff: {{ base: 1ms, cap: 10ms }} }}\n\
             log: {{ access: off }}\n{}\n",
            self.tokens[index],
            peers.replace("ADDRESS", &self.addresses[index]),
            self.s3.endpoint(),
            self.more.replace("DISK", &disk),
        );
        let file = self.scratch.file(&format!("{index}.yaml"), &text);
        self.processes[index] = Some(Process::serve(&file).await);
    }

    /// Waits until each running replica has a lease of this many others.
    pub async fn all_live(&self, others: u32) {
        for index in 0..self.processes.len() {
            if self.processes[index].is_some() {
                self.wait_for(index, "live", others).await;
                self.wait_for(index, "waiting", 0).await;
            }
        }
    }

    /// Waits until a replica sees this many others in this state.
    pub async fn wait_for(&self, index: usize, state: &str, others: u32) {
        let series = format!("hotset_peers{{state=\"{state}\"}}");
        let is_so = |value: f64| (value - f64::from(others)).abs() < 0.5;
        self.at(index).wait_for_metric(&series, is_so).await;
    }

    pub fn at(&self, index: usize) -> &Process {
        self.processes[index].as_ref().expect("it runs")
    }

    pub fn client(&self, index: usize) -> Client {
        self.at(index).client()
    }

    /// Takes the process of a replica out, to stop it.
    pub fn take(&mut self, index: usize) -> Process {
        self.processes[index].take().expect("it runs")
    }

    pub fn address(&self, index: usize) -> &str {
        &self.addresses[index]
    }

    pub fn receives_events(&self) -> bool {
        self.more.contains("webhook")
    }

    /// Returns a client of a replica's webhook.
    pub fn webhook(&self, index: usize) -> Client {
        let output = self.at(index).output();
        let mut lines = output.lines();
        let address = lines.find_map(|line| line.split_once("receiving notifications on "));
        Client::new(address.expect("it receives").1.trim().parse().expect("an address"))
    }

    pub async fn get(&self, index: usize, key: &str) -> Response {
        self.client(index).get(&format!("/data/{key}")).send().await
    }

    /// Puts an object, and reads it through each replica until it is cached there.
    pub async fn know(&self, key: &str, object: &Object) {
        self.s3.put("data", key, object.clone());
        for index in 0..self.processes.len() {
            let known = async {
                while self.get(index, key).await.header("cache-status") != "hotset; hit" {}
            };
            within("the object to be known", known).await;
        }
    }
}
