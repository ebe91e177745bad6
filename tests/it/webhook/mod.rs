//! Notifications over HTTP: authentication, refusals with their reasons, and new reads of the named objects.

mod bounds;
mod crash;
mod fake_sns;
mod forms;
mod sns;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use hotset::cache::Freshness;
use hotset::config::Config;
use hotset::config::units::HumanDuration;
use hotset::events::webhook::config::WebhookConfig;

use crate::support::{Client, FakeS3, Object, Request, Response, TestProxy};

/// An origin, hotset in front of it with a ttl of an hour, and its webhook.
struct Setup {
    s3: FakeS3,
    proxy: TestProxy,
    client: Client,
    sender: Client,
    /// Number of objects so far: no two are the same.
    written: AtomicU64,
}

impl Setup {
    async fn new(change: impl FnOnce(&mut WebhookConfig)) -> Setup {
        let s3 = FakeS3::start().await;
        let mut webhook =
            WebhookConfig { address: "127.0.0.1:0".to_owned(), ..WebhookConfig::default() };
        change(&mut webhook);
        let config = |config: &mut Config| {
            config.rules[0].freshness = Freshness::Ttl(HumanDuration::secs(3600));
            config.events.webhook = Some(webhook);
        };
        let proxy = TestProxy::start_with(&s3, config).await;
        let (client, sender) = (proxy.client(), Client::new(address(&proxy)));
        Setup { s3, proxy, client, sender, written: AtomicU64::new(0) }
    }

    /// Reads an object, so that it is cached, and overwrites it without telling hotset; returns the new object.
    async fn overwrite(&self, key: &str) -> Object {
        let number = self.written.fetch_add(2, Ordering::Relaxed);
        let (old, new) = (Object::random(5000, number), Object::random(6000, number + 1));
        self.s3.put("data", key, old.clone());
        let asked = self.get(key).header("Cache-Control", "no-cache").send().await;
        assert!(asked.body == old.all());
        self.s3.put("data", key, new.clone());
        assert!(self.read(key).await.body == old.all(), "it is known for an hour");
        new
    }

    async fn read(&self, key: &str) -> Response {
        self.get(key).send().await
    }

    fn get(&self, key: &str) -> Request {
        self.client.get(&format!("/data/{}", key.replace(' ', "%20")))
    }

    /// Posts a message to the webhook, with these headers.
    async fn post(&self, headers: &[(&str, &str)], body: &str) -> Response {
        let request = headers.iter().fold(self.sender.post("/events"), |request, (name, value)| {
            request.header(name, value)
        });
        request.body(body.to_owned()).send().await
    }

    /// Returns the number of webhook requests with this outcome, in all tests of this process.
    async fn ended(&self, outcome: &str) -> f64 {
        let series = format!("hotset_webhook_requests_total{{outcome=\"{outcome}\"}}");
        self.proxy.metric(&series).await
    }

    /// Asserts that the message is answered and counted like this, and that it invalidates nothing.
    async fn assert_refused(
        &self,
        headers: &[(&str, &str)],
        body: &str,
        status: u16,
        outcome: &str,
    ) {
        let new = self.overwrite("key").await;
        let before = self.ended(outcome).await;
        let answer = self.post(headers, body).await;
        assert_eq!((answer.status.as_u16(), answer.text()), (status, format!("{outcome}\n")));
        assert!(self.ended(outcome).await > before, "{outcome} is counted");
        assert!(self.read("key").await.body != new.all(), "{outcome}, and still applied");
    }

    /// Asserts that the message is accepted, and that `key` is fetched again after it.
    async fn assert_applied(&self, headers: &[(&str, &str)], body: &str, key: &str) {
        let new = self.overwrite(key).await;
        let answer = self.post(headers, body).await;
        assert_eq!((answer.status.as_u16(), &*answer.text()), (200, "accepted\n"), "{headers:?}");
        assert!(self.read(key).await.body == new.all(), "{key} is old after {body}");
    }
}

fn address(proxy: &TestProxy) -> SocketAddr {
    proxy.webhook.expect("it is configured")
}

/// Returns S3's event that a key of the bucket `data` was written; `encoded` as in a form.
fn written(encoded: &str) -> String {
    format!(
        r#"{{"Records":[{{"eventVersion":"2.1","eventSource":"aws:s3","eventName":"ObjectCreated:Put",
            "s3":{{"bucket":{{"name":"data"}},"object":{{"key":"{encoded}"}}}}}}]}}"#
    )
}
