//! Keys that sign requests to a queue: those that its origin signs with at the time.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, future};
use parking_lot::Mutex;

use crate::auth::Signer;
use crate::origin::{Origins, Source};

const PROVIDER: &str = "hotset's origin";
/// Time before expiry at which credentials of an unsigned origin are looked up again.
const MARGIN: Duration = Duration::from_mins(5);
/// Time for which credentials without an expiry are kept.
const KEPT: Duration = Duration::from_mins(10);

/// The keys of the origin in force, so that renewals and reloads apply to the queue, too. Of an origin whose requests are
/// not signed, the default chain of the AWS SDKs.
pub(super) struct OriginKeys {
    origins: Origins,
    /// Name of the origin; `None`: the default one.
    origin: Option<String>,
    /// Signer whose keys were provided last.
    used: Mutex<Option<Arc<Signer>>>,
    /// Credentials of the chain, and the time until which they are provided.
    chain: tokio::sync::Mutex<Option<(Credentials, SystemTime)>>,
}

impl OriginKeys {
    pub(super) fn new(origins: Origins, origin: Option<String>) -> Arc<Self> {
        let (used, chain) = (Mutex::default(), tokio::sync::Mutex::default());
        Arc::new(Self { origins, origin, used, chain })
    }

    /// Has the origin look up its credentials again, after the queue refused them.
    pub(super) async fn refused(&self) {
        let used = self.used.lock().take();
        if let Some(used) = used
            && let Some(origin) = self.origins.named(self.origin.as_deref())
        {
            origin.renew_refused(&used).await;
        }
        *self.chain.lock().await = None;
    }

    async fn provide(&self) -> Result<Credentials, CredentialsError> {
        // A reload may have removed it: no other origin's keys are used for its queue.
        let origin = self.origins.named(self.origin.as_deref());
        let origin = origin.ok_or_else(|| CredentialsError::not_loaded("its origin is gone"))?;
        let signer = origin.domains().own().signer();
        self.used.lock().clone_from(&signer);
        let Some(signer) = signer else {
            return self.of_chain(&Source::new(origin.config())).await;
        };
        let keys = signer.credentials();
        let token = keys.session_token().map(|token| token.expose().to_owned());
        let secret = keys.secret_key().expose();
        Ok(Credentials::new(keys.access_key(), secret, token, None, PROVIDER))
    }

    async fn of_chain(&self, source: &Source) -> Result<Credentials, CredentialsError> {
        let mut chain = self.chain.lock().await;
        let now = SystemTime::now();
        if let Some((found, _)) = chain.as_ref().filter(|(_, until)| now < *until) {
            return Ok(found.clone());
        }
        let found = source.provide_credentials().await?;
        let until = found.expiry().map_or(now + KEPT, |ends| ends - MARGIN);
        *chain = Some((found.clone(), until));
        Ok(found)
    }
}

impl ProvideCredentials for OriginKeys {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.provide())
    }
}

impl fmt::Debug for OriginKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OriginKeys").field("origin", &self.origin).finish_non_exhaustive()
    }
}
