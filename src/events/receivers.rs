//! All configured receivers of events.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

#[cfg(feature = "amqp")]
use super::amqp::Amqp;
use super::canary::Canary;
#[cfg(feature = "kafka")]
use super::kafka::Kafka;
#[cfg(feature = "nats")]
use super::nats::Nats;
#[cfg(feature = "redis")]
use super::redis::Redis;
#[cfg(feature = "sqs")]
use super::sqs::Sqs;
use super::webhook::{Webhook, WebhookError};
use super::{EventsConfig, Intake};
use crate::cache::Rules;
use crate::origin::Origins;
use crate::s3::{BucketName, ObjectKey};

/// Interval between checks for expired trust.
const TICK: Duration = Duration::from_secs(1);

/// Why a receiver cannot start.
#[derive(Debug, thiserror::Error)]
pub enum ReceiversError {
    #[error("canaries[{0}]: invalid bucket or key")]
    Canary(usize),
    #[error("webhook.{0}")]
    Webhook(#[from] WebhookError),
}

/// All receivers, ready to run.
pub struct Receivers {
    config: EventsConfig,
    intake: Arc<Intake>,
    rules: Arc<Rules>,
    canaries: Vec<Canary>,
    webhook: Option<Webhook>,
}

impl Receivers {
    /// Checks what can be checked before anything is served, and binds what is listened on unless the webhook's socket
    /// is there already.
    ///
    /// # Errors
    /// [`ReceiversError`]: the first one that cannot start.
    pub async fn bind(
        config: &EventsConfig,
        intake: Arc<Intake>,
        rules: Arc<Rules>,
        origin: &Origins,
        webhook: Option<TcpListener>,
    ) -> Result<Self, ReceiversError> {
        let mut canaries = Vec::new();
        for (index, canary) in config.canaries.iter().enumerate() {
            let wrong = |_| ReceiversError::Canary(index);
            let bucket = BucketName::new(&canary.bucket).map_err(wrong)?;
            let name = (bucket, ObjectKey::new(&canary.key).map_err(wrong)?);
            let (origin, rules) = (origin.clone(), rules.clone());
            canaries.push(Canary::new(canary, name, origin, rules, &intake.canaries));
        }
        let webhook = match &config.webhook {
            Some(config) => Some(Webhook::bind(config, webhook).await?),
            None => None,
        };
        Ok(Self { config: config.clone(), intake, rules, canaries, webhook })
    }

    /// Where notifications over HTTP are received.
    pub fn webhook_address(&self) -> Option<SocketAddr> {
        self.webhook.as_ref()?.address()
    }

    /// Receives until `shutdown` turns true.
    pub async fn run(self, shutdown: watch::Receiver<bool>) {
        let mut running = JoinSet::new();
        for canary in self.canaries {
            running.spawn(canary.run(shutdown.clone()));
        }
        receive_from_brokers(&self.config, &self.intake, &shutdown, &mut running);
        running.spawn(watch_trust(self.rules, shutdown.clone()));
        if let Some(webhook) = self.webhook {
            running.spawn(webhook.run(self.intake.clone(), shutdown));
        }
        running.join_all().await;
    }
}

/// Each broker that is configured; `Config::check` refuses those whose client is not compiled in.
#[cfg_attr(
    not(any(
        feature = "sqs",
        feature = "nats",
        feature = "amqp",
        feature = "kafka",
        feature = "redis"
    )),
    expect(unused_variables, reason = "this build has no such receiver")
)]
fn receive_from_brokers(
    config: &EventsConfig,
    intake: &Arc<Intake>,
    shutdown: &watch::Receiver<bool>,
    running: &mut JoinSet<()>,
) {
    #[cfg(feature = "sqs")]
    for queue in &config.sqs {
        running.spawn(Sqs::new(queue.clone()).run(intake.clone(), shutdown.clone()));
    }
    #[cfg(feature = "nats")]
    if let Some(nats) = config.nats.clone() {
        running.spawn(Nats::new(nats).run(intake.clone(), shutdown.clone()));
    }
    #[cfg(feature = "amqp")]
    if let Some(amqp) = config.amqp.clone() {
        running.spawn(Amqp::new(amqp).run(intake.clone(), shutdown.clone()));
    }
    #[cfg(feature = "kafka")]
    if let Some(kafka) = config.kafka.clone() {
        running.spawn(Kafka::new(kafka).run(intake.clone(), shutdown.clone()));
    }
    #[cfg(feature = "redis")]
    if let Some(redis) = config.redis.clone() {
        running.spawn(Redis::new(redis).run(intake.clone(), shutdown.clone()));
    }
}

/// Says when trust ended because nothing came.
async fn watch_trust(rules: Arc<Rules>, mut shutdown: watch::Receiver<bool>) {
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = shutdown.wait_for(|stop| *stop) => return,
            _ = tick.tick() => rules.expire_trust(),
        }
    }
}
