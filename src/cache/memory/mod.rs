//! The memory tier.

pub(crate) mod tier;
pub(crate) mod window;
