//! The effective configuration, key by key, for clients of a running server.

use serde::Serialize;
use serde_json::Value;

use super::Config;

/// A key and its value.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Setting {
    /// The key, such as `cache.memory` or `rules[0].match`.
    pub key: String,
    /// The value; secrets are `***`.
    pub value: Value,
    /// Whether the value is the default.
    pub is_default: bool,
}

impl Config {
    /// Returns every key in the order of the reference file, without secrets.
    pub fn effective(&self) -> Vec<Setting> {
        let (values, defaults) = (to_json(self), to_json(&Self::default()));
        let mut settings = Vec::new();
        flatten(String::new(), &values, Some(&defaults), &mut |key, value, is_default| {
            settings.push(Setting { key, value: without_password(value), is_default });
        });
        settings
    }
}

pub(super) fn to_json(config: &Config) -> Value {
    serde_json::to_value(config).unwrap_or_default()
}

/// Passes each key with its value, and whether that is the default, to `into`.
pub(super) fn flatten(
    key: String,
    value: &Value,
    default: Option<&Value>,
    into: &mut dyn FnMut(String, &Value, bool),
) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (name, value) in fields {
                let key = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
                flatten(key, value, default.and_then(|default| default.get(name)), into);
            }
        }
        Value::Array(items) if items.iter().any(Value::is_object) => {
            for (index, item) in items.iter().enumerate() {
                // Further items have the defaults of the first one.
                let default = default.and_then(|default| default.get(index).or(default.get(0)));
                flatten(format!("{key}[{index}]"), item, default, into);
            }
        }
        value => into(key, value, default == Some(value)),
    }
}

/// Removes the password from a URL: `nats://user:password@host`.
pub(super) fn without_password(value: &Value) -> Value {
    match value {
        Value::String(text) => Value::String(hide_user_info(text)),
        Value::Array(items) => items.iter().map(without_password).collect(),
        other => other.clone(),
    }
}

fn hide_user_info(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    match authority.rfind('@') {
        Some(at) => format!("{scheme}://***{}", &rest[at..]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn effective(yaml: &str) -> Vec<Setting> {
        let config: Config = crate::yaml::from_str(yaml).unwrap();
        config.effective()
    }

    fn find<'a>(settings: &'a [Setting], key: &str) -> &'a Setting {
        settings.iter().find(|setting| setting.key == key).unwrap_or_else(|| panic!("{key}"))
    }

    #[test]
    fn the_default_configuration_is_all_default() {
        let settings = Config::default().effective();
        assert!(settings.iter().all(|setting| setting.is_default), "{settings:?}");
        assert!(settings.len() > 60, "{}", settings.len());
    }

    #[test]
    fn marks_what_is_set_also_in_further_items_of_a_list() {
        let settings = effective(
            "{ limits: { requests: 7 }, rules: [{ match: 'a/**', freshness: immutable }, { match: '**' }] }",
        );
        let requests = find(&settings, "limits.requests");
        assert_eq!((&requests.value, requests.is_default), (&json!(7), false));
        assert!(find(&settings, "limits.connections").is_default);
        assert!(!find(&settings, "rules[0].match").is_default);
        assert!(find(&settings, "rules[1].match").is_default);
        assert!(find(&settings, "rules[1].negative").is_default);
    }

    #[test]
    fn no_secret_is_shown() {
        let settings = effective(
            "{ admin: { token: made-up-admin-token }, origin: { endpoint: 'https://u:made-up-word@s3.example' }, \
               events: { nats: { servers: ['nats://u:made-up-word@h:1', 'tls://h:2'], stream: s, \
               password: made-up-word } } }",
        );
        let text = serde_json::to_string(&settings).unwrap();
        assert!(!text.contains("made-up"), "{text}");
        assert_eq!(find(&settings, "admin.token").value, "***");
        let servers = &find(&settings, "events.nats.servers").value;
        assert_eq!(servers, &json!(["nats://***@h:1", "tls://h:2"]));
    }
}
