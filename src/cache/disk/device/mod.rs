//! Files and their device: reads with and without the page cache, limits, and a circuit breaker.

pub(in crate::cache::disk) mod files;
pub(in crate::cache::disk) mod foreign;
pub(in crate::cache::disk) mod health;
pub(in crate::cache::disk) mod origin_pace;
pub(in crate::cache::disk) mod private;
pub(in crate::cache::disk) mod read_limit;
#[cfg(test)]
pub(in crate::cache::disk) mod sim;
#[doc(hidden)]
pub mod throttle;
