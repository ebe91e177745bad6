//! hotset itself: the release binary, started as a user would start it.

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use hotset::auth::Credentials;

use crate::Result;
use crate::memory_limit::MemoryLimit;
use crate::process::{self, Server};
use crate::tls::Identity;

/// The two settings that every scenario chooses; everything else keeps its default.
#[derive(Clone, Copy)]
pub struct Memory {
    /// `cache.memory` in bytes.
    pub cache: u64,
    /// `cache.in_flight` in bytes.
    pub in_flight: u64,
}

/// `cache.disk`: one path, to which a block is admitted on its first read.
pub struct Disk {
    pub path: PathBuf,
    pub capacity: u64,
    /// Direct I/O for reads, past the page cache.
    pub direct: bool,
    /// Maximum write rate, in bytes a second.
    pub write_rate: Option<u64>,
}

/// Optional settings of a scenario, beside memory.
#[derive(Default)]
pub struct Extras<'a> {
    pub disk: Option<&'a Disk>,
    /// Certificate for TLS.
    pub tls: Option<&'a Identity>,
    /// `auth.mode: verify`, with [`reader`] as the only identity.
    pub verifies: bool,
    /// Address of the webhook listener, which accepts any sender.
    pub webhook: Option<SocketAddr>,
    /// Further keys of `origin`, one per line.
    pub origin: &'a str,
    /// Rules before the catch-all rule, as items of a list.
    pub rules: &'a str,
    /// Further top-level keys, one per line.
    pub settings: &'a str,
}

/// Credentials of the only identity in the scenarios that verify signatures.
pub fn reader() -> Credentials {
    let secret = READER_SECRET.to_owned().into();
    Credentials::new(READER.to_owned(), secret, None).expect("legal keys")
}

const READER: &str = "AKREADER";
const READER_SECRET: &str = "made-up-secret-of-reader";

/// A running hotset, and the address of its metrics.
pub struct Hotset {
    pub server: Server,
    pub admin: SocketAddr,
}

impl Hotset {
    /// Returns the sum of the series of a name, or of those with one label (`name{label="value"}`); 0 when there is
    /// none.
    ///
    /// # Errors
    /// When the metrics page cannot be read.
    pub fn metric(&self, name: &str) -> Result<f64> {
        let page = ask(self.admin, "/metrics")?;
        let (name, label) = name.split_once('{').unwrap_or((name, ""));
        let label = label.trim_end_matches('}');
        let value = |line: &str| {
            let rest = line.strip_prefix(name)?;
            let is_it = rest.starts_with(['{', ' ']) && rest.contains(label);
            rest.rsplit_once(' ').filter(|_| is_it).map(|(_, value)| value.parse::<f64>())
        };
        page.lines().filter_map(value).try_fold(0.0, |sum, value| Ok(sum + value?))
    }
}

/// Returns a response of the admin port, head and body.
///
/// # Errors
/// When the port does not respond.
pub fn ask(admin: SocketAddr, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect(admin)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// Returns the path of the binary: `HOTSET_BIN`, or the one that cargo built along with this bench.
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
    disk: Option<&Disk>,
    core: Option<usize>,
    folder: &Path,
) -> Result<Hotset> {
    start_with(origin, memory, &Extras { disk, ..Extras::default() }, core, folder)
}

/// As [`start`], with further settings.
///
/// # Errors
/// When it does not start.
pub fn start_with(
    origin: SocketAddr,
    memory: Memory,
    extras: &Extras<'_>,
    core: Option<usize>,
    folder: &Path,
) -> Result<Hotset> {
    let (address, admin) = (process::free_address()?, process::free_address()?);
    let file = folder.join(format!("hotset-{}.yaml", address.port()));
    let identities = folder.join(format!("identities-{}.yaml", address.port()));
    if extras.verifies {
        let may = "allow: [{ actions: [read], resources: ['bench/**'] }]";
        let keys = format!("access_key: {READER}, secret_key: {READER_SECRET}");
        fs::write(&identities, format!("identities: [{{ name: reader, {keys}, {may} }}]\n"))?;
    }
    let extras = (extras, identities.as_path());
    fs::write(&file, configuration(address, admin, origin, memory, extras))?;
    let mut command = process::command(&program()?, core);
    command.arg("serve").arg("--config").arg(&file);
    set_environment(&mut command);
    Ok(Hotset { server: Server::start("hotset", command, address, folder)?, admin })
}

/// Starts hotset in a memory limit with the default configuration, except for the addresses.
///
/// # Errors
/// When it does not start.
pub fn start_by_default(origin: SocketAddr, limit: &MemoryLimit, folder: &Path) -> Result<Hotset> {
    let (address, admin) = (process::free_address()?, process::free_address()?);
    let mut command = limit.enter(&process::command(&program()?, None));
    command.arg("serve");
    set_environment(&mut command);
    command.env("HOTSET_LISTEN__0__ADDRESS", address.to_string());
    command.env("HOTSET_ADMIN__ADDRESS", admin.to_string());
    command.env("HOTSET_ORIGIN__ENDPOINT", format!("http://{origin}"));
    Ok(Hotset { server: Server::start("hotset", command, address, folder)?, admin })
}

/// Removes the variables of the caller's environment that would configure hotset or the AWS SDKs.
fn set_environment(command: &mut Command) {
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("HOTSET_") || text.starts_with("AWS_") {
            command.env_remove(&name);
        }
    }
    command.env("AWS_ACCESS_KEY_ID", "scenario").env("AWS_SECRET_ACCESS_KEY", "not-a-secret");
}

fn configuration(
    address: SocketAddr,
    admin: SocketAddr,
    origin: SocketAddr,
    memory: Memory,
    (extras, identities): (&Extras<'_>, &Path),
) -> String {
    let Extras { disk, tls, verifies, webhook, origin: more, rules, settings } = *extras;
    let tls = tls.map_or_else(String::new, |identity| {
        let (cert, key) = (identity.cert.display(), identity.key.display());
        format!("\n    tls: {{ cert: \"{cert}\", key: \"{key}\" }}")
    });
    let mut tier = String::new();
    if let Some(disk) = disk {
        let path = disk.path.display();
        let capacity = disk.capacity >> 20;
        let direct = disk.direct;
        write!(tier, "  admission: first-touch\n  disk:\n  - path: \"{path}\"\n")
            .and_then(|()| write!(tier, "    capacity: {capacity}MiB\n    direct: {direct}\n"))
            .expect("a string takes everything");
        if let Some(rate) = disk.write_rate {
            writeln!(tier, "    write_rate: {}MiB", rate >> 20).expect("a string takes everything");
        }
    }
    if let Some(address) = webhook {
        writeln!(tier, "events: {{ webhook: {{ address: \"{address}\" }} }}")
            .expect("a string takes everything");
    }
    if verifies {
        let identities = identities.display();
        writeln!(tier, "auth: {{ mode: verify, identities: \"{identities}\" }}")
            .expect("a string takes everything");
    }
    format!(
        "listen:
  - address: \"{address}\"{tls}
admin:
  address: \"{admin}\"
origin:
  endpoint: \"http://{origin}\"
{more}cache:
  memory: {}MiB
  in_flight: {}MiB
{tier}rules:
{rules}  - match: \"**\"
    freshness: immutable
{settings}",
        memory.cache >> 20,
        memory.in_flight >> 20,
    )
}
