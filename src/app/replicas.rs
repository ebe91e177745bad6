//! Joining the other replicas of `cluster.peers`.

use std::sync::Arc;

use crate::admin::Token;
use crate::cache::{Cache, Rules};
use crate::cluster::Cluster;
use crate::config::Config;
use crate::events::Intake;

/// The other replicas; `None`: there are none. `port`: of our admin address.
pub(super) async fn join(
    config: &Config,
    cache: &Arc<Cache>,
    rules: &Arc<Rules>,
    token: &Token,
    port: Option<u16>,
) -> Option<Arc<Cluster>> {
    let (peers, port) = (config.cluster.peers.as_ref()?, port?);
    let token = token.clone();
    let token = Arc::new(move || token.read());
    Some(Cluster::start(peers, cache.clone(), rules.clone(), token, port).await)
}

/// Applies what other replicas receive here, too.
pub(super) fn apply_their_events(cluster: &Cluster, intake: &Arc<Intake>) {
    // The intake holds the cluster.
    let intake = Arc::downgrade(intake);
    cluster.on_event(Box::new(move |source, body| {
        if let Some(intake) = intake.upgrade() {
            intake.apply_from_peer(source, body);
        }
    }));
}
