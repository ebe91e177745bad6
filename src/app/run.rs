//! Running the server as a process: sizes, signals, the service manager.

use std::path::Path;
use std::sync::Arc;

#[cfg(feature = "embedded")]
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::watch;

use super::activation::PassedSockets;
use super::cgroup::Cgroup;
use super::error::RunError;
use super::reload::StartedFrom;
use super::service_manager::ServiceManager;
use super::signals::Signals;
use super::{App, memory_watch, sizing};
#[cfg(feature = "embedded")]
use crate::auth::Credentials;
use crate::config::Config;

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// [`RunError`]: the error that prevented the start.
pub fn run(from: StartedFrom) -> Result<(), RunError> {
    let mut config = from.config();
    let sockets = PassedSockets::from_environment()?;
    let cgroup = Cgroup::read(Path::new("/"));
    sizing::fit(&mut config, &cgroup)?;
    run_on(runtime(&config)?, async {
        let app = Box::pin(App::bind(config, from, sockets)).await?;
        let signals = Signals::new()?;
        for endpoint in app.endpoints() {
            log::info!("serving S3 on {endpoint}");
        }
        if let Some(address) = app.webhook_address() {
            log::info!("receiving notifications on {address}");
        }
        if let Some(endpoint) = app.admin_endpoint() {
            log::info!("metrics and health on {endpoint}");
        }
        tokio::spawn(memory_watch::run(cgroup, app.cache()));
        run_until(signals, app).await;
        Ok(())
    })
}

/// Runs in front of an embedded S3 server that stores its objects in `folder`, with sample objects.
///
/// # Errors
/// [`RunError`]: the error that prevented the start.
#[cfg(feature = "embedded")]
pub fn run_embedded(from: StartedFrom, folder: &Path) -> Result<(), RunError> {
    use crate::embedded;
    const KEYS: embedded::Keys<'_> = embedded::Keys { access: "hotset", secret: "hotset-secret" };
    let cgroup = Cgroup::read(Path::new("/"));
    let mut config = from.config();
    sizing::fit(&mut config, &cgroup)?;
    run_on(runtime(&config)?, async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let embedded = embedded::start(listener, folder, &KEYS).await?;
        config.origin.endpoint = embedded.endpoint();
        let keys = Credentials::new(KEYS.access.to_owned(), KEYS.secret.into(), None);
        let app = App::bind_from(config, Some(from), keys.ok()).await?;
        let signals = Signals::new()?;
        if let Some(endpoint) = app.endpoints().first() {
            print!("{}", embedded::banner(endpoint, &KEYS));
            println!("  origin log  {}", embedded.log_path().display());
        }
        if let Some(endpoint) = app.admin_endpoint() {
            println!("  web page    {endpoint}/");
        }
        tokio::spawn(memory_watch::run(cgroup, app.cache()));
        run_until(signals, app).await;
        Ok(())
    })
}

async fn run_until(mut signals: Signals, app: App) {
    let (stop, shutdown) = watch::channel(false);
    let (manager, reloader) = (Arc::new(ServiceManager::from_environment()), app.reloader.clone());
    manager.ready(&app.endpoints());
    let (watched, log, audit) = (manager.clone(), app.log.clone(), app.audit.clone());
    tokio::spawn(async move { watched.keep_alive().await });
    tokio::spawn(async move {
        let reopen = || {
            log.reopen();
            audit.reopen();
        };
        signals.end(&reloader, reopen).await;
        log::info!("stopping: requests under way are finished");
        manager.stopping(&reloader.in_force().shutdown);
        let _ = stop.send(true);
        // The sender lives until the process ends: a closed channel would end the admin port.
        std::future::pending::<()>().await;
    });
    app.run(shutdown).await;
}

/// Runs `work` to its end, without waiting for threads that are blocked on a dead disk.
fn run_on<T>(runtime: Runtime, work: impl Future<Output = T>) -> T {
    let done = runtime.block_on(work);
    runtime.shutdown_background();
    done
}

fn runtime(config: &Config) -> Result<Runtime, std::io::Error> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if let Some(threads) = config.threads {
        builder.worker_threads(threads);
    }
    builder.thread_name("hotset").enable_all().build()
}
