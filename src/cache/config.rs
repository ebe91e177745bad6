//! Configuration of the cache and its rules: the keys `cache` and `rules`.

use std::fmt;

use serde::de::{self, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::disk::tier::policy::AdmissionMode;
use super::disk::{DiskConfig, Share};
use super::rules::failover::FailoverConfig;
use crate::config::units::{ByteSize, HumanDuration, SampleRate};
use crate::glob::{Glob, InvalidGlob};

/// Sizes of the cache, the key `cache`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct CacheConfig {
    /// Bytes of blocks and metadata in memory. A sixteenth is for metadata, with 1 KiB more for
    /// each block. `None`: half of the memory limit of the process's cgroups, or 1GiB where there
    /// is no limit.
    pub memory: Option<ByteSize>,
    /// Size of a block, the unit of caching: a power of two from 64KiB to 16MiB.
    pub block: ByteSize,
    /// Bytes in transit between the origin and clients, in addition to `memory`; at least four
    /// times `fetch`. `None`: a quarter of the memory limit, at most 512MiB.
    pub in_flight: Option<ByteSize>,
    /// Maximum size of one request to the origin, a multiple of `block`.
    pub fetch: ByteSize,
    /// Maximum bytes that one response fetches ahead of its client.
    pub read_ahead: ByteSize,
    /// Whether to fetch what a client that reads an object by several requests is likely to read next: in order, at equal
    /// distances, or the metadata at the end of a Parquet or ORC file. Not in `transparent` mode.
    pub predict_reads: bool,
    /// Directories of the disk tier; none: memory only.
    pub disk: Vec<DiskConfig>,
    /// Choice of the blocks evicted from memory that are written to disk. `second-touch`: those requested at
    /// least twice, and all while the disk has free space. `first-touch`: all.
    pub admission: AdmissionMode,
}

impl CacheConfig {
    /// The smallest block.
    pub const BLOCK_MIN: ByteSize = ByteSize::kib(64);
    /// The largest block.
    pub const BLOCK_MAX: ByteSize = ByteSize::mib(16);
    /// Default of `memory` where the process has no memory limit.
    pub const MEMORY: ByteSize = ByteSize::gib(1);
    /// Upper bound of the default of `in_flight`.
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
            predict_reads: true,
            disk: Vec::new(),
            admission: AdmissionMode::default(),
        }
    }
}

/// Caching rule of the objects whose `bucket/key` matches, an item of `rules`. The first match applies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct RuleConfig {
    /// Glob over `bucket/key`: `*` and `?` match within one path segment, `**` across segments.
    #[serde(rename = "match")]
    pub pattern: String,
    /// Time for which an object is served without asking the origin: `immutable` (until it is
    /// invalidated), `revalidate` (ask on every read), `bypass` (do not cache), `{ ttl: 60s }`, or
    /// `{ events: .. }` (by S3 event notifications).
    pub freshness: Freshness,
    /// Time after its freshness lifetime for which an object may be served while the origin fails (R14);
    /// `None`: never.
    pub max_stale: Option<HumanDuration>,
    /// With `max_stale`: how long a revalidation may take before the stale object is served. Once
    /// the origin is known to fail, the limit is 100 ms. A later answer still updates the cache.
    pub stale_after: HumanDuration,
    /// Time after its freshness lifetime for which an object is served at once while it is revalidated in
    /// the background (RFC 5861); `None`: never. Only with `ttl` and `events`.
    pub stale_while_revalidate: Option<HumanDuration>,
    /// Time for which the absence of a key is cached (R12).
    pub negative: HumanDuration,
    /// Whether an object's own `Cache-Control` is honoured (R13): `no-store` and `private` are not
    /// cached; with a `ttl`, `no-cache` and `max-age=0` are revalidated before each response.
    pub obey_no_store: bool,
    /// Whether fetched bytes are compared with the CRC64NVME, CRC32C or CRC32 checksum of the object or part, where the
    /// origin told it; bytes that differ are not cached.
    pub verify_checksums: bool,
    /// Share of hits, such as `0.1%`, whose metadata and one block are compared with the origin in the background. What
    /// differs is dropped, and logged with both versions. `None`: no hits.
    pub verify_hits: Option<SampleRate>,
    /// Replica from which objects are read while their origin is down; `None`: none.
    pub failover: Option<FailoverConfig>,
    /// Maximum share of each disk tier directory that these objects may use; `None`: no limit.
    pub disk_share: Option<Share>,
    /// Time for which `ListObjectsV2` of these keys and `HeadBucket` are answered from memory (R27), at
    /// most 1m; `None`: not cached.
    pub lists: Option<HumanDuration>,
    /// Whether blocks of these objects stay on disk as long as others can be evicted.
    pub pinned: bool,
    /// Part of an object that is read when an event reports its creation; `None`: nothing.
    pub prefetch: Option<PrefetchConfig>,
}

/// Part of a new object that is read before any client asks for it, the key `prefetch` of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct PrefetchConfig {
    /// Objects up to this size are read completely.
    pub whole: ByteSize,
    /// Bytes read from the start of larger objects.
    pub head: ByteSize,
    /// Bytes read from the end of larger objects.
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

    /// Compiles the pattern.
    ///
    /// # Errors
    /// When the pattern is not a glob.
    pub fn glob(&self) -> Result<Glob, InvalidGlob> {
        Glob::new(&self.pattern)
    }
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
            verify_checksums: true,
            verify_hits: None,
            failover: None,
            disk_share: None,
            lists: None,
            pinned: false,
            prefetch: None,
        }
    }
}

/// Freshness lifetime of metadata, the key `freshness` of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// Until it is invalidated.
    Immutable,
    /// None: each read is revalidated.
    Revalidate,
    /// The object is not cached.
    Bypass,
    /// For this long after the origin last confirmed it.
    Ttl(HumanDuration),
    /// Until an event reports a change, while events are proven to arrive (R26).
    Events(EventsFreshness),
}

/// Freshness by S3 events, the key `freshness.events` of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct EventsFreshness {
    /// Freshness lifetime while events are not proven to arrive.
    pub ttl: HumanDuration,
    /// Freshness lifetime while events are proven to arrive.
    pub backstop: HumanDuration,
    /// Time for which an event or canary of the bucket, under the rule's pattern, proves that events
    /// arrive.
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
    // Implemented by hand: a serde enum is either a text or a map, and this one accepts both.
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
