//! hotset itself: the release binary, started as a user would start it.

use std::env;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::Result;
use crate::process::{self, Server};

/// The two settings that a scenario chooses; everything else keeps its default.
#[derive(Clone, Copy)]
pub struct Memory {
    /// `cache.memory` in bytes.
    pub cache: u64,
    /// `cache.in_flight` in bytes.
    pub in_flight: u64,
}

/// The binary: `HOTSET_BIN`, or the one that cargo built along with this bench.
///
/// # Errors
/// When there is neither.
pub fn program() -> Result<PathBuf> {
    let path = env::var_os("HOTSET_BIN")
        .map(PathBuf::from)
        .or(option_env!("CARGO_BIN_EXE_hotset").map(PathBuf::from))
        .filter(|path| path.exists());
    path.ok_or_else(|| "there is no hotset binary: set HOTSET_BIN".into())
}

/// Starts hotset in front of `origin` with an empty cache, on `core` only where one is given.
///
/// # Errors
/// When it does not start.
pub fn start(
    origin: SocketAddr,
    memory: Memory,
    core: Option<usize>,
    folder: &Path,
) -> Result<Server> {
    let (address, admin) = (process::free_address()?, process::free_address()?);
    let file = folder.join(format!("hotset-{}.yaml", address.port()));
    fs::write(&file, configuration(address, admin, origin, memory))?;
    let mut command = process::command(&program()?, core);
    command.arg("serve").arg("--config").arg(&file);
    // What the caller's environment says about hotset or its keys must not change what is measured.
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("HOTSET_") || text.starts_with("AWS_") {
            command.env_remove(&name);
        }
    }
    command.env("AWS_ACCESS_KEY_ID", "scenario").env("AWS_SECRET_ACCESS_KEY", "not-a-secret");
    Server::start("hotset", command, address, folder)
}

fn configuration(
    address: SocketAddr,
    admin: SocketAddr,
    origin: SocketAddr,
    memory: Memory,
) -> String {
    format!(
        "listen:
  - address: \"{address}\"
admin:
  address: \"{admin}\"
origin:
  endpoint: \"http://{origin}\"
cache:
  memory: {}MiB
  in_flight: {}MiB
rules:
  - match: \"**\"
    freshness: immutable
log:
  access: \"off\"
",
        memory.cache >> 20,
        memory.in_flight >> 20,
    )
}
