//! `hotset check --online`: tests each origin and the queues step by step, and prints for each step its duration, or
//! its error and the key to look at. Nothing is written anywhere, and every wait has a timeout.

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
use crate::auth::{Payload, Signer};
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
        let took = since.elapsed().as_secs_f64() * 1000.0;
        let (name, key) = (name.to_string(), &self.key);
        let name = name.strip_prefix("origin").map_or(name.clone(), |rest| format!("{key}{rest}"));
        match result {
            Ok(found) => println!("ok      {name}: {found} ({took:.1} ms)"),
            Err(why) => {
                let why = why.replace("at origin.", &format!("at {key}."));
                let why = why.replace("and origin.", &format!("and {key}."));
                println!("FAILED  {name}: {why} ({took:.1} ms)");
            }
        }
        self.failed |= result.is_err();
        result.is_ok()
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
        for (index, to_check) in app::origins_to_check(config, bucket).iter().enumerate() {
            report.key.clone_from(&to_check.key);
            let since = Instant::now();
            let origin = app::origin_to_check(to_check).await;
            let shown = origin.as_ref().map(|origin| match origin.domains().own().signer() {
                Some(_) => "found".to_owned(),
                None => "none: requests are not signed".to_owned(),
            });
            report.step("origin.credentials", since, &shown.map_err(Clone::clone));
            let Ok(origin) = origin else { continue };
            check_origin(&to_check.config, to_check.bucket.as_ref(), &origin, &mut report).await;
            if index == 0 {
                check_queues(config, &origin, &mut report).await;
            }
        }
    });
    if report.failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
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
    let endpoint = asked.endpoint();
    let target = endpoint.target(bucket, None);
    let signer = asked.domains().own().signer();
    if !endpoint.is_tls() {
        return list(stream, config, bucket, &target.host, &target.path, signer, report).await;
    }
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
        list(stream, config, bucket, &target.host, &target.path, signer, report).await;
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

/// Tries the addresses one after the other.
async fn connect(
    addresses: &[SocketAddr],
    limit: Duration,
    report: &mut Report,
) -> Option<TcpStream> {
    for address in addresses {
        let since = Instant::now();
        let connected = match timeout(limit, TcpStream::connect(address)).await {
            Ok(connected) => connected,
            Err(_) => Err(io::Error::from(io::ErrorKind::TimedOut)),
        };
        let shown = match &connected {
            Ok(_) => Ok("connected".to_owned()),
            Err(error) => Err(format!("{error}; look at origin.endpoint, and at firewalls")),
        };
        report.step(format_args!("origin, {address}"), since, &shown);
        if let Ok(stream) = connected {
            return Some(stream);
        }
    }
    None
}

/// Signs and sends a list request for one key, or for buckets, and checks the response.
async fn list<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    config: &Config,
    bucket: Option<&BucketName>,
    host: &str,
    path: &str,
    signer: Option<Arc<Signer>>,
    report: &mut Report,
) {
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
    report.step(name, since, &verdict(error.as_ref(), bucket.is_some(), is_signed));
    if let Some(result) = clock(&headers, SystemTime::now()) {
        report.step("origin, clock", since, &result);
    }
    if let Some(result) = region(&headers, error.as_ref(), &config.origin.region) {
        report.step("origin.region", since, &result);
    }
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

/// Compares the region with the one in a response; `None`: it names none.
fn region(
    headers: &HeaderMap,
    error: Option<&S3Error>,
    ours: &str,
) -> Option<Result<String, String>> {
    let in_body = error.and_then(|error| error.details.iter().find(|(name, _)| name == "Region"));
    let in_header = headers.get(BUCKET_REGION).and_then(|region| region.to_str().ok());
    let theirs = in_header.or(in_body.map(|(_, region)| region.as_str()))?;
    Some(match theirs == ours {
        true => Ok(ours.to_owned()),
        false => Err(format!("{ours} is configured, and it is in {theirs}")),
    })
}

#[cfg(feature = "sqs")]
async fn check_queues(config: &Config, origin: &Origin, report: &mut Report) {
    for (index, queue) in config.events.sqs.iter().enumerate() {
        let since = Instant::now();
        let depth = timeout(STEP, crate::events::queue_depth(queue, origin)).await;
        let depth = depth.unwrap_or_else(|_| Err("no answer in time".to_owned()));
        let shown = depth.map(|depth| format!("{depth} messages wait"));
        report.step(format_args!("events.sqs[{index}]"), since, &shown);
    }
}

#[cfg(not(feature = "sqs"))]
async fn check_queues(_: &Config, _: &Origin, _: &mut Report) {}

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
