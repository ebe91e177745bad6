//! Warnings about files with secrets that every local user can read, or others can write.
//!
//! No warning is given if the group may read a file (0640, 0440): Kubernetes mounts Secrets this way for non-root users
//! (`fsGroup`, `defaultMode: 0440`), and a group has only intended members.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::config::Config;
use crate::config::units::Secret;
use crate::tls::config::TlsConfig;

/// Allowed permission bits, including reads by the group.
const ALLOWED: u32 = 0o740;

/// Warns about each file with secrets that the configuration names.
pub(super) fn warn_of_wide(config: &Config) {
    for (key, path) in named(config) {
        warn_of(&key, &path);
    }
}

/// Warns about the configuration file itself, if it contains secrets.
pub fn warn_of_config(config: &Config, path: &Path) {
    let Ok(text) = fs::read_to_string(path) else { return };
    let is_in_it = |secret: &&Secret| !secret.expose().is_empty() && text.contains(secret.expose());
    if secrets(config).iter().any(is_in_it) {
        warn_of("the configuration, which has secrets in it", path);
    }
}

fn warn_of(what: &str, path: &Path) {
    // Follows symlinks, which Kubernetes uses.
    let Ok(file) = fs::metadata(path) else { return };
    let mode = file.permissions().mode() & 0o777;
    if mode & !ALLOWED != 0 {
        let path = path.display();
        log::warn!(
            "{path} ({what}) has mode {mode:04o}: others can read or change it; chmod it to 0600, or to 0640 for a group"
        );
    }
}

/// Returns the files with secrets, and their keys.
fn named(config: &Config) -> Vec<(String, PathBuf)> {
    let mut files = Vec::new();
    let mut add = |key: &str, path: &Path| files.push((key.to_owned(), path.to_owned()));
    if let Some(path) = &config.auth.identities {
        add("auth.identities", path);
    }
    if let Some(path) = &config.admin.token_file {
        add("admin.token_file", path);
    }
    if let Some(path) = &config.admin.read_token_file {
        add("admin.read_token_file", path);
    }
    if let Some(path) = crate::origin::Source::new(&config.origin).files().first() {
        add("origin.credentials.file", path);
    }
    for (name, origin) in &config.origins {
        if let Some(path) = &origin.credentials.file {
            add(&format!("origins.{name}.credentials.file"), path);
        }
    }
    for (name, bucket) in &config.buckets {
        if let Some(path) = bucket.credentials.as_ref().and_then(|own| own.file.as_ref()) {
            add(&format!("buckets.{name}.credentials.file"), path);
        }
    }
    if let Some(path) = config.events.nats.as_ref().and_then(|nats| nats.credentials.as_ref()) {
        add("events.nats.credentials", path);
    }
    let listeners = config.listen.iter().enumerate();
    let listeners = listeners.map(|(n, listen)| (format!("listen[{n}].tls"), listen.tls.as_ref()));
    let webhook = config.events.webhook.as_ref().and_then(|webhook| webhook.tls.as_ref());
    let admin = config.admin.tls.as_ref();
    let others = [("events.webhook.tls".to_owned(), webhook), ("admin.tls".to_owned(), admin)];
    for (key, tls) in listeners.chain(others) {
        for path in tls.into_iter().flat_map(keys) {
            add(&format!("{key}.key"), path);
        }
    }
    files
}

fn keys(tls: &TlsConfig) -> impl Iterator<Item = &Path> {
    let more = tls.certificates.iter().map(|pair| &*pair.key);
    std::iter::once(&*tls.key).chain(more)
}

/// Returns all secrets that the configuration may contain.
fn secrets(config: &Config) -> Vec<&Secret> {
    let admin = &config.admin;
    let mut secrets: Vec<&Secret> = admin.token.iter().chain(&admin.read_token).collect();
    let events = &config.events;
    if let Some(webhook) = &events.webhook {
        secrets.extend(webhook.tokens.iter().chain(&webhook.api_keys).chain(&webhook.secrets));
    }
    if let Some(nats) = &events.nats {
        secrets.extend(nats.password.iter().chain(&nats.token));
    }
    secrets.extend(events.kafka.iter().filter_map(|kafka| kafka.password.as_ref()));
    secrets.extend(events.amqp.iter().map(|amqp| &amqp.url));
    secrets.extend(events.redis.iter().map(|redis| &redis.url));
    secrets
}
