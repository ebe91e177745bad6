//! The memory tier of the cache, over keys of its own.

#[path = "key.rs"]
pub mod key;
#[expect(dead_code, reason = "the cache uses more of it")]
#[allow(
    clippy::trivially_copy_pass_by_ref,
    clippy::clone_on_copy,
    reason = "the cache's keys are larger"
)]
#[path = "../../src/cache/memory/mod.rs"]
pub mod memory;
