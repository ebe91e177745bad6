//! The hotset of one round of the model, and the events that it receives.

use std::sync::Arc;

use hotset::config::Config;
use tokio::runtime::Runtime;

use crate::support::TestProxy;

/// hotset on a runtime of its own, which ends with everything of it.
pub struct Server {
    pub proxy: Arc<TestProxy>,
    runtime: Runtime,
}

impl Server {
    pub async fn start(config: &Config) -> Self {
        let config = config.clone();
        let runtime = Runtime::new().unwrap();
        let started = runtime.spawn(TestProxy::start_unchecked(config));
        Self { proxy: Arc::new(started.await.unwrap()), runtime }
    }

    /// Stops the server as SIGTERM does, and with it everything that a process would lose.
    pub async fn end(self) {
        let mut proxy = Arc::into_inner(self.proxy).expect("nobody else has it any more");
        proxy.begin_shutdown();
        proxy.ended().await;
        drop(proxy);
        tokio::task::spawn_blocking(move || drop(self.runtime)).await.unwrap();
    }
}

/// Returns S3's event for a version; `None` as `ETag`: the object was removed.
pub fn event(key: &str, etag: Option<&str>, index: usize) -> String {
    let (name, etag) = match etag {
        Some(etag) => ("ObjectCreated:Put", format!(r#","eTag":{etag}"#)),
        None => ("ObjectRemoved:Delete", String::new()),
    };
    let now = chrono::Utc::now().format("%Y-%m-%dT%H:%M:%S");
    format!(
        r#"{{"Records":[{{"eventVersion":"2.1","eventSource":"aws:s3","eventTime":"{now}.{index:06}Z",
        "eventName":"{name}","s3":{{"bucket":{{"name":"data"}},"object":{{"key":"{key}"{etag}}}}}}}]}}"#
    )
}
