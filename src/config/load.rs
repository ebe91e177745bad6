//! Reading a configuration: the file, then environment variables over it.
//!
//! Overrides are set in the YAML tree, one at a time, and the whole is parsed again after each: so an error names the
//! variable that caused it, and files and variables have the same parsers. This module is independent of the meaning of
//! keys.

use std::path::{Path, PathBuf};

use twox_hash::XxHash3_64;

use super::{Config, ConfigError, Loaded};
use crate::yaml::{self, Key, Node, Value};

const PREFIX: &str = "HOTSET_";
/// Environment variables with our prefix that are set by images and their tools, and are not keys.
const NOT_KEYS: [&str; 6] = ["VERSION", "REVISION", "HOME", "USER", "UID", "GID"];

/// Sources of the keys of a configuration.
#[derive(Debug)]
pub struct Sources {
    file: Option<(PathBuf, Node)>,
    /// Variables that set keys, in the order of their application.
    overrides: Vec<Override>,
    /// All keys that are set, by the file or by a variable.
    tree: Node,
    /// Digest of the file's text.
    digest: Option<u64>,
}

impl Sources {
    /// Adds to `error` the variable or the file that sets its key, and the place in that file. The error of a key that
    /// is not set names the file only.
    pub fn locate(&self, error: ConfigError) -> ConfigError {
        let key = error.key().unwrap_or_default();
        let mut overrides = self.overrides.iter().rev();
        if let Some(one) = overrides.find(|one| is_within(key, &one.key())) {
            return error.in_source(&one.variable);
        }
        let Some((path, tree)) = &self.file else { return error };
        let place = tree.place_of(key);
        error.in_source(path.display()).at_place(place)
    }

    /// Creates the sources of a tree without a file.
    #[cfg(test)]
    pub(super) fn of(tree: Node) -> Self {
        Self { file: None, overrides: Vec::new(), tree, digest: None }
    }

    /// Returns the digest of the file's text; `None`: there was no file.
    pub(super) fn digest(&self) -> Option<u64> {
        self.digest
    }

    /// Whether the file sets any key.
    pub(super) fn file_sets_keys(&self) -> bool {
        let keys = self.file.as_ref().map(|(_, tree)| &tree.value);
        matches!(keys, Some(Value::Map(entries)) if !entries.is_empty())
    }

    /// Returns all keys that are set.
    pub(super) fn tree(&self) -> &Node {
        &self.tree
    }

    /// Returns the same sources with another tree of keys.
    #[must_use]
    pub(super) fn with_tree(self, tree: Node) -> Self {
        Self { tree, ..self }
    }
}

/// The source of a configuration, for repeated reading: a file, and the environment at the start applied to it.
#[derive(Debug, Clone)]
pub struct ConfigSource {
    path: Option<PathBuf>,
    environment: Vec<(String, String)>,
}

impl ConfigSource {
    /// Creates a source; `path`: `None`: no file.
    pub fn new(path: Option<PathBuf>) -> Self {
        // Lossy: a variable of ours that is no text is then refused, and others do not matter.
        let environment = std::env::vars_os().map(|(name, value)| {
            (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned())
        });
        let environment = environment.filter(|(name, _)| name.starts_with(PREFIX)).collect();
        Self { path, environment }
    }

    /// Returns the path of the file.
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// Returns the digest of the current file; `None`: there is none, or it cannot be read. Blocks.
    pub fn digest(&self) -> Option<u64> {
        std::fs::read(self.path()?).ok().map(|text| XxHash3_64::oneshot(&text))
    }

    /// Reads and validates the configuration. Blocks.
    ///
    /// # Errors
    /// As [`Config::load`] and [`Config::check`], with the place of the key.
    pub fn load(&self) -> Result<Loaded, ConfigError> {
        let environment = self.environment.iter().cloned();
        let (config, sources) = Config::load_with_sources(self.path(), environment)?;
        config.check().map_err(|error| sources.locate(error))?;
        Ok(Loaded { config, sources })
    }
}

/// Whether a key is `other`, or below it.
pub(super) fn is_within(key: &str, other: &str) -> bool {
    key.strip_prefix(other).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

impl Config {
    /// Reads `path` (`None`: the defaults), then applies every `HOTSET_` variable of `env`:
    /// `HOTSET_CACHE__MEMORY=2GiB` sets `cache.memory`, `HOTSET_LISTEN__0__ADDRESS` the address of
    /// the first listener. Values are YAML, so a list is `[a, b]`. [`Config::check`] comes after.
    ///
    /// # Errors
    /// The file cannot be read, or a key or value is unknown.
    pub fn load(
        path: Option<&Path>,
        env: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        Self::load_with_sources(path, env).map(|(config, _)| config)
    }

    /// As [`Config::load`], with the sources of keys, for the errors of [`Config::check`].
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn load_with_sources(
        path: Option<&Path>,
        env: impl Iterator<Item = (String, String)>,
    ) -> Result<(Self, Sources), ConfigError> {
        let (mut config, mut tree, digest) = match path {
            Some(path) => read_file(path).map_err(|error| error.in_source(path.display()))?,
            None => (Self::default(), empty(), None),
        };
        let file = path.map(|path| (path.to_owned(), tree.clone()));
        let mut overrides: Vec<Override> = env.filter_map(Override::from_variable).collect();
        overrides.sort_by(|a, b| a.path.cmp(&b.path));
        for one in &overrides {
            (config, tree) = one.apply(&tree).map_err(|error| error.in_source(&one.variable))?;
        }
        Ok((config, Sources { file, overrides, tree, digest }))
    }
}

/// Returns a map without keys.
fn empty() -> Node {
    Node::new(Value::Map(Vec::new()))
}

fn read_file(path: &Path) -> Result<(Config, Node, Option<u64>), ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| ConfigError::new(format_args!("cannot be read: {error}")))?;
    let digest = Some(XxHash3_64::oneshot(text.as_bytes()));
    let in_file = |error: yaml::Error| explain(&error).at_place(error.place());
    let tree = yaml::parse(&text).map_err(in_file)?;
    match tree.value {
        // An empty file, or one with comments only.
        _ if tree.is_null() => Ok((Config::default(), empty(), digest)),
        Value::Map(_) => Ok((yaml::from_node(&tree).map_err(in_file)?, tree, digest)),
        _ => Err(ConfigError::new("is not a map of keys and values").at_place(tree.at)),
    }
}

/// A step of the path to a key; the order puts item 2 of a list before item 10.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Item(usize),
    Key(String),
}

impl Step {
    fn parse(text: &str) -> Self {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        match text.parse() {
            Ok(index) if digits => Self::Item(index),
            _ => Self::Key(text.to_ascii_lowercase()),
        }
    }
}

/// One `HOTSET_` environment variable.
#[derive(Debug)]
struct Override {
    variable: String,
    path: Vec<Step>,
    value: String,
}

impl Override {
    fn from_variable((variable, value): (String, String)) -> Option<Self> {
        let name = variable.strip_prefix(PREFIX)?;
        if NOT_KEYS.contains(&name) || is_service_link(name) {
            return None;
        }
        let path = name.split("__").map(Step::parse).collect();
        Some(Self { variable, path, value })
    }

    /// Returns the tree with this variable applied, and its configuration.
    fn apply(&self, tree: &Node) -> Result<(Config, Node), ConfigError> {
        let text = Node::text(&*self.value);
        let Ok(value) = yaml::parse(&self.value) else {
            // `**` is no YAML, and in a file it would have to be quoted.
            return self.set(tree, text);
        };
        // `[::1]:9000` is an address, and `[a` a list that does not end.
        self.set(tree, value).or_else(|error| self.set(tree, text).map_err(|_| error))
    }

    fn set(&self, tree: &Node, value: Node) -> Result<(Config, Node), ConfigError> {
        let mut tree = tree.clone();
        let defaults = serde_json::to_string(&Config::default())
            .map_err(|error| ConfigError::new(format_args!("the defaults: {error}")))?;
        // JSON is YAML.
        let defaults = yaml::parse(&defaults).map_err(|error| explain(&error))?;
        set_at(&mut tree, Some(&defaults), &self.path, value)
            .map_err(|problem| ConfigError::at(self.key(), problem))?;
        Ok((yaml::from_node(&tree).map_err(|error| explain(&error))?, tree))
    }

    fn key(&self) -> String {
        self.path.iter().fold(String::new(), |key, step| match step {
            Step::Item(index) => format!("{key}[{index}]"),
            Step::Key(name) if key.is_empty() => name.clone(),
            Step::Key(name) => format!("{key}.{name}"),
        })
    }
}

/// Sets one place of the tree. A list that the file omits starts as its default, so that `HOTSET_LISTEN__0__ADDRESS`
/// changes the default listener instead of an item of an empty list.
fn set_at(
    node: &mut Node,
    default: Option<&Node>,
    path: &[Step],
    value: Node,
) -> Result<(), String> {
    let Some((step, rest)) = path.split_first() else {
        *node = value;
        return Ok(());
    };
    match step {
        Step::Key(name) => {
            if !matches!(node.value, Value::Map(_)) {
                *node = empty();
            }
            let Value::Map(entries) = &mut node.value else {
                unreachable!("it was just made a map")
            };
            let at = entries.iter().position(|(key, _)| key.name == *name).unwrap_or_else(|| {
                entries.push((Key { at: None, name: name.clone() }, Node::null()));
                entries.len() - 1
            });
            set_at(&mut entries[at].1, default.and_then(|d| d.get(name)), rest, value)
        }
        Step::Item(index) => {
            if node.is_null() {
                let list = default.filter(|default| matches!(default.value, Value::List(_)));
                *node = list.cloned().unwrap_or_else(|| Node::new(Value::List(Vec::new())));
            }
            let Value::List(items) = &mut node.value else {
                return Err("is not a list".to_owned());
            };
            if *index == items.len() {
                items.push(Node::null());
            }
            let length = items.len();
            let item = items
                .get_mut(*index)
                .ok_or_else(|| format!("the list has {length} items, and none may be left out"))?;
            set_at(item, default.and_then(|d| d.item(*index)), rest, value)
        }
    }
}

/// Whether a variable (without the prefix) is one that Kubernetes sets in every pod for a Service whose name begins
/// with `hotset`: `HOTSET_PORT`, `HOTSET_SERVICE_HOST`, `HOTSET_PORT_9000_TCP`.
fn is_service_link(name: &str) -> bool {
    let ends = ["PORT", "SERVICE_HOST", "SERVICE_PORT"].iter().any(|end| {
        name.strip_suffix(end).is_some_and(|left| left.is_empty() || left.ends_with('_'))
    });
    let named_port = name.starts_with("SERVICE_PORT_") || name.contains("_SERVICE_PORT_");
    let numbered = name.split("PORT_").skip(1).any(|rest| {
        let protocol = rest.trim_start_matches(|c: char| c.is_ascii_digit());
        protocol.len() < rest.len()
            && ["_TCP", "_UDP", "_SCTP"].iter().any(|p| protocol.starts_with(p))
    });
    ends || named_port || numbered
}

/// Converts a parser's error, without its place.
fn explain(error: &yaml::Error) -> ConfigError {
    match error.key() {
        Some(key) => ConfigError::at(key, error.problem()),
        None => ConfigError::new(error.problem()),
    }
}

#[cfg(test)]
mod tests;
