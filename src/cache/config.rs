//! What can be set about what is kept and for how long: the keys `cache` and `rules`.

use std::fmt;

use globset::{GlobBuilder, GlobMatcher};
use serde::de::{self, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::disk::policy::AdmissionMode;
use super::disk::{DiskConfig, Share};
use crate::config::units::{ByteSize, HumanDuration};

/// Sizes of the cache, the key `cache`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct CacheConfig {
    /// Bytes of blocks and metadata kept in memory; a sixteenth is for metadata, and 1 KiB more for each block. `None`:
    /// half of the memory limit of the process's control groups, and [`CacheConfig::MEMORY`] where there is none.
    pub memory: Option<ByteSize>,
    /// Bytes of one block: a power of two from [`CacheConfig::BLOCK_MIN`] to
    /// [`CacheConfig::BLOCK_MAX`].
    pub block: ByteSize,
    /// Bytes that may be on their way between the origin and clients, beside `memory`. `None`: a quarter of that limit,
    /// and at most [`CacheConfig::IN_FLIGHT`].
    pub in_flight: Option<ByteSize>,
    /// Bytes of the largest single request to the origin, a multiple of `block`.
    pub fetch: ByteSize,
    /// How many bytes one response fetches ahead of its client.
    pub read_ahead: ByteSize,
    /// Paths for blocks that leave memory; none: memory only.
    pub disk: Vec<DiskConfig>,
    /// Which blocks that leave memory are written to disk.
    pub admission: AdmissionMode,
}

impl CacheConfig {
    /// The smallest block.
    pub const BLOCK_MIN: ByteSize = ByteSize::kib(64);
    /// The largest block.
    pub const BLOCK_MAX: ByteSize = ByteSize::mib(16);
    /// `memory` where it is not set and memory is not limited.
    pub const MEMORY: ByteSize = ByteSize::gib(1);
    /// `in_flight` where it is not set and memory is not limited.
    pub const IN_FLIGHT: ByteSize = ByteSize::mib(512);

    /// Bytes of blocks and metadata kept in memory.
    pub fn memory(&self) -> u64 {
        self.memory.unwrap_or(Self::MEMORY).bytes()
    }

    /// Bytes that may be on their way between the origin and clients.
    pub fn in_flight(&self) -> u64 {
        self.in_flight.unwrap_or(Self::IN_FLIGHT).bytes()
    }
}

impl Default for CacheConfig {
    fn default() -> Self {
        Self {
            memory: None,
            block: ByteSize::mib(1),
            in_flight: None,
            fetch: ByteSize::mib(8),
            read_ahead: ByteSize::mib(192),
            disk: Vec::new(),
            admission: AdmissionMode::default(),
        }
    }
}

/// How objects whose `bucket/key` matches are treated, an item of `rules`. The first match wins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct RuleConfig {
    /// A glob over `bucket/key`, the key `match`; see [`RuleConfig::matcher`].
    #[serde(rename = "match")]
    pub pattern: String,
    /// How long what is known is served without asking the origin.
    pub freshness: Freshness,
    /// For how long after that it may still be served while the origin cannot be reached (R14);
    /// `None`: never.
    pub max_stale: Option<HumanDuration>,
    /// Time limit of a confirmation under `max_stale`: an origin that has not answered by then is not waited for, and the
    /// stale object is served; within 100 ms once the origin is known to fail. A later answer is still used.
    pub stale_after: HumanDuration,
    /// For how long after its freshness an object is served at once while it is confirmed in the background (RFC 5861);
    /// `None`: never. Only with `ttl` and `events`.
    pub stale_while_revalidate: Option<HumanDuration>,
    /// How long "there is no such key" is remembered (R12).
    pub negative: HumanDuration,
    /// Whether an object's own `Cache-Control` is obeyed: `no-store` and `private` pass through; with a `ttl`,
    /// `no-cache` and `max-age=0` are confirmed before each answer (R13).
    pub obey_no_store: bool,
    /// The most that its blocks may take of each path of the disk tier; `None`: no limit.
    pub disk_share: Option<Share>,
    /// For how long `ListObjectsV2` of its keys and `HeadBucket` are answered from memory (R27); `None`: they are not.
    pub lists: Option<HumanDuration>,
    /// Whether its blocks stay on disk as long as there are others that can go.
    pub pinned: bool,
    /// What of an object is read as soon as an event says that it was created; `None`: nothing.
    pub prefetch: Option<PrefetchConfig>,
}

/// What is read ahead of all readers, the key `prefetch` of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct PrefetchConfig {
    /// Objects up to this size are read whole.
    pub whole: ByteSize,
    /// Of larger ones the first bytes,
    pub head: ByteSize,
    /// and the last.
    pub tail: ByteSize,
}

impl Default for PrefetchConfig {
    fn default() -> Self {
        Self { whole: ByteSize::mib(8), head: ByteSize(0), tail: ByteSize(0) }
    }
}

impl RuleConfig {
    /// The pattern that matches every object, required of the last rule.
    pub const MATCH_ALL: &'static str = "**";

    /// Compiles the pattern, see [`matcher`].
    ///
    /// # Errors
    /// When the pattern is not a glob.
    pub fn matcher(&self) -> Result<GlobMatcher, globset::Error> {
        matcher(&self.pattern)
    }
}

/// Compiles a pattern over `bucket/key`: `*` and `?` do not match `/`, `**` does.
///
/// One matcher a pattern, not a `GlobSet`: its shortcuts by file name and extension follow the rules of paths, and a
/// key may be `a/..`.
///
/// # Errors
/// When the pattern is not a glob.
pub fn matcher(pattern: &str) -> Result<GlobMatcher, globset::Error> {
    Ok(GlobBuilder::new(pattern).literal_separator(true).build()?.compile_matcher())
}

impl Default for RuleConfig {
    fn default() -> Self {
        Self {
            pattern: Self::MATCH_ALL.to_owned(),
            freshness: Freshness::default(),
            max_stale: None,
            stale_after: HumanDuration::secs(1),
            stale_while_revalidate: None,
            negative: HumanDuration::secs(1),
            obey_no_store: true,
            disk_share: None,
            lists: None,
            pinned: false,
            prefetch: None,
        }
    }
}

/// How long metadata is served without asking the origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// For ever, until an invalidation.
    Immutable,
    /// Never: each read asks the origin whether it changed.
    Revalidate,
    /// It is not cached at all.
    Bypass,
    /// For this long after the origin last vouched for it.
    Ttl(HumanDuration),
    /// Until an event says otherwise, as long as events are proven to come (R26).
    Events(EventsFreshness),
}

/// How far events are trusted, the key `freshness.events` of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct EventsFreshness {
    /// The ttl while they are not.
    pub ttl: HumanDuration,
    /// The ttl while they are.
    pub backstop: HumanDuration,
    /// An event or canary of the bucket, under the rule's pattern, proves for so long that they come.
    pub proof: HumanDuration,
}

impl Default for EventsFreshness {
    fn default() -> Self {
        Self {
            ttl: HumanDuration::secs(10),
            backstop: HumanDuration::secs(3600),
            proof: HumanDuration::secs(600),
        }
    }
}

impl Default for Freshness {
    fn default() -> Self {
        Self::Ttl(HumanDuration::secs(60))
    }
}

impl Serialize for Freshness {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Immutable => serializer.serialize_str("immutable"),
            Self::Revalidate => serializer.serialize_str("revalidate"),
            Self::Bypass => serializer.serialize_str("bypass"),
            Self::Ttl(ttl) => {
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry("ttl", ttl)?;
                map.end()
            }
            Self::Events(events) => {
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry("events", events)?;
                map.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for Freshness {
    // By hand: serde_yaml wants a tag (`!ttl 60s`) where people write a map.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FreshnessVisitor;
        impl<'de> Visitor<'de> for FreshnessVisitor {
            type Value = Freshness;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "immutable, revalidate, bypass, { ttl: 60s } or { events: { ttl: 10s } }",
                )
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Freshness, E> {
                match text {
                    "immutable" => Ok(Freshness::Immutable),
                    "revalidate" => Ok(Freshness::Revalidate),
                    "bypass" => Ok(Freshness::Bypass),
                    _ => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
                }
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Freshness, A::Error> {
                let Some(key) = map.next_key::<String>()? else {
                    return Err(de::Error::missing_field("ttl"));
                };
                let freshness = match key.as_str() {
                    "ttl" => Freshness::Ttl(map.next_value()?),
                    "events" => Freshness::Events(map.next_value()?),
                    _ => return Err(de::Error::unknown_field(&key, &["ttl", "events"])),
                };
                match map.next_key::<String>()? {
                    None => Ok(freshness),
                    Some(key) => Err(de::Error::custom(format_args!(
                        "either ttl or events is given, there is nothing beside it: `{key}`"
                    ))),
                }
            }
        }
        deserializer.deserialize_any(FreshnessVisitor)
    }
}
