//! `POST /api/v1/reload`.

use hyper::StatusCode;
use hyper::body::Incoming;
use serde::Deserialize;

use super::answer::{Answer, Refusal, json};
use super::body;
use super::state::Api;

/// A request to reload.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ReloadRequest {
    /// Report the changes without applying them.
    #[serde(default)]
    dry_run: bool,
}

pub(super) async fn reload(api: &Api, body: Incoming) -> Answer {
    let ReloadRequest { dry_run } = body::read(body).await?;
    let report = (api.reload)(dry_run).await.map_err(Refusal::bad)?;
    Ok(json(StatusCode::OK, &report))
}
