//! Tests of refused input: texts that are no message, messages over the limits, and malformed bytes.

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::super::fuzzing::any_message;
use super::super::{BadRecord, EventError, Format, MAX_RECORDS, decode};
use super::{keys, message, read, record, refused};

#[test]
fn what_is_no_message_is_refused_with_a_reason() {
    for text in ["", " ", "nonsense", "{", "{\"Records\":[", "\u{feff}{}", "{}{}"] {
        assert_eq!(refused(text), EventError::NotJson, "{text:?}");
    }
    assert_eq!(decode(b"\xff\xfe"), Err(EventError::NotJson));
    for text in [
        "{}",
        "[]",
        "{\"Event\":\"s3:Other\"}",
        "{\"message\":{\"attributes\":{\"a\":\"b\"}}}",
        "{\"detail-type\":\"Object Created\",\"source\":\"some.app\",\"detail\":{}}",
        "{\"Type\":\"Other\",\"Message\":\"{}\"}",
        "{\"Type\":\"Notification\",\"Message\":\"{}\"}",
    ] {
        assert_eq!(refused(text), EventError::UnknownFormat, "{text}");
    }
    let plain_text = "{\"Type\":\"Notification\",\"Message\":\"hello\"}";
    assert_eq!(refused(plain_text), EventError::NotJson);
}

#[test]
fn a_message_that_names_a_thing_twice_is_refused() {
    let records = message(&[record("aws:s3", "ObjectCreated:Put", "k")]);
    let twice = format!("{},\"Records\":[]}}", &records[..records.len() - 1]);
    assert_eq!(refused(&twice), EventError::NotJson);
}

#[test]
fn a_record_that_cannot_be_read_does_not_hide_the_others() {
    let good = record("aws:s3", "ObjectCreated:Put", "k");
    let cases = [
        ("{}".to_owned(), BadRecord::Malformed),
        ("7".to_owned(), BadRecord::Malformed),
        (good.replace("\"2.1\"", "\"3.0\""), BadRecord::Version("3.0".to_owned())),
        (good.replace("ObjectCreated:Put", ""), BadRecord::NoName),
        (good.replace("photos", "a/b"), BadRecord::Bucket),
        (good.replace("\"k\"", "\"\""), BadRecord::Key),
        (good.replace("\"k\"", "{\"x\":1}"), BadRecord::Key),
        (good.replace("\"k\"", &format!("{:?}", "k".repeat(1025))), BadRecord::Key),
    ];
    for (record, bad) in cases {
        let read = read(&message(&[record.clone(), good.clone()]));
        assert_eq!((read.bad, read.events.len()), (vec![bad.clone()], 1), "{record}");
        assert_eq!(refused(&message(&[record])), EventError::Bad(bad));
    }
}

#[test]
fn a_message_beside_others_that_says_nothing_does_not_hide_them() {
    let good = message(&[record("aws:s3", "ObjectCreated:Put", "k")]);
    let batch = read(&format!("[{{}},{good},{{\"Records\":[{{}}]}}]"));
    assert_eq!((batch.format, keys(&batch.events[0])), (Format::S3, vec!["k"]));
    let inside = BadRecord::Inside(Box::new(EventError::UnknownFormat));
    assert_eq!(batch.bad, [inside.clone(), BadRecord::Malformed]);
    assert_eq!(refused("[{}]"), EventError::Bad(inside));
}

#[test]
fn a_size_or_a_time_that_is_none_is_left_out() {
    let odd = record("aws:s3", "ObjectCreated:Put", "k")
        .replace("\"size\":5", "\"size\":\"many\",\"eTag\":[1],\"versionId\":null")
        .replace("2026-11-23T02:50:11.177Z", "yesterday");
    let event = &read(&message(&[odd])).events[0];
    assert_eq!((event.size, event.time, &event.etag, &event.version), (None, None, &None, &None));
}

#[test]
fn a_message_that_is_nested_deeply_is_refused_before_it_is_read() {
    let record = record("aws:s3", "ObjectCreated:Put", "k");
    let deep = format!("{}{}", "[".repeat(200_000), "]".repeat(200_000));
    let hidden = record.replace("\"size\":5", &format!("\"size\":{deep}"));
    for text in [deep.clone(), message(&[hidden]), format!("{{\"x\":{deep}}}")] {
        assert_eq!(refused(&text), EventError::TooDeep);
    }
    // Each envelope is text for the one around it.
    let mut inside = message(&[record]);
    for envelopes in 1..=5 {
        inside = serde_json::json!({ "Type": "Notification", "Message": inside }).to_string();
        assert_eq!(decode(inside.as_bytes()).is_ok(), envelopes <= 4, "{envelopes} envelopes");
    }
    assert_eq!(refused(&inside), EventError::TooDeep);
    assert_eq!(refused("[[[[[[]]]]]]"), EventError::TooDeep);
}

#[test]
fn a_message_with_too_many_records_is_refused_whatever_they_are() {
    let good = record("aws:s3", "ObjectCreated:Put", "k");
    let most = vec![good.clone(); MAX_RECORDS];
    assert_eq!(read(&message(&most)).events.len(), MAX_RECORDS);
    for more in [good, "{}".to_owned()] {
        let records = vec![more; MAX_RECORDS + 1];
        assert_eq!(refused(&message(&records)), EventError::TooManyRecords);
    }
    let tests = vec![r#"{"Event":"s3:TestEvent"}"#; MAX_RECORDS + 1];
    assert_eq!(refused(&format!("[{}]", tests.join(","))), EventError::TooManyRecords);
}

#[test]
fn any_message_is_read_or_refused() {
    let words = [
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"",
        "\\",
        "null",
        "7",
        "\"Records\":[",
        "\"Event\":",
        "\"s3\":{",
        "\"Type\":\"Notification\",",
        "\"Message\":\"",
        "\"detail-type\":\"Object Created\",",
        "\"detail\":{",
        "\"source\":\"aws.s3\",",
        "\"bucket\":{\"name\":\"photos\"},",
        "\"bucket\":\"photos\",",
        "\"object\":{",
        "\"key\":\"a+b%2F\"",
        "\"action\":\"PutObject\",",
        "\"message\":{\"attributes\":{",
        "\"specversion\":\"1.0\",",
        "\"data\":",
        "\"eventName\":\"ObjectCreated:Put\",",
        "\"eventSource\":\"aws:sqs\",",
        "\"body\":\"{}\",",
    ];
    for seed in 0..20_000 {
        let mut random = StdRng::seed_from_u64(seed);
        let mut text = Vec::new();
        for _ in 0..random.gen_range(0..24) {
            match random.gen_bool(0.97) {
                true => text.extend(words[random.gen_range(0..words.len())].bytes()),
                false => text.push(random.r#gen()),
            }
        }
        any_message(&text);
    }
}

#[test]
fn a_message_that_was_damaged_is_read_or_refused() {
    let whole = [
        include_str!("fixtures/lambda_sqs.json"),
        include_str!("fixtures/sns_s3.json"),
        include_str!("fixtures/sns_confirmation.json"),
        include_str!("fixtures/eventbridge_created.json"),
        include_str!("fixtures/minio_put.json"),
        include_str!("fixtures/ceph_put.json"),
        include_str!("fixtures/r2_put.json"),
        include_str!("fixtures/gcs_finalize.json"),
    ];
    for seed in 0..8000 {
        let mut random = StdRng::seed_from_u64(seed);
        let mut text = whole[random.gen_range(0..whole.len())].as_bytes().to_vec();
        for _ in 0..random.gen_range(1..4) {
            let at = random.gen_range(0..text.len());
            match random.gen_range(0..3) {
                0 => text[at] = random.r#gen(),
                1 => drop(text.remove(at)),
                _ => text.insert(at, random.r#gen()),
            }
        }
        any_message(&text);
    }
}
