//! Differences between two configurations, and the time at which each takes effect: at once, or at the next start.
//!
//! [`EFFECTS`] is the only table of effects; a test compares it with the schema. [`Loaded::change_to`] computes the
//! configuration that a running server can apply: the new one, with the keys that need a restart unchanged.

use std::fmt;

use serde::Serialize;
use serde_json::Value as Json;

use super::effective::{flatten, to_json, without_password};
use super::load::is_within;
use super::{Config, ConfigError, Sources};
use crate::yaml::{self, Key, Node, Value};

/// Time at which a changed key takes effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Effect {
    /// On reload.
    Live,
    /// On restart.
    Restart,
}

use Effect::{Live, Restart};

/// The effect of each key, and of all keys below it that have no entry of their own.
#[rustfmt::skip] // A table: one line a key.
const EFFECTS: &[(&str, Effect)] = &[
    ("admin", Live),
    ("admin.address", Restart),
    ("admin.tls", Restart),
    ("admin.tls.cert", Live),
    ("admin.tls.certificates", Live),
    ("admin.tls.client_auth", Live),
    ("admin.tls.client_ca", Live),
    ("admin.tls.key", Live),
    ("admin.tls.reload", Live),
    ("auth", Live),
    ("auth.decision_ttl", Restart),
    ("auth.mode", Restart),
    ("buckets", Live),
    ("cache", Restart),
    ("cluster", Restart),
    ("events", Live),
    ("events.webhook", Restart),
    ("events.webhook.api_key_header", Live),
    ("events.webhook.api_keys", Live),
    ("events.webhook.body", Live),
    ("events.webhook.body_timeout", Live),
    ("events.webhook.connections", Live),
    ("events.webhook.header_timeout", Live),
    ("events.webhook.requests", Live),
    ("events.webhook.secrets", Live),
    ("events.webhook.sns", Live),
    ("events.webhook.tls.cert", Live),
    ("events.webhook.tls.certificates", Live),
    ("events.webhook.tls.client_auth", Live),
    ("events.webhook.tls.client_ca", Live),
    ("events.webhook.tls.key", Live),
    ("events.webhook.tls.reload", Live),
    ("events.webhook.tokens", Live),
    ("limits", Live),
    ("listen", Restart),
    ("listen[].tls.cert", Live),
    ("listen[].tls.certificates", Live),
    ("listen[].tls.client_auth", Live),
    ("listen[].tls.client_ca", Live),
    ("listen[].tls.key", Live),
    ("listen[].tls.reload", Live),
    ("log", Live),
    ("log.access_to", Restart),
    ("log.audit", Restart),
    ("log.audit_to", Restart),
    ("origin", Live),
    ("origins", Live),
    ("reload", Live),
    ("rules", Live),
    ("shutdown", Live),
    ("threads", Restart),
    ("tracing", Restart),
    ("warm", Live),
];

/// Returns the effect of a change of `key` (`rules[0].match`, or `rules[].match`).
pub(super) fn effect_of(key: &str) -> Effect {
    let key = without_indices(key);
    let matching = EFFECTS.iter().filter(|(name, _)| is_within(&key, name));
    // An unlisted key cannot be applied at runtime.
    matching.max_by_key(|(name, _)| name.len()).map_or(Restart, |(_, effect)| *effect)
}

/// Replaces indices in a key: `listen[].tls.cert` for `listen[2].tls.cert`.
fn without_indices(key: &str) -> String {
    let mut parts = key.split('[');
    let mut name = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        name.push('[');
        name.push_str(part.trim_start_matches(|digit: char| digit.is_ascii_digit()));
    }
    name
}

/// Whether all keys below `path` have the same effect.
fn is_uniform(path: &str) -> bool {
    !EFFECTS.iter().any(|(name, _)| name.len() > path.len() && is_within(name, path))
}

/// A key whose value differs between two configurations.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Change {
    /// The key, such as `limits.requests` or `rules[0].freshness.ttl`.
    pub key: String,
    /// Value in force; null if the key is absent. Secrets are `***`.
    pub old: Json,
    /// New value; null if the key is removed.
    pub new: Json,
    pub effect: Effect,
}

impl fmt::Display for Change {
    /// Formats the change, such as `limits.requests: 20000 -> 100 (live)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, old, new, effect } = self;
        let effect = match effect {
            Live => "live",
            Restart => "needs a restart",
        };
        write!(f, "{key}: {} -> {} ({effect})", shown(old), shown(new))
    }
}

fn shown(value: &Json) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// A configuration that was read and validated, with the sources of its keys.
#[derive(Debug)]
pub struct Loaded {
    pub config: Config,
    pub sources: Sources,
}

/// The change from the configuration in force to another one.
#[derive(Debug)]
pub struct Step {
    /// The configuration in force afterwards: the new one, except for keys that need a restart.
    pub next: Loaded,
    /// Keys that differ, in the order of the reference.
    pub changes: Vec<Change>,
}

impl Loaded {
    /// Returns the digest of the file's text; `None`: there was no file.
    pub fn digest(&self) -> Option<u64> {
        self.sources.digest()
    }

    /// Computes the step from this configuration, which is in force, to `new`.
    ///
    /// # Errors
    /// The part of `new` that applies without a restart is not a valid configuration.
    pub fn change_to(&self, new: Self) -> Result<Step, ConfigError> {
        if self.sources.file_sets_keys() && !new.sources.file_sets_keys() {
            let why = "sets no key any more, as a file that is being written: it is not applied";
            return Err(new.sources.locate(ConfigError::new(why)));
        }
        let changes = self.differences(&new);
        let defaults = to_json(&Config::default());
        let (running, wanted) = (self.sources.tree(), new.sources.tree());
        let tree = keep(Some(running), Some(wanted), "", &defaults).unwrap_or_else(yaml_map);
        let applied = yaml::from_node::<Config>(&tree)
            .map_err(|error| ConfigError::new(error.problem()))
            .and_then(|config| config.check().map(|()| config));
        let config = applied.map_err(|error| {
            let waiting = changes.iter().filter(|change| change.effect == Restart);
            let waiting: Vec<&str> = waiting.map(|change| change.key.as_str()).collect();
            let why = format!(
                "{}; it is valid only together with {}, which need a restart",
                error.problem,
                waiting.join(", ")
            );
            new.sources.locate(ConfigError { problem: why, ..error })
        })?;
        let sources = new.sources.with_tree(tree);
        Ok(Step { next: Self { config, sources }, changes })
    }

    /// Returns the keys whose values differ from those of `new`.
    fn differences(&self, new: &Self) -> Vec<Change> {
        let is_same = |key: &str, old: &Json, now: &Json| {
            let secret = |tree: &Node| tree.find(key).map(|node| node.value.clone());
            let hidden = old == now && *old == "***";
            old == now && (!hidden || secret(self.sources.tree()) == secret(new.sources.tree()))
        };
        differences(&self.config.values(), &new.config.values(), is_same)
    }
}

/// A key and its value.
pub type KeyValue = (String, Json);

impl Config {
    /// Returns the keys whose values differ from those of `other`.
    pub fn keys_that_differ(&self, other: &Self) -> Vec<String> {
        let changes = differences(&self.values(), &other.values(), |_, old, new| old == new);
        changes.into_iter().map(|change| change.key).collect()
    }

    /// Copies the values of keys that were derived at the start from `started`.
    pub fn keep_derived(&mut self, started: &Self, derived: &[String]) {
        for key in derived {
            match key.as_str() {
                "cache.memory" => self.cache.memory = started.cache.memory,
                "cache.in_flight" => self.cache.in_flight = started.cache.in_flight,
                "threads" => self.threads = started.threads,
                "origin.endpoint" => self.origin.endpoint.clone_from(&started.origin.endpoint),
                other => log::error!("{other} is not expected to be filled in by the start"),
            }
        }
    }

    /// Returns every key and its value, passwords in URLs included: they are compared, and not shown.
    fn values(&self) -> Vec<KeyValue> {
        let mut values = Vec::new();
        let push = &mut |key: String, value: &Json, _| values.push((key, value.clone()));
        flatten(String::new(), &to_json(self), None, push);
        values
    }
}

/// Returns the keys whose values differ, secrets hidden; `is_same` compares the values of a key that both have.
pub fn differences(
    old: &[KeyValue],
    new: &[KeyValue],
    is_same: impl Fn(&str, &Json, &Json) -> bool,
) -> Vec<Change> {
    let find = |values: &[KeyValue], key: &str| {
        let found = values.iter().find(|(name, _)| name == key);
        found.map(|(_, value)| value.clone())
    };
    let change = |key: &str, old: Json, new: Json| {
        let (old, new) = (without_password(&old), without_password(&new));
        Change { key: key.to_owned(), old, new, effect: effect_of(key) }
    };
    let mut changes = Vec::new();
    for (key, old) in old {
        match find(new, key) {
            Some(now) if is_same(key, old, &now) => {}
            now => changes.push(change(key, old.clone(), now.unwrap_or_default())),
        }
    }
    for (key, now) in new {
        if find(old, key).is_none() {
            changes.push(change(key, Json::Null, now.clone()));
        }
    }
    let place = |change: &Change| {
        let name = change.key.split(['.', '[']).next().unwrap_or_default().to_owned();
        old.iter().position(|(key, _)| is_within(key, &name)).unwrap_or(usize::MAX)
    };
    changes.sort_by_key(place);
    changes
}

fn yaml_map() -> Node {
    Node::new(Value::Map(Vec::new()))
}

/// Returns `new`, with keys that need a restart taken from `running`. `None`: the key is not written.
fn keep(running: Option<&Node>, new: Option<&Node>, path: &str, defaults: &Json) -> Option<Node> {
    let whole = || match effect_of(path) {
        Live => new.cloned(),
        Restart => running.cloned(),
    };
    if !path.is_empty() && is_uniform(path) {
        return whole();
    }
    let is_optional = defaults.is_null();
    let is_map = |node: Option<&Node>| match node.filter(|node| !node.is_null()) {
        Some(node) => matches!(node.value, Value::Map(_)),
        // A section that is not written has its defaults.
        None => !is_optional,
    };
    match (running.map(|node| &node.value), new.map(|node| &node.value)) {
        (Some(Value::List(old)), Some(Value::List(items))) if old.len() == items.len() => {
            let default = defaults.get(0).unwrap_or(&Json::Null);
            let pairs = old.iter().zip(items);
            let kept = pairs.filter_map(|(old, item)| {
                keep(Some(old), Some(item), &format!("{path}[]"), default)
            });
            Some(Node::new(Value::List(kept.collect())))
        }
        _ if is_map(running) && is_map(new) => {
            let names = [running, new].into_iter().flatten().flat_map(names);
            let mut entries: Vec<(Key, Node)> = Vec::new();
            for name in names {
                if entries.iter().any(|(key, _)| key.name == name) {
                    continue;
                }
                let below =
                    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
                let of = |node: Option<&'_ Node>| node.and_then(|node| node.get(name)).cloned();
                let default = defaults.get(name).unwrap_or(&Json::Null);
                if let Some(node) = keep(of(running).as_ref(), of(new).as_ref(), &below, default) {
                    entries.push((Key { at: None, name: name.to_owned() }, node));
                }
            }
            Some(Node::new(Value::Map(entries)))
        }
        _ => whole(),
    }
}

fn names(node: &Node) -> impl Iterator<Item = &str> {
    let entries = match &node.value {
        Value::Map(entries) => entries.as_slice(),
        Value::Scalar { .. } | Value::List(_) => &[],
    };
    entries.iter().map(|(key, _)| key.name.as_str())
}

#[cfg(test)]
mod tests;
