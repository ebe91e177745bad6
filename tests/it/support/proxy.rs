//! hotset in the test's own process: the code that `main` runs, on a port of its own, in front of a [`FakeS3`].

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hotset::app::App;
use hotset::auth::{Access, Credentials};
use hotset::cache::Cache;
use hotset::config::Config;
use hotset::config::units::{ByteSize, HumanDuration};
use hotset::events::Intake;
use hotset::logging::config::AccessLog;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::client::Client;
use super::fake_s3::FakeS3;
use super::within;

/// A running hotset; it stops when dropped.
pub struct TestProxy {
    pub addr: SocketAddr,
    pub admin: SocketAddr,
    pub cache: Arc<Cache>,
    access: Arc<Access>,
    /// Intake of event messages, as receivers use it.
    pub intake: Arc<Intake>,
    /// Address of the webhook listener.
    pub webhook: Option<SocketAddr>,
    stop: watch::Sender<bool>,
    running: Option<JoinHandle<()>>,
}

impl TestProxy {
    /// Starts hotset with the configuration of [`test_config`].
    pub async fn start(s3: &FakeS3) -> Self {
        Self::start_with(s3, |_| {}).await
    }

    /// Starts hotset with a configuration that `change` adapts.
    pub async fn start_with(s3: &FakeS3, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = test_config(s3);
        change(&mut config);
        config.check().expect("a right configuration");
        Box::pin(Self::start_unchecked(config)).await
    }

    /// Starts hotset with an incomplete configuration, where the test does the missing part, such as receiving
    /// events.
    pub async fn start_unchecked(config: Config) -> Self {
        let app =
            Box::pin(App::bind_with(config, Some(test_credentials()))).await.expect("free ports");
        let (stop, shutdown) = watch::channel(false);
        Self {
            addr: app.addresses()[0],
            cache: app.cache(),
            access: app.access(),
            intake: app.intake(),
            admin: app.admin_address().expect("the test configuration has an admin port"),
            webhook: app.webhook_address(),
            stop,
            running: Some(tokio::spawn(app.run(shutdown))),
        }
    }

    pub fn client(&self) -> Client {
        Client::new(self.addr)
    }

    /// Begins a graceful shutdown, as SIGTERM does.
    pub fn begin_shutdown(&self) {
        self.stop.send_replace(true);
    }

    /// Waits until the server has ended by itself.
    pub async fn ended(&mut self) {
        let running = self.running.take().expect("waited for once");
        within("the server to end", running).await.expect("the server did not panic");
    }

    /// Returns the number of request signatures that it has verified.
    pub fn verifications(&self) -> u64 {
        self.access.verifications()
    }

    /// Returns the value of a metric's series, as `/metrics` prints it; 0 when it is absent.
    pub async fn metric(&self, series: &str) -> f64 {
        super::sum_of_series(&self.admin_text("/metrics").await, series)
    }

    /// Returns what a page of the admin port says.
    pub async fn admin_text(&self, path: &str) -> String {
        Client::new(self.admin).get(path).send().await.text()
    }
}

impl Drop for TestProxy {
    fn drop(&mut self) {
        if let Some(running) = &self.running {
            running.abort();
        }
    }
}

/// Returns the credentials for the origin.
pub(in crate::support) fn test_credentials() -> Credentials {
    Credentials::new("AKTEST".to_owned(), "sktest".into(), None).expect("legal keys")
}

/// Starts an origin, hotset in front of it, and a client of it.
pub async fn setup() -> (FakeS3, TestProxy, Client) {
    let s3 = FakeS3::start().await;
    let proxy = TestProxy::start(&s3).await;
    let client = proxy.client();
    (s3, proxy, client)
}

/// Returns the defaults, small and quick: 64 MiB of memory, retries within milliseconds.
pub fn test_config(s3: &FakeS3) -> Config {
    let mut config = Config::default();
    config.listen[0].address = "127.0.0.1:0".into();
    config.admin.address = Some("127.0.0.1:0".to_owned());
    config.origin.endpoint = s3.endpoint();
    config.origin.backoff.base = HumanDuration(Duration::from_millis(1));
    config.origin.backoff.cap = HumanDuration(Duration::from_millis(10));
    // Tests count requests to the origin, on machines of any speed.
    config.origin.hedging = false;
    config.cache.predict_reads = false;
    config.cache.memory = Some(ByteSize::mib(64));
    config.cache.in_flight = Some(ByteSize::mib(64));
    config.cache.read_ahead = ByteSize::mib(32);
    config.log.access = AccessLog::Off;
    // Some tests advance the clock by days between two requests.
    config.limits.keep_alive = HumanDuration(Duration::from_hours(24 * 365));
    config
}
