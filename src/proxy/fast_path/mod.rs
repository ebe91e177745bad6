//! Small hits, answered without a session of pingora.

pub(in crate::proxy) mod fast_hit;
pub(in crate::proxy) mod handed_over;
pub(in crate::proxy) mod http1;
