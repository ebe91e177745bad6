//! hotset: a caching S3 endpoint.
pub mod admin;
pub mod app;
pub mod auth;
pub mod cache;
pub mod cli;
pub mod config;
#[cfg(feature = "embedded")]
pub mod embedded;
pub mod metrics;
pub mod origin;
pub mod proxy;
pub mod s3;
