//! Reading a configuration: the file, then environment variables over it.
//!
//! Overrides are set in the YAML tree, one at a time, and the whole is read again after each: so an
//! error names the variable that caused it, and the same readers judge files and variables.
//! Nothing here knows what a key means.

use std::path::Path;

use serde_yaml::{Mapping, Value};

use super::{Config, ConfigError};

const PREFIX: &str = "HOTSET_";
/// What images and their tools say about themselves under our prefix; none of it is a key.
const NOT_KEYS: [&str; 6] = ["VERSION", "REVISION", "HOME", "USER", "UID", "GID"];

impl Config {
    /// Reads `path` (`None`: the defaults), then applies every `HOTSET_` variable of `env`:
    /// `HOTSET_CACHE__MEMORY=2GiB` sets `cache.memory`, `HOTSET_LISTEN__0__ADDRESS` the address of
    /// the first listener. Values are YAML, so a list is `[a, b]`. [`Config::check`] comes after.
    ///
    /// # Errors
    /// When the file cannot be read, or a key or a value is not one that is known.
    pub fn load(
        path: Option<&Path>,
        env: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let (mut config, mut tree) = match path {
            Some(path) => read_file(path).map_err(|error| error.in_source(path.display()))?,
            None => (Self::default(), Value::Mapping(Mapping::new())),
        };
        let mut overrides: Vec<Override> = env.filter_map(Override::from_variable).collect();
        overrides.sort_by(|a, b| a.path.cmp(&b.path));
        for one in &overrides {
            (config, tree) = one.apply(&tree).map_err(|error| error.in_source(&one.variable))?;
        }
        Ok(config)
    }
}

fn read_file(path: &Path) -> Result<(Config, Value), ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| ConfigError::new(format_args!("cannot be read: {error}")))?;
    let tree: Value = serde_yaml::from_str(&text).map_err(|error| explain(&error, true))?;
    match tree {
        // An empty file, or one with comments only.
        Value::Null => Ok((Config::default(), Value::Mapping(Mapping::new()))),
        tree @ Value::Mapping(_) => {
            // From the text once more: only so do errors know their line.
            let config = serde_yaml::from_str(&text).map_err(|error| explain(&error, true))?;
            Ok((config, tree))
        }
        _ => Err(ConfigError::new("is not a list of keys and values")),
    }
}

/// A step on the way to a key; the order puts item 2 of a list before item 10.
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

/// One environment variable of ours.
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

    /// The tree with this variable set, and what it means.
    fn apply(&self, tree: &Value) -> Result<(Config, Value), ConfigError> {
        let text = Value::String(self.value.clone());
        let Ok(value) = serde_yaml::from_str::<Value>(&self.value) else {
            // `**` is no YAML, and in a file it would have to be quoted.
            return self.set(tree, text);
        };
        // A profile named `123` is a number in YAML and a name to whoever set the variable.
        self.set(tree, value).or_else(|error| self.set(tree, text).map_err(|_| error))
    }

    fn set(&self, tree: &Value, value: Value) -> Result<(Config, Value), ConfigError> {
        let mut tree = tree.clone();
        let defaults = serde_yaml::to_value(Config::default())
            .map_err(|error| ConfigError::new(format_args!("the defaults: {error}")))?;
        set_at(&mut tree, Some(&defaults), &self.path, value)
            .map_err(|problem| ConfigError::at(self.key(), problem))?;
        let config = serde_yaml::to_string(&tree)
            .and_then(|text| serde_yaml::from_str(&text))
            .map_err(|error| explain(&error, false))?;
        Ok((config, tree))
    }

    fn key(&self) -> String {
        self.path.iter().fold(String::new(), |key, step| match step {
            Step::Item(index) => format!("{key}[{index}]"),
            Step::Key(name) if key.is_empty() => name.clone(),
            Step::Key(name) => format!("{key}.{name}"),
        })
    }
}

/// Sets one place of the tree. A list that the file leaves out begins as its default, so that
/// `HOTSET_LISTEN__0__ADDRESS` changes the default listener instead of naming item 0 of nothing.
fn set_at(
    node: &mut Value,
    default: Option<&Value>,
    path: &[Step],
    value: Value,
) -> Result<(), String> {
    let Some((step, rest)) = path.split_first() else {
        *node = value;
        return Ok(());
    };
    match step {
        Step::Key(name) => {
            if !node.is_mapping() {
                *node = Value::Mapping(Mapping::new());
            }
            let map = node.as_mapping_mut().expect("it was just made a mapping");
            let child = map.entry(Value::String(name.clone())).or_insert(Value::Null);
            set_at(child, default.and_then(|d| d.get(name.as_str())), rest, value)
        }
        Step::Item(index) => {
            if node.is_null() {
                *node = default.filter(|d| d.is_sequence()).cloned().unwrap_or_default();
            }
            if node.is_null() {
                *node = Value::Sequence(Vec::new());
            }
            let Some(list) = node.as_sequence_mut() else {
                return Err("is not a list".to_owned());
            };
            if *index == list.len() {
                list.push(Value::Null);
            }
            let length = list.len();
            let child = list
                .get_mut(*index)
                .ok_or_else(|| format!("the list has {length} items, and none may be left out"))?;
            set_at(child, default.and_then(|d| d.get(*index)), rest, value)
        }
    }
}

/// Whether a variable (without the prefix) is one that Kubernetes sets in every pod for a Service
/// whose name begins with `hotset`: `HOTSET_PORT`, `HOTSET_SERVICE_HOST`, `HOTSET_PORT_9000_TCP`.
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

/// A reader's error as ours: `serde_yaml` writes `path: problem at line 3 column 5`.
fn explain(error: &serde_yaml::Error, with_line: bool) -> ConfigError {
    let text = error.to_string();
    let (text, line) = match text.rsplit_once(" at line ") {
        Some((before, place)) => (before, place.split(' ').next()),
        None => (text.as_str(), None),
    };
    // A path has no spaces; a problem that holds `: ` has some before it.
    let (path, problem) = match text.split_once(": ") {
        Some((path, problem)) if !path.contains(' ') => {
            (path.trim_end_matches(['?', '.']), problem)
        }
        _ => ("", text),
    };
    let (key, problem) = match unknown_field(problem) {
        Some((name, rest)) if path.is_empty() => (name.to_owned(), format!("unknown key{rest}")),
        Some((name, rest)) => (format!("{path}.{name}"), format!("unknown key{rest}")),
        None => (path.to_owned(), problem.to_owned()),
    };
    let problem = for_people(&problem);
    let problem = match line {
        Some(line) if with_line => format!("{problem} (line {line})"),
        _ => problem,
    };
    if key.is_empty() { ConfigError::new(problem) } else { ConfigError::at(key, problem) }
}

/// A problem without the names of Rust's types.
fn for_people(problem: &str) -> String {
    if problem.starts_with("invalid type: unit value") {
        return "has no value: give it one, or leave the key out".to_owned();
    }
    match problem.split_once("expected struct ") {
        Some((before, _)) => format!("{before}expected keys below it"),
        None => problem.to_owned(),
    }
}

/// Splits serde's ``unknown field `blok`, expected one of ..``.
fn unknown_field(problem: &str) -> Option<(&str, &str)> {
    problem.strip_prefix("unknown field `")?.split_once('`')
}

#[cfg(test)]
mod tests;
