//! The configuration: the modules' own `XConfig` put together under their keys.
//!
//! A YAML file is read first, then environment variables override single keys ([`Config::load`]), then relations
//! between keys are checked ([`Config::check`]). The invariant: an error in a configuration is reported in one line
//! that names the key, before anything is opened or bound.
//!
//! Only `app`, `cli` and `main` import this module; the others see their own part and [`units`], which imports no other
//! module of hotset.

mod changes;
mod check;
mod effective;
mod load;
#[cfg(test)]
mod reference;
#[cfg(test)]
mod schema;
pub mod units;

pub use changes::{Change, Effect, KeyValue, Loaded, Step, differences};
pub use effective::Setting;
pub use load::{ConfigSource, Sources};

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::admin::config::AdminConfig;
use crate::auth::config::AuthConfig;
use crate::cache::config::{CacheConfig, RuleConfig};
use crate::cluster::config::ClusterConfig;
use crate::events::config::EventsConfig;
use crate::logging::config::LogConfig;
use crate::origin::config::{BucketConfig, OriginConfig};
use crate::proxy::config::{LimitsConfig, ListenConfig};
use crate::tracing::config::TracingConfig;
use crate::warm::config::WarmConfig;
use crate::yaml::Place;
use units::HumanDuration;

/// The whole configuration. `conf/hotset.yaml` shows each key with its default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Listeners for clients; one item for each address.
    pub listen: Vec<ListenConfig>,
    /// The admin port: metrics, health checks and the admin API.
    pub admin: AdminConfig,
    /// Authentication and authorisation of clients.
    pub auth: AuthConfig,
    /// The S3 service behind hotset.
    pub origin: OriginConfig,
    /// Other S3 services, by name, for the buckets that `buckets` maps to them.
    pub origins: BTreeMap<String, OriginConfig>,
    /// Buckets that are another origin's, or have another name there: by the name that clients use, or
    /// a glob over names. A name wins over globs, and of those the one with the longest text before its
    /// first wildcard.
    pub buckets: BTreeMap<String, BucketConfig>,
    /// Sizes of the cache.
    pub cache: CacheConfig,
    /// Caching rules by bucket and key. The first rule that matches applies; the last one must
    /// match every object.
    pub rules: Vec<RuleConfig>,
    /// Receivers of S3 event notifications.
    pub events: EventsConfig,
    /// The other replicas, which are told of invalidations.
    pub cluster: ClusterConfig,
    /// Limits of warming and prefetching, which yield to client reads.
    pub warm: WarmConfig,
    /// Logging.
    pub log: LogConfig,
    /// Traces of requests for OpenTelemetry.
    pub tracing: TracingConfig,
    /// Limits on what clients may use.
    pub limits: LimitsConfig,
    /// Graceful shutdown.
    pub shutdown: ShutdownConfig,
    /// Interval between checks of the configuration file for changes, which are applied as by `hotset reload`; `None`:
    /// the file is read again only by SIGHUP and `hotset reload`.
    pub reload: Option<HumanDuration>,
    /// Number of worker threads; `None`: one for each CPU of the cgroup quota, rounded up, or for
    /// each core where there is no quota.
    pub threads: Option<usize>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: vec![ListenConfig::default()],
            admin: AdminConfig::default(),
            auth: AuthConfig::default(),
            origin: OriginConfig::default(),
            origins: BTreeMap::new(),
            buckets: BTreeMap::new(),
            cache: CacheConfig::default(),
            rules: vec![RuleConfig::default()],
            events: EventsConfig::default(),
            cluster: ClusterConfig::default(),
            warm: WarmConfig::default(),
            log: LogConfig::default(),
            tracing: TracingConfig::default(),
            limits: LimitsConfig::default(),
            shutdown: ShutdownConfig::default(),
            reload: Some(HumanDuration::secs(5)),
            threads: None,
        }
    }
}

/// Graceful shutdown, the key `shutdown`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct ShutdownConfig {
    /// Time for which requests are still served after SIGTERM, while `/readyz` already answers 503. In
    /// that time load balancers notice and send new connections elsewhere.
    pub delay: HumanDuration,
    /// Maximum time for responses in flight to finish after that. The process ends sooner when
    /// none is left.
    pub grace: HumanDuration,
}

impl Default for ShutdownConfig {
    fn default() -> Self {
        Self { delay: HumanDuration::default(), grace: HumanDuration::secs(30) }
    }
}

/// Error in a configuration. Its display is one line:
/// `hotset.yaml:2:10: cache.block: 3MiB is not a power of two between 64KiB and 16MiB`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    source: Option<String>,
    place: Option<Place>,
    key: Option<String>,
    problem: String,
}

impl ConfigError {
    fn new(problem: impl fmt::Display) -> Self {
        Self { source: None, place: None, key: None, problem: problem.to_string() }
    }

    pub(crate) fn at(key: impl fmt::Display, problem: impl fmt::Display) -> Self {
        let (key, problem) = (Some(key.to_string()), problem.to_string());
        Self { source: None, place: None, key, problem }
    }

    /// Creates an error for a failure that no key has caused.
    pub fn because(failure: impl fmt::Display) -> Self {
        Self::new(failure)
    }

    /// Adds the source of the value: the name of a file or of an environment variable.
    #[must_use]
    pub fn in_source(mut self, source: impl fmt::Display) -> Self {
        self.source = Some(source.to_string());
        self
    }

    /// Returns the same error for another part of the configuration with the keys of `from`.
    fn renamed(mut self, from: &str, to: &str) -> Self {
        let renamed = |text: &str| text.replace(&format!("{from}."), &format!("{to}."));
        self.key = self.key.as_deref().map(renamed);
        self.problem = renamed(&self.problem);
        self
    }

    /// Adds the place of the value, or of the key, in its file.
    #[must_use]
    fn at_place(mut self, place: Option<Place>) -> Self {
        self.place = place;
        self
    }

    /// Returns the invalid key, such as `rules[0].match`; `None`: the file as a whole is invalid.
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(source) = &self.source {
            f.write_str(source)?;
            // As compilers write it, so that editors find the place.
            if let Some(Place { line, column }) = self.place {
                write!(f, ":{line}:{column}")?;
            }
            f.write_str(": ")?;
        }
        if let Some(key) = &self.key {
            write!(f, "{key}: ")?;
        }
        // A value that is quoted may hold line ends; the promise is one line.
        f.write_str(&self.problem.split_whitespace().collect::<Vec<_>>().join(" "))
    }
}

impl std::error::Error for ConfigError {}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use serde_json::Value;

    use super::*;
    use crate::yaml;

    fn conf(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("conf").join(name)
    }

    fn assert_has_keys(default: &Value, file: &Value, at: &str) {
        match (default, file) {
            (Value::Object(keys), Value::Object(in_file)) => {
                for (key, value) in keys {
                    let name = format!("{at}.{key}");
                    let found = in_file.get(key).unwrap_or_else(|| panic!("{name} is missing"));
                    assert_has_keys(value, found, &name);
                }
            }
            (Value::Array(items), Value::Array(in_file)) => {
                assert_eq!(items.len(), in_file.len(), "{at}");
                for (item, found) in items.iter().zip(in_file) {
                    assert_has_keys(item, found, at);
                }
            }
            _ => assert_eq!(default, file, "{at}"),
        }
    }

    #[test]
    fn the_reference_file_is_exactly_the_default() {
        let config = Config::load(Some(&conf("hotset.yaml")), std::iter::empty()).unwrap();
        assert_eq!(config, Config::default());
    }

    #[test]
    fn the_reference_file_has_every_key_and_a_line_on_each() {
        let text = std::fs::read_to_string(conf("hotset.yaml")).unwrap();
        let file: Value = yaml::from_str(&text).unwrap();
        assert_has_keys(&serde_json::to_value(Config::default()).unwrap(), &file, "");

        let mut documented = false;
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let comment = line.starts_with('#');
            assert!(comment || documented || line.contains(" # "), "no doc: {line}");
            documented = comment;
        }
    }

    #[test]
    fn every_file_in_conf_is_a_valid_configuration() {
        let mut seen = 0;
        for entry in std::fs::read_dir(conf("")).unwrap() {
            let path = entry.unwrap().path();
            // One is Docker Compose's.
            if path.extension().is_none_or(|extension| extension != "yaml")
                || path.ends_with("compose.yaml")
            {
                continue;
            }
            // The image's does not start before it is said who may use it.
            let open = ("HOTSET_AUTH__OPEN".to_owned(), "true".to_owned());
            let said = path.ends_with("container.yaml").then_some(open);
            let config = Config::load(Some(&path), said.into_iter())
                .unwrap_or_else(|error| panic!("{error}"));
            config.check().unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            seen += 1;
        }
        assert!(seen >= 5, "{seen} files");
    }

    #[test]
    fn the_default_passes_its_own_check() {
        Config::default().check().unwrap();
    }

    #[test]
    fn a_configuration_is_written_and_read_back_unchanged() {
        let text = serde_json::to_string(&Config::default()).unwrap();
        assert_eq!(yaml::from_str::<Config>(&text).unwrap(), Config::default());
    }

    #[test]
    fn an_error_is_one_line_whatever_it_quotes() {
        let error = ConfigError::at("a.b", "`x\ny` is\nwrong").in_source("f.yaml");
        assert_eq!(error.to_string(), "f.yaml: a.b: `x y` is wrong");
    }
}
