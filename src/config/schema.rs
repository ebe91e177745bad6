//! The JSON Schema of the configuration, `conf/hotset.schema.json`: generated from the types that
//! read it, so that an editor and the Helm chart refuse what hotset itself would refuse.
//!
//! It is draft-07, the newest that all versions of Helm 3 know, and only tests are built with it. After a change of a
//! type, `make generate` writes it anew, and the pages and the chart that depend on it.

use std::borrow::Cow;

use schemars::generate::SchemaSettings;
use schemars::transform::{Transform, transform_subschemas};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::Value;

use super::Config;
use super::units::{ByteSize, Dollars, HumanDuration, Secret};
use crate::cache::config::{EventsFreshness, Freshness};
use crate::cache::disk::Share;
use crate::config::units::SampleRate;
use crate::logging::config::{AccessLog, AuditLog, LogOutput, MessageFormat};
use crate::proxy::config::FileMode;

/// Returns the schema of a whole configuration file, with or without the default of each key.
pub(super) fn schema(defaults: bool) -> Value {
    let settings = SchemaSettings::draft07().with(|settings| settings.inline_subschemas = true);
    let settings = settings.with_transform(ForUsers { defaults });
    settings.into_generator().into_root_schema_for::<Config>().to_value()
}

/// Adapts descriptions, which are doc comments, for users who write YAML.
#[derive(Debug, Clone)]
struct ForUsers {
    defaults: bool,
}

impl Transform for ForUsers {
    fn transform(&mut self, schema: &mut Schema) {
        // Defaults are documented in conf/hotset.yaml, and differ in the chart.
        if !self.defaults {
            schema.remove("default");
        }
        if let Some(Value::String(text)) = schema.get_mut("description") {
            *text = for_users(text);
        }
        if let Some(Value::Array(words)) = schema.get("oneOf") {
            // One list of words: what fails is then said with all of them.
            let words: Option<Value> =
                words.iter().map(|word| word.get("const").cloned()).collect();
            if let Some(words) = words {
                schema.remove("oneOf");
                schema.insert("enum".to_owned(), words);
            }
        }
        transform_subschemas(self, schema);
    }
}

/// Removes names of rules and of Rust items.
fn for_users(text: &str) -> String {
    let mut text = text
        .replace("`None` (`null`)", "null")
        .replace("`None`", "null")
        .replace("[`", "`")
        .replace("`]", "`");
    while let Some(at) = text.find(" (R") {
        let Some(length) = text[at..].find(')') else { break };
        text.replace_range(at..=at + length, "");
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Implements [`JsonSchema`] for types with hand-written parsers.
macro_rules! by_hand {
    ($type:ty, $name:literal, $schema:tt) => {
        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                $name.into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    };
}

by_hand!(ByteSize, "Size", {
    // Not each way of writing it that is read, but one that a person understands when it is quoted.
    "description": "Bytes: 4096, 512MiB or 1GB",
    "type": ["integer", "string"],
    "minimum": 0,
    "pattern": "^[0-9]+ ?([KMGTP]i|[KMGTP]i?B|B)?$",
});

by_hand!(Dollars, "Dollars", {
    "description": "An amount of US dollars, such as 0.0004",
    "type": ["number", "string"],
    "minimum": 0,
    "maximum": 1_000_000,
    "pattern": "^[0-9]+([.][0-9]+)?$",
});

by_hand!(HumanDuration, "Duration", {
    "description": "A span of time: 10ms, 30s, 2m30s or 1h; 0 needs no unit",
    "type": ["integer", "string"],
    "maximum": 0,
    "minimum": 0,
    "pattern": "^(0|([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?)$",
    "minLength": 1,
});

by_hand!(Secret, "Secret", {
    "description": "A text that is never printed",
    "type": "string",
});

by_hand!(Share, "Share", {
    "description": "A share from 1% to 100%",
    "type": "string",
    "pattern": "^(100|[1-9][0-9]?)%$",
});

by_hand!(SampleRate, "SampleRate", {
    "description": "A share from 0.0001% to 100%",
    "type": "string",
    "pattern": "^(100|[0-9]{1,2}([.][0-9]{1,4})?)%$",
});

by_hand!(FileMode, "FileMode", {
    "description": "Permissions of a file in octal and in quotes, such as \"0660\"",
    "type": "string",
    "pattern": "^0?[67][0-7]{2}$",
});

by_hand!(AccessLog, "AccessLog", {
    "description": "off, plain, json or s3; Helm writes a bare off as false",
    "enum": ["off", "plain", "json", "s3", false],
});

by_hand!(AuditLog, "AuditLog", {
    "description": "off, denied or all; Helm writes a bare off as false",
    "enum": ["off", "denied", "all", false],
});

by_hand!(MessageFormat, "MessageFormat", {
    "description": "plain or json",
    "enum": ["plain", "json"],
});

by_hand!(LogOutput, "LogOutput", {
    "description": "stdout, an absolute path, syslog, syslog:/path or syslog://ip:port",
    "type": "string",
    "pattern": "^(stdout|/.*|syslog(:/[^/].*|://.*:[0-9]+)?)$",
});

impl JsonSchema for Freshness {
    fn schema_name() -> Cow<'static, str> {
        "Freshness".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "immutable, revalidate, bypass, { ttl: 60s } or { events: { ttl: 10s } }",
            "type": ["string", "object"],
            "pattern": "^(immutable|revalidate|bypass)$",
            "properties": {
                "ttl": generator.subschema_for::<HumanDuration>(),
                "events": generator.subschema_for::<EventsFreshness>(),
            },
            "additionalProperties": false,
            "minProperties": 1,
            "maxProperties": 1,
        })
    }
}

#[test]
fn the_schema_in_conf_is_that_of_the_types() {
    let text = serde_json::to_string_pretty(&schema(false)).unwrap() + "\n";
    crate::generated::assert_current("conf/hotset.schema.json", &text);
}
