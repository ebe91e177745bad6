//! Handlers, one for each kind of request: reads and lists from the cache, and requests that stream to the origin.

pub(in crate::proxy) mod copy_source;
pub(in crate::proxy) mod delete_many;
pub(in crate::proxy) mod disconnect;
pub(in crate::proxy) mod evidence;
mod failover;
pub(in crate::proxy) mod form;
pub(in crate::proxy) mod forwarded;
pub(in crate::proxy) mod held_list;
pub(in crate::proxy) mod keeping;
pub(in crate::proxy) mod lists;
pub(in crate::proxy) mod observed;
pub(in crate::proxy) mod own_keys;
pub(in crate::proxy) mod owners;
pub(in crate::proxy) mod pass_through;
pub(in crate::proxy) mod preflight;
pub(in crate::proxy) mod read;
pub(in crate::proxy) mod regions;
pub(in crate::proxy) mod replay;
pub(in crate::proxy) mod restore;
pub(in crate::proxy) mod touched;
pub(in crate::proxy) mod transparent;
pub(in crate::proxy) mod upload;
pub(in crate::proxy) mod writes;
