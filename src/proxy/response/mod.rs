//! Response heads, errors and refusals as S3 writes them.

pub(in crate::proxy) mod bucket_name;
pub(in crate::proxy) mod cors;
pub(in crate::proxy) mod cors_rules;
pub(in crate::proxy) mod head;
pub(in crate::proxy) mod page_access;
pub(in crate::proxy) mod refusal;
pub(in crate::proxy) mod region;
