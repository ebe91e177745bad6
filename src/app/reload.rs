//! Reloading of the configuration while the server runs: on SIGHUP, by the admin API, and when the file changes.
//!
//! ```text
//!  read, check ── step from what is in force (config::changes) ── prepare: all that can fail ── put into force
//! ```
//! Each part holds its own settings behind a handle that it loads once for each request or connection. Invariants: an
//! invalid configuration changes nothing; one reload runs at a time, and none stops half-way; keys that need a restart
//! stay unchanged, and are reported.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::{Mutex, watch};
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use super::addressed::addressed as addressed_by;
use super::origins::{moves, name_of};
use super::upstream::{KeysFrom, access_anew, build_origins, give_origin_keys};
use crate::admin::Token;
use crate::auth::Access;
use crate::cache::{Cache, Rules};
use crate::config::{Change, Config, ConfigError, ConfigSource, Effect, Loaded, Step};
use crate::events::{Intake, NewReceivers, ReceiverSettings};
use crate::logging::operator;
use crate::metrics::config::{self as metrics, Reload};
use crate::metrics::origin::remove_origin;
use crate::metrics::requests::set_prices;
use crate::origin::{OriginSet, Origins};
use crate::proxy::{AccessLogger, Addressed, Admission, LimitsConfig};
use crate::tls::{NewTls, Tls, TlsError};
use crate::warm::Warmer;

/// Time without further changes after which a changed file is read: it may be half written.
const SETTLED: Duration = Duration::from_millis(250);
/// Interval between checks of `reload` while that is null.
const OFF: Duration = Duration::from_secs(5);
/// Maximum changes that are logged one by one.
const LOGGED: usize = 30;

/// The source of the configuration, and its content at the start.
#[derive(Debug)]
pub struct StartedFrom {
    pub source: ConfigSource,
    pub loaded: Loaded,
}

impl StartedFrom {
    /// Reads and validates the configuration.
    ///
    /// # Errors
    /// As [`ConfigSource::load`].
    pub fn load(source: ConfigSource) -> Result<Self, ConfigError> {
        let loaded = source.load()?;
        Ok(Self { source, loaded })
    }

    /// Returns a copy of the configuration.
    pub fn config(&self) -> Config {
        self.loaded.config.clone()
    }
}

/// The parts whose settings can be replaced while they serve.
pub(super) struct Live {
    pub origin: Origins,
    pub keys: KeysFrom,
    pub access: Arc<Access>,
    /// Names and region of each listener.
    pub addressed: Vec<Arc<ArcSwap<Addressed>>>,
    /// TLS of each listener.
    pub tls: Vec<Option<Arc<Tls>>>,
    pub intake: Arc<Intake>,
    pub receivers: ReceiverSettings,
    pub cache: Arc<Cache>,
    pub rules: Arc<Rules>,
    pub limits: Arc<ArcSwap<LimitsConfig>>,
    pub admission: Arc<Admission>,
    pub warmer: Arc<Warmer>,
    pub log: AccessLogger,
    pub token: Token,
    pub admin_tls: Option<Arc<Tls>>,
}

/// Reloads the configuration.
pub(super) struct Reloader {
    live: Arc<Live>,
    /// The configuration in force, including sizes derived at the start.
    in_force: ArcSwap<Config>,
    /// Keys that are not set and were derived at the start.
    derived: Vec<String>,
    /// Source of the configuration; `None`: it has none, and never changes.
    source: Option<ConfigSource>,
    running: Mutex<Option<Running>>,
}

/// Digest of a file; `None`: it could not be read.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Digest(Option<u64>);

/// State between two reloads.
struct Running {
    /// The configuration in force, as it was read.
    loaded: Loaded,
    /// Digest of a refused file: it is not tried again until it changes.
    refused: Option<Digest>,
}

/// Outcome of a reload.
#[derive(Debug, Serialize)]
struct Report {
    /// Keys that differ.
    changes: Vec<Change>,
    /// Whether any change needs a restart.
    restart_needed: bool,
    dry_run: bool,
}

impl Reloader {
    /// Creates the reloader; `config`: in force, including sizes derived at the start.
    pub(super) fn new(config: Config, from: Option<StartedFrom>, live: Live) -> Arc<Self> {
        let (source, loaded) = from.map(|from| (from.source, from.loaded)).unzip();
        let derived = loaded.as_ref().map(|loaded| loaded.config.keys_that_differ(&config));
        metrics::loaded();
        Arc::new(Self {
            live: Arc::new(live),
            in_force: ArcSwap::from_pointee(config),
            derived: derived.unwrap_or_default(),
            source,
            running: Mutex::new(loaded.map(|loaded| Running { loaded, refused: None })),
        })
    }

    /// Returns the configuration in force.
    pub(super) fn in_force(&self) -> Arc<Config> {
        self.in_force.load_full()
    }

    /// Returns the configuration in force in the admin API's form.
    pub(super) fn describe(&self) -> Value {
        json!({ "settings": self.in_force().effective(), "derived": self.derived })
    }

    /// Reloads, or reports what a reload would change, for the admin API. Continues if the client disconnects.
    ///
    /// # Errors
    /// One line with the error in the configuration.
    pub(super) async fn answer(self: Arc<Self>, dry_run: bool) -> Result<Value, String> {
        let changes = if dry_run {
            self.step().await.map(|step| step.map_or_else(Vec::new, |step| step.changes))
        } else {
            let reload = tokio::spawn(self.reload("the admin API"));
            reload.await.unwrap_or_else(|error| Err(ConfigError::because(error)))
        };
        let changes = changes.map_err(|error| error.to_string())?;
        let restart_needed = changes.iter().any(|change| change.effect == Effect::Restart);
        Ok(json!(Report { changes, restart_needed, dry_run }))
    }

    /// Computes the changes that a reload would make; `None`: there is no source to reload from.
    async fn step(&self) -> Result<Option<Step>, ConfigError> {
        let running = self.running.lock().await;
        match (&*running, &self.source) {
            (Some(running), Some(source)) => {
                running.loaded.change_to(load(source).await?).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// Reloads the configuration and puts all possible changes in force; returns the differences.
    ///
    /// # Errors
    /// [`ConfigError`]: the reason for which nothing was changed.
    pub(super) async fn reload(self: Arc<Self>, cause: &str) -> Result<Vec<Change>, ConfigError> {
        let mut running = self.running.lock().await;
        let (Some(running), Some(source)) = (&mut *running, &self.source) else {
            return Ok(Vec::new());
        };
        let digest = source.digest();
        let step = match load(source).await {
            Ok(new) => running.loaded.change_to(new),
            Err(error) => Err(error),
        };
        let applied = match step {
            Ok(step) => self.apply(&step).await.map(|()| step),
            Err(error) => Err(error),
        };
        match applied {
            Ok(Step { next, changes }) => {
                log_changes(cause, &changes);
                metrics::reloaded(Reload::Success);
                *running = Running { loaded: next, refused: None };
                Ok(changes)
            }
            Err(error) => {
                log::error!("the configuration stays as it is (reload by {cause}): {error}");
                metrics::reloaded(Reload::Failure);
                running.refused = Some(Digest(digest));
                Err(error)
            }
        }
    }

    /// Puts a configuration in force.
    async fn apply(&self, step: &Step) -> Result<(), ConfigError> {
        let before = self.in_force();
        let mut new = step.next.config.clone();
        new.keep_derived(&before, &self.derived);
        let new = Arc::new(new);
        let wrong = |error| step.next.sources.locate(error);
        let origins = Box::pin(self.live.prepare_origins(&new, &before)).await.map_err(wrong)?;
        let (live, config) = (self.live.clone(), new.clone());
        let prepared = spawn_blocking(move || live.prepare(&config, &before, origins)).await;
        let prepared = prepared.unwrap_or_else(|error| Err(ConfigError::because(error)));
        self.live.apply(&new, prepared.map_err(wrong)?);
        self.in_force.store(new);
        Ok(())
    }

    /// Reloads whenever the file changes, until `shutdown` turns true.
    pub(super) async fn watch(self: Arc<Self>, mut shutdown: watch::Receiver<bool>) {
        if self.source.as_ref().and_then(ConfigSource::path).is_none() {
            return;
        }
        tokio::select! {
            _ = shutdown.wait_for(|stop| *stop) => {}
            () = self.look() => {}
        }
    }

    async fn look(self: Arc<Self>) {
        loop {
            let Some(every) = self.in_force().reload else {
                sleep(OFF).await;
                continue;
            };
            sleep(every.0).await;
            let Some(changed) = self.changed().await else { continue };
            sleep(SETTLED.min(every.0)).await;
            if self.changed().await == Some(changed) {
                // The reload must not be cancelled with the watch.
                let _ = tokio::spawn(self.clone().reload("a changed file")).await;
            }
        }
    }

    /// Returns the digest of the file, unless it is in force or was refused already.
    async fn changed(&self) -> Option<Option<u64>> {
        let source = self.source.clone()?;
        let digest = spawn_blocking(move || source.digest()).await.ok()?;
        let running = self.running.lock().await;
        let running = running.as_ref()?;
        let is_known = digest == running.loaded.digest() || running.refused == Some(Digest(digest));
        (!is_known).then_some(digest)
    }
}

/// Reads a configuration on a blocking thread, since files may be on a slow or dead mount.
async fn load(source: &ConfigSource) -> Result<Loaded, ConfigError> {
    let source = source.clone();
    let loaded = spawn_blocking(move || source.load()).await;
    loaded.unwrap_or_else(|error| Err(ConfigError::because(error)))
}

fn log_changes(cause: &str, changes: &[Change]) {
    for change in changes.iter().take(LOGGED) {
        match change.effect {
            Effect::Live => log::info!("configuration: {change}"),
            Effect::Restart => log::warn!("configuration: {change}"),
        }
    }
    if changes.is_empty() {
        log::info!("reloaded by {cause}: nothing has changed");
        return;
    }
    let live = changes.iter().filter(|change| change.effect == Effect::Live).count();
    let waiting = changes.len() - live;
    log::info!("reloaded by {cause}: {live} keys changed, and {waiting} wait for a restart");
}

/// Files and settings of a configuration, read and validated before any of it is applied.
struct Prepared {
    tls: Vec<(Arc<Tls>, NewTls)>,
    receivers: NewReceivers,
    access: Access,
    /// New origins; `None`: they are unchanged.
    origins: Option<NewOrigins>,
}

/// Origins to put in force.
struct NewOrigins {
    set: OriginSet,
    /// Whether objects may be in other places, or are read with other credentials.
    moves: bool,
}

impl Live {
    /// Builds the origins that changed, and finds their credentials.
    ///
    /// # Errors
    /// [`ConfigError`]: the error that a start would have.
    async fn prepare_origins(
        &self,
        new: &Config,
        before: &Config,
    ) -> Result<Option<NewOrigins>, ConfigError> {
        let is_same = new.origin == before.origin
            && new.origins == before.origins
            && new.buckets == before.buckets;
        if is_same {
            return Ok(None);
        }
        let running = self.origin.in_force();
        let set = Box::pin(build_origins(new, &self.keys, Some(&running))).await;
        let set = set.map_err(ConfigError::because)?;
        Ok(Some(NewOrigins { set, moves: moves(before, new) }))
    }

    /// Reads and validates the files that a configuration names; blocks.
    ///
    /// # Errors
    /// [`ConfigError`]: the key with the error.
    fn prepare(
        &self,
        new: &Config,
        before: &Config,
        origins: Option<NewOrigins>,
    ) -> Result<Prepared, ConfigError> {
        if let Err((key, error)) = Token::new(&new.admin).check() {
            return Err(ConfigError::at(key, error));
        }
        let mut tls = Vec::new();
        if let (Some(running), Some(config)) = (&self.admin_tls, &new.admin.tls)
            && before.admin.tls.as_ref() != Some(config)
        {
            let prepared = running.prepare(config).map_err(|TlsError { key, problem }| {
                ConfigError::at(format!("admin.tls.{key}"), problem)
            })?;
            tls.push((running.clone(), prepared));
        }
        for (index, (running, listen)) in self.tls.iter().zip(&new.listen).enumerate() {
            let is_same = before.listen.get(index).is_some_and(|before| before.tls == listen.tls);
            let (Some(running), Some(config), false) = (running, &listen.tls, is_same) else {
                continue;
            };
            let prepared = running.prepare(config).map_err(|TlsError { key, problem }| {
                ConfigError::at(format!("listen[{index}].tls.{key}"), problem)
            })?;
            tls.push((running.clone(), prepared));
        }
        let wrong = |error| ConfigError::because(format_args!("events.{error}"));
        let receivers = self.receivers.prepare(&new.events).map_err(wrong)?;
        // Last: the origin adopts the keys of identities as they are read.
        let running = self.origin.in_force();
        let next = origins.as_ref().map_or(&*running, |origins| &origins.set);
        let access = access_anew(&self.access, new, before, &self.origin, next);
        let access = access.map_err(|error| ConfigError::at("auth.identities", error))?;
        Ok(Prepared { tls, receivers, access, origins })
    }

    /// Puts other origins in force; requests under way keep theirs.
    fn replace_origins(&self, new: NewOrigins) {
        let NewOrigins { set, moves } = new;
        let running = self.origin.in_force();
        let are_aws = set.are_aws();
        let removed = running.keys().filter(|key| set.made_for(key).is_none());
        let removed: Vec<_> = removed.map(name_of).collect();
        // While either may be asked, keys are compared as the one that mixes them up does.
        if !are_aws {
            self.rules.set_exact_keys(false);
        }
        self.origin.replace(set, moves);
        for name in removed {
            remove_origin(name);
        }
        self.rules.set_exact_keys(are_aws);
        self.origin.in_force().renew_credentials(Some(&running));
        if moves {
            // After the switch to the new ones: responses of the old ones are of the time before.
            self.cache.confirm_all_once();
            if let Some(transparent) = self.access.transparent() {
                transparent.forget_all();
            }
        }
    }

    /// Puts a configuration in force, which cannot fail.
    fn apply(&self, new: &Config, prepared: Prepared) {
        let Prepared { tls, receivers, access, origins } = prepared;
        if let Some(origins) = origins {
            self.replace_origins(origins);
        }
        self.access.replace(access);
        give_origin_keys(&self.access, &self.origin.default_origin());
        for (addressed, listen) in self.addressed.iter().zip(&new.listen) {
            let origin = self.origin.default_origin();
            addressed.store(addressed_by(new, listen, origin.endpoint()));
        }
        self.cache.set_rules(&new.rules);
        if let Err(error) = self.rules.replace(&new.rules) {
            log::error!("rules: {error}; they stay as they are");
        }
        for (running, tls) in tls {
            running.replace(tls);
        }
        self.limits.store(Arc::new(new.limits.clone()));
        self.admission.set_limits(&new.limits);
        self.warmer.set_limits(&new.warm);
        self.intake.set_max_lag(new.events.max_lag.0);
        self.receivers.replace(receivers);
        if let Err(error) = self.log.set_format(new.log.access) {
            log::error!("log.access stays as it is: log.access_to: {error}");
        }
        operator::set_format(new.log.format);
        operator::set_level(&new.log.level);
        set_prices(new.admin.prices.requests.0, new.admin.prices.gigabyte.0);
        self.token.replace(&new.admin);
    }
}
