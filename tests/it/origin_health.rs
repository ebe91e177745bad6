//! Messages about an origin that cannot be reached, or that rejects hotset's keys: operators get everything, clients
//! get nothing that would make them look for the fault on their side.

use std::net::SocketAddr;

use crate::support::{
    FakeS3, Fault, Matcher, Object, Process, Repeat, Scratch, unused_port, within,
};

/// Starts a server in front of this endpoint.
async fn in_front_of(scratch: &Scratch, endpoint: &str) -> Process {
    let text = format!(
        "listen: [{{ address: 127.0.0.1:0 }}]\nadmin: {{ address: 127.0.0.1:0 }}\n\
         rules: [{{ match: '**', freshness: revalidate }}]\n\
         origin: {{ endpoint: '{endpoint}', attempts: 2, backoff: {{ base: 1ms, cap: 10ms }} }}\n"
    );
    Process::serve(&scratch.file("hotset.yaml", &text)).await
}

/// Returns an address that nobody listens on.
fn deserted() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], unused_port()))
}

async fn failures(process: &Process, reason: &str) -> f64 {
    process.metric(&format!("hotset_origin_errors_total{{reason=\"{reason}\"}}")).await
}

async fn readiness(process: &Process) -> String {
    let answer = process.admin().get("/readyz").send().await;
    assert_eq!(answer.status, 200, "an origin that fails takes no replica out of service");
    answer.text()
}

#[tokio::test]
async fn an_origin_that_cannot_be_reached_is_logged_with_its_cause_and_the_key_to_look_at() {
    let s3 = FakeS3::start().await;
    let nobody = deserted();
    for (endpoint, reason, cause, key) in [
        (format!("http://{nobody}"), "connect", "refused", "origin.endpoint"),
        ("http://no-such-host.invalid".to_owned(), "name", "no-such-host.invalid: ", "resolver"),
        // A server without TLS.
        (format!("https://{}", s3.addr()), "tls", "cannot connect", "origin.ca_file"),
    ] {
        let scratch = Scratch::new();
        let mut process = in_front_of(&scratch, &endpoint).await;
        assert_eq!(readiness(&process).await, format!("ready\norigin {endpoint}: not asked yet\n"));
        for _ in 0..5 {
            assert_eq!(process.client().get("/data/key").send().await.status, 503);
            assert_eq!(process.client().get("/data?list-type=2").send().await.status, 503);
        }
        let line = process.logged(&format!("origin {endpoint}: ")).await;
        assert!(line.contains("WARN") && line.contains(cause) && line.contains(key), "{line}");
        let output = process.output();
        let said = output.lines().filter(|line| line.contains("hotset::origin::health"));
        assert_eq!(said.count(), 1, "one line for all of them: {output}");
        assert!(failures(&process, reason).await >= 10.0, "{output}");
        let ready = readiness(&process).await;
        assert!(ready.starts_with(&format!("ready\norigin {endpoint}: fails for ")), "{ready}");
        assert!(ready.contains(cause) && ready.contains(key), "{ready}");
    }
}

#[tokio::test]
async fn refused_connections_of_what_passes_through_are_tried_again_within_the_bound_of_all_retries()
 {
    let scratch = Scratch::new();
    let process = in_front_of(&scratch, &format!("http://{}", deserted())).await;
    for _ in 0..20 {
        assert_eq!(process.client().get("/data?list-type=2").send().await.status, 503);
    }
    let attempts = failures(&process, "connect").await;
    assert!((20.0..=30.0).contains(&attempts), "{attempts} attempts for 20 lists");
}

#[tokio::test]
async fn an_origin_that_is_there_again_is_said_to_be() {
    let (scratch, address) = (Scratch::new(), deserted());
    let mut process = in_front_of(&scratch, &format!("http://{address}")).await;
    assert_eq!(process.client().get("/data/key").send().await.status, 503);
    let s3 = FakeS3::start_at(address.port()).await;
    s3.put("data", "key", Object::random(5000, 1));
    assert_eq!(process.client().get("/data/key").send().await.status, 200);
    process.logged("answers again, after ").await;
    assert_eq!(readiness(&process).await, format!("ready\norigin http://{address}: answers\n"));
}

#[tokio::test]
async fn an_origin_that_is_left_alone_is_said_to_be_and_so_is_its_end() {
    let (scratch, address) = (Scratch::new(), deserted());
    let mut process = in_front_of(&scratch, &format!("http://{address}")).await;
    let open = "hotset_origin_breaker_open";
    within("the breaker to open", async {
        while process.metric(open).await < 1.0 {
            assert_eq!(process.client().get("/data/key").send().await.status, 503);
        }
    })
    .await;
    process.logged("is only probed until it answers").await;
    assert!(readiness(&process).await.contains(" s, and is only probed: "));
    for _ in 0..20 {
        assert_eq!(process.client().get("/data/key").send().await.status, 503);
    }
    assert!(process.metric("hotset_origin_requests_withheld_total").await >= 10.0);
    let s3 = FakeS3::start_at(address.port()).await;
    s3.put("data", "key", Object::random(5000, 1));
    within("the breaker to close", async {
        while process.client().get("/data/key").send().await.status != 200 {}
    })
    .await;
    process.logged("is asked again, after ").await;
    assert!(process.metric(open).await < 1.0);
    assert_eq!(readiness(&process).await, format!("ready\norigin http://{address}: answers\n"));
    let output = process.output();
    assert_eq!(output.matches("is only probed").count(), 1, "{output}");
}

#[tokio::test]
async fn what_the_origin_says_of_hotsets_own_keys_is_for_operators_and_not_for_clients() {
    for (status, code) in [
        (403, "SignatureDoesNotMatch"),
        (403, "InvalidAccessKeyId"),
        (403, "RequestTimeTooSkewed"),
        (400, "ExpiredToken"),
        (400, "InvalidToken"),
    ] {
        let (scratch, s3) = (Scratch::new(), FakeS3::start().await);
        s3.put("data", "key", Object::random(5000, 1));
        s3.fault(Matcher::any(), Repeat::Always, Fault::Status(status, code));
        let mut process = in_front_of(&scratch, &s3.endpoint()).await;
        let answer = process.client().get("/data/key").send().await;
        let text = answer.text();
        assert_eq!(answer.status, 503, "{text}");
        assert!(text.contains("<Code>ServiceUnavailable</Code>"), "{text}");
        assert!(
            text.contains(&format!("the credentials that hotset signs with ({code})")),
            "{text}"
        );
        let line = process.logged("rejects hotset's own credentials").await;
        assert!(line.contains(code) && line.contains("origin.credentials"), "{line}");
        assert!(failures(&process, "credentials").await >= 1.0);
    }
}

#[tokio::test]
async fn what_passes_through_is_not_told_of_hotsets_own_keys_either() {
    for (status, code) in [
        (403, "SignatureDoesNotMatch"),
        (403, "InvalidAccessKeyId"),
        (403, "RequestTimeTooSkewed"),
        (400, "ExpiredToken"),
    ] {
        let (scratch, s3) = (Scratch::new(), FakeS3::start().await);
        s3.put("data", "key", Object::random(5000, 1));
        let mut process = in_front_of(&scratch, &s3.endpoint()).await;
        let client = process.client();
        s3.fault(Matcher::any(), Repeat::Always, Fault::Status(status, code));
        for request in [
            client.get("/data?list-type=2"),
            client.get("/data/key?tagging"),
            client.put("/data/new").body("x"),
            client.put("/data/large").body(vec![7; 300_000]),
            client.delete("/data/key"),
        ] {
            let answer = request.send().await;
            let text = answer.text();
            assert_eq!(answer.status, 503, "{code}: {text}");
            assert!(text.contains("<Code>ServiceUnavailable</Code>"), "{text}");
            let whose = format!("the credentials that hotset signs with ({code})");
            assert!(text.contains(&whose), "{text}");
        }
        process.logged("rejects hotset's own credentials").await;
        let output = process.output();
        assert!(!output.contains("ERROR"), "{output}");
        assert!(failures(&process, "credentials").await >= 5.0);
    }
}

#[tokio::test]
async fn a_refusal_of_what_the_client_asks_passes_through_as_it_is() {
    let (scratch, s3) = (Scratch::new(), FakeS3::start().await);
    let process = in_front_of(&scratch, &s3.endpoint()).await;
    let client = process.client();
    for (status, code) in [(403, "AccessDenied"), (400, "MalformedXML"), (401, "Unauthorized")] {
        s3.fault(Matcher::any(), Repeat::Times(4), Fault::Status(status, code));
        for request in [
            client.get("/data?list-type=2"),
            client.put("/data/new").body("x"),
            client.delete("/data/key"),
        ] {
            let answer = request.send().await;
            assert_eq!(answer.status.as_u16(), status, "{code}");
            assert!(answer.text().contains(&format!("<Code>{code}</Code>")), "{}", answer.text());
        }
        assert_eq!(client.head("/data?acl").send().await.status.as_u16(), status, "{code}");
    }
}
