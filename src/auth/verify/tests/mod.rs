//! Tests with S3's published examples, each kind of refusal, and every byte of a signed request changed to every other.

mod changed;
mod published;
mod refused;

use std::time::{Duration, UNIX_EPOCH};

use http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::*;
use crate::auth::Credentials;
use crate::auth::sign::date::{amz_date, parse_amz_date};
use crate::auth::sign::{EMPTY_SHA256, Payload, Signer};
use crate::s3::{HostNames, Query, operation};

const KEY: &str = "AKIAIOSFODNN7EXAMPLE";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
const SCOPE: &str = "20130524/us-east-1/s3/aws4_request";
const DIFFERS: &str = "The request signature we calculated does not match the signature you provided. Check your key \
     and signing method.";

/// Fri, 24 May 2013 00:00:00 GMT, the time of every published example.
fn example_time() -> SystemTime {
    UNIX_EPOCH + Duration::from_hours(380_376)
}

fn verifier(hosts: &[&str]) -> Verifier {
    Verifier::new("us-east-1".to_owned(), hosts.iter().map(ToString::to_string).collect())
}

fn identities() -> IdentitySet {
    let allow = "allow: [{ actions: [read], resources: ['**'] }]";
    let text = format!(
        "identities:\n\
         - {{ name: example, access_key: {KEY}, secret_key: {SECRET}, {allow} }}\n\
         - {{ name: temporary, access_key: ASIAEXAMPLE, secret_key: s, session_token: our/token, {allow} }}\n"
    );
    IdentitySet::parse(&text).unwrap()
}

/// A request as received.
#[derive(Clone)]
struct Sent {
    method: Method,
    target: String,
    headers: HeaderMap,
    has_body: bool,
}

impl Sent {
    /// Parses a head in text, with lines ended by `
    /// `.
    fn new(head: &str) -> Self {
        let mut lines = head.lines();
        let (method, target) = lines.next().unwrap().split_once(' ').unwrap();
        let headers = lines.map(|line| {
            let (name, value) = line.split_once(": ").unwrap();
            (name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap())
        });
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name, value);
        }
        let method = method.parse().unwrap();
        Self { method, target: target.to_owned(), headers: map, has_body: false }
    }

    fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers.insert(name, value.parse().unwrap());
        self
    }

    fn without(mut self, name: &str) -> Self {
        self.headers.remove(name);
        self
    }

    fn with_body(mut self) -> Self {
        self.has_body = true;
        self
    }

    fn head(&self) -> RequestHead<'_> {
        RequestHead {
            method: &self.method,
            raw_target: self.target.as_bytes(),
            host: self.headers.get("host").map(|host| host.to_str().unwrap()),
            headers: &self.headers,
            has_body: self.has_body,
        }
    }

    fn parsed(&self) -> Result<Parsed, S3Error> {
        operation::parse(&self.head(), &HostNames::private(vec!["s3.amazonaws.com".to_owned()]))
    }

    fn verify_at(&self, now: SystemTime) -> Result<Verified, S3Error> {
        let verified = verifier(&[]).verify(&identities(), &self.head(), &self.parsed()?, now)?;
        Ok(verified.expect("it is signed"))
    }

    /// Returns the identity's name, or the error.
    fn verify(&self) -> Result<String, S3Error> {
        let verified = self.verify_at(example_time())?;
        Ok(verified.identity.name().to_owned())
    }

    #[track_caller]
    fn refused(&self) -> (u16, String, String) {
        told(&self.verify().unwrap_err())
    }
}

fn told(error: &S3Error) -> (u16, String, String) {
    (error.status.as_u16(), error.code.to_string(), error.message.to_string())
}

fn error(status: u16, code: &str, message: &str) -> (u16, String, String) {
    (status, code.to_owned(), message.to_owned())
}

fn malformed(problem: &str) -> (u16, String, String) {
    let message = format!("The authorization header is malformed; {problem}");
    error(400, "AuthorizationHeaderMalformed", &message)
}

/// Returns the published GET with a range.
fn published_get() -> Sent {
    Sent::new(&format!(
        "GET /test.txt\nHost: examplebucket.s3.amazonaws.com\nRange: bytes=0-9\n\
         x-amz-content-sha256: {EMPTY_SHA256}\nx-amz-date: 20130524T000000Z\n\
         Authorization: AWS4-HMAC-SHA256 Credential={KEY}/{SCOPE},\
         SignedHeaders=host;range;x-amz-content-sha256;x-amz-date,\
         Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
    ))
}

fn published_presigned() -> Sent {
    Sent::new(&format!(
        "GET /test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={KEY}%2F20130524%2Fus-east-1%2Fs3\
         %2Faws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host\
         &X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404\n\
         Host: examplebucket.s3.amazonaws.com"
    ))
}

/// Signs all headers but `unsigned`, in the header form.
fn sign(mut sent: Sent, payload: Payload<'_>) -> Sent {
    let credentials = Credentials::new(KEY.to_owned(), SECRET.into(), None).unwrap();
    let signer = Signer::new(Arc::new(credentials), "us-east-1");
    let (path, query) = sent.target.split_once('?').unwrap_or((&sent.target, ""));
    let query = Query::parse(query).unwrap();
    let path = path.to_owned();
    signer.sign(&sent.method, &path, &query, &mut sent.headers, payload, example_time());
    sent
}

/// Presigns with the given headers signed.
fn presign(sent: Sent, key: &str, secret: &str, more: &str, headers: &str) -> Sent {
    let separator = if sent.target.contains('?') { '&' } else { '?' };
    let target = format!(
        "{}{separator}X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={key}%2F{}&X-Amz-Date=20130524T000000Z\
         &X-Amz-SignedHeaders={}{more}",
        sent.target,
        SCOPE.replace('/', "%2F"),
        headers.replace(';', "%3B")
    );
    let (path, query) = target.split_once('?').unwrap();
    let query = Query::parse(query).unwrap();
    let request = CanonicalRequest {
        method: &sent.method,
        encoded_path: path,
        query: &query,
        host: None,
        headers: &sent.headers,
        signed_headers: headers,
    };
    let to_sign =
        string_to_sign("20130524T000000Z", SCOPE, &request.to_bytes("UNSIGNED-PAYLOAD").unwrap());
    let credentials = Credentials::new(key.to_owned(), secret.into(), None).unwrap();
    let key = credentials.signing_key("20130524", "us-east-1");
    let tag = hmac::sign(&key.key, to_sign.as_bytes());
    let hex = crate::auth::sign::signature::hex(tag.as_ref());
    Sent { target: format!("{target}&X-Amz-Signature={hex}"), ..sent }
}

#[test]
fn a_session_token_is_compared_in_both_forms() {
    let get = || Sent::new("GET /bkt/k\nHost: s3.amazonaws.com");
    let token = "&X-Amz-Security-Token=our%2Ftoken";
    let sent = |more: &str, headers: &str, extra: Option<&str>| {
        let sent = match extra {
            Some(token) => get().with("x-amz-security-token", token),
            None => get(),
        };
        presign(sent, "ASIAEXAMPLE", "s", &format!("&X-Amz-Expires=60{more}"), headers)
    };
    assert_eq!(sent(token, "host", None).verify().unwrap(), "temporary");
    let in_header = sent("", "host;x-amz-security-token", Some("our/token"));
    assert_eq!(in_header.verify().unwrap(), "temporary");
    let invalid =
        error(400, "InvalidToken", "The provided token is malformed or otherwise invalid.");
    assert_eq!(sent("&X-Amz-Security-Token=their", "host", None).refused(), invalid);
    assert_eq!(sent("", "host", None).refused().1, "InvalidAccessKeyId");
    let unasked = presign(get(), KEY, SECRET, &format!("&X-Amz-Expires=60{token}"), "host");
    assert_eq!(unasked.refused(), invalid);
}

#[test]
fn r24_a_listed_host_may_have_been_signed_in_place_of_ours() {
    let sent = |host: &str, target: &str| {
        let signed = sign(Sent::new(&format!("GET {target}\nHost: {host}")), Payload::Unsigned);
        move |received: &str, aliases: &[&str]| {
            let sent = signed.clone().with("host", received);
            let parsed = sent.parsed().unwrap();
            let verifier = verifier(aliases);
            verifier.verify(&identities(), &sent.head(), &parsed, example_time()).is_ok()
        }
    };
    let path_style = sent("cache.example:9000", "/bkt/k");
    assert!(path_style("127.0.0.1:9001", &["other", "cache.example:9000"]));
    assert!(!path_style("127.0.0.1:9001", &["cache.example"]), "the port counts");
    assert!(!path_style("127.0.0.1:9001", &[]));
    let virtual_hosted = sent("bkt.cache.example", "/k");
    assert!(virtual_hosted("bkt.s3.amazonaws.com", &["cache.example"]));
    assert!(!virtual_hosted("other.s3.amazonaws.com", &["cache.example"]), "another bucket");
    // Bucket `k` by its path must not become key `k` of the bucket in the host.
    let root = sent("cache.example", "/kkk");
    assert!(root("127.0.0.1", &["cache.example"]));
    assert!(!root("bkt.s3.amazonaws.com", &["cache.example"]));
}

#[test]
fn a_body_that_is_said_to_be_there_and_is_not_is_a_mismatch() {
    let put = Sent::new("PUT /bkt/k\nHost: s3.amazonaws.com");
    let other = "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072";
    let sent = sign(put, Payload::Sha256Hex(other));
    let message = "The provided 'x-amz-content-sha256' header does not match what was computed.";
    assert_eq!(sent.refused(), error(400, "XAmzContentSHA256Mismatch", message));
    assert!(sent.with_body().verify().is_ok());
}

#[test]
fn a_body_is_held_back_until_its_hash_was_found_right() {
    let hash = unhex(b"44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072").unwrap();
    let push = |pieces: &[&'static str]| {
        let mut digester = Digester::new(hash);
        let mut out = Vec::new();
        for (index, piece) in pieces.iter().enumerate() {
            let end = index + 1 == pieces.len();
            match digester.push(piece.as_bytes().into(), end) {
                Ok(piece) => out.extend_from_slice(&piece),
                Err(error) => return (String::from_utf8(out).unwrap(), Some(error.code)),
            }
        }
        (String::from_utf8(out).unwrap(), None)
    };
    let whole = "Welcome to Amazon S3.".to_owned();
    for pieces in [
        &["Welcome to Amazon S3."][..],
        &["Welcome to Amazon S3.", ""],
        &["Welcome ", "to Amazon S3."],
        &["Welcome", " to Amazon", "", " S3.", "", ""],
    ] {
        assert_eq!(push(pieces), (whole.clone(), None), "{pieces:?}");
    }
    for pieces in [
        &["Welcome to Amazon S3!"][..],
        &["Welcome to Amazon S3!", ""],
        &["Welcome to ", "Amazon S3"],
        &["Welcome to Amazon S3.", "."],
        &[""],
    ] {
        let (out, code) = push(pieces);
        assert_eq!(code.as_deref(), Some("XAmzContentSHA256Mismatch"), "{pieces:?}");
        assert!(out.len() < pieces.concat().len() || out.is_empty(), "{out}");
    }
}
