//! The usual alternative, for comparison: Debian's nginx with `proxy_cache` and `slice 8m`.
//!
//! The configuration is the one in nginx's documentation for caching ranges, with Debian's settings of sendfile and
//! `tcp_nopush`, connections that are never closed, and an access log that is written in batches, as hotset's is.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::Result;
use crate::process::{self, Server};
use crate::tls::Identity;

/// Name of the program, and of its package.
pub const PACKAGE: &str = "nginx";

/// Returns the path of the program, if it is installed.
pub fn program() -> Option<PathBuf> {
    process::installed(PACKAGE)
}

/// Handling of cache files in nginx.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Files {
    /// Opens a file for every read: the default of nginx and of Debian's package.
    Opened,
    /// Keeps files in use open (`open_file_cache`), as a tuned configuration would.
    KeptOpen,
    /// Opens a file for every read, without `tcp_nopush`: with it, the end of a range inside a slice waits 40 ms for
    /// the acknowledgement of its beginning.
    OpenedUncorked,
}

/// Starts nginx in front of `origin`, with an empty cache in `folder`, one worker, on `core`.
///
/// # Errors
/// When it is not installed or does not start.
pub fn start(
    origin: SocketAddr,
    files: Files,
    identity: Option<&Identity>,
    core: Option<usize>,
    folder: &Path,
) -> Result<Server> {
    let program = program().ok_or("nginx is not installed (--install gets it)")?;
    let address = process::free_address()?;
    let folder = folder.join(format!("nginx-{}", address.port()));
    fs::create_dir_all(&folder)?;
    let file = folder.join("nginx.conf");
    fs::write(&file, configuration(&folder.to_string_lossy(), files, identity, address, origin))?;
    let mut command = process::command(&program, core);
    command.arg("-p").arg(&folder).arg("-c").arg(&file);
    // Errors before the configuration is read go to standard error and so to the log.
    command.args(["-e", "stderr"]);
    let name = match files {
        Files::Opened => "nginx",
        Files::OpenedUncorked => "nginx without tcp_nopush",
        Files::KeptOpen => "nginx with open_file_cache",
    };
    Server::start(name, command, address, &folder)
}

fn configuration(
    folder: &str,
    files: Files,
    identity: Option<&Identity>,
    address: SocketAddr,
    origin: SocketAddr,
) -> String {
    let tls = identity.map_or_else(String::new, |identity| {
        let (cert, key) = (identity.cert.display(), identity.key.display());
        format!("ssl; ssl_certificate {cert}; ssl_certificate_key {key}; ssl_protocols TLSv1.3")
    });
    // Root's workers would otherwise drop root, and could not read a folder that is root's own.
    let root = fs::metadata("/proc/self").is_ok_and(|own| {
        use std::os::unix::fs::MetadataExt;
        own.uid() == 0
    });
    let user = if root { "user root;" } else { "" };
    let nopush = if files == Files::OpenedUncorked { "off" } else { "on" };
    let open_files = match files {
        Files::Opened | Files::OpenedUncorked => "",
        Files::KeptOpen => "open_file_cache max=10000 inactive=1h; open_file_cache_valid 1h;",
    };
    format!(
        "{user}
daemon off;
worker_processes 1;
worker_rlimit_nofile 65536;
pid {folder}/nginx.pid;
error_log stderr error;
events {{ worker_connections 8192; }}
http {{
    access_log {folder}/access.log combined buffer=64k flush=1s;
    sendfile on;
    tcp_nopush {nopush};
    keepalive_requests 1000000000;
    keepalive_timeout 1h;
    {open_files}
    client_body_temp_path {folder}/body;
    fastcgi_temp_path {folder}/fastcgi;
    proxy_temp_path {folder}/proxy;
    scgi_temp_path {folder}/scgi;
    uwsgi_temp_path {folder}/uwsgi;
    proxy_cache_path {folder}/cache levels=1:2 keys_zone=objects:64m max_size=16g inactive=1d
                     use_temp_path=off;
    upstream origin {{
        server {origin};
        keepalive 64;
    }}
    server {{
        listen {address} {tls};
        location / {{
            slice 8m;
            proxy_pass http://origin;
            proxy_http_version 1.1;
            proxy_set_header Connection \"\";
            proxy_set_header Range $slice_range;
            proxy_cache objects;
            proxy_cache_key $uri$is_args$args$slice_range;
            proxy_cache_valid 200 206 1d;
            proxy_cache_lock on;
        }}
    }}
}}
"
    )
}
