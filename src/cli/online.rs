//! `hotset check --online`: tests each origin and the queues step by step, and prints for each step its duration, or
//! its error and the key to look at. Nothing is written anywhere, and every wait has a timeout.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use http::header::{ACCEPT_ENCODING, DATE, HOST, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use crate::app;
use crate::auth::Payload;
use crate::config::Config;
use crate::origin::{Origin, OriginConfig};
use crate::s3::target::Query;
use crate::s3::{BucketName, S3Error};
use crate::tls::connector;

/// Timeout of each step without one of its own.
const STEP: Duration = Duration::from_secs(10);
/// Maximum bytes of a response that are read.
const MOST_BYTES: usize = 1 << 20;
/// Maximum clock skew that S3 and others accept.
const MAX_SKEW: Duration = Duration::from_mins(15);
const BUCKET_REGION: &str = "x-amz-bucket-region";
/// Codes of refusals because a bucket is in another region.
const OF_REGION: [&str; 4] = [
    "AuthorizationHeaderMalformed",
    "IllegalLocationConstraintException",
    "PermanentRedirect",
    "TemporaryRedirect",
];

/// Origins by their key in the configuration.
type Made = BTreeMap<String, Arc<Origin>>;

/// Prints each step as it ends.
#[derive(Default)]
struct Report {
    failed: bool,
    /// The key of the current origin, which replaces `origin` in messages.
    key: String,
}

impl Report {
    /// Prints one line for a step that began at `since`.
    fn step(
        &mut self,
        name: impl Display,
        since: Instant,
        result: &Result<String, String>,
    ) -> bool {
        match result {
            Ok(found) => self.print("ok     ", &name, found, since.elapsed()),
            Err(why) => self.print("FAILED ", &name, why, since.elapsed()),
        }
        self.failed |= result.is_err();
        result.is_ok()
    }

    /// Prints one line about something that failed and does not matter.
    fn note(&self, name: impl Display, why: &str, took: Duration) {
        self.print("note   ", &name, why, took);
    }

    fn print(&self, word: &str, name: &dyn Display, text: &str, took: Duration) {
        let (name, key) = (name.to_string(), &self.key);
        let name = name.strip_prefix("origin").map_or(name.clone(), |rest| format!("{key}{rest}"));
        let text = text.replace("at origin.", &format!("at {key}."));
        let text = text.replace("and origin.", &format!("and {key}."));
        println!("{word} {name}: {text} ({:.1} ms)", took.as_secs_f64() * 1000.0);
    }
}

/// Tests the origin and the queues. `bucket`: the bucket to list; `None`: list buckets.
pub(super) fn run(config: &Config, bucket: Option<&BucketName>) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("hotset: {error}");
            return ExitCode::FAILURE;
        }
    };
    let mut report = Report::default();
    runtime.block_on(async {
        let mut made = Made::new();
        for to_check in app::origins_to_check(config, bucket) {
            report.key.clone_from(&to_check.key);
            let since = Instant::now();
            let origin = app::origin_to_check(&to_check).await;
            let shown =
                origin.as_ref().map_err(Clone::clone).and_then(|origin| credentials(origin));
            report.step("origin.credentials", since, &shown);
            let Ok(origin) = origin else { continue };
            check_origin(&to_check.config, to_check.bucket.as_ref(), &origin, &mut report).await;
            made.insert(to_check.key, origin);
        }
        check_queues(config, &made, &mut report).await;
    });
    if report.failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Returns the source and the expiry of an origin's credentials.
fn credentials(origin: &Origin) -> Result<String, String> {
    match (origin.first_credentials(), origin.domains().own().signer()) {
        (Some(first), _) => Ok(first.to_owned()),
        (None, None) => Ok("none: requests are not signed".to_owned()),
        // Of a directory bucket.
        (None, Some(_)) => Err("there is no session; look at its keys and zone".to_owned()),
    }
}

async fn check_origin(
    config: &Config,
    bucket: Option<&BucketName>,
    asked: &Origin,
    report: &mut Report,
) {
    let origin = &config.origin;
    let since = Instant::now();
    let addresses = resolve(origin).await;
    let shown = addresses.as_ref().map(|all| join(all)).map_err(Clone::clone);
    report.step("origin.endpoint, name", since, &shown);
    let Ok(addresses) = addresses else { return };
    let Some(stream) = connect(&addresses, origin.connect_timeout.0, report).await else { return };
    if !asked.endpoint().is_tls() {
        return list(stream, config, bucket, asked, report).await;
    }
    let target = asked.endpoint().target(bucket, None);
    let since = Instant::now();
    let tls = timeout(STEP, async {
        let connector = connector(origin.ca_file.as_deref())?;
        let host = target.host.rsplit_once(':').map_or(&*target.host, |(name, _)| name);
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(host).map_err(|error| error.to_string())?;
        let secured = connector.connect(name, stream).await;
        secured.map_err(|error| format!("{error}; look at origin.ca_file and origin.endpoint"))
    });
    let tls = tls.await.unwrap_or_else(|_| Err("no answer in time".to_owned()));
    let version = |version: Option<_>| version.map_or(String::new(), |v| format!("{v:?}"));
    let shown = tls.as_ref().map(|tls| version(tls.get_ref().1.protocol_version()));
    report.step("origin, TLS", since, &shown.map_err(Clone::clone));
    if let Ok(stream) = tls {
        list(stream, config, bucket, asked, report).await;
    }
}

async fn resolve(origin: &OriginConfig) -> Result<Vec<SocketAddr>, String> {
    let (endpoint, limit) = (&origin.endpoint, origin.connect_timeout.0);
    let uri: http::Uri = endpoint.parse().map_err(|_| format!("`{endpoint}` is no URL"))?;
    let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 });
    if !origin.addresses.is_empty() {
        return Ok(origin.addresses.iter().map(|address| (*address, port).into()).collect());
    }
    let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    let found = timeout(limit.max(STEP), lookup_host((host, port))).await;
    let found = found.map_err(|_| "it is not resolved in time; look at the resolver".to_owned())?;
    let found: Vec<_> = found.map_err(|error| format!("{host}: {error}"))?.collect();
    if found.is_empty() { Err(format!("{host} has no address")) } else { Ok(found) }
}

fn join(addresses: &[SocketAddr]) -> String {
    addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Tries the addresses one after the other. Those that fail matter only if none is reached: a name may have addresses of
/// IPv6 on a machine without a route for them.
async fn connect(
    addresses: &[SocketAddr],
    limit: Duration,
    report: &mut Report,
) -> Option<TcpStream> {
    let mut failures = Vec::new();
    for address in addresses {
        let since = Instant::now();
        let connected = match timeout(limit, TcpStream::connect(address)).await {
            Ok(connected) => connected,
            Err(_) => Err(io::Error::from(io::ErrorKind::TimedOut)),
        };
        let name = format!("origin, {address}");
        match connected {
            Ok(stream) => {
                for (name, error, took) in failures {
                    report.note(name, &format!("{error}; another address is reached"), took);
                }
                report.step(name, since, &Ok("connected".to_owned()));
                return Some(stream);
            }
            Err(error) => failures.push((name, error, since.elapsed())),
        }
    }
    for (name, error, took) in failures {
        let why = format!("{error}; look at origin.endpoint, and at firewalls");
        report.print("FAILED ", &name, &why, took);
        report.failed = true;
    }
    None
}

/// Signs and sends a list request for one key, or for buckets, and checks the response.
async fn list<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    config: &Config,
    bucket: Option<&BucketName>,
    asked: &Origin,
    report: &mut Report,
) {
    let target = asked.endpoint().target(bucket, None);
    let (host, path, signer) = (&*target.host, &*target.path, asked.domains().own().signer());
    let query = match bucket {
        Some(_) => Query::default().with("list-type", "2").with("max-keys", "1"),
        None => Query::default(),
    };
    let mut headers = HeaderMap::new();
    let Ok(host) = HeaderValue::from_str(host) else { return };
    headers.insert(HOST, host);
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    headers.insert(USER_AGENT, HeaderValue::from_static("hotset"));
    let is_signed = signer.is_some();
    if let Some(signer) = signer {
        let now = SystemTime::now();
        signer.sign(&Method::GET, path, &query, &mut headers, Payload::Unsigned, now);
    }
    let target = match query.is_empty() {
        true => path.to_owned(),
        false => format!("{path}?{}", query.to_canonical_string()),
    };
    let since = Instant::now();
    let answer =
        timeout(config.origin.first_byte_timeout.0.max(STEP), ask(stream, target, headers));
    let answer = answer.await.unwrap_or_else(|_| Err("no answer in time".to_owned()));
    let name = match bucket {
        Some(bucket) => format!("origin, list of one key of {bucket}"),
        None => "origin, list of buckets".to_owned(),
    };
    let (status, headers, body) = match answer {
        Ok(answer) => answer,
        Err(why) => {
            report.step(name, since, &Err(why));
            return;
        }
    };
    let error = (!status.is_success()).then(|| S3Error::from_response(status, &headers, &body));
    let configured = &config.origin.region;
    let elsewhere = match (bucket, &error) {
        (Some(bucket), Some(error)) if OF_REGION.contains(&&*error.code) => {
            elsewhere(asked, bucket, configured).await
        }
        _ => None,
    };
    let listed = match &elsewhere {
        Some(_) => Ok("signed, and allowed".to_owned()),
        None => verdict(error.as_ref(), bucket.is_some(), is_signed),
    };
    report.step(name, since, &listed);
    if let Some(result) = clock(&headers, SystemTime::now()) {
        report.step("origin, clock", since, &result);
    }
    let found = elsewhere.map(Ok).or_else(|| region(&headers, error.as_ref(), configured));
    if let Some(result) = found {
        report.step("origin.region", since, &result);
    }
}

/// Lists a bucket in another region as serving does; returns a sentence about its region if that succeeds.
async fn elsewhere(asked: &Origin, bucket: &BucketName, configured: &str) -> Option<String> {
    timeout(STEP, asked.list(bucket, "", None)).await.ok()?.ok()?;
    let site = asked.site(Some(bucket));
    let theirs = site.region().unwrap_or(configured);
    Some(format!("{configured} is configured; {bucket} is in {theirs}, which is found by itself"))
}

async fn ask<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    target: String,
    headers: HeaderMap,
) -> Result<(StatusCode, HeaderMap, Bytes), String> {
    let wrong = |error: &dyn Display| format!("it does not answer in HTTP: {error}");
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| wrong(&error))?;
    let connection = tokio::spawn(connection);
    let mut request = Request::builder().uri(target).body(Empty::<Bytes>::new());
    if let Ok(request) = &mut request {
        *request.headers_mut() = headers;
    }
    let request = request.map_err(|error| wrong(&error))?;
    let answer = sender.send_request(request).await.map_err(|error| wrong(&error))?;
    let (head, body) = answer.into_parts();
    let body = Limited::new(body, MOST_BYTES).collect().await.map_err(|error| wrong(&error))?;
    connection.abort();
    Ok((head.status, head.headers, body.to_bytes()))
}

/// Interprets the response to the list request, naming the key to look at.
fn verdict(error: Option<&S3Error>, names_bucket: bool, is_signed: bool) -> Result<String, String> {
    let Some(error) = error else {
        return Ok(if is_signed { "signed, and allowed" } else { "allowed, unsigned" }.to_owned());
    };
    let look = match &*error.code {
        "AccessDenied" if is_signed && !names_bucket => {
            let found = "signed; these keys may not list buckets: name one with --bucket";
            return Ok(found.to_owned());
        }
        "AccessDenied" if is_signed => "these keys may not list it: s3:ListBucket",
        "AccessDenied" => "requests are not signed: look at origin.credentials",
        "SignatureDoesNotMatch" => "look at the secret key, and at origin.region",
        "InvalidAccessKeyId" | "InvalidToken" | "ExpiredToken" | "TokenRefreshRequired" => {
            "look at origin.credentials"
        }
        "RequestTimeTooSkewed" => "set the clock of this machine",
        "AuthorizationHeaderMalformed" | "PermanentRedirect" | "TemporaryRedirect" => {
            "look at origin.region and origin.endpoint"
        }
        "NoSuchBucket" => "look at --bucket",
        _ => "look at origin.endpoint",
    };
    Err(format!("{} {}: {}; {look}", error.status.as_u16(), error.code, error.message))
}

/// Compares the local clock with that of a response; `None`: it has no `Date`.
fn clock(headers: &HeaderMap, now: SystemTime) -> Option<Result<String, String>> {
    let date = httpdate::parse_http_date(headers.get(DATE)?.to_str().ok()?).ok()?;
    let (off, how) = match now.duration_since(date) {
        Ok(ahead) => (ahead, "ahead"),
        Err(error) => (error.duration(), "behind"),
    };
    let text = format!("this machine is {} s {how}", off.as_secs());
    Some(if off > MAX_SKEW { Err(format!("{text}: set its clock")) } else { Ok(text) })
}

/// Compares the region with the one in a response; `None`: it names none. Another one matters only if the request failed.
fn region(
    headers: &HeaderMap,
    error: Option<&S3Error>,
    ours: &str,
) -> Option<Result<String, String>> {
    let in_body = error.and_then(|error| error.details.iter().find(|(name, _)| name == "Region"));
    let in_header = headers.get(BUCKET_REGION).and_then(|region| region.to_str().ok());
    let theirs = in_header.or(in_body.map(|(_, region)| region.as_str()))?;
    let both = format!("{ours} is configured, and it is in {theirs}");
    Some(match (theirs == ours, error) {
        (true, _) => Ok(ours.to_owned()),
        (false, None) => Ok(both),
        (false, Some(_)) => Err(both),
    })
}

#[cfg(feature = "sqs")]
async fn check_queues(config: &Config, made: &Made, report: &mut Report) {
    "origin".clone_into(&mut report.key);
    for (index, queue) in config.events.sqs.iter().enumerate() {
        let named = queue.origin.as_deref().filter(|name| *name != crate::origin::DEFAULT_ORIGIN);
        let key = named.map(|name| format!("origins.{name}"));
        // One that could not be made has been reported.
        let Some(origin) = made.get(key.as_deref().unwrap_or("origin")) else { continue };
        let since = Instant::now();
        let origins = crate::origin::Origins::from(origin.clone());
        let depth = timeout(STEP, crate::events::queue_depth(queue, &origins)).await;
        let depth = depth.unwrap_or_else(|_| Err("no answer in time".to_owned()));
        let shown = depth.map(|depth| format!("{depth} messages wait"));
        report.step(format_args!("events.sqs[{index}]"), since, &shown);
    }
}

#[cfg(not(feature = "sqs"))]
async fn check_queues(_: &Config, _: &Made, _: &mut Report) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_the_key_to_look_at() {
        let said = |code: &'static str, names_bucket| {
            verdict(Some(&S3Error::new(StatusCode::FORBIDDEN, code, "why")), names_bucket, true)
        };
        let wrong = said("SignatureDoesNotMatch", true).unwrap_err();
        assert!(wrong.contains("403") && wrong.contains("origin.region"), "{wrong}");
        assert!(said("AccessDenied", true).unwrap_err().contains("s3:ListBucket"));
        assert!(said("AccessDenied", false).unwrap().contains("--bucket"));
        assert!(verdict(None, true, true).is_ok());
    }

    #[test]
    fn clocks_are_compared() {
        let now = httpdate::parse_http_date("Fri, 24 May 2013 00:20:00 GMT").unwrap();
        let clock = |date: &'static str| {
            clock(&HeaderMap::from_iter([(DATE, HeaderValue::from_static(date))]), now)
        };
        assert!(clock("Fri, 24 May 2013 00:06:00 GMT").unwrap().unwrap().contains("840 s ahead"));
        assert!(clock("Fri, 24 May 2013 00:00:00 GMT").unwrap().is_err());
        assert!(clock("Fri, 24 May 2013 00:40:00 GMT").unwrap().unwrap_err().contains("behind"));
        assert!(clock("soon").is_none());
    }
}
