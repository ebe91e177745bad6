//! The operators' own port: what monitoring and an orchestrator ask the process.
//!
//! It is apart from the clients' port so that it still answers when that one is full, and so that
//! it can be bound where clients cannot reach. It knows no other module: what it shows it is given.

pub mod config;
mod server;

pub use config::AdminConfig;
pub use server::{AdminState, serve};
