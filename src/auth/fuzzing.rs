//! Properties of parsing before authentication, checked by a fuzzer and by a test: heads and bodies.
//!
//! Nothing may panic; no one is authenticated without a secret; and a signed body that was changed comes out as signed,
//! or incomplete.

use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::Credentials;
use super::chunked::{ChunkedEncoder, ChunkedError, Form, Incoming, Reframer};
use super::form::{Boundary, FormBody, HeadReader, Outgoing, Policy};
use super::identities::IdentitySet;
use super::sign::Signature;
use super::verify::Verifier;
use crate::s3::{BucketName, RequestHead, operation};

const DATE: &str = "20130524T000000Z";
const SCOPE: &str = "20130524/us-east-1/s3/aws4_request";
const CHECKSUM: HeaderName = HeaderName::from_static("x-amz-checksum-crc32c");
const DATA: &[u8] = b"some data in a few chunks";

/// Parses bytes as a target and headers, one a line; as an `Authorization` header; and as a presigned query.
///
/// # Panics
/// The request is authenticated.
pub fn any_head(bytes: &[u8]) {
    let mut lines = bytes.split(|&byte| byte == b'\n');
    let target = lines.next().unwrap_or_default();
    let headers: HeaderMap = lines.filter_map(header).collect();
    ask(target, &headers);

    let mut signed = dated();
    let authorization = [b"AWS4-HMAC-SHA256 Credential=AKEXAMPLE/", bytes].concat();
    if let Ok(value) = HeaderValue::from_bytes(&authorization) {
        signed.insert(http::header::AUTHORIZATION, value);
        ask(b"/bkt/k", &signed);
    }
    let query = format!(
        "/bkt/k?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKEXAMPLE%2F{}&X-Amz-Date={DATE}&",
        SCOPE.replace('/', "%2F")
    );
    ask(&[query.as_bytes(), bytes].concat(), &HeaderMap::new());
}

fn header(line: &[u8]) -> Option<(HeaderName, HeaderValue)> {
    let colon = line.iter().position(|&byte| byte == b':')?;
    let name = HeaderName::from_bytes(&line[..colon]).ok()?;
    Some((name, HeaderValue::from_bytes(&line[colon + 1..]).ok()?))
}

fn dated() -> HeaderMap {
    let pairs = [("x-amz-date", DATE), ("x-amz-content-sha256", "UNSIGNED-PAYLOAD")];
    let pairs =
        pairs.map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
    pairs.into_iter().collect()
}

fn identities() -> &'static IdentitySet {
    static IDENTITIES: OnceLock<IdentitySet> = OnceLock::new();
    IDENTITIES.get_or_init(|| {
        let allow = "allow: [{ actions: [read], resources: ['**'] }]";
        let text = format!(
            "identities: [{{ name: a, access_key: AKEXAMPLE, secret_key: no one knows it, {allow} }}]"
        );
        IdentitySet::parse(&text).expect("a right file")
    })
}

fn verifier() -> Verifier {
    Verifier::new("us-east-1".to_owned(), vec!["s3.local".to_owned()])
}

/// Returns the hour of [`DATE`].
fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_hours(380_376)
}

fn ask(target: &[u8], headers: &HeaderMap) {
    let head = RequestHead {
        method: &Method::GET,
        raw_target: target,
        host: Some("127.0.0.1"),
        headers,
        has_body: false,
    };
    let Ok(parsed) = operation::parse(&head, &crate::s3::HostNames::default()) else { return };
    let let_in = matches!(verifier().verify(identities(), &head, &parsed, now()), Ok(Some(_)));
    assert!(!let_in, "let in without a secret: {headers:?}");
}

/// Decodes bytes as an aws-chunked body, with and without verification of signatures.
///
/// # Panics
/// A body is complete with another length than it announced, or without a valid signature.
pub fn any_body(bytes: &[u8]) {
    let (length, body) = bytes.split_first().unwrap_or((&0, &[]));
    for (form, trailer) in [(Form::Raw, false), (Form::UnsignedTrailer, true)] {
        let (out, result) = push(reframer(form, u64::from(*length), trailer), body);
        if result.is_ok() && form == Form::Raw {
            assert_eq!(out.len(), usize::from(*length), "a body of another length");
        }
        let checked = reframer(form, u64::from(*length), trailer).verifying(seed(), trailer);
        let (_, result) = push(checked.expect("trailers as announced"), body);
        assert!(result.is_err(), "a body that nobody signed");
    }
}

/// Changes a signed body according to `edits`, four bytes per edit.
///
/// # Panics
/// A body that differs from the signed one comes out complete.
pub fn changed_body(edits: &[u8]) {
    for trailer in [false, true] {
        let form = if trailer { Form::SignedTrailer } else { Form::Signed };
        let mut body = signed(form).to_vec();
        for &[b0, b1, what, with] in edits.as_chunks::<4>().0 {
            if body.is_empty() {
                break;
            }
            let at = usize::from(u16::from_le_bytes([b0, b1])) % body.len();
            match what % 4 {
                0 => body[at] = with,
                1 => drop(body.remove(at)),
                2 => body.insert(at, with),
                _ => body.truncate(at),
            }
        }
        let out_form = if trailer { Form::UnsignedTrailer } else { Form::Raw };
        let reframer = reframer(out_form, DATA.len() as u64, trailer);
        let (out, result) = push(reframer.verifying(seed(), trailer).expect("as announced"), &body);
        let same = out.windows(DATA.len()).any(|window| window == DATA);
        assert!(result.is_err() || same, "not what was signed: {out:?}");
    }
}

/// Parses bytes as the body of a form between boundaries of `b`.
///
/// # Panics
/// A form is authenticated, or the output differs from the parsed fields and file, or from the announced length.
pub fn any_form(bytes: &[u8]) {
    let boundary = Boundary::new("b").expect("a legal boundary");
    let mut reader = HeadReader::new(&boundary);
    let mut pieces = pieces(bytes);
    let form = loop {
        match pieces.next().map(|piece| reader.push(&piece)) {
            None | Some(Err(_)) => return,
            Some(Ok(None)) => {}
            Some(Ok(Some(form))) => break form,
        }
    };
    let signed = verifier().verify_form(identities(), &form.fields, now());
    assert!(!matches!(signed, Ok(Some(_))), "let in without a secret: {form:?}");
    let bucket = BucketName::new("bkt").expect("a legal name");
    if let Some(policy) = form.fields.get("policy") {
        let _ = Policy::parse(policy).map(|policy| policy.check(&bucket, &form.fields, now()));
    }

    let out = Outgoing::new(&form, &bucket, None, None, now());
    let Some(promised) = out.length(&form, &boundary, bytes.len() as u64) else { return };
    let headers = HeaderMap::from_iter([(http::header::CONTENT_TYPE, out.content_type())]);
    let mut body = FormBody::new(&boundary, &form.rest, None, out);
    let mut sent = Vec::new();
    let rest: Vec<Bytes> = pieces.collect();
    for (index, piece) in rest.iter().chain([&Bytes::new()]).enumerate() {
        match body.push(piece, index == rest.len()) {
            Ok(part) => sent.extend_from_slice(&part),
            Err(_) => return,
        }
    }
    assert_eq!(sent.len() as u64, promised);
    let ours = Boundary::of(&headers).expect("our own boundary");
    let read = HeadReader::new(&ours).push(&sent).expect("a form").expect("with a file");
    for field in read.fields.iter() {
        assert_eq!(form.fields.get(&field.known_as), Some(&*field.value), "{}", field.name);
    }
    let dropped = form.fields.iter().filter(|field| read.fields.get(&field.known_as).is_none());
    assert_eq!(form.fields.iter().count(), read.fields.iter().count() + dropped.count());
    let file = memchr::memmem::find(&read.rest, b"\r\n--hotset-").expect("its end");
    assert!(bytes[form.length..].starts_with(&read.rest[..file]), "another file: {sent:?}");
}

fn seed() -> Signature {
    let credentials = Credentials::new("AK".to_owned(), "secret".into(), None).expect("legal");
    let key = credentials.signing_key("20130524", "us-east-1");
    Signature::new("0".repeat(64), DATE.to_owned(), SCOPE.to_owned(), key)
}

fn reframer(form: Form, decoded_length: u64, trailer: bool) -> Reframer {
    let trailer_names = if trailer { vec![CHECKSUM] } else { Vec::new() };
    let encoder = ChunkedEncoder::new(form, seed());
    Reframer::new(encoder, Incoming { decoded_length, trailer_names })
        .expect("trailers as announced")
}

/// Returns [`DATA`] in one signed chunk and the last one.
fn signed(form: Form) -> Bytes {
    let mut encoder = ChunkedEncoder::new(form, seed());
    let mut out = Vec::new();
    encoder.write(Bytes::from_static(DATA), &mut out);
    encoder.finish(&[(CHECKSUM, HeaderValue::from_static("sOO8/Q=="))], &mut out);
    out.concat().into()
}

/// Cuts a body into pieces whose lengths depend on its bytes.
fn pieces(body: &[u8]) -> impl Iterator<Item = Bytes> + use<> {
    let mut rest = Bytes::copy_from_slice(body);
    std::iter::from_fn(move || {
        let length = 1 + usize::from(*rest.first()?) / 4;
        Some(rest.split_to(length.min(rest.len())))
    })
}

/// Pushes a body in such pieces.
fn push(mut reframer: Reframer, body: &[u8]) -> (Vec<u8>, Result<(), ChunkedError>) {
    let mut out = Vec::new();
    let mut pieces = pieces(body).peekable();
    loop {
        let piece = pieces.next().unwrap_or_default();
        let end = pieces.peek().is_none();
        match reframer.push(piece, end) {
            Ok(framed) => out.extend_from_slice(&framed),
            Err(error) => return (out, Err(error)),
        }
        if end {
            return (out, Ok(()));
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{Rng as _, RngCore as _, SeedableRng as _};

    use super::*;

    /// Returns random bytes, interspersed with meaningful words.
    fn any_text(seed: u64, words: &[&str]) -> Vec<u8> {
        let mut random = StdRng::seed_from_u64(seed);
        let mut text = Vec::new();
        for _ in 0..random.gen_range(0..12) {
            match random.gen_bool(0.8) {
                true => text.extend(words[random.gen_range(0..words.len())].bytes()),
                false => text.push(random.r#gen()),
            }
        }
        text
    }

    #[test]
    fn any_head_is_refused() {
        let words = [
            "/bkt/k",
            "?",
            "&",
            "=",
            "\n",
            ":",
            ",",
            ";",
            "/",
            "%2F",
            " ",
            SCOPE,
            DATE,
            "host",
            "authorization:AWS4-HMAC-SHA256 ",
            "Credential=AKEXAMPLE/",
            "SignedHeaders=host",
            "Signature=",
            "X-Amz-Signature=",
            "X-Amz-Algorithm=AWS4-HMAC-SHA256",
            "X-Amz-Expires=60",
            "X-Amz-SignedHeaders=host",
            "0000000000000000000000000000000000000000000000000000000000000000",
            "x-amz-date:",
            "x-amz-content-sha256:",
        ];
        for seed in 0..5000 {
            any_head(&any_text(seed, &words));
        }
        let mostly_right = format!(
            "{SCOPE}, SignedHeaders=host;x-amz-content-sha256;x-amz-date, Signature={}",
            "0".repeat(64)
        );
        any_head(mostly_right.as_bytes());
    }

    #[test]
    fn any_body_is_refused_or_has_its_length() {
        let words = [
            "\u{2}",
            "2",
            "0",
            "\r\n",
            ";chunk-signature=",
            "ab",
            "ffffffffffffffff",
            "x-amz-checksum-crc32c:",
            "sOO8/Q==",
            "x-amz-trailer-signature:",
            "\n",
            "0000000000000000000000000000000000000000000000000000000000000000",
        ];
        for seed in 0..5000 {
            any_body(&any_text(seed, &words));
        }
        any_body(b"\x022\r\nab\r\n0\r\n\r\n");
    }

    #[test]
    fn any_form_goes_out_as_it_was_read_or_not_at_all() {
        let file = "Content-Disposition: form-data; name=\"file\"; filename=\"a/f\"\r\n\r\n";
        let words = [
            "--b\r\n",
            "\r\n--b\r\n",
            "\r\n--b--",
            "\r\n",
            "--b",
            "--",
            "Content-Disposition: form-data; name=\"key\"\r\n\r\n",
            "Content-Disposition: form-data; name=x-ignore-a\r\n\r\n",
            "Content-Disposition: form-data; name=Policy\r\n\r\n",
            "eyJleHBpcmF0aW9uIjoiMjAyMC0wMS0wMVQwMDowMDowMFoiLCJjb25kaXRpb25zIjpbXX0=",
            "Content-Type: text/plain\r\n",
            "k",
            "${filename}",
            "\"",
            file,
            file,
        ];
        let mut seen = 0;
        for seed in 0..5000 {
            let text = any_text(seed, &words);
            any_form(&text);
            // Most of what is random is no form.
            let field = "--b\r\nContent-Disposition: form-data; name=\"key\"\r\n\r\n";
            let like =
                [field.as_bytes(), &text, b"\r\n--b\r\n", file.as_bytes(), &text, b"\r\n--b--"];
            let like = like.concat();
            seen += usize::from(HeadReader::new(&Boundary::new("b").unwrap()).push(&like).is_ok());
            any_form(&like);
        }
        assert!(seen > 1000, "{seen} were forms");
    }

    #[test]
    fn a_signed_body_that_is_changed_is_refused_or_says_the_same() {
        changed_body(&[]);
        for seed in 0..3000 {
            let mut random = StdRng::seed_from_u64(seed);
            let mut edits = vec![0; 4 * random.gen_range(1..4)];
            random.fill_bytes(&mut edits);
            changed_body(&edits);
        }
    }
}
