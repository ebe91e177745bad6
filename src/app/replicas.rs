//! Connection to the other replicas in `cluster.peers`.

use std::sync::Arc;

use rustls::pki_types::ServerName;

use super::error::RunError;
use crate::admin::Token;
use crate::cache::{Cache, Rules};
use crate::cluster::{Cluster, ReplicaTls};
use crate::config::Config;
use crate::events::Intake;
use crate::tls::connector;

/// Returns the other replicas; `None`: there are none. `port`: that of our admin address.
///
/// # Errors
/// [`RunError::Cluster`]: the TLS settings for replicas are invalid.
pub(super) async fn join(
    config: &Config,
    cache: &Arc<Cache>,
    rules: &Arc<Rules>,
    token: &Token,
    port: Option<u16>,
) -> Result<Option<Arc<Cluster>>, RunError> {
    let (Some(peers), Some(port)) = (&config.cluster.peers, port) else { return Ok(None) };
    let token = token.clone();
    let token = Arc::new(move || token.read());
    let tls = config.admin.tls.as_ref().map(|_| tls(config)).transpose()?;
    let cluster = Cluster::start(peers, cache.clone(), rules.clone(), (token, tls), port).await;
    Ok(Some(cluster))
}

fn tls(config: &Config) -> Result<ReplicaTls, RunError> {
    let wrong = |key: &str, problem: String| RunError::Cluster(format!("{key}: {problem}"));
    let connector = connector(config.cluster.ca_file.as_deref());
    let connector = connector.map_err(|problem| wrong("ca_file", problem))?;
    let name = config.cluster.server_name().unwrap_or_default().to_owned();
    let name =
        ServerName::try_from(name).map_err(|error| wrong("server_name", error.to_string()))?;
    Ok(ReplicaTls { connector, name })
}

/// Applies events that other replicas received.
pub(super) fn apply_their_events(cluster: &Cluster, intake: &Arc<Intake>) {
    // The intake holds the cluster.
    let intake = Arc::downgrade(intake);
    cluster.on_event(Box::new(move |source, body| {
        if let Some(intake) = intake.upgrade() {
            intake.apply_from_peer(source, body);
        }
    }));
}
