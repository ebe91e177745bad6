//! The memory tier.

pub(crate) mod block;
pub(crate) mod tier;
pub(crate) mod window;
