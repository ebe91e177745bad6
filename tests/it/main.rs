//! Integration tests: hotset over real sockets against an origin that misbehaves on command, in one binary.
#![allow(unreachable_pub, reason = "a test binary: nothing outside sees it")]
#![allow(
    clippy::unwrap_used,
    reason = "clippy.toml allows it in tests, but not in what they share"
)]

/// Metrics and the access log of a request.
mod accounting;
/// An origin with several addresses.
mod addresses;
/// TLS on the admin port.
mod admin_tls;
/// Admission: responses that are cached, and requests that fills send to the origin.
mod admission;
/// Imports between modules, and the length of files.
mod architecture;
/// The fast path: hits answered without a session.
mod at_once;
/// The circuit breaker of the origin.
mod breaker;
/// Reads with an expected bucket owner.
mod bucket_owners;
/// The admin port's API and the subcommands that use it.
mod by_hand;
/// Messages of `hotset check` about mistakes in a file.
mod check_messages;
/// `hotset check --online`.
mod check_online;
/// Limits of each identity and of each client address.
mod client_limits;
/// Many readers of the same bytes.
mod coalescing;
/// Cold reads whose condition fails.
mod cold_conditions;
/// Origin requests of a cold read.
mod cold_requests;
/// Every command of the command line against a running server, with golden output.
mod commands;
/// Multipart uploads, copies and multi-deletes invalidate every object that they change.
mod compound_writes;
/// S3's read semantics, row by row, in every state of the cache.
mod conformance;
/// Connections to the origin: counted, and bounded by address and in total.
mod connection_bounds;
/// Connections to the origin, and how often they are used.
mod connections;
/// The real binary, killed under load and started again on the same disk.
mod crash;
/// Sources of credentials: precedence, profiles, wrong answers, and those that appear late.
mod credential_sources;
/// Sources and renewal of the origin credentials.
mod credentials;
/// Regions, tenants, redirects, two signatures at once.
mod dialects;
/// Blocks on disk: read again, after a restart too.
mod disk;
/// Damaged, full and missing disks and files.
mod disk_accidents;
/// The page on the disk format, and segments that a server wrote.
mod disk_format;
/// The origin's name, at a name server of the test's own.
mod dns;
/// The pages of the documentation: links, commands, configurations, the table of contents.
mod documentation;
/// Graceful shutdown.
mod drain;
/// Acknowledgement of purges and events while the disk hangs or fails.
mod durability;
/// Kinds of endpoints.
mod endpoints;
/// `purge --erase`: no byte stays in memory or files.
mod erase;
/// Invalidation by events.
mod events;
/// Evidence: listings, reads and refusals that pass through mark objects stale.
mod evidence;
/// Evidence: passed-through responses that contradict metadata on disk.
mod evidence_on_disk;
/// `hotset explain`.
mod explain;
/// Reads at another origin while their own is down.
mod failover;
/// Freshness: when the origin is asked whether an object changed.
mod freshness;
/// The wire towards clients: HTTP/1.0, keep-alive, pipelining, HTTP/2; `Cache-Status` on every answer.
mod front;
/// Recently fetched objects, while memory is full.
mod full_memory;
/// Late answers of the origin, asked for a second time.
mod hedging;
/// Host names by which each mode is reached.
mod hosts;
/// The description of the HTTP API, `docs/reference/http-api.yaml`.
mod http_api;
/// The table of permissions, and the calls that need them.
mod iam;
/// Fetched bytes and the checksums of the origin.
mod integrity;
/// Events by Kafka.
#[cfg(feature = "kafka")]
mod kafka;
/// Limits on clients: sizes, counts and times.
mod limits;
/// Cached lists.
mod lists;
/// Formats and destinations of logs, the audit log, levels.
mod logs;
/// Forwarding loops.
mod loops;
/// An origin whose headers and bytes contradict each other.
mod lying_origin;
/// Purges by the hundred thousand, and what they leave cached.
mod many_purges;
/// Resident memory of the real process under slow readers and large uploads.
mod memory_bound;
/// Miss reasons in `Cache-Status`, the access log and the metrics.
mod miss_reasons;
/// Random operations, checked against every version that each key ever had.
mod model;
/// Negative entries: cached absences of objects.
mod negatives;
/// The operator's log holds no debug output of types.
mod operator_log;
/// Log messages and readiness when the origin is unreachable or rejects hotset's credentials.
mod origin_health;
/// Origins and their credentials that change while it serves.
mod origin_reload;
/// An origin behind TLS.
mod origin_tls;
/// Several origins, and buckets by other names.
mod origins;
/// Reads of web pages, with CORS headers.
mod page_reads;
/// Reads by part number.
mod parts;
/// Requests and responses that pass through, as the origin and the client see them.
mod pass_through;
/// `listen[].path_prefix`.
mod path_prefix;
/// Replicas that tell each other what they invalidate.
mod peers;
/// Permissions of identities, and the credentials of their requests to the origin.
mod policy;
/// Permissions of files, directories and sockets, and the limit of open files.
mod private_files;
/// The real binary: wrong configurations, signals, logs, the admin port.
mod process;
/// PROXY protocol.
mod proxy_protocol;
/// Purges of objects, prefixes, buckets and everything.
mod purge;
/// Reads ahead of clients that read an object by several requests.
mod read_ahead;
/// Responses 412 and 416, and their confirmation by the origin.
mod refusals;
/// Buckets in other regions than the configured one.
mod regions;
/// Reloading the configuration while it serves.
mod reload;
/// Reloading of the configuration, part by part.
mod reload_parts;
/// Retries of requests to the origin.
mod retries;
/// Default sizes from cgroup limits.
mod sizing;
/// A disk that is slower than the origin.
mod slow_disk;
/// Small reads of large objects.
mod small_reads;
/// Requests that two servers may read differently.
mod smuggling;
/// Keys that a server may take for others.
mod spellings;
/// The basic sequences: miss, hit, write.
mod spine;
/// Keys that sign requests to an SQS queue.
#[cfg(feature = "sqs")]
mod sqs_keys;
/// Stale responses while the origin fails.
mod stale;
/// The admin API's routes about the server, and `hotset stats`.
mod stats;
/// Responses that may not be stored.
mod streamed;
/// FakeS3, TestProxy and clients.
mod support;
/// Tests of the fake's faults, gates and record.
mod support_faults_test;
/// Tests of the support library: a fake that is wrong without a fault would make every other test worthless.
mod support_test;
/// TLS to clients, and reloading of certificates.
mod tls;
/// `hotset top`.
mod top;
/// Objects that change while they are read.
mod torn;
/// Traces, as a collector receives them.
mod tracing;
/// `auth.mode: transparent`: S3 authorizes each caller by its own request.
mod transparent;
/// `auth.writes`, `auth.buckets`, and the unix socket.
mod trust;
/// Disks written by other releases.
mod upgrade;
/// Upload bodies: plain, aws-chunked, cut off, with `Expect`.
mod uploads;
/// Requests to the origin by urgency: demand before bulk fetches, those before warming.
mod urgency;
/// Client disconnects.
mod vanished;
/// Verification of signatures.
mod verify;
/// Comparison of hits with the origin.
mod verify_hits;
/// Reads by version id.
mod versions;
/// Warm jobs, and access to the admin API.
mod warm;
/// `hotset log`: watching the requests of a running server.
mod watch;
/// Requests of web pages to listeners without authentication.
mod web_pages;
/// The HTTP listener for events.
mod webhook;
/// Parallel ranges of one cold read.
mod width;
/// Write-behind: hot blocks are on disk before a crash.
mod write_behind;
/// Races of writes and reads.
mod write_races;
