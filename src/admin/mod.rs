//! The admin port: metrics, health checks, the API and the web page.
//!
//! It is separate from the clients' port so that it still answers when that one is full, and so that it can be bound
//! where clients cannot reach. Its data is passed in, and `api` delegates actions to `cache` and `warm`.

mod api;
pub mod config;
mod connection_end;
mod exposition;
mod page;
mod server;
pub mod stats;
mod text;
mod token;

pub use api::{Api, ERASING, Reload, Reloaded};
pub use config::AdminConfig;
pub use server::{AdminState, serve};
pub use token::Token;
