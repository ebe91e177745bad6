//! hotset against an origin that misbehaves on command, over real sockets. One binary; a line for each module.
#![allow(unreachable_pub, reason = "a test binary: nothing outside sees it")]

/// Many readers of the same bytes.
mod coalescing;
/// The end of a server.
mod drain;
/// When the origin is asked whether an object changed.
mod freshness;
/// An origin whose headers and bytes contradict each other.
mod lying_origin;
/// Random operations against every version that each key ever had.
mod model;
/// An origin that fails and is asked again.
mod retries;
/// A first read, a second read, an overwritten object: the spine.
mod spine;
/// An old answer instead of none.
mod stale;
/// FakeS3, TestProxy and clients.
mod support;
/// The support itself: a fake that lies unasked would make every other test worthless.
mod support_test;
/// Objects that change while they are read.
mod torn;
/// Clients that go away.
mod vanished;
/// Writes through the proxy.
mod write_races;
