//! hotset against an origin that misbehaves on command, over real sockets. One binary; a line for each module.
#![allow(unreachable_pub, reason = "a test binary: nothing outside sees it")]

/// A first read, a second read, an overwritten object: the spine.
mod spine;
/// FakeS3, TestProxy and clients.
mod support;
/// The support itself: a fake that lies unasked would make every other test worthless.
mod support_test;
