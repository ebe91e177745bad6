//! Renewal of hotset's own credentials: before they expire, when a file changes, and when the origin refuses them.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use tokio::time::sleep;

use super::pace::{LONG, Pace, SHORT};
use super::{CredentialsError, Found, Source};
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
/// Minimum time between two warnings.
const EVERY: Duration = Duration::from_mins(1);

/// State of the credentials in use.
#[derive(Debug)]
pub(in crate::origin) struct Renewal {
    source: Provider,
    domains: Arc<Domains>,
    /// Name of the origin in metrics and log lines; unset: the default one.
    name: OnceLock<Box<str>>,
    /// Description of the first credentials that were found.
    first: OnceLock<String>,
    /// Expiry of the credentials, and the time at which renewal is due.
    expiry: Mutex<Option<Expiry>>,
    /// Whether a reload replaced the origin, whose metrics are another's now.
    is_replaced: AtomicBool,
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
    pace: Pace,
    warnings: RateLimit,
}

/// Source of renewed credentials.
#[derive(Debug)]
pub(in crate::origin) enum Provider {
    Chain(Source),
    /// Sessions of a directory bucket.
    Sessions(Box<Sessions>),
    /// Never answers, and counts how often it is asked.
    #[cfg(test)]
    Silent(Arc<std::sync::atomic::AtomicUsize>),
}

/// Failure of a lookup.
struct Failure {
    /// The problem, in one line.
    why: String,
    /// Maximum pause before the next lookup.
    longest: Duration,
}

impl Provider {
    /// Loads credentials as [`Source::load`] does.
    async fn load(&self) -> Result<Option<Found>, Failure> {
        let failed = |why, longest| Failure { why, longest };
        match self {
            Self::Chain(source) => source.load().await.map_err(|error| {
                let is_silent = matches!(error, CredentialsError::TimedOut { .. });
                failed(error.to_string(), if is_silent { LONG } else { SHORT })
            }),
            // Without a session nothing of the bucket is read.
            Self::Sessions(sessions) => {
                sessions.load().await.map_err(|why| failed(why, Duration::ZERO))
            }
            #[cfg(test)]
            Self::Silent(asked) => {
                asked.fetch_add(1, Ordering::Relaxed);
                sleep(super::LIMIT).await;
                Err(failed("no answer".to_owned(), LONG))
            }
        }
    }

    fn files(&self) -> Vec<PathBuf> {
        match self {
            Self::Chain(source) => source.files(),
            Self::Sessions(_) => Vec::new(),
            #[cfg(test)]
            Self::Silent(_) => Vec::new(),
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
    /// `first`: description and expiry of the first credentials; `None`: none were found yet.
    pub(in crate::origin) fn new(
        source: Provider,
        first: Option<(String, Option<SystemTime>)>,
        domains: Arc<Domains>,
    ) -> Self {
        let (first, expires) = first.unzip();
        let expiry = Mutex::new(expires.flatten().map(Expiry::new));
        let limits = Limits { pace: Pace::new(), warnings: RateLimit::new(EVERY) };
        Self {
            source,
            domains,
            name: OnceLock::new(),
            first: first.map_or_else(OnceLock::new, OnceLock::from),
            expiry,
            is_replaced: AtomicBool::new(false),
            limits: tokio::sync::Mutex::new(limits),
        }
    }

    /// As [`Renewal::new`], for sessions of which none was requested yet.
    pub(in crate::origin) fn without_session(source: Provider, domains: Arc<Domains>) -> Self {
        let ended = Expiry::new(SystemTime::UNIX_EPOCH);
        Self { expiry: Mutex::new(Some(ended)), ..Self::new(source, None, domains) }
    }

    /// Sets the name of the origin in metrics and log lines, once.
    pub(in crate::origin) fn set_name(&self, name: &str) {
        let _ = self.name.set(name.into());
    }

    /// Returns a description of the first credentials; `None`: none were found.
    pub(in crate::origin) fn first(&self) -> Option<&str> {
        self.first.get().map(String::as_str)
    }

    /// Returns the origin's name for log lines.
    fn origin(&self) -> String {
        self.name.get().map_or_else(|| "the origin".to_owned(), |name| format!("origin {name}"))
    }

    fn is_due(&self) -> bool {
        match *self.expiry.lock() {
            Some(expiry) => expiry.due <= SystemTime::now(),
            None => self.domains.own().signer().is_none(),
        }
    }

    /// Whether the credentials in use have ended, or do before a long pause would.
    fn ends_soon(&self) -> bool {
        self.expiry.lock().is_some_and(|expiry| expiry.ends <= SystemTime::now() + LONG)
    }

    /// Looks up credentials again, unless others than `used` are in use already.
    ///
    /// Makes one lookup at a time, with pauses between them.
    async fn renew(&self, used: Option<&Arc<Signer>>) -> Renewed {
        let own = self.domains.own();
        let mut limits = self.limits.lock().await;
        let now = own.signer();
        if now.as_ref().map(Arc::as_ptr) != used.map(Arc::as_ptr) {
            return Renewed::Other;
        }
        if !limits.pace.begin() {
            return Renewed::Failed;
        }
        let none = || "none are set up any more".to_owned();
        let (why, longest) = match Box::pin(self.source.load()).await {
            Ok(Some(found)) => {
                limits.pace.succeeded();
                return self.use_credentials(found);
            }
            Ok(None) => (now.is_some().then(none), LONG),
            Err(Failure { why, longest }) => (Some(why), longest),
        };
        limits.pace.failed(if self.ends_soon() { longest.min(SHORT) } else { longest });
        if let Some(why) = why
            && limits.warnings.allow()
        {
            let origin = self.origin();
            match now {
                Some(_) => log::warn!(
                    "cannot renew the credentials for {origin}; the current ones stay in use: {why}"
                ),
                None => log::warn!("requests to {origin} are still not signed: {why}"),
            }
        }
        Renewed::Failed
    }

    fn use_credentials(&self, found: Found) -> Renewed {
        let (expires, text) = (found.expires, found.describe());
        *self.expiry.lock() = expires.map(Expiry::new);
        let were_there = self.first.get().is_some();
        let replaced = self.domains.replace_own(found.credentials);
        if matches!(self.source, Provider::Sessions(_)) {
            // Every few minutes.
            log::debug!("origin: new keys from {text}");
        } else {
            self.show_expiry(expires);
            let origin = self.origin();
            match were_there {
                true if replaced => log::info!("credentials for {origin} renewed from {text}"),
                true => {}
                false => log::info!("credentials for {origin} from {text}"),
            }
        }
        let _ = self.first.set(text);
        if !replaced {
            return Renewed::Same;
        }
        Renewed::Other
    }

    fn show_expiry(&self, expires: Option<SystemTime>) {
        if !self.is_replaced.load(Ordering::Relaxed) {
            metrics::set_credentials_expiry(self.name.get().map(|name| &**name), expires);
        }
    }

    /// Stops showing the expiry, since the origin was replaced by a reload.
    pub(in crate::origin) fn retire(&self) {
        if matches!(self.source, Provider::Chain(_)) {
            self.show_expiry(None);
        }
        self.is_replaced.store(true, Ordering::Relaxed);
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

    /// Looks up credentials again after another service refused those of `used`.
    pub(in crate::origin) async fn renew_refused(&self, used: &Arc<Signer>) {
        self.renew(Some(used)).await;
    }

    /// Keeps the credentials valid for as long as this is in use.
    pub(in crate::origin) fn start(self: &Arc<Self>) {
        if matches!(self.source, Provider::Chain(_)) {
            let origin = self.origin();
            match self.first() {
                Some(first) => log::info!("credentials for {origin} from {first}"),
                None => log::warn!(
                    "no credentials for {origin} are set up: requests to it are not signed until some are found; if \
                     that is meant, set its credentials.anonymous: true"
                ),
            }
            self.show_expiry(self.expiry.lock().map(|expiry| expiry.ends));
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
    let mut latest = seen.clone();
    loop {
        sleep(TICK).await;
        let now = states(&files).await;
        let Some(renewal) = renewal.upgrade() else { return };
        if now != latest {
            renewal.limits.lock().await.pace.source_changed();
            latest.clone_from(&now);
        }
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;
    use crate::origin::OriginConfig;

    #[tokio::test(start_paused = true)]
    async fn a_source_that_hangs_is_asked_ever_more_rarely_but_for_keys_that_have_ended() {
        let ended = ("keys".to_owned(), Some(SystemTime::UNIX_EPOCH));
        for (first, times) in [(None, 10..=30), (Some(ended), 60..=150)] {
            let asked = Arc::<AtomicUsize>::default();
            let domains = Arc::new(Domains::new(&OriginConfig::default(), None));
            let renewal = Arc::new(Renewal::new(Provider::Silent(asked.clone()), first, domains));
            renewal.start();
            sleep(Duration::from_hours(1)).await;
            let in_an_hour = asked.load(Ordering::Relaxed);
            assert!(times.contains(&in_an_hour), "{in_an_hour}, each of which may leave a process");
        }
    }
}
