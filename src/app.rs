//! The composition root: from a configuration to a running server.

mod activation;
mod addressed;
mod cgroup;
mod descriptors;
mod error;
mod memory_watch;
mod observe;
mod origin_warnings;
mod origins;
mod reload;
mod replicas;
mod run;
mod secret_files;
mod service_manager;
mod signals;
mod sizing;
mod upstream;
mod warnings;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use pingora::server::configuration::ServerConf;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use crate::admin::{self, AdminState, Api, Token};
use crate::auth::{Access, AuthMode, Credentials};
use crate::cache::{Cache, Rules};
use crate::cluster::Cluster;
use crate::config::Config;
use crate::events::{Intake, Receivers};
use crate::inspect::Inspect;
use crate::logging::audit::AuditLogger;
use crate::metrics;
use crate::origin::{NO_AUTHORITIES, Origins};
use crate::proxy::{
    AccessLogger, Admission, ConfirmedBucketOwners, CorsRules, Gateway, ListenConfig, Listener,
    RecentErrors, Server, Shutdown,
};
use crate::tls::Tls;
use crate::tls::config::{ClientAuth, TlsConfig};
use crate::tracing;
use crate::warm::{Demand, Warmer};

use arc_swap::ArcSwap;

use activation::PassedSockets;
use observe::Observed;
use reload::{Live, Reloader};
use upstream::KeysFrom;

pub use activation::ActivationError;
pub use descriptors::TooFewDescriptors;
pub use error::RunError;
pub use origins::{ToCheck, origins_to_check};
pub use reload::StartedFrom;
pub use run::run;
#[cfg(feature = "embedded")]
pub use run::run_embedded;
pub use secret_files::warn_of_config;
pub use sizing::TooLittleMemory;
pub use upstream::{describe_credentials, origin_to_check};
pub use warnings::warnings;

/// A server that has bound its addresses and is ready to run.
pub struct App {
    /// Client listeners, each with the scheme of its URL.
    servers: Vec<(&'static str, Server, Listener)>,
    admin: Option<(TcpListener, Arc<Api>, Option<Arc<Tls>>)>,
    warmer: Arc<Warmer>,
    cache: Arc<Cache>,
    origin: Origins,
    access: Arc<Access>,
    rules: Arc<Rules>,
    intake: Arc<Intake>,
    cluster: Option<Arc<Cluster>>,
    receivers: Receivers,
    log: AccessLogger,
    audit: AuditLogger,
    reloader: Arc<Reloader>,
}

impl App {
    /// Builds everything and binds every address without a passed socket.
    ///
    /// # Errors
    /// [`RunError`]: the missing or occupied resource.
    async fn bind(
        config: Config,
        from: StartedFrom,
        sockets: PassedSockets,
    ) -> Result<Self, RunError> {
        Box::pin(Self::build(config, Some(from), KeysFrom::Sources, sockets)).await
    }

    /// Builds everything and binds every address, with keys for the origin that are passed in.
    ///
    /// # Errors
    /// [`RunError`]: the missing or occupied resource.
    pub async fn bind_with(config: Config, keys: Option<Credentials>) -> Result<Self, RunError> {
        Self::bind_from(config, None, keys).await
    }

    /// As [`App::bind_with`], with a configuration that can be reloaded `from` its source.
    ///
    /// # Errors
    /// As [`App::bind_with`].
    pub async fn bind_from(
        config: Config,
        from: Option<StartedFrom>,
        keys: Option<Credentials>,
    ) -> Result<Self, RunError> {
        let keys = KeysFrom::Caller(keys);
        Box::pin(Self::build(config, from, keys, PassedSockets::default())).await
    }

    #[allow(
        clippy::too_many_lines,
        reason = "one part after the other, in the order in which they need each other"
    )]
    async fn build(
        config: Config,
        from: Option<StartedFrom>,
        keys: KeysFrom,
        mut sockets: PassedSockets,
    ) -> Result<Self, RunError> {
        let origin = Box::pin(upstream::build_origins(&config, &keys, None)).await?;
        let origin = Origins::from(origin);
        descriptors::prepare(&config)?;
        if config.admin.address.is_some() {
            // Reading the disk already records metrics.
            let _recording = metrics::install();
        }
        tracing::install(&config.tracing).map_err(|(key, why)| RunError::Tracing(key, why))?;
        let cache = Cache::new(&upstream::cache_config(&config), &config.rules, origin.clone())?;
        let access = upstream::access(&config, &origin)?;
        let rules = Rules::new(&config.rules)?.with_exact_keys(origin.are_aws());
        let rules = Arc::new(rules);
        let admission = Admission::new(&config.limits);
        let limits = Arc::new(ArcSwap::from_pointee(config.limits.clone()));
        let warmer = warmer(&config, &cache, &origin, &rules, &admission);
        let admin = match &config.admin.address {
            Some(address) => Some(bind_admin(address, sockets.take_tcp(address)?).await?),
            None => None,
        };
        let token = Token::new(&config.admin);
        let admin_tls = config.admin.tls.as_ref().map(|tls| Tls::load(tls, "admin", false));
        let admin_tls = admin_tls.transpose().map_err(RunError::AdminTls)?;
        let port = admin.as_ref().map(|(_, address)| address.port());
        let cluster = replicas::join(&config, &cache, &rules, &token, port).await?;
        let intake = Intake::new(
            cache.clone(),
            origin.clone(),
            rules.clone(),
            warmer.clone(),
            cluster.clone(),
            config.events.max_lag.0,
        );
        if let Some(cluster) = &cluster {
            replicas::apply_their_events(cluster, &intake);
        }
        let webhook = config.events.webhook.as_ref().map(|webhook| &webhook.address);
        let webhook = webhook.map(|address| sockets.take_tcp(address)).transpose()?.flatten();
        let receivers =
            Receivers::bind(&config.events, intake.clone(), rules.clone(), &origin, webhook)
                .await?;
        let owners = Arc::new(ConfirmedBucketOwners::default());
        let cors = Arc::new(CorsRules::default());
        let log = AccessLogger::start(&config.log);
        let log = log.map_err(|source| RunError::Log("access_to", source))?;
        let audit = AuditLogger::start(config.log.audit, &config.log.audit_to);
        let audit = audit.map_err(|source| RunError::Log("audit_to", source))?;
        let (errors, inspect) = (Arc::<RecentErrors>::default(), Arc::<Inspect>::default());
        let conf = Arc::new(pingora_conf(&config));
        let (mut servers, mut tls_of_listeners) = (Vec::new(), Vec::new());
        let mut addressed_of_listeners = Vec::new();
        for (index, listen) in config.listen.iter().enumerate() {
            let tls = listen.tls.as_ref().map(|tls| Tls::load(tls, "listen", true)).transpose();
            let tls = tls.map_err(|source| RunError::Tls { index, source })?;
            tls_of_listeners.push(tls.clone());
            let listener = bind_clients(listen, &mut sockets).await?;
            warn_of_open_trust(config.auth.mode, &listener, listen.tls.as_ref());
            let scheme = if tls.is_some() { "https" } else { "http" };
            let endpoint = origin.default_origin();
            let addressed = addressed::addressed(&config, listen, endpoint.endpoint());
            let addressed = Arc::new(ArcSwap::from(addressed));
            addressed_of_listeners.push(addressed.clone());
            let gateway = Gateway {
                cache: cache.clone(),
                origins: origin.clone(),
                access: access.clone(),
                rules: rules.clone(),
                owners: owners.clone(),
                cluster: cluster.clone(),
                cors: cors.clone(),
                log: log.clone(),
                audit: audit.clone(),
                errors: errors.clone(),
                inspect: inspect.clone(),
                limits: limits.clone(),
                admission: admission.clone(),
                path_prefix: addressed::path_prefix(&config, listen),
                addressed,
            };
            let balancers = listen.proxy_protocol.clone();
            servers.push((scheme, Server::new(gateway, &conf, tls, balancers), listener));
        }
        let live = Live {
            origin: origin.clone(),
            keys,
            access: access.clone(),
            addressed: addressed_of_listeners,
            tls: tls_of_listeners,
            intake: intake.clone(),
            receivers: receivers.settings(),
            cache: cache.clone(),
            rules: rules.clone(),
            limits,
            admission: admission.clone(),
            warmer: warmer.clone(),
            log: log.clone(),
            token: token.clone(),
            admin_tls: admin_tls.clone(),
        };
        let reloader = Reloader::new(config.clone(), from, live);
        let admin = match admin {
            Some((listener, address)) => {
                let shown = Observed {
                    cache: cache.clone(),
                    origin: origin.clone(),
                    rules: rules.clone(),
                    admission,
                    errors,
                    inspect,
                    warmer: warmer.clone(),
                    cluster: cluster.clone(),
                    reloader: reloader.clone(),
                    audit: audit.clone(),
                };
                let api = observe::api(&config, shown, token, address.ip().is_loopback())?;
                Some((listener, Arc::new(api), admin_tls))
            }
            None => None,
        };
        sockets.all_taken()?;
        secret_files::warn_of_wide(&config);
        // Last: a failed start must not change the disk.
        cache.begin()?;
        origin.renew_credentials();
        Ok(Self {
            servers,
            admin,
            warmer,
            cache,
            origin,
            access,
            rules,
            intake,
            cluster,
            receivers,
            log,
            audit,
            reloader,
        })
    }

    /// Returns the addresses of client listeners, in the order of `listen`.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.servers.iter().filter_map(|(_, _, listener)| listener.address()).collect()
    }

    /// Returns the URLs of client listeners.
    pub fn endpoints(&self) -> Vec<String> {
        let url = |(scheme, _, listener): &(&str, Server, Listener)| {
            Some(format!("{scheme}://{}", listener.address()?))
        };
        self.servers.iter().filter_map(url).collect()
    }

    /// Returns the cache.
    pub fn cache(&self) -> Arc<Cache> {
        self.cache.clone()
    }

    /// Returns the authorisation of requests.
    pub fn access(&self) -> Arc<Access> {
        self.access.clone()
    }

    /// Returns the address of the HTTP listener for events.
    pub fn webhook_address(&self) -> Option<SocketAddr> {
        self.receivers.webhook_address()
    }

    /// Returns the intake, to which receivers pass their messages.
    pub fn intake(&self) -> Arc<Intake> {
        self.intake.clone()
    }

    /// Returns the URL of the admin port.
    pub fn admin_endpoint(&self) -> Option<String> {
        let (_, _, tls) = self.admin.as_ref()?;
        let scheme = if tls.is_some() { "https" } else { "http" };
        Some(format!("{scheme}://{}", self.admin_address()?))
    }

    /// Returns the address of the admin port.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin.as_ref().and_then(|(listener, ..)| listener.local_addr().ok())
    }

    /// Serves until `shutdown` turns true. Then continues for `shutdown.delay`, no longer ready, with responses that
    /// close their connections. Ends as soon as nothing is in flight, or after shutdown.grace (R30).
    pub async fn run(self, mut shutdown: watch::Receiver<bool>) {
        let ready = Arc::new(AtomicBool::new(true));
        if let Some((listener, api, tls)) = self.admin {
            let (origin, rules) = (self.origin.clone(), self.rules.clone());
            let state = AdminState {
                ready: ready.clone(),
                detail: Arc::new(move || origin.describe() + &observe::describe_trust(&rules)),
                api,
                tls,
            };
            tokio::spawn(admin::serve(listener, state, shutdown.clone()));
        }
        let (end_cluster, cluster_ends) = watch::channel(false);
        if let Some(cluster) = &self.cluster {
            tokio::spawn(cluster.clone().run(cluster_ends));
        }
        tokio::spawn(self.reloader.clone().watch(shutdown.clone()));
        let (close, closing) = watch::channel(false);
        let mut running = JoinSet::new();
        for (_, server, listener) in self.servers {
            let steps = Shutdown::new(shutdown.clone(), closing.clone());
            running.spawn(server.run(listener, steps));
        }
        running.spawn(self.receivers.run(closing.clone()));
        running.spawn(self.warmer.run(closing));
        let _ = shutdown.wait_for(|stop| *stop).await;
        ready.store(false, Ordering::Release);
        let steps = self.reloader.in_force().shutdown.clone();
        tokio::time::sleep(steps.delay.0).await;
        let _ = close.send(true);
        let deadline = Instant::now() + steps.grace.0;
        if timeout_at(deadline, running.join_all()).await.is_err() {
            log::warn!("shutdown.grace is over; requests in flight are aborted");
        }
        if let Some(cluster) = &self.cluster {
            cluster.leave().await;
            end_cluster.send_replace(true);
        }
        if timeout_at(deadline, self.cache.close()).await.is_err() {
            log::warn!("shutdown.grace is over; some blocks in memory were not written to disk");
        }
        // An unreachable collector must not delay the shutdown.
        let limit = deadline.min(Instant::now() + self.reloader.in_force().tracing.timeout.0);
        if timeout_at(limit, tracing::flush()).await.is_err() {
            log::warn!("tracing.endpoint: some spans were not sent");
        }
        let flush = move || {
            self.log.flush();
            self.audit.flush();
        };
        let _ = tokio::task::spawn_blocking(flush).await;
    }
}

fn pingora_conf(config: &Config) -> ServerConf {
    ServerConf {
        // TLS to the origin is handled below the connections that pingora borrows.
        ca_file: Some(NO_AUTHORITIES.to_owned()),
        upstream_keepalive_pool_size: config.origin.connections,
        threads: 1,
        ..ServerConf::default()
    }
}

/// Binds a client listener, unless its socket was passed in.
async fn bind_clients(
    listen: &ListenConfig,
    sockets: &mut PassedSockets,
) -> Result<Listener, RunError> {
    let bound = match sockets.take(&listen.address)? {
        Some(listener) => Ok(listener),
        None => Listener::bind(&listen.address, listen.mode).await,
    };
    bound.map_err(|source| RunError::Bind { address: listen.address.clone(), source })
}

/// Binds the admin listener; `passed`: a socket that is bound already.
async fn bind_admin(
    address: &str,
    passed: Option<TcpListener>,
) -> Result<(TcpListener, SocketAddr), RunError> {
    let bound = match passed {
        Some(listener) => Ok(listener),
        None => TcpListener::bind(address).await,
    };
    let listener =
        bound.map_err(|source| RunError::Bind { address: address.to_owned(), source })?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

/// Creates the warmer, which yields to the requests counted by `admission`.
fn warmer(
    config: &Config,
    cache: &Arc<Cache>,
    origin: &Origins,
    rules: &Arc<Rules>,
    admission: &Arc<Admission>,
) -> Arc<Warmer> {
    let admission = admission.clone();
    let demand: Demand = Arc::new(move || admission.under_way());
    let disks: u64 = config.cache.disk.iter().map(|disk| disk.capacity.0).sum();
    let capacity = config.cache.memory() / 16 * 15 + disks;
    Warmer::new(&config.warm, cache.clone(), origin.clone(), rules.clone(), demand, capacity)
}

/// Warns if the `trust` mode is reachable from other machines without client certificates.
fn warn_of_open_trust(mode: AuthMode, listener: &Listener, tls: Option<&TlsConfig>) {
    if mode == AuthMode::Trust
        && let Some(address) = listener.address()
        && !address.ip().is_loopback()
        && tls.is_none_or(|tls| tls.client_auth != ClientAuth::Required)
    {
        log::warn!(
            "auth.mode is trust and {address} is not a loopback address: WHOEVER CAN CONNECT MAY DO WHATEVER \
             THE ORIGIN'S KEYS MAY, deletes included. Narrow it with auth.writes and auth.buckets."
        );
    }
}
