//! Renewal of hotset's own credentials: before they expire, when a file changes, and when the origin refuses them.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use tokio::time::sleep;

use super::{Found, Source};
use crate::auth::Signer;
use crate::metrics::origin as metrics;
use crate::origin::directory_bucket::Sessions;
use crate::origin::domains::{Domain, Domains};
use crate::pacing::RateLimit;
use crate::s3::S3Error;

/// Interval between checks of files and of the expiry.
const TICK: Duration = Duration::from_secs(1);
/// Time before expiry at which credentials are renewed; at half of their lifetime if that is less than twice as long.
const MARGIN: Duration = Duration::from_mins(5);
/// Minimum time between two lookups.
const PAUSE: Duration = Duration::from_secs(5);
/// Minimum time between two warnings.
const EVERY: Duration = Duration::from_mins(1);

/// State of the credentials in use.
#[derive(Debug)]
pub(in crate::origin) struct Renewal {
    source: Provider,
    domains: Arc<Domains>,
    /// Description of the credentials found at the start, for the log.
    first: String,
    /// Expiry of the credentials, and the time at which renewal is due.
    expiry: Mutex<Option<Expiry>>,
    /// Allows one lookup at a time; those that waited for it use its result.
    limits: tokio::sync::Mutex<Limits>,
}

#[derive(Debug, Clone, Copy)]
struct Expiry {
    ends: SystemTime,
    due: SystemTime,
}

#[derive(Debug)]
struct Limits {
    tries: RateLimit,
    warnings: RateLimit,
}

/// Source of renewed credentials.
#[derive(Debug)]
pub(in crate::origin) enum Provider {
    Chain(Source),
    /// Sessions of a directory bucket.
    Sessions(Box<Sessions>),
}

impl Provider {
    /// Loads credentials as [`Source::load`] does, with one line as the error.
    async fn load(&self) -> Result<Option<Found>, String> {
        match self {
            Self::Chain(source) => source.load().await.map_err(|error| error.to_string()),
            Self::Sessions(sessions) => sessions.load().await,
        }
    }

    fn files(&self) -> Vec<PathBuf> {
        match self {
            Self::Chain(source) => source.files(),
            Self::Sessions(_) => Vec::new(),
        }
    }
}

/// Result of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Renewed {
    /// Other credentials are in use now.
    Other,
    /// The same credentials were found.
    Same,
    /// None were found, or it is too early for another lookup.
    Failed,
}

impl Renewal {
    /// `first` and `expires`: source and expiry of the first credentials.
    pub(in crate::origin) fn new(
        source: Provider,
        first: String,
        expires: Option<SystemTime>,
        domains: Arc<Domains>,
    ) -> Self {
        let expiry = Mutex::new(expires.map(Expiry::new));
        let limits = Limits { tries: RateLimit::new(PAUSE), warnings: RateLimit::new(EVERY) };
        Self { source, domains, first, expiry, limits: tokio::sync::Mutex::new(limits) }
    }

    fn is_due(&self) -> bool {
        self.expiry.lock().is_some_and(|expiry| expiry.due <= SystemTime::now())
    }

    /// Looks up credentials again, unless others than `used` are in use already.
    ///
    /// Makes one lookup at a time, and at most one per [`PAUSE`].
    async fn renew(&self, used: Option<&Arc<Signer>>) -> Renewed {
        let own = self.domains.own();
        let mut limits = self.limits.lock().await;
        let now = own.signer();
        if now.as_ref().map(Arc::as_ptr) != used.map(Arc::as_ptr) {
            return Renewed::Other;
        }
        if !limits.tries.allow() {
            return Renewed::Failed;
        }
        let problem = match Box::pin(self.source.load()).await {
            Ok(Some(found)) => return self.use_credentials(found),
            Ok(None) => "none are set up any more".to_owned(),
            Err(problem) => problem,
        };
        if limits.warnings.allow() {
            log::warn!(
                "cannot renew the origin credentials; the current ones stay in use: {problem}"
            );
        }
        Renewed::Failed
    }

    fn use_credentials(&self, found: Found) -> Renewed {
        let (expires, text) = (found.expires, found.describe());
        *self.expiry.lock() = expires.map(Expiry::new);
        let replaced = self.domains.replace_own(found.credentials);
        match self.source {
            // Every few minutes.
            Provider::Sessions(_) => log::debug!("origin: new keys from {text}"),
            Provider::Chain(_) => {
                metrics::set_credentials_expiry(expires);
                if replaced {
                    log::info!("credentials for the origin renewed from {text}");
                }
            }
        }
        if !replaced {
            return Renewed::Same;
        }
        Renewed::Other
    }

    /// Looks up credentials for the first time.
    pub(in crate::origin) async fn begin(&self) {
        let used = self.domains.own().signer();
        self.renew(used.as_ref()).await;
    }

    /// Whether the credentials with which a domain was refused have been replaced, so that the request is worth sending
    /// again.
    pub(in crate::origin) async fn replaces_refused(
        &self,
        refused: &S3Error,
        domain: &Domain,
        used: Option<&Arc<Signer>>,
    ) -> bool {
        let is_own = std::ptr::eq(domain, &raw const **self.domains.own());
        is_own && refused.code != "RequestTimeTooSkewed" && self.renew(used).await == Renewed::Other
    }

    /// Keeps the credentials valid for as long as this is in use.
    pub(in crate::origin) fn start(self: &Arc<Self>) {
        if matches!(self.source, Provider::Chain(_)) {
            log::info!("credentials for the origin from {}", self.first);
            metrics::set_credentials_expiry(self.expiry.lock().map(|expiry| expiry.ends));
        }
        tokio::spawn(watch(Arc::downgrade(self), self.source.files()));
    }
}

impl Expiry {
    fn new(ends: SystemTime) -> Self {
        let left = ends.duration_since(SystemTime::now()).unwrap_or_default();
        Self { ends, due: ends - MARGIN.min(left / 2) }
    }
}

async fn watch(renewal: Weak<Renewal>, files: Vec<PathBuf>) {
    let mut seen = states(&files).await;
    loop {
        sleep(TICK).await;
        let now = states(&files).await;
        let Some(renewal) = renewal.upgrade() else { return };
        if now != seen || renewal.is_due() {
            let used = renewal.domains.own().signer();
            // A file may be half written: it is read again until it yields something.
            if renewal.renew(used.as_ref()).await != Renewed::Failed {
                seen = now;
            }
        }
    }
}

/// Fingerprint of a file, for detecting changes.
type FileState = Option<(u64, u64, i64, i64)>;

async fn states(files: &[PathBuf]) -> Vec<FileState> {
    let files = files.to_vec();
    let state = |file: Metadata| (file.ino(), file.len(), file.mtime(), file.mtime_nsec());
    let all = move || files.iter().map(|file| std::fs::metadata(file).ok().map(state)).collect();
    tokio::task::spawn_blocking(all).await.unwrap_or_default()
}
