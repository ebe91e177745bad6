//! All configured receivers of events.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

#[cfg(feature = "amqp")]
use super::amqp::Amqp;
use super::canary::{Canary, CanaryConfig};
#[cfg(feature = "kafka")]
use super::kafka::Kafka;
#[cfg(feature = "nats")]
use super::nats::Nats;
#[cfg(feature = "redis")]
use super::redis::Redis;
#[cfg(feature = "sqs")]
use super::sqs::Sqs;
use super::webhook::{NewWebhook, Webhook, WebhookError, WebhookSettings};
use super::{EventsConfig, Intake};
use crate::cache::Rules;
use crate::origin::Origins;
use crate::s3::{BucketName, ObjectKey};

/// Interval between checks for expired trust.
const TICK: Duration = Duration::from_secs(1);

/// Error of starting a receiver.
#[derive(Debug, thiserror::Error)]
pub enum ReceiversError {
    #[error("canaries[{0}]: invalid bucket or key")]
    Canary(usize),
    #[error("webhook.{0}")]
    Webhook(#[from] WebhookError),
}

/// All receivers, ready to run.
pub struct Receivers {
    started: Started,
    webhook: Option<Webhook>,
    config: watch::Receiver<EventsConfig>,
    settings: ReceiverSettings,
}

/// The handle for replacing receivers while others run.
#[derive(Clone)]
pub struct ReceiverSettings {
    config: watch::Sender<EventsConfig>,
    webhook: Option<Arc<WebhookSettings>>,
}

/// Validated settings of receivers.
pub struct NewReceivers {
    config: EventsConfig,
    webhook: Option<NewWebhook>,
}

impl ReceiverSettings {
    /// Validates other receivers, and reads the files that they name; blocks.
    ///
    /// # Errors
    /// [`ReceiversError`]: the first one that cannot start.
    pub fn prepare(&self, config: &EventsConfig) -> Result<NewReceivers, ReceiversError> {
        names(config)?;
        let webhook = match (&self.webhook, &config.webhook) {
            (Some(running), Some(webhook)) => running.prepare(webhook)?,
            _ => None,
        };
        Ok(NewReceivers { config: config.clone(), webhook })
    }

    /// Starts receivers that are new and stops those that are gone; the others continue. The address of the webhook
    /// stays.
    pub fn replace(&self, new: NewReceivers) {
        if let (Some(running), Some(webhook)) = (&self.webhook, new.webhook) {
            running.replace(webhook);
        }
        self.config.send_replace(new.config);
    }
}

impl Receivers {
    /// Validates the settings before anything is served, and binds the listening sockets, except for a webhook socket
    /// that was passed in.
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
        names(config)?;
        let webhook = match &config.webhook {
            Some(config) => Some(Webhook::bind(config, webhook, intake.clone()).await?),
            None => None,
        };
        let (sender, receiver) = watch::channel(config.clone());
        let settings = webhook.as_ref().map(Webhook::settings);
        let settings = ReceiverSettings { config: sender, webhook: settings };
        let started = Started {
            intake,
            rules,
            origin: origin.clone(),
            sources: Vec::new(),
            running: JoinSet::new(),
        };
        Ok(Self { started, webhook, config: receiver, settings })
    }

    /// Returns the address of the HTTP listener for events.
    pub fn webhook_address(&self) -> Option<SocketAddr> {
        self.webhook.as_ref()?.address()
    }

    /// Returns the handle for replacing receivers.
    pub fn settings(&self) -> ReceiverSettings {
        self.settings.clone()
    }

    /// Receives until `shutdown` turns true.
    pub async fn run(self, mut shutdown: watch::Receiver<bool>) {
        let Self { mut started, webhook, mut config, settings: _settings } = self;
        started.running.spawn(watch_trust(started.rules.clone(), shutdown.clone()));
        if let Some(webhook) = webhook {
            started.running.spawn(webhook.run(shutdown.clone()));
        }
        loop {
            let sources = SourceConfig::all(&config.borrow_and_update());
            started.change_to(sources, &shutdown);
            tokio::select! {
                _ = shutdown.wait_for(|stop| *stop) => break,
                Some(ended) = started.running.join_next() => {
                    if let Err(error) = ended {
                        log::error!("events: a receiver's task failed: {error}");
                    }
                }
                changed = config.changed() => {
                    if changed.is_err() {
                        break;
                    }
                }
            }
        }
        let _ = shutdown.wait_for(|stop| *stop).await;
        started.running.join_all().await;
    }
}

/// The settings of one receiver or canary. `Config::check` refuses those whose client is not compiled in.
#[derive(Debug, Clone, PartialEq, Eq)]
enum SourceConfig {
    Canary(CanaryConfig),
    #[cfg(feature = "sqs")]
    Sqs(super::config::SqsConfig),
    #[cfg(feature = "nats")]
    Nats(super::config::NatsConfig),
    #[cfg(feature = "amqp")]
    Amqp(super::config::AmqpConfig),
    #[cfg(feature = "kafka")]
    Kafka(super::config::KafkaConfig),
    #[cfg(feature = "redis")]
    Redis(super::config::RedisConfig),
}

impl SourceConfig {
    /// Returns the sources of a configuration, except for the webhook, which has an address of its own.
    fn all(config: &EventsConfig) -> Vec<Self> {
        #[allow(unused_mut, reason = "without receivers compiled in")]
        let mut all: Vec<Self> = config.canaries.iter().cloned().map(Self::Canary).collect();
        #[cfg(feature = "sqs")]
        all.extend(config.sqs.iter().cloned().map(Self::Sqs));
        #[cfg(feature = "nats")]
        all.extend(config.nats.clone().map(Self::Nats));
        #[cfg(feature = "amqp")]
        all.extend(config.amqp.clone().map(Self::Amqp));
        #[cfg(feature = "kafka")]
        all.extend(config.kafka.clone().map(Self::Kafka));
        #[cfg(feature = "redis")]
        all.extend(config.redis.clone().map(Self::Redis));
        all
    }

    /// Receives until `stop` turns true.
    async fn run(
        self,
        intake: Arc<Intake>,
        origin: Origins,
        rules: Arc<Rules>,
        stop: watch::Receiver<bool>,
    ) {
        match self {
            Self::Canary(config) => {
                let Ok(name) = name(&config) else { return };
                Canary::new(&config, name, origin, rules, &intake.canaries).run(stop).await;
            }
            #[cfg(feature = "sqs")]
            Self::Sqs(queue) => Sqs::new(queue).run(intake, stop).await,
            #[cfg(feature = "nats")]
            Self::Nats(nats) => Nats::new(nats).run(intake, stop).await,
            #[cfg(feature = "amqp")]
            Self::Amqp(amqp) => Amqp::new(amqp).run(intake, stop).await,
            #[cfg(feature = "kafka")]
            Self::Kafka(kafka) => Kafka::new(kafka).run(intake, stop).await,
            #[cfg(feature = "redis")]
            Self::Redis(redis) => Redis::new(redis).run(intake, stop).await,
        }
    }
}

/// Running sources.
struct Started {
    intake: Arc<Intake>,
    rules: Arc<Rules>,
    origin: Origins,
    /// The sources, each with the switch that stops it.
    sources: Vec<(SourceConfig, watch::Sender<bool>)>,
    running: JoinSet<()>,
}

impl Started {
    /// Stops sources that are not among these, and starts those that do not run yet.
    fn change_to(&mut self, wanted: Vec<SourceConfig>, shutdown: &watch::Receiver<bool>) {
        self.sources.retain(|(source, stop)| {
            let stays = wanted.contains(source);
            if !stays {
                stop.send_replace(true);
            }
            stays
        });
        for source in wanted {
            if self.sources.iter().all(|(running, _)| *running != source) {
                self.start(source, shutdown.clone());
            }
        }
    }

    fn start(&mut self, source: SourceConfig, mut shutdown: watch::Receiver<bool>) {
        let (stop, stopped) = watch::channel(false);
        self.sources.push((source.clone(), stop.clone()));
        let (intake, origin, rules) =
            (self.intake.clone(), self.origin.clone(), self.rules.clone());
        self.running.spawn(async move {
            let is_canary = matches!(source, SourceConfig::Canary(_));
            let mut run = pin!(source.run(intake, origin, rules.clone(), stopped));
            let ends = async { drop(shutdown.wait_for(|stop| *stop).await) };
            let is_shutdown = tokio::select! {
                () = &mut run => false,
                () = ends => true,
            };
            if is_shutdown {
                stop.send_replace(true);
                return run.await;
            }
            if !is_canary {
                // Events that only this receiver delivered are no longer received.
                rules.distrust_all("a receiver is no longer configured");
            }
        });
    }
}

type Name = (BucketName, ObjectKey);

fn name(canary: &CanaryConfig) -> Result<Name, crate::s3::InvalidName> {
    Ok((BucketName::new(&canary.bucket)?, ObjectKey::new(&canary.key)?))
}

/// Validates the names of canaries.
fn names(config: &EventsConfig) -> Result<(), ReceiversError> {
    let mut canaries = config.canaries.iter().enumerate();
    canaries.try_for_each(|(index, canary)| match name(canary) {
        Ok(_) => Ok(()),
        Err(_) => Err(ReceiversError::Canary(index)),
    })
}

/// Logs when trust ends because no events arrive.
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
