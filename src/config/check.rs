//! Checks of values and of relations between keys that types cannot express.
//!
//! Errors that would otherwise occur at start, or later and worse, are reported here with the key's name. The first one
//! found is reported. Nothing is opened, resolved or bound.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use http::Uri;

use self::values::{at_least_one, check_tls, free_address, greater_than_zero, wrong};
use super::units::{ByteSize, HumanDuration};
use super::{Config, ConfigError};
use crate::auth::AuthMode;
use crate::cache::DiskConfig;
use crate::cache::config::{CacheConfig, EventsFreshness, Freshness, RuleConfig};
use crate::events::config::EventsConfig;
use crate::glob::Text;
use crate::proxy::config::{LimitsConfig, ListenConfig};
use crate::tracing::{self, config::TracingConfig};

/// Maximum length of a unix socket's path, `sun_path` of `sockaddr_un` without its terminating zero.
const SOCKET_PATH_MAX: usize = 107;
/// Maximum spans in the queue; each takes about 1 KiB.
const QUEUE_MAX: usize = 1_000_000;
/// Maximum time for which a list is cached.
const LISTS_MAX: HumanDuration = HumanDuration::secs(60);

impl Config {
    /// Checks relations between keys; to be called after [`Config::load`].
    ///
    /// # Errors
    /// Names the first invalid key.
    pub fn check(&self) -> Result<(), ConfigError> {
        self.check_addresses()?;
        admin::check_admin(&self.admin)?;
        auth::check(&self.auth, &self.listen)?;
        origin::check(&self.origin)?;
        origins::check(self)?;
        check_cache(&self.cache)?;
        check_rules(&self.rules)?;
        check_events(&self.events, &self.rules)?;
        check_limits(&self.limits, self.auth.mode)?;
        admin::check_warm(&self.warm)?;
        cluster::check(&self.cluster, &self.admin)?;
        check_tracing(&self.tracing)?;
        at_least_one("threads", self.threads.unwrap_or(1))?;
        greater_than_zero("reload", self.reload.unwrap_or(HumanDuration::secs(1)))?;
        if self.log.level.parse::<log::LevelFilter>().is_err() {
            return wrong(
                "log.level",
                format_args!(
                    "`{}` must be one of off, error, warn, info, debug, trace",
                    self.log.level
                ),
            );
        }
        Ok(())
    }

    fn check_addresses(&self) -> Result<(), ConfigError> {
        if self.listen.is_empty() {
            return wrong("listen", "at least one address is needed");
        }
        let mut taken: Vec<SocketAddr> = Vec::new();
        let mut paths: Vec<&str> = Vec::new();
        for (index, listen) in self.listen.iter().enumerate() {
            let key = format!("listen[{index}].address");
            if let Some(path) = listen.address.strip_prefix("unix:") {
                check_socket_path(&key, path)?;
                if paths.contains(&path) {
                    return wrong(key, "is listed twice");
                }
                paths.push(path);
            } else {
                taken.push(free_address(&key, &listen.address, &taken)?);
            }
            check_domains(index, listen)?;
            path_prefix::check(index, listen, self.auth.mode)?;
            check_transport(index, listen)?;
        }
        self.check_loop(&taken)?;
        if let Some(address) = &self.admin.address {
            taken.push(free_address("admin.address", address, &taken)?);
        }
        match &self.events.webhook {
            Some(webhook) => webhook::check(webhook, &taken),
            None => Ok(()),
        }
    }

    /// Refuses an endpoint that is our own listener: it would request every miss from itself.
    fn check_loop(&self, listeners: &[SocketAddr]) -> Result<(), ConfigError> {
        check_loop("origin", &self.origin.endpoint, listeners)?;
        self.origins.iter().try_for_each(|(name, origin)| {
            check_loop(&format!("origins.{name}"), &origin.endpoint, listeners)
        })
    }
}

fn check_loop(key: &str, endpoint: &str, listeners: &[SocketAddr]) -> Result<(), ConfigError> {
    let Ok(uri) = endpoint.parse::<Uri>() else {
        return Ok(());
    };
    let default_port = if uri.scheme_str() == Some("https") { 443 } else { 80 };
    let port = uri.port_u16().unwrap_or(default_port);
    let ip = match uri.host() {
        Some("localhost") => IpAddr::from([127, 0, 0, 1]),
        Some(host) => match host.trim_matches(['[', ']']).parse() {
            Ok(ip) => ip,
            Err(_) => return Ok(()),
        },
        None => return Ok(()),
    };
    let ours = |listener: &&SocketAddr| {
        listener.port() == port
            && (listener.ip() == ip || (listener.ip().is_unspecified() && ip.is_loopback()))
    };
    match listeners.iter().find(ours) {
        Some(own) => {
            let key = format!("{key}.endpoint");
            wrong(key, format_args!("{own} is one of hotset's own listeners"))
        }
        None => Ok(()),
    }
}

fn check_transport(index: usize, listen: &ListenConfig) -> Result<(), ConfigError> {
    let key = |name: &str| format!("listen[{index}].{name}");
    if let Some(balancers) = &listen.proxy_protocol {
        if listen.address.starts_with("unix:") {
            return wrong(
                key("proxy_protocol"),
                "cannot be used with a Unix socket, which has no client addresses",
            );
        }
        if balancers.from.is_empty() {
            return wrong(key("proxy_protocol.from"), "at least one network is needed");
        }
    }
    match &listen.tls {
        Some(tls) => check_tls(&key("tls"), tls),
        None => Ok(()),
    }
}

fn check_socket_path(key: &str, path: &str) -> Result<(), ConfigError> {
    if !Path::new(path).is_absolute() || path.ends_with('/') {
        return wrong(key, format_args!("`{path}` is not the absolute path of a socket"));
    }
    if path.len() > SOCKET_PATH_MAX {
        return wrong(key, format_args!("the path is longer than {SOCKET_PATH_MAX} bytes"));
    }
    Ok(())
}

/// Checks the listed domains (R24): each is a DNS name; an IP address is path style and cannot be one.
fn check_domains(index: usize, listen: &ListenConfig) -> Result<(), ConfigError> {
    for (item, domain) in listen.domains.iter().enumerate() {
        let is_label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        let is_name = domain.len() <= 253 && domain.split('.').all(is_label);
        if !is_name || domain.parse::<IpAddr>().is_ok() {
            return wrong(
                format_args!("listen[{index}].domains[{item}]"),
                format_args!("`{domain}` is not a lower-case DNS name such as s3.local"),
            );
        }
    }
    Ok(())
}

fn check_tracing(config: &TracingConfig) -> Result<(), ConfigError> {
    tracing::check(config)
        .map_err(|(key, problem)| ConfigError::at(format_args!("tracing.{key}"), problem))?;
    at_least_one("tracing.batch", config.batch)?;
    if config.queue < config.batch || config.queue > QUEUE_MAX {
        return wrong(
            "tracing.queue",
            format_args!("must be from tracing.batch ({}) to {QUEUE_MAX}", config.batch),
        );
    }
    greater_than_zero("tracing.interval", config.interval)?;
    greater_than_zero("tracing.timeout", config.timeout)
}

fn check_cache(cache: &CacheConfig) -> Result<(), ConfigError> {
    let (low, high) = (CacheConfig::BLOCK_MIN, CacheConfig::BLOCK_MAX);
    if !cache.block.bytes().is_power_of_two() || cache.block < low || cache.block > high {
        return wrong(
            "cache.block",
            format_args!("{} is not a power of two between {low} and {high}", cache.block),
        );
    }
    if cache.fetch.bytes() == 0 || !cache.fetch.bytes().is_multiple_of(cache.block.bytes()) {
        return wrong(
            "cache.fetch",
            format_args!("{} is not a multiple of cache.block ({})", cache.fetch, cache.block),
        );
    }
    if let Some(in_flight) = cache.in_flight
        && in_flight.bytes() / 4 < cache.fetch.bytes()
    {
        return wrong(
            "cache.in_flight",
            format_args!("{in_flight} is less than four times cache.fetch ({})", cache.fetch),
        );
    }
    let memory = cache.memory.unwrap_or(CacheConfig::MEMORY);
    for (key, size) in [("cache.memory", memory), ("cache.read_ahead", cache.read_ahead)] {
        if size < cache.fetch {
            return wrong(key, format_args!("{size} is less than cache.fetch ({})", cache.fetch));
        }
    }
    check_disk(&cache.disk)
}

fn check_disk(paths: &[DiskConfig]) -> Result<(), ConfigError> {
    if paths.len() > DiskConfig::PATHS_MAX {
        let most = DiskConfig::PATHS_MAX;
        return wrong("cache.disk", format_args!("{} paths are more than {most}", paths.len()));
    }
    for (index, disk) in paths.iter().enumerate() {
        let key = |name| format!("cache.disk[{index}].{name}");
        if disk.path.as_os_str().is_empty() {
            return wrong(key("path"), "a folder is needed");
        }
        if !disk.path.is_absolute() {
            return wrong(
                key("path"),
                format_args!("`{}` is not an absolute path", disk.path.display()),
            );
        }
        if paths[..index].iter().any(|other| other.path == disk.path) {
            return wrong(key("path"), format_args!("{} is given twice", disk.path.display()));
        }
        let least = DiskConfig::CAPACITY_MIN;
        if disk.capacity.bytes() == 0 {
            return wrong(
                key("capacity"),
                "is needed, such as 100GiB: bytes that hotset may take there",
            );
        }
        if disk.capacity < least {
            return wrong(key("capacity"), format_args!("{} is less than {least}", disk.capacity));
        }
        at_least_one(&key("write_rate"), disk.write_rate.map_or(1, ByteSize::bytes))?;
    }
    Ok(())
}

fn check_limits(limits: &LimitsConfig, mode: AuthMode) -> Result<(), ConfigError> {
    at_least_one("limits.connections", limits.connections)?;
    at_least_one("limits.connections_per_address", limits.connections_per_address.unwrap_or(1))?;
    at_least_one("limits.requests", limits.requests)?;
    at_least_one("limits.keep_alive_requests", limits.keep_alive_requests.unwrap_or(1))?;
    for (key, limit) in [("per_identity", limits.per_identity), ("per_address", limits.per_address)]
    {
        if let Some((below, problem)) = limit.problem() {
            return wrong(format!("limits.{key}.{below}"), problem);
        }
    }
    if mode != AuthMode::Verify && !limits.per_identity.is_none() {
        return wrong("limits.per_identity", "only valid with auth.mode: verify");
    }
    at_least_one("limits.headers", limits.headers)?;
    if limits.headers > LimitsConfig::HEADERS_MAX {
        let most = LimitsConfig::HEADERS_MAX;
        return wrong("limits.headers", format_args!("{} is more than {most}", limits.headers));
    }
    for (key, size) in
        [("limits.header_bytes", limits.header_bytes), ("limits.uri_bytes", limits.uri_bytes)]
    {
        at_least_one(key, size.bytes())?;
        let most = LimitsConfig::HEAD_BYTES_MAX;
        if size > most {
            return wrong(key, format_args!("{size} is more than {most}"));
        }
    }
    for (key, time) in [
        ("limits.handshake_timeout", limits.handshake_timeout),
        ("limits.header_timeout", limits.header_timeout),
        ("limits.body_timeout", limits.body_timeout),
        ("limits.write_timeout", limits.write_timeout),
        ("limits.keep_alive", limits.keep_alive),
    ] {
        greater_than_zero(key, time)?;
    }
    Ok(())
}

/// Checks the caching of lists, which hides writes that bypass hotset for as long as a list is cached.
fn check_lists(index: usize, rule: &RuleConfig) -> Result<(), ConfigError> {
    let Some(lists) = rule.lists else { return Ok(()) };
    let key = format!("rules[{index}].lists");
    if lists > LISTS_MAX {
        return wrong(key, format_args!("{lists} is more than {LISTS_MAX}"));
    }
    greater_than_zero(&key, lists)
}

/// Returns the error in a pattern that is not `bucket/key` but a path, a URL or an ARN.
fn not_bucket_and_key(pattern: &str) -> Option<String> {
    const URL: &str = "s3://";
    const ARN: &str = "arn:";
    let (what, rest) = if let Some(rest) = pattern.strip_prefix('/') {
        ("begins with a slash", rest)
    } else if let Some(rest) = pattern.strip_prefix(URL) {
        ("is a URL", rest)
    } else if pattern.starts_with(ARN) {
        ("is an ARN", pattern.rsplit(':').next().unwrap_or_default())
    } else if !pattern.contains('/') && !pattern.contains("**") {
        return Some(format!("`{pattern}` names no keys: write {pattern}/**"));
    } else {
        return None;
    };
    Some(format!("`{pattern}` {what}, and matches nothing: write bucket/key, as in `{rest}`"))
}

fn check_rules(rules: &[RuleConfig]) -> Result<(), ConfigError> {
    let all = RuleConfig::MATCH_ALL;
    let Some(last) = rules.len().checked_sub(1) else {
        return wrong("rules", format_args!("at least one rule is needed, with match \"{all}\""));
    };
    for (index, rule) in rules.iter().enumerate() {
        check_lists(index, rule)?;
        check_stale(index, rule)?;
        admin::check_prefetch(index, rule)?;
        let key = format!("rules[{index}].match");
        if let Some(problem) = not_bucket_and_key(&rule.pattern) {
            return wrong(key, problem);
        }
        if let Some(same) = rules[..index].iter().position(|other| other.pattern == rule.pattern) {
            let pattern = &rule.pattern;
            return wrong(
                key,
                format_args!("`{pattern}` is that of rules[{same}], and the first match wins"),
            );
        }
        if let Err(error) = rule.glob() {
            return wrong(key, format_args!("`{}` {error}", rule.pattern));
        }
        if rule.pattern == all && index < last {
            return wrong(key, format_args!("\"{all}\" leaves nothing to the rules after it"));
        }
        if rule.pattern != all && index == last {
            return wrong(key, format_args!("the last rule must match everything: \"{all}\""));
        }
    }
    Ok(())
}

fn check_stale(index: usize, rule: &RuleConfig) -> Result<(), ConfigError> {
    let ages = matches!(rule.freshness, Freshness::Ttl(_) | Freshness::Events(_));
    match rule.stale_while_revalidate {
        Some(_) if !ages => wrong(
            format_args!("rules[{index}].stale_while_revalidate"),
            "only valid with freshness: { ttl: .. } or { events: .. }",
        ),
        _ => Ok(()),
    }
}

/// Checks rules that trust events: these need a receiver, and must not shorten freshness compared with untrusted
/// events.
fn check_events(config: &EventsConfig, rules: &[RuleConfig]) -> Result<(), ConfigError> {
    greater_than_zero("events.max_lag", config.max_lag)?;
    for (index, canary) in config.canaries.iter().enumerate() {
        let key = |name| format!("events.canaries[{index}].{name}");
        greater_than_zero(&key("every"), canary.every)?;
        greater_than_zero(&key("timeout"), canary.timeout)?;
        let path = format!("{}/{}", canary.bucket, canary.key);
        let text = Text::path(&canary.bucket, &canary.key);
        let matches = |rule: &&RuleConfig| rule.glob().is_ok_and(|glob| glob.matches(text));
        let rule = rules.iter().find(matches);
        if !rule.is_some_and(|rule| matches!(rule.freshness, Freshness::Events(_))) {
            return wrong(key("key"), format_args!("`{path}` is under no rule that trusts events"));
        }
    }
    if let Err((key, problem)) = config.check() {
        return wrong(format_args!("events.{key}"), problem);
    }
    for (index, rule) in rules.iter().enumerate() {
        let Freshness::Events(events) = rule.freshness else { continue };
        let key = format!("rules[{index}].freshness.events");
        if !config.receives() {
            return wrong(key, "no receiver is configured under events");
        }
        greater_than_zero(&format!("{key}.proof"), events.proof)?;
        if events.backstop < events.ttl {
            let EventsFreshness { ttl, backstop, .. } = events;
            return wrong(
                format!("{key}.backstop"),
                format_args!("{backstop} is less than the ttl, {ttl}"),
            );
        }
    }
    Ok(())
}

mod admin;
mod auth;
mod cluster;
mod endpoint_kind;
mod origin;
mod origins;
mod path_prefix;
mod values;
mod webhook;

#[cfg(test)]
mod tests;
