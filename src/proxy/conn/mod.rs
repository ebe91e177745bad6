//! Client connections: accepting, limiting, checking and draining them, with what each reads and writes. The content
//! comes from elsewhere: nothing here knows the cache.

pub(in crate::proxy) mod admission;
pub(in crate::proxy) mod chunks;
pub(in crate::proxy) mod client;
pub(in crate::proxy) mod connection;
pub(in crate::proxy) mod connection_options;
pub(in crate::proxy) mod gate;
pub(in crate::proxy) mod head;
pub(in crate::proxy) mod listener;
pub mod proxy_protocol;
pub(in crate::proxy) mod reject_overload;
pub(in crate::proxy) mod server;
pub(in crate::proxy) mod shutdown;
pub(in crate::proxy) mod transport;
pub(in crate::proxy) mod write_buffer;
