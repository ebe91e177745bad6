//! Signature Version 4 of a client, written from the S3 API Reference and independent of hotset's code.
//!
//! A [`Signed`] is a request that is signed when it is serialized, as bytes on the wire, so that a test can change
//! any of them.

use ring::{digest, hmac};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub const UNSIGNED: &str = "UNSIGNED-PAYLOAD";
pub const SIGNED_CHUNKS: &str = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD";
pub const SIGNED_TRAILER: &str = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER";

/// A request under construction; every header except those of [`Signed::unsigned`] is signed.
#[derive(Clone, Debug)]
pub struct Signed {
    method: &'static str,
    path: String,
    /// Encoded name and value pairs.
    query: Vec<(String, String)>,
    /// Headers, with names in lower case.
    headers: Vec<(String, String)>,
    unsigned: Vec<(String, String)>,
    body: Vec<u8>,
    payload: String,
    access_key: String,
    secret_key: String,
    region: String,
    time: SystemTime,
}

impl Signed {
    /// Makes a request to `host`; `target` is encoded as it is sent, and signed.
    #[must_use]
    pub fn new(method: &'static str, target: &str, host: SocketAddr) -> Signed {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let pair = |pair: &str| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (name.to_owned(), value.to_owned())
        };
        Signed {
            method,
            path: path.to_owned(),
            query: query.split('&').filter(|text| !text.is_empty()).map(pair).collect(),
            headers: vec![("host".to_owned(), host.to_string())],
            unsigned: Vec::new(),
            body: Vec::new(),
            payload: sha256(b""),
            access_key: "AKWRITER".to_owned(),
            secret_key: "writers-secret".to_owned(),
            region: "us-east-1".to_owned(),
            time: SystemTime::now(),
        }
    }

    #[must_use]
    pub fn keys(self, access_key: &str, secret_key: &str) -> Signed {
        Signed { access_key: access_key.to_owned(), secret_key: secret_key.to_owned(), ..self }
    }

    /// Adds or replaces a signed header; `name` in lower case.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Signed {
        self.headers.retain(|(known, _)| known != name);
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Adds a header that is not signed.
    #[must_use]
    pub fn unsigned(mut self, name: &str, value: &str) -> Signed {
        self.unsigned.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sends this body, signed by its hash.
    #[must_use]
    pub fn body(self, body: &[u8]) -> Signed {
        Signed { body: body.to_vec(), payload: sha256(body), ..self }
    }

    /// Sets `x-amz-content-sha256`, the claim about the body.
    #[must_use]
    pub fn payload(self, payload: &str) -> Signed {
        Signed { payload: payload.to_owned(), ..self }
    }

    #[must_use]
    pub fn region(self, region: &str) -> Signed {
        Signed { region: region.to_owned(), ..self }
    }

    /// Signs with a time this many seconds from now.
    #[must_use]
    pub fn seconds_from_now(self, seconds: i64) -> Signed {
        let shift = Duration::from_secs(seconds.unsigned_abs());
        let time = if seconds < 0 { self.time - shift } else { self.time + shift };
        Signed { time, ..self }
    }

    /// Returns the request with its signature in the `Authorization` header.
    #[must_use]
    pub fn wire(&self) -> Vec<u8> {
        let request = self.dated();
        let (authorization, _) = request.authorization();
        request.write(&[("authorization", &authorization)])
    }

    /// Returns the request with a body in chunks of `size` bytes, each signed, and (with [`SIGNED_TRAILER`]) a signed
    /// checksum trailer that nobody compares with the data.
    #[must_use]
    pub fn wire_chunked(&self, data: &[u8], size: usize) -> Vec<u8> {
        let mut request = self.clone().header("content-encoding", "aws-chunked");
        request = request.header("x-amz-decoded-content-length", &data.len().to_string());
        let trailer = self.payload == SIGNED_TRAILER;
        if trailer {
            request = request.header("x-amz-trailer", "x-amz-checksum-crc32c");
        }
        let mut request = request.dated();
        let (authorization, mut previous) = request.authorization();
        let mut sign = |kind: &str, hashes: &str| {
            let text = format!(
                "AWS4-HMAC-SHA256-{kind}\n{}\n{}\n{previous}\n{hashes}",
                request.amz_date(),
                request.scope()
            );
            previous = request.sign(&text);
            previous.clone()
        };
        let mut body = Vec::new();
        for chunk in data.chunks(size).chain([&b""[..]]) {
            let signature = sign("PAYLOAD", &format!("{}\n{}", sha256(b""), sha256(chunk)));
            body.extend(format!("{:x};chunk-signature={signature}\r\n", chunk.len()).bytes());
            body.extend(chunk);
            if !chunk.is_empty() {
                body.extend(b"\r\n");
            }
        }
        if trailer {
            let signature = sign("TRAILER", &sha256(b"x-amz-checksum-crc32c:sOO8/Q==\n"));
            body.extend(b"x-amz-checksum-crc32c:sOO8/Q==\r\n");
            body.extend(format!("x-amz-trailer-signature:{signature}\r\n").bytes());
        }
        body.extend(b"\r\n");
        request.body = body;
        request.write(&[("authorization", &authorization)])
    }

    /// Returns the request presigned for this many seconds; only the host is signed. The payload is not, unless an
    /// unsigned header names its hash.
    #[must_use]
    pub fn wire_presigned(&self, expires: i64) -> Vec<u8> {
        let mut request = self.clone();
        let credential = format!("{}/{}", request.access_key, request.scope()).replace('/', "%2F");
        for (name, value) in [
            ("X-Amz-Algorithm", "AWS4-HMAC-SHA256"),
            ("X-Amz-Credential", &credential),
            ("X-Amz-Date", &request.amz_date()),
            ("X-Amz-Expires", &expires.to_string()),
            ("X-Amz-SignedHeaders", &request.names().replace(';', "%3B")),
        ] {
            request.query.push((name.to_owned(), value.to_owned()));
        }
        if !request.has_unsigned_payload_hash() {
            UNSIGNED.clone_into(&mut request.payload);
        }
        let signature = request.signature();
        request.query.push(("X-Amz-Signature".to_owned(), signature));
        request.write(&[])
    }

    fn dated(&self) -> Signed {
        let request = self.clone().header("x-amz-date", &self.amz_date());
        match self.has_unsigned_payload_hash() {
            true => request,
            false => request.header("x-amz-content-sha256", &self.payload),
        }
    }

    fn has_unsigned_payload_hash(&self) -> bool {
        self.unsigned.iter().any(|(name, _)| name == "x-amz-content-sha256")
    }

    fn authorization(&self) -> (String, String) {
        let signature = self.signature();
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={}/{}, SignedHeaders={}, Signature={signature}",
            self.access_key,
            self.scope(),
            self.names()
        );
        (authorization, signature)
    }

    fn write(&self, more: &[(&str, &str)]) -> Vec<u8> {
        let pair = |(name, value): &(String, String)| match value.is_empty() {
            true => name.clone(),
            false => format!("{name}={value}"),
        };
        let query = self.query.iter().map(pair).collect::<Vec<_>>().join("&");
        let mark = if query.is_empty() { "" } else { "?" };
        let mut head = format!("{} {}{mark}{query} HTTP/1.1\r\n", self.method, self.path);
        for (name, value) in self.headers.iter().chain(&self.unsigned) {
            let _ = write!(head, "{name}: {value}\r\n");
        }
        for (name, value) in more {
            let _ = write!(head, "{name}: {value}\r\n");
        }
        if !self.body.is_empty() || self.method == "PUT" {
            let _ = write!(head, "content-length: {}\r\n", self.body.len());
        }
        [head.as_bytes(), b"\r\n", &self.body].concat()
    }

    fn names(&self) -> String {
        let mut names: Vec<&str> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        names.join(";")
    }

    fn signature(&self) -> String {
        let mut query = self.query.clone();
        query.sort();
        let query: Vec<String> =
            query.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let mut headers = self.headers.clone();
        headers.sort();
        let headers = headers.iter().fold(String::new(), |lines, (name, value)| {
            lines + &format!("{name}:{}\n", value.trim())
        });
        let canonical = format!(
            "{}\n{}\n{}\n{headers}\n{}\n{}",
            self.method,
            self.path,
            query.join("&"),
            self.names(),
            self.payload
        );
        let hash = sha256(canonical.as_bytes());
        self.sign(&format!("AWS4-HMAC-SHA256\n{}\n{}\n{hash}", self.amz_date(), self.scope()))
    }

    fn sign(&self, text: &str) -> String {
        signature_of(&self.secret_key, &self.amz_date(), &self.region, text)
    }

    fn scope(&self) -> String {
        format!("{}/{}/s3/aws4_request", &self.amz_date()[..8], self.region)
    }

    fn amz_date(&self) -> String {
        amz_date_of(self.time)
    }
}

/// Formats a time like `20250102T030405Z`, by way of an HTTP date.
#[must_use]
pub fn amz_date_of(time: SystemTime) -> String {
    const MONTHS: &str = "JanFebMarAprMayJunJulAugSepOctNovDec";
    let seconds = time.duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    let date = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(seconds));
    let month = MONTHS.find(&date[8..11]).expect("a month") / 3 + 1;
    let time = date[17..25].replace(':', "");
    format!("{}{month:02}{}T{time}Z", &date[12..16], &date[5..7])
}

/// Returns the signature of a text (a policy, or the string to sign of a request) as of `amz_date`, in hex.
#[must_use]
pub fn signature_of(secret: &str, amz_date: &str, region: &str, text: &str) -> String {
    let hmac = |key: &[u8], text: &str| {
        hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes())
    };
    let key = hmac(format!("AWS4{secret}").as_bytes(), &amz_date[..8]);
    let key = hmac(key.as_ref(), region);
    let key = hmac(hmac(key.as_ref(), "s3").as_ref(), "aws4_request");
    hex(hmac(key.as_ref(), text).as_ref())
}

/// Returns the SHA-256 digest, in hex.
#[must_use]
pub fn sha256(data: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, data).as_ref())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}
