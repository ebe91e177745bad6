//! The format of S3's server access logs (Amazon S3 User Guide, "Amazon S3 server access log format").
//!
//! Fields that S3 knows and hotset does not are `-`: the bucket's owner, the host id, the cipher, the access point.
//! The cache result, the rule and the origin's request id follow S3's own fields; readers must expect fields there.

use std::cell::Cell;
use std::time::SystemTime;

use http::header::{AUTHORIZATION, HOST, REFERER, USER_AGENT};
use http::{HeaderMap, HeaderValue};
use memchr::memmem;

use super::line::Line;
use crate::logging::text::{escaped, number, percent_encoded, public_target};

impl Line<'_> {
    /// Appends the line as S3 would write it.
    pub(super) fn s3(&self, now: SystemTime, out: &mut Vec<u8>) {
        let key = self.key.map(str::as_bytes);
        out.extend_from_slice(b"- ");
        encoded(out, self.bucket.map(str::as_bytes));
        out.extend_from_slice(b" [");
        date(out, now);
        out.extend_from_slice(b"] ");
        // An address without a port.
        let start = out.len();
        self.address(out);
        match memchr::memrchr(b':', &out[start..]) {
            Some(colon) => out.truncate(start + colon),
            None => out.push(b'-'),
        }
        if out[start] == b'[' {
            // Of an IPv6 address: brackets stand around the date.
            out.remove(start);
            out.pop();
        }
        out.push(b' ');
        encoded(out, self.identity.map(str::as_bytes));
        out.push(b' ');
        out.extend_from_slice(&self.request_id);
        out.push(b' ');
        for word in operation(self.operation, self.method) {
            out.extend_from_slice(word.as_bytes());
        }
        out.push(b' ');
        encoded(out, key);
        out.extend_from_slice(b" \"");
        out.extend_from_slice(self.method.as_bytes());
        out.push(b' ');
        public_target(self.target, |piece| escaped(out, piece));
        out.push(b' ');
        out.extend_from_slice(self.version.as_bytes());
        out.extend_from_slice(b"\" ");
        number(out, self.status.into());
        out.push(b' ');
        encoded(out, self.code.map(str::as_bytes));
        for amount in [(self.bytes > 0).then_some(self.bytes as u64), self.object_size] {
            out.push(b' ');
            match amount {
                Some(amount) => number(out, amount),
                None => out.push(b'-'),
            }
        }
        for time in [self.duration, self.first_byte] {
            out.push(b' ');
            number(out, u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
        }
        for name in [REFERER, USER_AGENT] {
            out.extend_from_slice(b" \"");
            escaped(out, self.headers.get(name).map_or(b"-", HeaderValue::as_bytes));
            out.push(b'"');
        }
        out.push(b' ');
        encoded(out, version_id(self.target));
        let (signature, kind) = authentication(self.headers, self.target);
        for word in ["-", signature, "-", kind] {
            out.push(b' ');
            out.extend_from_slice(word.as_bytes());
        }
        out.push(b' ');
        encoded(out, self.headers.get(HOST).map(HeaderValue::as_bytes));
        // TLS version, access point, ACL required; then our own.
        out.extend_from_slice(b" - - - ");
        out.extend_from_slice(self.cache.as_bytes());
        for word in [self.rule, self.origin_request_id] {
            out.push(b' ');
            encoded(out, word.map(str::as_bytes));
        }
        out.push(b'\n');
    }
}

/// Appends an unquoted field, percent-encoded so that it is one word.
fn encoded(out: &mut Vec<u8>, field: Option<&[u8]>) {
    match field {
        Some(field) if !field.is_empty() => percent_encoded(out, field),
        _ => out.push(b'-'),
    }
}

/// Appends the time as `06/Feb/2019:00:00:38 +0000`; each thread formats it once a second.
fn date(out: &mut Vec<u8>, now: SystemTime) {
    const LENGTH: usize = "06/Feb/2019:00:00:38 +0000".len();
    thread_local! {
        static LAST: Cell<(u64, [u8; LENGTH])> = const { Cell::new((u64::MAX, [b'-'; LENGTH])) };
    }
    let second = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (made, mut date) = LAST.get();
    if made != second {
        let text = chrono::DateTime::<chrono::Utc>::from(now).format("%d/%b/%Y:%H:%M:%S +0000");
        date = text.to_string().as_bytes().try_into().unwrap_or(date);
        LAST.set((second, date));
    }
    out.extend_from_slice(&date);
}

/// Returns S3's log name of an operation, such as `REST.GET.OBJECT`, in four pieces.
fn operation<'a>(name: &'a str, method: &'a str) -> [&'a str; 4] {
    let resource = match name {
        "CopyObject" => return ["REST.", "COPY", ".", "OBJECT"],
        "UploadPartCopy" => return ["REST.", "COPY", ".", "PART"],
        "GetObject" | "HeadObject" | "PutObject" | "DeleteObject" | "PostObject" => "OBJECT",
        "GetObjectAttributes" => "OBJECT_ATTRIBUTES",
        "GetObjectTagging" | "PutObjectTagging" | "DeleteObjectTagging" => "OBJECT_TAGGING",
        "GetObjectAcl" | "PutObjectAcl" => "ACL",
        "GetObjectRetention" | "PutObjectRetention" => "OBJECT_LOCK_RETENTION",
        "GetObjectLegalHold" | "PutObjectLegalHold" => "OBJECT_LOCK_LEGALHOLD",
        "GetObjectTorrent" => "TORRENT",
        "SelectObjectContent" => "SELECT",
        "RestoreObject" => "RESTORE",
        "DeleteObjects" => "MULTI_OBJECT_DELETE",
        "CreateMultipartUpload" | "ListMultipartUploads" => "UPLOADS",
        "UploadPart" => "PART",
        "CompleteMultipartUpload" | "AbortMultipartUpload" | "ListParts" => "UPLOAD",
        "ListObjects" | "ListObjectsV2" | "HeadBucket" | "CreateBucket" | "DeleteBucket" => {
            "BUCKET"
        }
        "ListObjectVersions" => "BUCKETVERSIONS",
        "ListBuckets" => "SERVICE",
        "GetBucketLocation" => "LOCATION",
        "Options" => "PREFLIGHT",
        other => other,
    };
    ["REST.", method, ".", resource]
}

/// Returns the value of `versionId` in a request target.
fn version_id(target: &[u8]) -> Option<&[u8]> {
    let query = &target[memchr::memchr(b'?', target)? + 1..];
    query.split(|byte| *byte == b'&').find_map(|pair| pair.strip_prefix(b"versionId="))
}

/// Returns the signature version and the authentication type: header or query string.
fn authentication(headers: &HeaderMap, target: &[u8]) -> (&'static str, &'static str) {
    let header = headers.get(AUTHORIZATION).map(HeaderValue::as_bytes);
    match header {
        Some(header) if header.starts_with(b"AWS4-") => ("SigV4", "AuthHeader"),
        Some(header) if header.starts_with(b"AWS ") => ("SigV2", "AuthHeader"),
        _ if memmem::find(target, b"X-Amz-Signature=").is_some() => ("SigV4", "QueryString"),
        _ if memmem::find(target, b"Signature=").is_some() => ("SigV2", "QueryString"),
        _ => ("-", "-"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::access_log::line::tests::{HOSTILE, line};

    fn shown(line: &Line<'_>) -> String {
        let mut out = Vec::new();
        line.s3(SystemTime::UNIX_EPOCH, &mut out);
        String::from_utf8(out).unwrap()
    }

    /// Splits a line into fields as readers of these logs do: words, or text in brackets or quotes.
    fn fields(line: &str) -> Vec<String> {
        let pattern = [('[', ']'), ('"', '"')];
        let (mut fields, mut rest) = (Vec::new(), line.trim_end_matches('\n'));
        while !rest.is_empty() {
            let first = rest.chars().next().unwrap();
            let (field, after) = match pattern.iter().find(|(open, _)| *open == first) {
                Some((_, close)) => rest[1..].split_once(*close).unwrap(),
                None => rest
                    .split_once(' ')
                    .map_or((rest, ""), |(field, _)| (field, &rest[field.len()..])),
            };
            fields.push(field.to_owned());
            rest = after.trim_start_matches(' ');
        }
        fields
    }

    #[test]
    fn a_line_has_the_fields_of_s3_in_their_order() {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, "AWS4-HMAC-SHA256 Credential=A/b".parse().unwrap());
        headers.insert(HOST, "s3.local:9000".parse().unwrap());
        headers.insert(USER_AGENT, "aws-cli/2 \"x\"".parse().unwrap());
        let mut line = line(b"/data/a%20b?versionId=v1", &headers, None);
        (line.bucket, line.key, line.code) = (Some("data"), Some("a b"), Some("NoSuchKey"));
        (line.object_size, line.rule) = (Some(9000), Some("data/**"));
        line.identity = Some("some one");
        let expected = [
            "-",
            "data",
            "01/Jan/1970:00:00:00 +0000",
            "192.0.2.1",
            "some%20one",
            "00000000000000AF",
            "REST.GET.OBJECT",
            "a%20b",
            "GET /data/a%20b?versionId=v1 HTTP/1.1",
            "200",
            "NoSuchKey",
            "4096",
            "9000",
            "1000",
            "0",
            "-",
            "aws-cli/2 \\x22x\\x22",
            "v1",
            "-",
            "SigV4",
            "-",
            "AuthHeader",
            "s3.local%3A9000",
            "-",
            "-",
            "-",
            "hit",
            "data/%2A%2A",
            "-",
        ];
        assert_eq!(fields(&shown(&line)), expected);
    }

    #[test]
    fn hostile_text_makes_no_field_and_no_line_of_its_own() {
        let mut headers = HeaderMap::new();
        headers.insert(USER_AGENT, HeaderValue::from_bytes(b"a\" \"b\\\xff").unwrap());
        let hostile = String::from_utf8_lossy(HOSTILE).into_owned();
        let mut line = line(HOSTILE, &headers, None);
        (line.bucket, line.key) = (Some("data"), Some(&*hostile));
        (line.identity, line.code) = (Some("\n- \""), Some(" x\r\n"));
        line.client = Some(&"[2001:db8::1]:443");
        assert_eq!(fields(&shown(&line))[3], "2001:db8::1");
        line.client = None;
        let text = shown(&line);
        assert_eq!(text.matches('\n').count(), 1, "{text}");
        assert!(text.is_ascii() && !text.trim_end().contains(|c: char| c.is_control()), "{text}");
        let fields = fields(&text);
        assert_eq!(fields.len(), 29, "{fields:?}");
        assert_eq!((fields[3].as_str(), fields[9].as_str()), ("-", "200"));
    }

    #[test]
    fn operations_have_the_names_of_s3() {
        for (name, method, expected) in [
            ("HeadObject", "HEAD", "REST.HEAD.OBJECT"),
            ("CopyObject", "PUT", "REST.COPY.OBJECT"),
            ("ListObjectsV2", "GET", "REST.GET.BUCKET"),
            ("DeleteObjects", "POST", "REST.POST.MULTI_OBJECT_DELETE"),
            ("CompleteMultipartUpload", "POST", "REST.POST.UPLOAD"),
            ("ListBuckets", "GET", "REST.GET.SERVICE"),
            ("other", "GET", "REST.GET.other"),
        ] {
            assert_eq!(operation(name, method).concat(), expected);
        }
    }
}
