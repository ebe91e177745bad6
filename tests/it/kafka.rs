//! Events from Kafka, against the test brokers of the client library: no package registry has real ones.

use std::time::{Duration, SystemTime};

use hotset::cache::Freshness;
use hotset::config::Config;
use hotset::events::config::KafkaConfig;
use hotset::origin::{BucketConfig, OriginConfig};
use rdkafka::ClientConfig;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{DefaultProducerContext, FutureProducer, FutureRecord};

use crate::events::record_of;
use crate::support::*;

const TOPIC: &str = "s3-events";
const PARTITIONS: i32 = 3;
/// Metric of the whole process: no other test may have a receiver of this kind.
const UP: &str = r#"hotset_event_receiver_up{source="kafka",name="s3-events"}"#;

fn count(result: &str) -> String {
    format!(r#"hotset_events_total{{source="kafka",result="{result}"}}"#)
}

struct Kafka {
    brokers: MockCluster<'static, DefaultProducerContext>,
    producer: FutureProducer,
}

impl Kafka {
    fn start() -> Self {
        let brokers = MockCluster::new(1).unwrap();
        brokers.create_topic(TOPIC, PARTITIONS, 1).unwrap();
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", brokers.bootstrap_servers());
        Self { producer: config.create().unwrap(), brokers }
    }

    fn config(&self) -> KafkaConfig {
        KafkaConfig {
            brokers: vec![self.brokers.bootstrap_servers()],
            topics: vec![TOPIC.to_owned()],
            group: Some("one".to_owned()),
            ..KafkaConfig::default()
        }
    }

    /// Sends an event as MinIO does: the key of the message is the object's.
    async fn send(&self, key: &str, body: &str) {
        let record = FutureRecord::to(TOPIC).key(key).payload(body);
        self.producer.send(record, Duration::from_secs(10)).await.unwrap();
    }

    async fn receiver(&self, s3: &FakeS3) -> TestProxy {
        self.receiver_with(s3, |_| {}).await
    }

    async fn receiver_with(&self, s3: &FakeS3, change: impl FnOnce(&mut Config)) -> TestProxy {
        let proxy = TestProxy::start_with(s3, |config| {
            config.rules[0].freshness = Freshness::Immutable;
            config.events.kafka = Some(self.config());
            change(config);
        })
        .await;
        until(&proxy, UP, 1.0).await;
        proxy
    }
}

/// Reads the metric until it has reached the value.
async fn until(proxy: &TestProxy, series: &str, value: f64) {
    let reached = async { while proxy.metric(series).await < value {} };
    within(series, reached).await;
}

fn created(key: &str, object: &Object) -> String {
    record_of("data", "ObjectCreated:Put", key, object.etag_value(), SystemTime::now())
}

#[tokio::test]
async fn r11_events_by_kafka_are_applied_those_too_that_came_while_it_was_away() {
    let (s3, kafka) = (FakeS3::start().await, Kafka::start());
    let mut proxy = kafka.receiver(&s3).await;
    let (client, old, new) = (proxy.client(), Object::random(1000, 1), Object::random(1000, 2));
    s3.put("data", "k", old.clone());
    assert!(client.get("/data/k").send().await.body == old.all());
    s3.put("data", "k", new.clone());
    // Skipped: it stays in the topic as long as all others.
    kafka.send("data/k", "nothing of S3").await;
    kafka.send("data/k", &created("k", &new)).await;
    until(&proxy, &count("applied"), 1.0).await;
    assert!(client.get("/data/k").send().await.body == new.all());
    assert!(proxy.metric(&count("undecodable")).await >= 1.0);
    proxy.begin_shutdown();
    proxy.ended().await;

    // In every partition, also those that nothing was received from.
    for number in 0..8 {
        let key = format!("k{number}");
        kafka.send(&key, &created(&key, &new)).await;
    }
    let mut proxy = kafka.receiver(&s3).await;
    until(&proxy, &count("applied"), 9.0).await;
    proxy.begin_shutdown();
    proxy.ended().await;

    // The same for a receiver of another origin's events, where `theirs` is.
    let other = FakeS3::start().await;
    for bucket in ["data", "theirs"] {
        for s3 in [&s3, &other] {
            s3.put(bucket, "k", old.clone());
        }
    }
    let proxy = kafka.receiver_with(&s3, |config| {
        let endpoint = other.endpoint();
        config.origins.insert("other".into(), OriginConfig { endpoint, ..config.origin.clone() });
        let of = BucketConfig { origin: Some("other".into()), ..BucketConfig::default() };
        config.buckets.insert("theirs".into(), of);
        config.events.kafka.as_mut().unwrap().origin = Some("other".into());
    });
    let (proxy, theirs) = (proxy.await, created("k", &new).replace("data", "theirs"));
    let client = proxy.client();
    for bucket in ["data", "theirs"] {
        assert!(client.get(&format!("/{bucket}/k")).send().await.body == old.all());
        for s3 in [&s3, &other] {
            s3.put(bucket, "k", new.clone());
        }
    }
    // Messages of one partition, so that they arrive in this order.
    kafka.send("k", &created("k", &new)).await;
    kafka.send("k", &theirs).await;
    until(&proxy, &count("applied"), 10.0).await;
    assert!(client.get("/data/k").send().await.body == old.all(), "it is of the default origin");
    assert!(client.get("/theirs/k").send().await.body == new.all());
    // A receiver that cannot leave its group does not block the shutdown.
    drop(kafka);
    drop(proxy);
}
