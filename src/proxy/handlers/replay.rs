//! Replay of body bytes that were read before pingora passes them on.

/// Size of pingora's replay buffer (`BODY_BUF_LIMIT`), in bytes; one read never brings more.
pub(in crate::proxy) const REPLAYED: usize = 64 << 10;
