//! Test that changes every byte of a signed head to every other byte: it is refused, or its meaning is unchanged.

use std::collections::BTreeMap;

use super::*;

/// Returns the meaning of a verified request in a canonical form.
fn meaning(
    sent: &Sent,
    identities: &IdentitySet,
) -> Option<impl PartialEq + std::fmt::Debug + use<>> {
    let parsed = sent.parsed().ok()?;
    let verified =
        verifier(&[]).verify(identities, &sent.head(), &parsed, example_time()).ok()??;
    let text = |text: &str| {
        text.split([' ', '\t']).filter(|w| !w.is_empty()).collect::<Vec<_>>().join(" ")
    };
    let mut query: Vec<(String, String)> = parsed
        .query
        .iter()
        .map(|(name, value)| (name.to_owned(), value.unwrap_or_default().to_owned()))
        .collect();
    query.sort();
    let mut headers = BTreeMap::<String, Vec<String>>::new();
    for (name, value) in &sent.headers {
        // The signature may be spelled with other blanks; what it covers counts.
        if !["authorization", "user-agent"].contains(&name.as_str()) {
            let value = text(&String::from_utf8_lossy(value.as_bytes()));
            headers.entry(name.to_string()).or_default().push(value);
        }
    }
    let key = parsed.key.map(|key| key.as_str().to_owned());
    let bucket = parsed.bucket.map(|bucket| bucket.as_str().to_owned());
    let identity = verified.identity.name().to_owned();
    Some((identity, sent.method.clone(), bucket, key, query, headers))
}

/// Parses a head with another parser.
fn read(head: &[u8]) -> Option<Sent> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut request = httparse::Request::new(&mut headers);
    request.parse(head).ok()?.is_complete().then_some(())?;
    let mut map = HeaderMap::new();
    for header in request.headers.iter() {
        let value = HeaderValue::from_bytes(header.value).ok()?;
        map.append(header.name.parse::<HeaderName>().ok()?, value);
    }
    // An ambiguous host is refused by the HTTP layer.
    map.get("host").filter(|host| host.to_str().is_ok())?;
    let method = request.method?.parse().ok()?;
    Some(Sent { method, target: request.path?.to_owned(), headers: map, has_body: false })
}

fn write(sent: &Sent) -> Vec<u8> {
    let mut head = format!("{} {} HTTP/1.1\r\n", sent.method, sent.target).into_bytes();
    for (name, value) in &sent.headers {
        head.extend_from_slice(name.as_str().as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
    head
}

#[test]
fn r21_no_byte_of_a_signed_request_can_be_changed_to_say_something_else() {
    let get = sign(
        Sent::new(
            "GET /bkt/a%20b/./%C3%BC?response-content-type=a%2Fb&x-id=GetObject\nHost: s3.amazonaws.com\n\
             Range: bytes=0-9\nIf-Match: \"e\"\nx-amz-meta-a: one two",
        ),
        Payload::Sha256Hex(EMPTY_SHA256),
    );
    let presigned = presign(
        Sent::new(
            "PUT /bkt/k?x-amz-acl=private&partNumber=1\nHost: s3.amazonaws.com\nContent-Type: a/b",
        ),
        KEY,
        SECRET,
        "&X-Amz-Expires=60",
        "content-type;host",
    );
    let identities = identities();
    for sent in [get, presigned] {
        let head = write(&sent);
        let meant = meaning(&read(&head).unwrap(), &identities).expect("the original is right");
        let (mut refused, mut same) = (0, 0);
        let mut compare =
            |changed: &[u8]| match read(changed).and_then(|s| meaning(&s, &identities)) {
                None => refused += 1,
                Some(said) => {
                    assert_eq!(said, meant, "{}", String::from_utf8_lossy(changed));
                    same += 1;
                }
            };
        for at in 0..head.len() {
            let (before, after) = (&head[..at], &head[at + 1..]);
            compare(&[before, after].concat());
            for byte in 0..=255 {
                compare(&[before, &[byte], after].concat());
            }
            for byte in [head[at], b' ', b'\t', b',', b';', b'%', b'/', b'a'] {
                compare(&[before, &[byte], &head[at..]].concat());
            }
        }
        assert!(refused > 200 * head.len() && same >= head.len(), "{refused} {same}");
    }
}
