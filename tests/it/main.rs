//! hotset against an origin that misbehaves on command, over real sockets. One binary; a line for each module.
#![allow(unreachable_pub, reason = "a test binary: nothing outside sees it")]
#![allow(
    clippy::unwrap_used,
    reason = "clippy.toml allows it in tests, but not in what they share"
)]

/// What is counted and logged of a request.
mod accounting;
/// An origin with several addresses.
mod addresses;
/// What is kept and what streams through, and what the origin is asked for on a client's behalf.
mod admission;
/// Who may import whom, and how long a file may be.
mod architecture;
/// Hits that are answered without a session.
mod at_once;
/// An origin that fails and is left alone.
mod breaker;
/// The admin port's API and the subcommands that use it.
mod by_hand;
/// What `hotset check` says of mistakes in a file.
mod check_messages;
/// `hotset check --online`.
mod check_online;
/// Many readers of the same bytes.
mod coalescing;
mod cold_conditions;
/// Multipart uploads, copies and deletes of many: what they change is forgotten in time.
mod cold_requests;
mod compound_writes;
/// S3's read semantics, row by row, in every state of the cache.
mod conformance;
/// Connections to the origin, and how often they are used.
mod connections;
/// The real binary, killed under load and started again on the same disk.
mod crash;
/// Where hotset's own credentials come from, and how they stay good.
mod credentials;
/// Regions, tenants, redirects, two signatures at once.
mod dialects;
/// Blocks on disk: read again, after a restart too.
mod disk;
/// What happens to disks and to the files on them.
mod disk_accidents;
/// The page on the disk format, and segments that a server wrote.
mod disk_format;
/// The pages of the documentation: links, commands, configurations, the table of contents.
mod documentation;
/// The end of a server.
mod drain;
/// What is acknowledged when the disk hangs or fails.
mod durability;
/// Forgetting by hand to the last byte: memory and files.
mod erase;
/// What object events make it forget.
mod events;
/// What listings, reads and refusals that pass through make stale.
mod evidence;
mod explain;
/// When the origin is asked whether an object changed.
mod freshness;
/// The wire towards clients: HTTP/1.0, keep-alive, pipelining, HTTP/2; `Cache-Status` on every answer.
mod front;
/// What was fetched a moment ago, while memory is full.
mod full_memory;
/// Late answers of the origin, asked for a second time.
mod hedging;
/// The names under which each mode is reached.
mod hosts;
/// The description of the HTTP API, `docs/reference/http-api.yaml`.
mod http_api;
/// Events by Kafka.
#[cfg(feature = "kafka")]
mod kafka;
/// Sizes, counts and times that clients are held to.
mod limits;
/// Lists that are remembered for a moment.
mod lists;
/// Origins that lead back to hotset.
mod loops;
/// An origin whose headers and bytes contradict each other.
mod lying_origin;
/// Purges by the hundred thousand, and what they leave cached.
mod many_purges;
/// Resident memory of the real process under slow readers and large uploads.
mod memory_bound;
/// Random operations against every version that each key ever had.
mod miss_reasons;
mod model;
/// Absences: which are remembered, for whom, and for how long.
mod negatives;
/// What is said of an origin that cannot be reached, or does not take hotset's keys.
mod origin_health;
/// Reads by part number.
mod page_reads;
mod parts;
/// What the origin sees of a request that is passed through, and the client of its answer.
mod pass_through;
/// Below a path of an ingress.
mod path_prefix;
/// Replicas that tell each other what they invalidate.
mod peers;
/// What an identity may do, and in whose name the origin is asked for it.
mod policy;
/// Whom files, folders and sockets are for, and how many may be open.
mod private_files;
/// The real binary: wrong configurations, signals, logs, the admin port.
mod process;
/// Load balancers that say who their client is.
mod proxy_protocol;
/// Forgetting by hand: objects, prefixes, buckets, everything, and their blocks.
mod purge;
/// 412 and 416, and what they are concluded from.
mod refusals;
/// An origin that fails and is asked again.
mod retries;
/// Sizes from the limits of control groups.
mod sizing;
/// A disk that is slower than the origin.
mod slow_disk;
/// Requests that two servers may read differently.
mod smuggling;
mod spellings;
/// A first read, a second read, an overwritten object: the spine.
mod spine;
/// An old answer instead of none.
mod stale;
/// The routes that show the server.
mod stats;
mod streamed;
/// FakeS3, TestProxy and clients.
mod support;
/// The fake's faults, gates and record.
mod support_faults_test;
/// The support itself: a fake that lies unasked would make every other test worthless.
mod support_test;
/// TLS towards clients, and the files that it is made of.
mod tls;
/// Objects that change while they are read.
mod torn;
/// S3 decides, asked by each caller's own request.
mod transparent;
/// `auth.writes`, `auth.buckets`, and the unix socket.
mod trust;
/// Disks that other releases left.
mod upgrade;
/// Bodies on their way to the origin: plain, aws-chunked, broken off, expected.
mod uploads;
/// Clients that go away.
mod vanished;
/// Who sent a request, by its signature.
mod verify;
/// Reads by version id.
mod versions;
/// What is done by hand over the admin port: who may, and warming.
mod warm;
/// Requests of web pages, to whatever believes its connections.
mod web_pages;
/// Notifications over HTTP.
mod webhook;
/// What is read over is on disk after a crash.
mod write_behind;
/// Writes through the proxy.
mod write_races;
