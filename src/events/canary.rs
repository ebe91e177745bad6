//! Canaries: objects written periodically to verify that their events arrive.
//!
//! A bucket without events proves nothing (R26), and a notification that was removed by mistake looks like such a
//! bucket. A canary tells the two apart: its event is proof like any other, and a missing one ends the trust in its
//! rule at once.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::cache::Rules;
use crate::config::units::HumanDuration;
use crate::metrics::events::{self as metrics, Canary as Outcome};
use crate::origin::Origins;
use crate::s3::event::ObjectEvent;
use crate::s3::{BucketName, ObjectKey};

/// Maximum lag of a sender's clock behind the origin's, including times in whole seconds.
const SLACK: Duration = Duration::from_secs(2);

/// An object that hotset writes periodically to verify that its events arrive, an item of
/// `events.canaries`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct CanaryConfig {
    /// Bucket of the object.
    pub bucket: String,
    /// Key of the object. It must match the pattern of the rule whose events it proves.
    pub key: String,
    /// Interval between writes.
    pub every: HumanDuration,
    /// Maximum time until its event arrives; without it the bucket's events are no longer trusted.
    pub timeout: HumanDuration,
}

impl Default for CanaryConfig {
    fn default() -> Self {
        Self {
            bucket: String::new(),
            key: ".hotset-canary".to_owned(),
            every: HumanDuration::secs(60),
            timeout: HumanDuration::secs(120),
        }
    }
}

type Name = (BucketName, ObjectKey);

/// Canaries whose events have not arrived yet.
#[derive(Default)]
pub(super) struct Canaries {
    any: AtomicBool,
    /// Time of the latest event of each canary.
    seen: RwLock<HashMap<Name, watch::Sender<Option<SystemTime>>>>,
}

impl Canaries {
    /// Records an event if it is that of a canary.
    pub(super) fn notice(&self, event: &ObjectEvent) {
        if !self.any.load(Ordering::Acquire) {
            return;
        }
        let seen = self.seen.read();
        for key in &event.keys {
            if let Some(canary) = seen.get(&(event.bucket.clone(), key.clone())) {
                let at = event.time.unwrap_or_else(SystemTime::now);
                canary.send_if_modified(|last| {
                    let newer = last.is_none_or(|last| last < at);
                    *last = if newer { Some(at) } else { *last };
                    newer
                });
            }
        }
    }

    fn watch(&self, name: &Name) -> watch::Receiver<Option<SystemTime>> {
        self.any.store(true, Ordering::Release);
        let mut seen = self.seen.write();
        seen.entry(name.clone()).or_insert_with(|| watch::Sender::new(None)).subscribe()
    }
}

/// One canary.
pub(super) struct Canary {
    name: Name,
    every: Duration,
    timeout: Duration,
    origin: Origins,
    rules: Arc<Rules>,
    seen: watch::Receiver<Option<SystemTime>>,
}

impl Canary {
    pub(super) fn new(
        config: &CanaryConfig,
        name: Name,
        origin: Origins,
        rules: Arc<Rules>,
        canaries: &Canaries,
    ) -> Self {
        let seen = canaries.watch(&name);
        let (every, timeout) = (config.every.0, config.timeout.0);
        Self { name, every, timeout, origin, rules, seen }
    }

    /// Writes the canary and waits for its event periodically until `shutdown` turns true.
    pub(super) async fn run(mut self, mut shutdown: watch::Receiver<bool>) {
        let mut turns = interval(self.every);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut well = true;
        loop {
            tokio::select! {
                _ = shutdown.wait_for(|stop| *stop) => return,
                _ = turns.tick() => {}
            }
            let outcome = tokio::select! {
                _ = shutdown.wait_for(|stop| *stop) => return,
                outcome = self.fly() => outcome,
            };
            metrics::canary(outcome);
            let (bucket, key) = &self.name;
            match outcome {
                Outcome::Seen if !well => log::info!("events: canary {bucket}/{key} is back"),
                Outcome::Seen | Outcome::Failed => {}
                Outcome::Missed => {
                    let within = HumanDuration(self.timeout);
                    let why = format!("no event of canary {key} within {within}");
                    log::warn!("events: {why}, in bucket {bucket}: are its notifications set up?");
                    self.rules.distrust_rule(bucket, key, &why);
                }
            }
            well = outcome == Outcome::Seen;
        }
    }

    /// Writes the canary once and waits for its event.
    async fn fly(&mut self) -> Outcome {
        let (bucket, key) = &self.name;
        let from = self.origin.of(bucket).now() - SLACK;
        if let Err(error) = self.origin.touch(bucket, key).await {
            log::warn!("events: canary {bucket}/{key} cannot be written: {error}");
            return Outcome::Failed;
        }
        let seen = self.seen.wait_for(|last| last.is_some_and(|last| last >= from));
        match timeout(self.timeout, seen).await {
            Ok(_) => Outcome::Seen,
            Err(_) => Outcome::Missed,
        }
    }
}
