//! Bodies that were read before pingora passes them on.

/// pingora's `BODY_BUF_LIMIT`; one read never brings more.
pub(in crate::proxy) const REPLAYED: usize = 64 << 10;
