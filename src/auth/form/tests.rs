//! Tests of a form from the client's bytes to the origin's.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::*;
use crate::auth::verify::Verifier;
use crate::auth::{Credentials, IdentitySet, Signer};
use crate::s3::{BucketName, S3Error};

/// Amazon's example of a form, whose policy has CRLF at the end of each line: "Example: Browser-Based Upload using
/// HTTP POST (Using AWS Signature Version 4)".
pub(in crate::auth) const EXAMPLE_SIGNATURE: &str =
    "8afdbf4008c03f22c2cd3cdb72e4afbb1f6a588f3255ac628749a66d7f09699e";
const EXAMPLE_POLICY: &str = "\
eyAiZXhwaXJhdGlvbiI6ICIyMDE1LTEyLTMwVDEyOjAwOjAwLjAwMFoiLA0KICAiY29uZGl0aW9ucyI6IFsNCiAgICB7ImJ1Y2tldCI6ICJzaWd2NGV4\
YW1wbGVidWNrZXQifSwNCiAgICBbInN0YXJ0cy13aXRoIiwgIiRrZXkiLCAidXNlci91c2VyMS8iXSwNCiAgICB7ImFjbCI6ICJwdWJsaWMtcmVhZCJ9\
LA0KICAgIHsic3VjY2Vzc19hY3Rpb25fcmVkaXJlY3QiOiAiaHR0cDovL3NpZ3Y0ZXhhbXBsZWJ1Y2tldC5zMy5hbWF6b25hd3MuY29tL3N1Y2Nlc3Nm\
dWxfdXBsb2FkLmh0bWwifSwNCiAgICBbInN0YXJ0cy13aXRoIiwgIiRDb250ZW50LVR5cGUiLCAiaW1hZ2UvIl0sDQogICAgeyJ4LWFtei1tZXRhLXV1\
aWQiOiAiMTQzNjUxMjM2NTEyNzQifSwNCiAgICB7IngtYW16LXNlcnZlci1zaWRlLWVuY3J5cHRpb24iOiAiQUVTMjU2In0sDQogICAgWyJzdGFydHMt\
d2l0aCIsICIkeC1hbXotbWV0YS10YWciLCAiIl0sDQoNCiAgICB7IngtYW16LWNyZWRlbnRpYWwiOiAiQUtJQUlPU0ZPRE5ON0VYQU1QTEUvMjAxNTEy\
MjkvdXMtZWFzdC0xL3MzL2F3czRfcmVxdWVzdCJ9LA0KICAgIHsieC1hbXotYWxnb3JpdGhtIjogIkFXUzQtSE1BQy1TSEEyNTYifSwNCiAgICB7Ingt\
YW16LWRhdGUiOiAiMjAxNTEyMjlUMDAwMDAwWiIgfQ0KICBdDQp9";

/// 2015-12-29T06:00:00Z.
fn example_time() -> SystemTime {
    UNIX_EPOCH + Duration::from_hours(403_158)
}

fn example() -> Vec<(&'static str, &'static str)> {
    vec![
        ("key", "user/user1/${filename}"),
        ("acl", "public-read"),
        (
            "success_action_redirect",
            "http://sigv4examplebucket.s3.amazonaws.com/successful_upload.html",
        ),
        ("Content-Type", "image/jpeg"),
        ("x-amz-meta-uuid", "14365123651274"),
        ("x-amz-server-side-encryption", "AES256"),
        ("X-Amz-Credential", "AKIAIOSFODNN7EXAMPLE/20151229/us-east-1/s3/aws4_request"),
        ("X-Amz-Algorithm", "AWS4-HMAC-SHA256"),
        ("X-Amz-Date", "20151229T000000Z"),
        ("x-amz-meta-tag", ""),
        ("Policy", EXAMPLE_POLICY),
        ("X-Amz-Signature", EXAMPLE_SIGNATURE),
    ]
}

fn identities(token: &str) -> IdentitySet {
    let keys = format!(
        "access_key: AKIAIOSFODNN7EXAMPLE, secret_key: wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY{token}"
    );
    let allow = "allow: [{ actions: [write], resources: ['**'] }]";
    IdentitySet::parse(&format!("identities: [{{ name: a, {keys}, {allow} }}]")).unwrap()
}

fn head_of(body: &[u8], boundary: &Boundary) -> FormHead {
    HeadReader::new(boundary).push(body).unwrap().expect("a whole head")
}

/// Returns a form with these fields and the start of a file.
fn form(fields: &[(&str, &str)]) -> FormHead {
    let mut body = String::new();
    for (name, value) in fields {
        let disposition = format!("Content-Disposition: form-data; name=\"{name}\"");
        let _ = write!(body, "--b\r\n{disposition}\r\n\r\n{value}\r\n");
    }
    body += "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"MyPhoto.jpg\"\r\n";
    body += "Content-Type: image/jpeg\r\n\r\n";
    head_of(body.as_bytes(), &Boundary::new("b").unwrap())
}

/// Returns the error code for a form signed with the example's key; empty: it is allowed.
fn verified(fields: &[(&str, &str)], token: &str, now: SystemTime) -> String {
    let verifier = Verifier::new("us-east-1".to_owned(), Vec::new());
    let form = form(fields);
    let bucket = BucketName::new("sigv4examplebucket").unwrap();
    let check = || -> Result<(), S3Error> {
        let signed = verifier.verify_form(&identities(token), &form.fields, now)?;
        let (_, policy) = signed.ok_or_else(|| S3Error::invalid_request("not signed"))?;
        Policy::parse(policy)?.check(&bucket, &form.fields, now).map(drop)
    };
    check().err().map_or(String::new(), |error| error.code.into_owned())
}

#[test]
fn amazons_example_is_let_through() {
    assert_eq!(verified(&example(), "", example_time()), "");
}

/// Returns `example()` with another value of a field, or without it.
fn with(name: &str, value: Option<&'static str>) -> Vec<(&'static str, &'static str)> {
    let mut fields = example();
    let at = fields.iter().position(|(known, _)| known.eq_ignore_ascii_case(name)).unwrap();
    match value {
        Some(value) => fields[at].1 = value,
        None => drop(fields.remove(at)),
    }
    fields
}

#[test]
fn r21_a_form_that_is_not_signed_by_a_key_for_here_and_now_is_refused() {
    let scope = "20151229/us-east-1/s3/aws4_request";
    let credential = |text: String| with("x-amz-credential", Some(text.leak()));
    for (fields, code) in [
        (credential(format!("AKIAOTHER/{scope}")), "InvalidAccessKeyId"),
        (credential(format!("/{scope}")), "InvalidArgument"),
        (credential("AKIAIOSFODNN7EXAMPLE".to_owned()), "InvalidArgument"),
        (
            credential("AKIAIOSFODNN7EXAMPLE/20151229/eu-west-1/s3/aws4_request".to_owned()),
            "InvalidArgument",
        ),
        (
            credential("AKIAIOSFODNN7EXAMPLE/20151228/us-east-1/s3/aws4_request".to_owned()),
            "InvalidArgument",
        ),
        (
            credential("AKIAIOSFODNN7EXAMPLE/20151229/us-east-1/sqs/aws4_request".to_owned()),
            "InvalidArgument",
        ),
        (with("x-amz-date", Some("2015-12-29")), "InvalidArgument"),
        (with("x-amz-algorithm", Some("AWS4-ECDSA-P256-SHA256")), "InvalidRequest"),
        (with("x-amz-algorithm", Some("HMAC")), "InvalidArgument"),
        (with("x-amz-signature", Some("")), "SignatureDoesNotMatch"),
        (with("x-amz-signature", Some("8AFD")), "SignatureDoesNotMatch"),
        (with("policy", Some("e30=")), "SignatureDoesNotMatch"),
        (with("policy", None), "InvalidArgument"),
        (with("x-amz-signature", None), "InvalidArgument"),
        (with("x-amz-algorithm", None), "InvalidArgument"),
        (with("x-amz-credential", None), "InvalidArgument"),
        (with("x-amz-date", None), "InvalidArgument"),
        (
            vec![("key", "k"), ("AWSAccessKeyId", "AK"), ("policy", "p"), ("signature", "s")],
            "InvalidRequest",
        ),
        // Signed and inside the time, but not what the policy allows.
        (with("acl", Some("private")), "AccessDenied"),
        (with("key", Some("user/user2/k")), "AccessDenied"),
        (with("x-amz-meta-tag", None), "AccessDenied"),
    ] {
        assert_eq!(verified(&fields, "", example_time()), code, "{fields:?}");
    }
    let hours = |hours: i64| match hours {
        ..0 => example_time() - Duration::from_hours(hours.unsigned_abs()),
        _ => example_time() + Duration::from_hours(hours.unsigned_abs()),
    };
    assert_eq!(verified(&example(), "", hours(-7)), "AccessDenied", "not valid yet");
    assert_eq!(verified(&example(), "", hours(30)), "AccessDenied", "its policy has ended");
    assert_eq!(verified(&example(), "", hours(24 * 8)), "AccessDenied");
    assert_eq!(verified(&[("key", "k")], "", example_time()), "InvalidRequest", "not signed");
}

#[test]
fn r21_the_token_of_temporary_keys_is_needed() {
    let token = ", session_token: token/1";
    assert_eq!(verified(&example(), token, example_time()), "InvalidAccessKeyId");
    let with_token = |value| [example(), vec![("x-amz-security-token", value)]].concat();
    assert_eq!(verified(&with_token("token/2"), token, example_time()), "InvalidToken");
    assert_eq!(verified(&with_token("token/1"), "", example_time()), "InvalidToken");
    // The token is a field like any other: the example's policy does not name it.
    assert_eq!(verified(&with_token("token/1"), token, example_time()), "AccessDenied");
}

#[test]
fn r21_any_one_byte_changed_in_policy_signature_or_credential_is_refused() {
    for name in ["Policy", "X-Amz-Signature", "X-Amz-Credential", "X-Amz-Date", "X-Amz-Algorithm"] {
        let at = example().iter().position(|(known, _)| *known == name).unwrap();
        let value = example()[at].1;
        for place in 0..value.len() {
            for flip in [0x01, 0x02, 0x20] {
                let mut changed = value.as_bytes().to_vec();
                changed[place] ^= flip;
                let Ok(changed) = String::from_utf8(changed) else { continue };
                let mut fields: Vec<(&str, &str)> = example();
                fields[at].1 = &changed;
                let code = verified(&fields, "", example_time());
                assert_ne!(code, "", "{name}, byte {place}: {changed}");
            }
        }
    }
}

fn signer(token: Option<&str>) -> Signer {
    let keys = Credentials::new("AKORIGIN".into(), "origins".into(), token.map(Into::into));
    Signer::new(Arc::new(keys.unwrap()), "eu-west-1")
}

fn shown(form: &FormHead) -> Vec<String> {
    form.fields.iter().map(|field| format!("{}={}", field.name, field.value)).collect()
}

#[test]
fn the_form_that_goes_out_is_the_same_and_signed_by_us() {
    let bucket = BucketName::new("bkt").unwrap();
    let mut fields = example();
    fields.extend([
        ("bucket", "bkt"),
        ("x-ignore-a", "b"),
        ("X-Amz-Meta-Price", "5$$ or \u{fc}\r\n"),
    ]);
    let size = Some(SizeRange { min: 1, max: 9 });
    let now = example_time();
    let out = Outgoing::new(&form(&fields), &bucket, size, Some(&signer(Some("tok"))), now);
    let content_type = out.content_type();
    let boundary = content_type.to_str().unwrap().split_once("boundary=").unwrap().1;
    let read = head_of(&out.head, &Boundary::new(boundary).unwrap());
    assert!(read.rest.is_empty());
    assert_eq!(read.file.content_type.as_deref(), Some("image/jpeg"));
    let sent = shown(&read);
    let expected = [
        "key=user/user1/MyPhoto.jpg",
        "acl=public-read",
        "success_action_redirect=http://sigv4examplebucket.s3.amazonaws.com/successful_upload.html",
        "Content-Type=image/jpeg",
        "x-amz-meta-uuid=14365123651274",
        "x-amz-server-side-encryption=AES256",
        "x-amz-meta-tag=",
        "x-amz-meta-price=5$$ or \u{fc}\r\n",
        "x-amz-algorithm=AWS4-HMAC-SHA256",
        "x-amz-credential=AKORIGIN/20151229/eu-west-1/s3/aws4_request",
        "x-amz-date=20151229T060000Z",
        "x-amz-security-token=tok",
    ];
    assert_eq!(sent[..12], expected, "{sent:#?}");
    assert!(sent[12].starts_with("policy=") && sent[13].starts_with("x-amz-signature="));
    assert_eq!(sent.len(), 14);

    // Our own reading of it: signed by our key, and its policy allows exactly this.
    let keys = "access_key: AKORIGIN, secret_key: origins, session_token: tok";
    let allow = "allow: [{ actions: [write], resources: ['**'] }]";
    let known =
        IdentitySet::parse(&format!("identities: [{{ name: a, {keys}, {allow} }}]")).unwrap();
    let verifier = Verifier::new("eu-west-1".to_owned(), Vec::new());
    let (_, policy) = verifier.verify_form(&known, &read.fields, now).unwrap().unwrap();
    let policy = Policy::parse(policy).unwrap();
    assert_eq!(policy.check(&bucket, &read.fields, now).unwrap(), size);
    let later = now + Duration::from_hours(1);
    assert!(policy.check(&bucket, &read.fields, later).is_err());
    assert!(policy.check(&BucketName::new("bkz").unwrap(), &read.fields, now).is_err());
}

#[test]
fn without_keys_of_ours_the_form_says_of_nobody_that_they_sent_it() {
    let bucket = BucketName::new("bkt").unwrap();
    let out = Outgoing::new(&form(&example()), &bucket, None, None, example_time());
    let text = String::from_utf8(out.head.to_vec()).unwrap();
    for name in ["policy", "signature", "credential", "algorithm", "date", "token"] {
        assert!(!text.to_ascii_lowercase().contains(name), "{name}: {text}");
    }
    let next = Outgoing::new(&form(&example()), &bucket, None, None, example_time());
    let boundary = Boundary::new("b").unwrap();
    assert_eq!(out.length(&form(&[("key", "k")]), &boundary, u64::MAX), None);
    assert_eq!(out.length(&form(&example()), &boundary, 10), None);
    assert_ne!(out.content_type(), next.content_type(), "no client can know the boundary");
}

/// Returns the output for a file and its tail, sent in pieces, and the announced length. Checks that before the last
/// piece no more than the head and `most` bytes are sent.
fn passed(
    body: &[u8],
    piece: usize,
    size: Option<SizeRange>,
    most: usize,
) -> Result<(Vec<u8>, Outgoing, usize), String> {
    let boundary = Boundary::new("b").unwrap();
    let form = form(&[("key", "k")]);
    let bucket = BucketName::new("bkt").unwrap();
    let out = Outgoing::new(&form, &bucket, size, None, example_time());
    let length = (form.length + body.len()) as u64;
    let promised = out.length(&form, &boundary, length).ok_or("no room")?;
    let (rest, body) = body.split_at(piece.min(body.len()));
    let mut pass = FormBody::new(&boundary, rest, size, out.clone());
    let mut sent = Vec::new();
    let mut push = |piece: &[u8], end| {
        assert!(sent.len() <= out.head.len() + most, "the end of the form is out too early");
        pass.push(piece, end).map(|part| sent.extend_from_slice(&part)).map_err(|error| error.code)
    };
    let last = body.len().saturating_sub(1) / piece;
    for (index, part) in body.chunks(piece).enumerate() {
        push(part, index == last)?;
    }
    if body.is_empty() {
        push(b"", true)?;
    }
    Ok((sent, out, usize::try_from(promised).unwrap()))
}

#[test]
fn a_file_passes_whatever_follows_it_and_has_the_length_that_was_promised() {
    let submit =
        "\r\n--b\r\nContent-Disposition: form-data; name=\"key\"\r\n\r\nother\r\n--b--\r\n";
    for file in ["", "x", "\r\n", "\r\n--", "\r\n-", "a\r\n--a--\r\nb\r\n--", "\n--b\r\n", "--b--"]
    {
        for tail in ["\r\n--b--", "\r\n--b-- ", "\r\n--b--\r\n", "\r\n--b--\r\nepilogue", submit] {
            for piece in [1, 2, 3, 5, 1000] {
                let body = format!("{file}{tail}");
                let (sent, out, promised) =
                    passed(body.as_bytes(), piece, None, file.len()).unwrap();
                let what = format!("{file:?} {tail:?} {piece}");
                assert_eq!(sent.len(), promised, "{what}");
                let rest = sent.strip_prefix(&*out.head).expect("the head first");
                let rest = rest.strip_prefix(file.as_bytes()).expect("then the file");
                let fill = rest.strip_prefix(&*out.close).expect("then the end");
                assert!(fill.iter().all(|byte| b"\r\n ".contains(byte)), "{what}");
            }
        }
    }
}

#[test]
fn a_body_that_is_not_ended_as_a_form_is_never_goes_out_whole() {
    let long = format!("x\r\n--b\r\n{}\r\n--b--", "y".repeat(MAX_HEAD + 100));
    for body in [
        "",
        "x",
        "x\r\n--b",
        "x\r\n--b-",
        "x\r\n--b\r\n",
        "x\r\n--bc\r\n--b--",
        "x\r\n--c--",
        &long,
    ] {
        for piece in [1, 3, 100_000] {
            let refused = passed(body.as_bytes(), piece, None, body.len()).map(|_| ());
            let refused = refused.unwrap_err();
            assert!(
                ["no room", "MalformedPOSTRequest"].contains(&&*refused),
                "{body:.20} {refused}"
            );
        }
    }
}

#[test]
fn r21_a_file_has_the_size_that_its_policy_allows() {
    let size = Some(SizeRange { min: 2, max: 4 });
    let submit = "\r\n--b\r\nContent-Disposition: form-data; name=a\r\n\r\nother\r\n--b--\r\n";
    for (length, code) in [
        (0, "EntityTooSmall"),
        (1, "EntityTooSmall"),
        (2, ""),
        (4, ""),
        (5, "EntityTooLarge"),
        (500, "EntityTooLarge"),
    ] {
        for tail in ["\r\n--b--", submit] {
            for piece in [1, 2, 1000] {
                let body = format!("{}{tail}", "x".repeat(length));
                let told = passed(body.as_bytes(), piece, size, length).err().unwrap_or_default();
                assert_eq!(told, code, "{length} {tail:?} {piece}");
            }
        }
    }
}
