//! The reference of the configuration, `docs/reference/configuration.md`: generated from the types that read it, as the
//! [schema](super::schema) is.

use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::Effect;
use super::changes::effect_of;
use super::schema::schema;

const FILE: &str = "docs/reference/configuration.md";

const HEAD: &str = "\
<!-- Generated from the doc comments of the configuration types by `make generate`: change those. -->

# Configuration reference

Every key with its type, default and meaning. [Configuration](../configuration.md) explains how files, environment
variables and `hotset check` work together; [`conf/hotset.yaml`](../../conf/hotset.yaml) is the same as a file.

- `[]` is an item of a list. The environment variable of a key has its parts in capitals, joined by two underscores:
  `cache.memory` is `HOTSET_CACHE__MEMORY`, and `listen[].address` of the first item is `HOTSET_LISTEN__0__ADDRESS`.
- `NAME` is a name of your choice, here that of a bucket or an origin.
- A *size* is a number of bytes: `4096`, `512MiB` or `1GB`. A *duration* is `10ms`, `30s`, `2m30s` or `1h`; `0` needs no
  unit. A *share* is a percentage, such as `20%`.
- A *live* key takes effect when the configuration is [reloaded](../operations.md#reloading-the-configuration); the
  others at the next start.
- A key whose type ends in *or null* need not be set. Below an object that is null by default, the defaults are those
  of an object that is set.
";

/// A key as shown in the page.
struct Key {
    path: String,
    kind: String,
    default: Option<Value>,
    text: String,
}

/// Returns the page.
fn page() -> String {
    let root = schema(true);
    let mut page = HEAD.to_owned();
    for (name, section) in properties(&root) {
        let mut keys = Vec::new();
        collect(name, section, section.get("default"), &mut keys);
        let first = keys.remove(0);
        if keys.is_empty() {
            keys.push(first);
            writeln!(page, "\n## `{name}`\n").unwrap();
        } else {
            writeln!(page, "\n## `{name}`\n\n{}\n", sentence(&first.text)).unwrap();
        }
        page.push_str("| key | type | default | change | meaning |\n|---|---|---|---|---|\n");
        for Key { path, kind, default, text } in keys {
            let default = default.as_ref().map(shown).unwrap_or_default();
            let effect = match effect_of(&path) {
                Effect::Live => "live",
                Effect::Restart => "restart",
            };
            let text = cell(&sentence(&text));
            writeln!(page, "| `{path}` | {kind} | {default} | {effect} | {text} |").unwrap();
        }
    }
    page
}

fn properties(schema: &Value) -> impl Iterator<Item = (&String, &Value)> {
    schema.get("properties").and_then(Value::as_object).into_iter().flat_map(Map::iter)
}

/// Collects the key at `path` and all below it.
fn collect(path: &str, schema: &Value, default: Option<&Value>, keys: &mut Vec<Key>) {
    let text = schema.get("description").and_then(Value::as_str).unwrap_or_default().to_owned();
    keys.push(Key { path: path.to_owned(), kind: kind(schema), default: default.cloned(), text });
    // The keys of `origins` equal those of `origin`, which are listed there.
    let of_any_name = schema.get("additionalProperties").filter(|_| path != "origins");
    if let Some(value) = of_any_name.filter(|value| has_properties(value)) {
        for (name, property) in properties(value) {
            collect(&format!("{path}.NAME.{name}"), property, property.get("default"), keys);
        }
    }
    let (path, schema) = match schema.get("items") {
        Some(items) if has_properties(items) => (format!("{path}[]"), items),
        _ => (path.to_owned(), object_of(schema)),
    };
    for (name, property) in properties(schema) {
        collect(&format!("{path}.{name}"), property, property.get("default"), keys);
    }
}

fn has_properties(schema: &Value) -> bool {
    properties(schema).next().is_some()
}

/// Returns the object schema of an optional value.
fn object_of(schema: &Value) -> &Value {
    let variants = schema.get("anyOf").and_then(Value::as_array);
    let object = variants.into_iter().flatten().find(|variant| has_properties(variant));
    object.unwrap_or(schema)
}

/// Describes a type in words.
fn kind(schema: &Value) -> String {
    let pattern = schema.get("pattern").and_then(Value::as_str).unwrap_or_default();
    let types: Vec<&str> = match schema.get("type") {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let mut words: Vec<String> = if let Some(Value::Array(words)) = schema.get("enum") {
        // Leaves out the boolean into which Helm turns a bare `off`.
        words.iter().filter(|word| word.is_string()).map(shown).collect()
    } else if let Some(Value::Array(variants)) = schema.get("anyOf") {
        variants.iter().map(kind).collect()
    } else if pattern.contains("[KMGTP]") {
        vec!["size".to_owned()]
    } else if pattern.contains("[0-9]+ms") {
        vec!["duration".to_owned()]
    } else if pattern.ends_with("%$") {
        vec!["share".to_owned()]
    } else if pattern.contains('|') {
        let words = pattern.trim_matches(['^', '$', '(', ')']).split('|');
        words.map(|word| format!("`{word}`")).chain(["object".to_owned()]).collect()
    } else {
        let items = schema.get("items").map(kind);
        types
            .iter()
            .filter(|name| **name != "null")
            .map(|name| word(name, items.as_ref()))
            .collect()
    };
    if types.contains(&"null") {
        words.push("null".to_owned());
    }
    let last = words.pop().unwrap_or_default();
    match words.is_empty() {
        true => last,
        false => format!("{} or {last}", words.join(", ")),
    }
}

fn word(name: &str, items: Option<&String>) -> String {
    match (name, items) {
        ("array", Some(items)) => format!("list of {items}s"),
        (name, _) => name.to_owned(),
    }
}

/// Formats a value as YAML in one line.
fn shown(value: &Value) -> String {
    match value {
        // A secret is never shown.
        Value::String(text) if text.is_empty() || text == "***" => String::new(),
        Value::String(text) => format!("`{text}`"),
        Value::Array(items) if items.iter().any(Value::is_object) => String::new(),
        Value::Object(fields) if fields.len() > 1 => String::new(),
        Value::Object(fields) => {
            let fields = fields.iter().map(|(name, value)| format!("{name}: {}", shown(value)));
            format!("`{{ {} }}`", fields.collect::<String>().replace('`', ""))
        }
        value => format!("`{value}`"),
    }
}

fn sentence(text: &str) -> String {
    let text = text.trim_end();
    if text.ends_with(['.', ':']) || text.is_empty() { text.to_owned() } else { format!("{text}.") }
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

#[test]
fn the_reference_of_the_configuration_is_that_of_the_types() {
    crate::generated::assert_current(FILE, &page());
}

/// Returns the keys of the reference with their defaults, `[]` left out.
fn keys() -> Vec<Key> {
    let root = schema(true);
    let mut keys = Vec::new();
    for (name, section) in properties(&root) {
        collect(name, section, section.get("default"), &mut keys);
    }
    keys
}

/// Returns the paths of all keys, such as `listen[].tls.cert`.
pub(super) fn paths() -> Vec<String> {
    keys().into_iter().map(|key| key.path).collect()
}

/// Keys whose value in `conf/hotset.yaml` is an example and not the default.
const EXAMPLES: [&str; 4] = [
    "cache.disk[].capacity",
    "events.webhook.address",
    "rules[].prefetch.head",
    "rules[].prefetch.tail",
];

#[test]
fn the_reference_and_the_file_of_all_keys_agree() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/conf/hotset.yaml");
    let file = std::fs::read_to_string(path).unwrap();
    let keys = keys();
    for Key { path, kind, default, text } in &keys {
        let name = path.rsplit('.').next().unwrap();
        let is_shown = file.contains(&format!("{name}: ")) || file.contains(&format!("{name}:\n"));
        assert!(is_shown, "conf/hotset.yaml does not show {path}");
        let default = match default {
            Some(Value::String(text)) if !text.is_empty() && text != "***" => text.clone(),
            Some(value @ (Value::Number(_) | Value::Bool(_))) => value.to_string(),
            _ => continue,
        };
        let is_default = file.contains(&format!("{name}: {default}"))
            || file.contains(&format!("{name}: \"{default}\""));
        assert!(
            is_default || EXAMPLES.contains(&path.as_str()),
            "conf/hotset.yaml shows another default of {path} than {default}"
        );
        assert!(!text.is_empty() && !kind.is_empty(), "{path} has no doc comment or no type");
    }
    assert!(keys.len() > 120, "{} keys", keys.len());
}
