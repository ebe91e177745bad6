//! Tests of decoding each fixture, line by line.

use std::time::{Duration, SystemTime};

use super::super::super::version::VersionId;
use super::super::Change::{Created, Described, Nothing, Removed};
use super::super::{Change, Format, Notification, ObjectEvent};
use super::{keys, read};

const GONE: Change = Removed { marker: false };
const MARKED: Change = Removed { marker: true };
/// The key `a b/ü+x.txt`, in which `+` may be a space where keys may be encoded.
const KEY: &str = "a b/ü+x.txt";
const DOUBTED: [&str; 2] = [KEY, "a b/ü x.txt"];
const MD5: &str = "\"5d41402abc4b2a76b9719d911017c592\"";

/// Decodes a fixture.
fn fixture(name: &str) -> Notification {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/s3/event/tests/fixtures");
    let file = format!("{folder}/{name}.json");
    read(&std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{file}: {error}")))
}

fn one(notification: Notification, format: Format) -> ObjectEvent {
    assert_eq!((notification.format, notification.others), (format, 0));
    assert_eq!(notification.bad, []);
    let [event] = notification.events.try_into().expect("one event");
    event
}

fn at(milliseconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(milliseconds)
}

fn etag(event: &ObjectEvent) -> Option<&str> {
    event.etag.as_ref().map(|etag| etag.as_header().to_str().unwrap())
}

fn version(event: &ObjectEvent) -> Option<&str> {
    event.version.as_ref().map(VersionId::as_str)
}

#[test]
fn a_record_of_s3_is_read_whole() {
    let event = one(fixture("s3_2_1_put"), Format::S3);
    assert_eq!(event.bucket.as_str(), "photos");
    assert_eq!(keys(&event), [KEY]);
    assert_eq!(version(&event), Some("096fKKXTRTtl3on89fVO.nfljtsv6qko"));
    assert_eq!((event.change, event.name.as_str()), (Created, "ObjectCreated:Put"));
    assert_eq!(event.time, Some(at(1_795_402_211_177)));
    assert_eq!((etag(&event), event.size), (Some(MD5), Some(1024)));
    assert_eq!(event.sequencer.as_deref(), Some("0055AED6DCD90281E5"));
}

#[test]
fn every_version_of_s3s_records_is_read() {
    let replication = one(fixture("s3_2_2_replication"), Format::S3);
    assert_eq!(replication.change, Nothing);

    let several = fixture("s3_2_3_several");
    let changes: Vec<Change> = several.events.iter().map(|event| event.change).collect();
    assert_eq!(changes, [Described, GONE, MARKED, Described, Described, Described, Described]);
    assert_eq!((several.events[2].size, etag(&several.events[2])), (None, None));

    let deleted = one(fixture("s3_2_4_delete"), Format::S3);
    assert_eq!((deleted.change, version(&deleted)), (GONE, Some("null")));
    assert_eq!(keys(&deleted), ["a%20b"], "decoded once");

    let marker = one(fixture("s3_2_5_delete_marker"), Format::S3);
    assert_eq!((marker.change, version(&marker)), (MARKED, Some("lKFJ1qgpvgk.RkFqzf6p3Bq5")));

    let newest = one(fixture("s3_2_6_unknown_fields"), Format::S3);
    assert_eq!((newest.change, version(&newest)), (Created, None));
    assert_eq!(etag(&newest), Some("\"9b2cf535f27731c974343645a3985328-640\""));
    assert_eq!(newest.size, Some(5 << 30));
}

#[test]
fn an_event_of_an_object_that_nobody_knows_is_new_bytes_and_any_other_is_nothing() {
    let unknown = fixture("s3_2_6_unknown_event");
    let changes: Vec<Change> = unknown.events.iter().map(|event| event.change).collect();
    assert_eq!(changes, [Created, Nothing]);
}

#[test]
fn a_test_event_says_nothing_and_is_no_error() {
    for (notification, format) in
        [(fixture("s3_test_event"), Format::Test), (fixture("sns_test_event"), Format::Sns)]
    {
        assert_eq!((notification.format, notification.others), (format, 1));
        assert_eq!((notification.events, notification.bad), (Vec::new(), Vec::new()));
    }
}

#[test]
fn an_envelope_of_sns_is_opened() {
    let event = one(fixture("sns_s3"), Format::Sns);
    assert_eq!(event, one(fixture("s3_2_1_put"), Format::S3));
    assert_eq!(keys(&one(fixture("sns_eventbridge"), Format::Sns)), ["plain/key"]);
    let confirmation = fixture("sns_confirmation");
    assert_eq!((confirmation.format, confirmation.others), (Format::Sns, 1));
    assert_eq!(confirmation.events, []);
}

#[test]
fn what_lambda_hands_on_is_opened() {
    let event = one(fixture("s3_2_1_put"), Format::S3);
    assert_eq!(one(fixture("lambda_sns"), Format::Lambda), event);
    assert_eq!(one(fixture("lambda_sqs"), Format::Lambda), event);
}

#[test]
fn eventbridge_is_read_in_both_casings_and_its_keys_in_every_way() {
    let created = one(fixture("eventbridge_created"), Format::EventBridge);
    assert_eq!((created.change, created.name.as_str()), (Created, "Object Created"));
    assert_eq!(keys(&created), DOUBTED);
    assert_eq!(version(&created), Some("IYV3p45BT0ac8hjHg1houSdS1a.Mro8e"));
    assert_eq!(etag(&created), Some("\"b1946ac92492d2347c6235b4d2611184\""));
    assert_eq!((created.time, created.size), (Some(at(1_795_402_211_000)), Some(5)));
    assert_eq!(created.sequencer.as_deref(), Some("617f08299329d189"));

    let camel = one(fixture("eventbridge_camel_case"), Format::EventBridge);
    assert_eq!((version(&camel), etag(&camel)), (Some("null"), Some(MD5)));
    let encoded = one(fixture("eventbridge_localstack"), Format::EventBridge);
    assert_eq!(keys(&encoded), ["a%20b/%C3%BC%2Bx.txt", KEY]);
}

#[test]
fn eventbridge_tells_delete_markers_from_deletes() {
    let marker = one(fixture("eventbridge_delete_marker"), Format::EventBridge);
    assert_eq!(marker.change, MARKED);
    let expired = one(fixture("eventbridge_expired"), Format::EventBridge);
    assert_eq!(
        (expired.change, version(&expired)),
        (GONE, Some("mtB0cV.jejK63XkRNceanNMC.qXPWLeK"))
    );
    assert_eq!(one(fixture("eventbridge_tags"), Format::EventBridge).change, Described);
}

#[test]
fn minio_is_read() {
    let put = one(fixture("minio_put"), Format::MinIo);
    assert_eq!(
        (keys(&put), put.change, put.name.as_str()),
        (vec![KEY], Created, "ObjectCreated:Put")
    );
    assert_eq!((etag(&put), put.size, version(&put)), (Some(MD5), Some(5), None));
    let deleted = one(fixture("minio_delete"), Format::MinIo);
    assert_eq!((keys(&deleted), deleted.change), (vec!["plain/key"], GONE));
    assert_eq!((etag(&deleted), deleted.size), (None, None));
    assert_eq!(keys(&one(fixture("minio_redis_access"), Format::MinIo)), ["plain/key"]);
}

#[test]
fn reads_are_nothing_and_so_are_events_of_buckets() {
    assert_eq!(one(fixture("minio_accessed"), Format::MinIo).change, Nothing);
    let bucket = fixture("minio_bucket_created");
    assert_eq!((bucket.events, bucket.others), (Vec::new(), 1));
}

#[test]
fn ceph_is_read_with_its_keys_as_they_are() {
    let put = one(fixture("ceph_put"), Format::Ceph);
    assert_eq!((keys(&put), put.change), (DOUBTED.to_vec(), Created));
    assert_eq!((etag(&put), put.size, version(&put)), (Some(MD5), Some(5), None));
    assert_eq!(put.time, Some(at(1_795_402_578_228) + Duration::from_micros(675)));
    let initiated = one(fixture("ceph_size_as_text"), Format::Ceph);
    assert_eq!((initiated.change, initiated.size, etag(&initiated)), (Created, Some(0), None));
    assert_eq!(initiated.name, "ObjectCreated:Post");
    assert_eq!(one(fixture("ceph_delete_marker"), Format::Ceph).change, MARKED);
    assert_eq!(one(fixture("ceph_replicated"), Format::Ceph).change, Created);
}

#[test]
fn r25_cephs_sequencers_are_kept_as_they_are_sent() {
    assert_eq!(
        one(fixture("ceph_put"), Format::Ceph).sequencer.as_deref(),
        Some("52AB036B8C77B50D")
    );
}

#[test]
fn a_cloudevent_in_structured_mode_is_opened() {
    assert_eq!(keys(&one(fixture("cloudevents_structured"), Format::CloudEvents)), DOUBTED);
}

#[test]
fn moto_and_localstack_are_read() {
    for notification in [fixture("moto_put"), fixture("localstack_put")] {
        let event = one(notification, Format::S3);
        assert_eq!((keys(&event), etag(&event), event.size), (vec![KEY], Some(MD5), Some(5)));
    }
}

#[test]
fn r2_is_read() {
    let copied = one(fixture("r2_put"), Format::R2);
    assert_eq!(
        (keys(&copied), copied.change, copied.size),
        (DOUBTED.to_vec(), Created, Some(65536))
    );
    assert_eq!(copied.time, Some(at(1_779_651_404_379)));
    let deleted = one(fixture("r2_delete"), Format::R2);
    assert_eq!((keys(&deleted), deleted.change), (vec!["plain/key"], GONE));
}

#[test]
fn gcs_is_read_from_the_attributes_of_pub_sub() {
    let finalized = one(fixture("gcs_finalize"), Format::Gcs);
    assert_eq!((keys(&finalized), finalized.change), (DOUBTED.to_vec(), Created));
    assert_eq!(
        (version(&finalized), finalized.time),
        (Some("1774234211177000"), Some(at(1_795_402_211_177)))
    );
    assert_eq!(one(fixture("gcs_delete_replaced"), Format::Gcs).change, GONE);
    assert_eq!(one(fixture("gcs_archive"), Format::Gcs).change, MARKED);
}

#[test]
fn a_batch_is_all_of_its_messages() {
    let parts = [
        include_str!("fixtures/s3_2_1_put.json"),
        include_str!("fixtures/eventbridge_created.json"),
        include_str!("fixtures/r2_delete.json"),
        include_str!("fixtures/s3_test_event.json"),
    ];
    let batch = read(&format!("[{}]", parts.join(",")));
    assert_eq!((batch.format, batch.events.len(), batch.others), (Format::S3, 3, 1));
}
