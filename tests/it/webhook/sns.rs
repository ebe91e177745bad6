//! SNS: signatures of both versions with our own certificates, topics, addresses, subscriptions.

use std::time::{Duration, SystemTime};

use hotset::config::units::HumanDuration;
use hotset::events::webhook::config::SnsConfig;
use serde_json::{Value, json};

use super::fake_sns::{FakeSns, PEM, TOPIC, key_pair, signed, timestamp};
use super::{Setup, written};
use crate::support::{Authority, Scratch};

const CENTURY: HumanDuration = HumanDuration(Duration::from_hours(876_000));

struct WithSns {
    setup: Setup,
    sns: FakeSns,
    _scratch: Scratch,
}

impl WithSns {
    async fn new(change: impl FnOnce(&mut SnsConfig)) -> WithSns {
        WithSns::with(change, &[]).await
    }

    async fn with(change: impl FnOnce(&mut SnsConfig), tokens: &[&str]) -> WithSns {
        let (sns, scratch) = (FakeSns::start().await, Scratch::new());
        let mut config = SnsConfig {
            topics: vec![TOPIC.to_owned()],
            ca_file: Some(scratch.file("ca.pem", &sns.authority.pem()).into()),
            require_chain: true,
            endpoint: Some(sns.endpoint()),
            ..SnsConfig::default()
        };
        change(&mut config);
        let setup = Setup::new(|webhook| {
            webhook.tokens = tokens.iter().map(|token| (*token).into()).collect();
            webhook.sns = Some(config);
        });
        let setup = setup.await;
        WithSns { setup, sns, _scratch: scratch }
    }

    fn notification(&self) -> Value {
        self.sns.notification(&written("key"))
    }
}

#[tokio::test]
async fn a_notification_that_sns_signed_by_version_2_is_believed_and_its_certificate_is_asked_for_once()
 {
    let with = WithSns::new(|_| {}).await;
    for _ in 0..3 {
        with.setup.assert_applied(&[], &signed(with.notification()), "key").await;
    }
    assert_eq!(with.sns.asked(), [PEM]);
    let mut without_subject = with.notification();
    without_subject.as_object_mut().unwrap().remove("Subject");
    with.setup.assert_applied(&[], &signed(without_subject), "key").await;
}

#[tokio::test]
async fn a_notification_that_sns_signed_by_version_1_is_believed_unless_sha_1_is_switched_off() {
    // The signed message has a fixed time, which is long past.
    let with = WithSns::new(|config| config.max_age = CENTURY).await;
    // By `openssl dgst -sha1 -sign sns_key.pem`: ring makes no signatures with SHA-1.
    let signature = "HcoW15HM61FF6r1VuKjRXbHBu/b/p0+HLSr5Fje8iKBaUM5+vHqLDijfr9qZg8aRlpSlgerX3XEFHRylux7a+KAdsdauqXyxj5OK\
        tRm3jUWPv9S5rtdtdABOpCFEwCa75BdBLcgltrv8KEwzkI4i3AY/CF6JP7clYgxMvHAVDCGipTRnRR/rbZMMcAKH9un47VvZgw01UijsHifpmCg4US\
        zBLgDbEOZWAIqxHKsy6xNugMT6Np5VBrqxkcfiTlKvuMzZ2bB2QDJ5FdsCXvlY+YYWtkLR0w/DRL1O3WTtHIfLKssJbUSY5rhNQY4T6PVYBzxWsNO\
        PZsUP2NOAOlhpug==";
    let message = concat!(
        r#"{"Records":[{"eventVersion":"2.1","eventSource":"aws:s3","eventName":"ObjectCreated:Put","#,
        r#""s3":{"bucket":{"name":"data"},"object":{"key":"key"}}}]}"#
    );
    let mut envelope = with.sns.notification(message);
    envelope["SignatureVersion"] = json!("1");
    envelope["Signature"] = json!(signature.replace(' ', ""));
    envelope["Timestamp"] = json!("2026-11-23T02:50:12.011Z");
    with.setup.assert_applied(&[], &envelope.to_string(), "key").await;
    let strict = WithSns::new(|config| {
        config.max_age = CENTURY;
        config.allow_sha1 = false;
    });
    let strict = strict.await;
    envelope["SigningCertURL"] = json!(format!("{}{PEM}", strict.sns.endpoint()));
    strict.setup.assert_refused(&[], &envelope.to_string(), 403, "sha1").await;
    assert_eq!(strict.sns.asked(), [""; 0]);
    strict.setup.assert_applied(&[], &signed(strict.notification()), "key").await;
    envelope["SigningCertURL"] = json!(format!("{}{PEM}", with.sns.endpoint()));
    envelope["SignatureVersion"] = json!("2");
    with.setup.assert_refused(&[], &envelope.to_string(), 403, "forged").await;
}

#[tokio::test]
async fn a_notification_that_was_changed_after_it_was_signed_is_refused() {
    let with = WithSns::new(|_| {}).await;
    let good: Value = serde_json::from_str(&signed(with.notification())).unwrap();
    for (field, value) in [
        ("Message", written("other")),
        ("MessageId", "other".to_owned()),
        ("Subject", "other".to_owned()),
        ("Timestamp", timestamp(SystemTime::now() + Duration::from_mins(1))),
        ("Timestamp", "yesterday".to_owned()),
        ("Signature", "AAAA".to_owned()),
        ("Signature", "not base64".to_owned()),
        ("SignatureVersion", "3".to_owned()),
        ("SignatureVersion", "1".to_owned()),
    ] {
        let mut changed = good.clone();
        changed[field] = json!(value);
        with.setup.assert_refused(&[], &changed.to_string(), 403, "forged").await;
    }
    let unsigned = with.notification().to_string();
    with.setup.assert_refused(&[], &unsigned, 403, "forged").await;
    with.setup.assert_refused(&[], &written("key"), 401, "unauthenticated").await;
}

/// Replay: whoever sees a signed message could send it again for ever.
#[tokio::test]
async fn a_notification_of_another_time_is_refused_though_its_signature_is_right() {
    let with = WithSns::new(|_| {}).await;
    let at = |time: SystemTime| {
        let mut envelope = with.notification();
        envelope["Timestamp"] = json!(timestamp(time));
        signed(envelope)
    };
    let (now, most) = (SystemTime::now(), Duration::from_mins(59));
    for time in [now - most, now + most] {
        with.setup.assert_applied(&[], &at(time), "key").await;
    }
    let too_far = Duration::from_mins(61);
    for time in [now - too_far, now + too_far] {
        with.setup.assert_refused(&[], &at(time), 403, "expired").await;
    }
    let mut question = with.sns.question();
    question["Timestamp"] = json!(timestamp(now - too_far));
    with.setup.assert_refused(&[], &signed(question), 403, "expired").await;
    assert_eq!(with.sns.asked(), [PEM], "no old question is answered");
}

#[tokio::test]
async fn a_notification_of_another_topic_is_refused_and_nobody_is_asked() {
    let with = WithSns::new(|_| {}).await;
    let mut other = with.notification();
    other["TopicArn"] = json!(format!("{TOPIC}-other"));
    with.setup.assert_refused(&[], &signed(other), 403, "wrong_topic").await;
    assert_eq!(with.sns.asked(), [""; 0]);
}

#[tokio::test]
async fn a_certificate_elsewhere_is_not_asked_for() {
    let with = WithSns::new(|_| {}).await;
    let own = with.sns.endpoint();
    for url in [
        format!("{}{PEM}", own.replace("127.0.0.1", "localhost")),
        format!("{own}{PEM}?x=y"),
        format!("{own}/other.pem"),
        format!("{}{PEM}", own.replace("https://", "https://user@")),
        format!("https://sns.us-west-2.amazonaws.com{PEM}"),
        String::new(),
    ] {
        let mut elsewhere = with.notification();
        elsewhere["SigningCertURL"] = json!(url);
        with.setup.assert_refused(&[], &signed(elsewhere), 403, "wrong_url").await;
    }
    assert_eq!(with.sns.asked(), [""; 0]);
}

#[tokio::test]
async fn a_certificate_that_is_none_of_snss_is_refused_and_not_asked_for_again() {
    let with = WithSns::new(|_| {}).await;
    let (own, other) = (&with.sns.authority, Authority::new("another authority"));
    let key = key_pair();
    let cases = [
        ("of another name", own.certify(&["example.com"], 2099, &key)),
        ("expired", own.certify(&["sns.amazonaws.com"], 2000, &key)),
        ("of another authority", other.certify(&["sns.amazonaws.com"], 2099, &key)),
        ("no certificate", "hello".to_owned()),
        ("too long", " ".repeat(100_000)),
    ];
    for (number, (what, pem)) in cases.iter().enumerate() {
        let path = format!("/SimpleNotificationService-{number}.pem");
        with.sns.show(&path, pem);
        let mut envelope = with.notification();
        envelope["SigningCertURL"] = json!(format!("{}{path}", with.sns.endpoint()));
        for _ in 0..2 {
            let answer = with.setup.post(&[], &signed(envelope.clone())).await;
            let expected = if *what == "too long" { 503 } else { 403 };
            assert_eq!(answer.status.as_u16(), expected, "{what}");
        }
    }
    assert_eq!(with.sns.asked().len(), cases.len());
}

#[tokio::test]
async fn a_certificate_that_leads_nowhere_is_believed_from_snss_host_unless_its_chain_is_required()
{
    for (require_chain, status) in [(false, 200), (true, 403)] {
        let with = WithSns::new(|config| config.require_chain = require_chain).await;
        let between = Authority::new("one in between that nobody shows");
        with.sns.show(PEM, &between.certify(&["sns.amazonaws.com"], 2099, &key_pair()));
        let answer = with.setup.post(&[], &signed(with.notification())).await;
        assert_eq!(answer.status.as_u16(), status, "{}", answer.text());
        // Its name and its validity are checked in any case.
        for (number, (name, year)) in
            [("example.com", 2099), ("sns.amazonaws.com", 2000)].iter().enumerate()
        {
            let path = format!("/SimpleNotificationService-{number}.pem");
            with.sns.show(&path, &between.certify(&[name], *year, &key_pair()));
            let mut envelope = with.notification();
            envelope["SigningCertURL"] = json!(format!("{}{path}", with.sns.endpoint()));
            with.setup.assert_refused(&[], &signed(envelope), 403, "forged").await;
        }
    }
}

#[tokio::test]
async fn a_host_whose_own_certificate_nobody_vouches_for_is_not_believed() {
    let scratch = Scratch::new();
    let other = scratch.file("other.pem", &Authority::new("another authority").pem());
    let with = WithSns::new(|config| config.ca_file = Some(other.into())).await;
    with.setup.assert_refused(&[], &signed(with.notification()), 503, "unavailable").await;
    assert_eq!(with.sns.asked(), [""; 0]);
}

#[tokio::test]
async fn how_many_certificates_are_asked_for_in_a_minute_is_bounded() {
    let with = WithSns::new(|_| {}).await;
    for number in 0..40 {
        let mut envelope = with.notification();
        let url = format!("{}/SimpleNotificationService-{number}.pem", with.sns.endpoint());
        envelope["SigningCertURL"] = json!(url);
        let status = with.setup.post(&[], &signed(envelope)).await.status.as_u16();
        assert!(matches!(status, 403 | 503), "{status}");
    }
    assert_eq!(with.sns.asked().len(), 20);
}

#[tokio::test]
async fn a_subscription_is_confirmed_for_a_topic_of_ours() {
    let with = WithSns::new(|_| {}).await;
    let headers = [("x-amz-sns-message-type", "SubscriptionConfirmation")];
    let answer = with.setup.post(&headers, &signed(with.sns.question())).await;
    assert_eq!((answer.status.as_u16(), &*answer.text()), (200, "confirmed\n"));
    let yes = format!("/?Action=ConfirmSubscription&TopicArn={TOPIC}&Token=2336412f37fb687f");
    assert_eq!(with.sns.asked(), [PEM.to_owned(), yes]);
}

#[tokio::test]
async fn no_other_subscription_is_confirmed_and_no_other_address_is_asked() {
    let with = WithSns::new(|_| {}).await;
    let own = with.sns.endpoint();
    let url = |rest: &str| format!("{own}/?Action=ConfirmSubscription&{rest}");
    let mut other_topic = with.sns.question();
    other_topic["TopicArn"] = json!(format!("{TOPIC}-other"));
    with.setup.assert_refused(&[], &signed(other_topic), 403, "wrong_topic").await;
    with.setup.assert_refused(&[], &with.sns.question().to_string(), 403, "forged").await;
    for elsewhere in [
        "https://example.com/?Action=ConfirmSubscription&Token=1".to_owned(),
        "http://169.254.169.254/latest/meta-data/".to_owned(),
        url("Token=2336412f37fb687f"),
        url(&format!("TopicArn={TOPIC}-other&Token=2336412f37fb687f")),
        format!("{own}/?Action=DeleteTopic&TopicArn={TOPIC}&Token=1"),
        format!("{own}{PEM}"),
    ] {
        let mut question = with.sns.question();
        question["SubscribeURL"] = json!(elsewhere);
        with.setup.assert_refused(&[], &signed(question), 403, "wrong_url").await;
    }
    assert_eq!(with.sns.asked(), [PEM]);
}

#[tokio::test]
async fn r20_a_token_does_not_confirm_a_subscription() {
    let with = WithSns::with(|_| {}, &["a-made-up-token-of-16"]).await;
    let headers = [
        ("Authorization", "a-made-up-token-of-16"),
        ("x-amz-sns-message-type", "SubscriptionConfirmation"),
    ];
    let mut question = with.sns.question();
    question["SubscribeURL"] = json!("https://example.com/");
    with.setup.assert_refused(&headers, &question.to_string(), 403, "forged").await;
    // Without the header it is taken for an event message, which has no records.
    let answer = with.setup.post(&headers[..1], &question.to_string()).await;
    assert_eq!((answer.status.as_u16(), &*answer.text()), (200, "accepted\n"));
    assert_eq!(with.sns.asked(), [PEM]);
}
