//! CPU time of verifying a signed GET: its signature, the permission that it needs, and the sender's policy.
//!
//! ```text
//! cargo bench --bench verify
//! ```
//!
//! It also measures the refusal of a request whose `SignedHeaders` repeats a header of 4 KiB a thousand times: no
//! more than a few times the cost of a valid one, since its sender has not proved knowledge of a secret yet.
//!
//! This is all that `auth.mode: verify` adds to a hit; parsing the request is not included, since `trust` parses it,
//! too. The key of the day is derived once, as in a running server. A bar that is missed makes the exit code 1.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hotset::auth::sign::EMPTY_SHA256;
use hotset::auth::verify::Verifier;
use hotset::auth::{Credentials, IdentitySet, Payload, Signer};
use hotset::s3::{Parsed, Query, RequestHead, RequiredPermissions, operation};
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use rustix::time::{ClockId, clock_gettime};

/// Upper bound of the CPU time of verifying a GET, on top of a hit.
const BAR: Duration = Duration::from_micros(4);
/// Upper bound of the CPU time of a refused request.
const REFUSED_BAR: Duration = Duration::from_micros(20);
const ROUNDS: u32 = 200_000;
const PATH: &str = "/data/warehouse/year%3D2026/part-00017.parquet";
const IDENTITIES: &str = "
identities:
  - name: reader
    access_key: AKREADER
    secret_key: made-up-secret-of-reader
    allow: [{ actions: [read, list], resources: ['data/warehouse/**'] }]
";

fn main() -> ExitCode {
    let identities = IdentitySet::parse(IDENTITIES).expect("a right file");
    let verifier = Verifier::new("us-east-1".to_owned(), Vec::new());
    let now = SystemTime::now();
    let headers = signed(now);
    let head = RequestHead {
        method: &Method::GET,
        raw_target: PATH.as_bytes(),
        host: Some("127.0.0.1:9000"),
        headers: &headers,
        has_body: false,
    };
    let parsed =
        operation::parse(&head, &hotset::s3::HostNames::default()).expect("a right request");
    // The fastest of a few rounds: anything else that runs on the machine only makes them slower.
    let rounds = (0..5).map(|_| measure(&identities, &verifier, &head, &parsed, now));
    let cost = rounds.min().expect("some rounds");
    println!("verify a signed GET: {cost:?} of CPU (bar {BAR:?})");

    let repeating = repeating(&headers);
    let head = RequestHead { headers: &repeating, ..head };
    let rounds = (0..5).map(|_| measure_refused(&identities, &verifier, &head, &parsed, now));
    let refused = rounds.min().expect("some rounds");
    println!("refuse a GET that repeats signed headers: {refused:?} of CPU (bar {REFUSED_BAR:?})");
    if cost > BAR || refused > REFUSED_BAR { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Returns the headers that an SDK sends, signed.
fn signed(now: SystemTime) -> HeaderMap {
    let pairs = [
        ("host", "127.0.0.1:9000"),
        ("user-agent", "aws-sdk-rust/1.3 os/linux lang/rust/1.95"),
        ("accept-encoding", "identity"),
        ("amz-sdk-invocation-id", "3e8d0f6e-5a94-4fdc-8b7a-0d8e5f6a7b8c"),
        ("amz-sdk-request", "attempt=1; max=3"),
        ("range", "bytes=0-4095"),
        ("x-amz-checksum-mode", "ENABLED"),
    ];
    let pairs =
        pairs.map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
    let mut headers: HeaderMap = pairs.into_iter().collect();
    let keys = Credentials::new("AKREADER".to_owned(), "made-up-secret-of-reader".into(), None);
    let signer = Signer::new(Arc::new(keys.expect("legal keys")), "us-east-1");
    let payload = Payload::Sha256Hex(EMPTY_SHA256);
    signer.sign(&Method::GET, PATH, &Query::default(), &mut headers, payload, now);
    headers
}

/// Returns the same headers with a long one that is listed as signed a thousand times.
fn repeating(headers: &HeaderMap) -> HeaderMap {
    let mut headers = headers.clone();
    let long = "v".repeat(4096);
    headers.insert("x-a", HeaderValue::from_str(&long).expect("visible ASCII"));
    let signed = headers[AUTHORIZATION].to_str().expect("visible ASCII");
    let signed =
        signed.replace("SignedHeaders=", &format!("SignedHeaders={}", "x-a;".repeat(1000)));
    headers.insert(AUTHORIZATION, HeaderValue::from_str(&signed).expect("visible ASCII"));
    headers
}

fn measure_refused(
    identities: &IdentitySet,
    verifier: &Verifier,
    head: &RequestHead<'_>,
    parsed: &Parsed,
    now: SystemTime,
) -> Duration {
    let (started, rounds) = (cpu_time(), ROUNDS / 100);
    for _ in 0..rounds {
        let refused = verifier.verify(identities, head, parsed, now);
        std::hint::black_box(refused).expect_err("a header is signed twice");
    }
    cpu_time().saturating_sub(started) / rounds
}

fn measure(
    identities: &IdentitySet,
    verifier: &Verifier,
    head: &RequestHead<'_>,
    parsed: &Parsed,
    now: SystemTime,
) -> Duration {
    let started = cpu_time();
    for _ in 0..ROUNDS {
        let sender = verifier.verify(identities, head, parsed, now).expect("rightly signed");
        let identity = sender.expect("it is signed").identity;
        let allowed = identity.authorize(&RequiredPermissions::of(head, parsed), None, now);
        std::hint::black_box(allowed).expect("it may read");
    }
    cpu_time().saturating_sub(started) / ROUNDS
}

fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(
        time.tv_sec.try_into().expect("not negative"),
        time.tv_nsec.try_into().expect("below a second"),
    )
}
