//! Tests with the published uploads byte for byte, and with bodies truncated or corrupted at every position.

use bytes::{BufMut, BytesMut};
use http::HeaderValue;

use super::*;
use crate::auth::sign::tests::example_seed;

const CRC32C: HeaderName = HeaderName::from_static("x-amz-checksum-crc32c");

/// The published example: 65 KiB of `a` as in the S3 API Reference.
pub(super) fn published(trailer: bool) -> Bytes {
    let signatures = if trailer {
        [
            "b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2",
            "1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7",
            "2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992",
        ]
    } else {
        [
            "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648",
            "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497",
            "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9",
        ]
    };
    let mut body = BytesMut::new();
    for (size, signature) in [65536, 1024, 0].into_iter().zip(signatures) {
        body.put(format!("{size:x};chunk-signature={signature}\r\n").as_bytes());
        body.put_bytes(b'a', size);
        body.put(if size > 0 { "\r\n" } else { "" }.as_bytes());
    }
    if trailer {
        body.put(&b"x-amz-checksum-crc32c:sOO8/Q==\r\nx-amz-trailer-signature:"[..]);
        body.put(&b"d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435\r\n"[..]);
    }
    body.put(&b"\r\n"[..]);
    body.freeze()
}

fn incoming(decoded_length: u64, trailers: &[HeaderName]) -> Incoming {
    Incoming { decoded_length, trailer_names: trailers.to_vec() }
}

fn names(trailer: bool) -> Vec<HeaderName> {
    if trailer { vec![CRC32C] } else { Vec::new() }
}

fn reframer(form: Form, length: u64) -> Reframer {
    let trailers = names(form.has_trailers());
    let encoder = ChunkedEncoder::new(form, example_seed(form.has_trailers()));
    Reframer::new(encoder, incoming(length, &trailers)).unwrap()
}

/// Pushes `body` in slices of `step` bytes, with the end at the last one.
fn push_all(reframer: &mut Reframer, body: &Bytes, step: usize) -> Result<Bytes, ChunkedError> {
    let mut out = BytesMut::new();
    let mut rest = body.clone();
    while rest.len() > step {
        out.put(reframer.push(rest.split_to(step), false)?);
    }
    out.put(reframer.push(rest, true)?);
    Ok(out.freeze())
}

fn reframe(form: Form, length: u64, body: &[u8]) -> Result<Bytes, ChunkedError> {
    push_all(&mut reframer(form, length), &Bytes::copy_from_slice(body), usize::MAX)
}

/// Returns a small body in client chunks of five bytes, with the framing of a signed upload.
fn small(data: &[u8], tail: &str) -> Bytes {
    let mut body = BytesMut::new();
    for chunk in data.chunks(5) {
        body.put(format!("{:X};chunk-signature=00\r\n", chunk.len()).as_bytes());
        body.put(chunk);
        body.put(&b"\r\n"[..]);
    }
    body.put(b"0;chunk-signature=00\r\n".as_slice());
    body.put(tail.as_bytes());
    body.freeze()
}

const TAIL: &str = "x-amz-checksum-crc32c:sOO8/Q==\r\nx-amz-trailer-signature:00\r\n\r\n";

#[test]
fn r23_the_published_uploads_come_out_as_published() {
    for (form, length) in [(Form::Signed, 66824), (Form::SignedTrailer, 66946)] {
        let body = published(form.has_trailers());
        assert_eq!(body.len(), length);
        for step in [usize::MAX, 65536, 1000, 7] {
            let mut reframer = reframer(form, 66560);
            assert_eq!(reframer.encoded_length(), Some(length as u64));
            assert_eq!(push_all(&mut reframer, &body, step).unwrap(), body, "{form:?} {step}");
        }
    }
}

#[test]
fn r23_over_tls_the_body_is_raw_or_keeps_its_trailers_unsigned() {
    let raw = reframe(Form::Raw, 66560, &published(false)).unwrap();
    assert_eq!(raw, vec![b'a'; 66560]);
    let framed = reframe(Form::UnsignedTrailer, 66560, &published(true)).unwrap();
    let a = |size| "a".repeat(size);
    let tail = "0\r\nx-amz-checksum-crc32c:sOO8/Q==\r\n\r\n";
    assert_eq!(framed, format!("10000\r\n{}\r\n400\r\n{}\r\n{tail}", a(65536), a(1024)));
}

#[test]
fn the_result_is_the_same_wherever_the_input_is_split() {
    let data = b"split me anywhere";
    for form in [Form::Raw, Form::UnsignedTrailer, Form::Signed, Form::SignedTrailer] {
        let body = small(data, if form.has_trailers() { TAIL } else { "\r\n" });
        let whole = reframe(form, data.len() as u64, &body).unwrap();
        for at in 0..=body.len() {
            let mut reframer = reframer(form, data.len() as u64);
            let mut out = BytesMut::from(&reframer.push(body.slice(..at), false).unwrap()[..]);
            out.put(reframer.push(body.slice(at..), true).unwrap());
            assert_eq!(out, whole, "{form:?} at {at}");
        }
        let bytewise = push_all(&mut reframer(form, data.len() as u64), &body, 1).unwrap();
        assert_eq!(bytewise, whole, "{form:?}");
    }
}

fn decode(length: u64, body: &Bytes) -> Result<(Vec<u8>, Vec<Trailer>), ChunkedError> {
    let mut decoder = ChunkedDecoder::new(length);
    let (mut input, mut data) = (body.clone(), Vec::new());
    while let Some(slice) = decoder.next_data(&mut input)? {
        data.extend_from_slice(&slice);
    }
    Ok((data, decoder.finish()?))
}

#[test]
fn what_is_encoded_decodes_to_the_same_and_has_the_length_foretold() {
    let sizes = [0, 1, 15, 16, 255, 256, 4095, 4096, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 17];
    let trailers = vec![(CRC32C, HeaderValue::from_static("sOO8/Q=="))];
    for form in [Form::Raw, Form::UnsignedTrailer, Form::Signed, Form::SignedTrailer] {
        for (size, step) in sizes.into_iter().zip([1, 7, 1000, CHUNK - 1, CHUNK].iter().cycle()) {
            let pattern: Vec<u8> = (0..=250).cycle().take(size).collect();
            let mut encoder = ChunkedEncoder::new(form, example_seed(form.has_trailers()));
            let mut out = Vec::new();
            for piece in pattern.chunks(*step) {
                encoder.write(Bytes::copy_from_slice(piece), &mut out);
            }
            let sent: &[Trailer] = if form.has_trailers() { &trailers } else { &[] };
            encoder.finish(sent, &mut out);
            let body = join(out);
            let length = form.encoded_length(size as u64, &names(form.has_trailers()));
            assert_eq!(length, Some(body.len() as u64), "{form:?} {size}");
            if form == Form::Raw {
                assert_eq!(body, pattern);
            } else {
                assert_eq!(decode(size as u64, &body).unwrap(), (pattern, sent.to_vec()));
            }
        }
    }
}

#[test]
fn encoded_length_knows_each_checksum_and_nothing_else() {
    let named = |name: &'static str| [HeaderName::from_static(name)];
    for (name, value) in [
        ("x-amz-checksum-crc32", 8),
        ("x-amz-checksum-crc32c", 8),
        ("x-amz-checksum-crc64nvme", 12),
        ("x-amz-checksum-sha1", 28),
        ("x-amz-checksum-sha256", 44),
    ] {
        let line = name.len() as u64 + 1 + value + 2;
        // `0 CRLF`, the trailer, `CRLF`.
        let length = Form::UnsignedTrailer.encoded_length(0, &named(name));
        assert_eq!(length, Some(3 + line + 2), "{name}");
        let length = Form::SignedTrailer.encoded_length(0, &named(name));
        assert_eq!(length, Some(3 + 81 + line + 24 + 64 + 2 + 2), "{name}");
    }
    let unknown = named("x-amz-checksum-tomorrow");
    assert_eq!(Form::UnsignedTrailer.encoded_length(0, &unknown), None);
    assert_eq!(Form::Signed.encoded_length(u64::MAX, &[]), None);
    assert_eq!(Form::Raw.encoded_length(u64::MAX, &[]), Some(u64::MAX));
}

#[test]
fn a_trailer_of_unknown_length_is_still_passed_on() {
    let name = HeaderName::from_static("x-amz-checksum-tomorrow");
    let encoder = ChunkedEncoder::unsigned_trailer();
    let mut reframer = Reframer::new(encoder, incoming(2, &[name])).unwrap();
    assert_eq!(reframer.encoded_length(), None);
    let body = Bytes::from_static(b"2\r\nab\r\n0\r\nX-Amz-Checksum-Tomorrow: v \r\n\r\n");
    let out = reframer.push(body, true).unwrap();
    assert_eq!(out, "2\r\nab\r\n0\r\nx-amz-checksum-tomorrow:v\r\n\r\n");
}

#[test]
fn r23_a_body_cut_anywhere_is_an_error_and_never_complete() {
    let data = b"twelve bytes";
    for (form, tail) in [(Form::Signed, "\r\n"), (Form::SignedTrailer, TAIL)] {
        let body = small(data, tail);
        for cut in 0..body.len() {
            let result = reframe(form, data.len() as u64, &body[..cut]);
            let left = std::str::from_utf8(&body[cut..]).unwrap();
            // Two line ends may be missing once all that was announced has come: the one of the
            // empty line, and with it the client's trailer signature, which is not passed on.
            let harmless = left == "\r\n" || left == "x-amz-trailer-signature:00\r\n\r\n";
            assert_eq!(result.is_ok(), harmless, "{form:?} without {left:?}: {result:?}");
        }
    }
}

#[test]
fn a_body_longer_than_announced_is_an_error_before_its_data_passes() {
    let mut reframer = reframer(Form::Raw, 4);
    let result = reframer.push(Bytes::from_static(b"5\r\nabcde"), false);
    assert_eq!(result, Err(ChunkedError::TooLong));
    let result = reframer.push(Bytes::new(), true);
    assert_eq!(result, Err(ChunkedError::Broken), "no end after an error");
    let second = reframe(Form::Raw, 4, b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n");
    assert_eq!(second, Err(ChunkedError::TooLong));
}

#[test]
fn a_last_chunk_before_the_announced_length_is_an_error() {
    let early = reframe(Form::Raw, 4, b"3\r\nabc\r\n0\r\n\r\n");
    assert_eq!(early, Err(ChunkedError::EndsEarly));
}

#[test]
fn chunk_sizes_beyond_64_bits_or_beyond_the_announced_length_are_errors() {
    for (line, error) in [
        ("ffffffffffffffff\r\n", ChunkedError::TooLong),
        ("10000000000000000\r\n", ChunkedError::ChunkHeader),
        ("fffffffffffffffffffffffffffffffff\r\n", ChunkedError::ChunkHeader),
    ] {
        assert_eq!(reframe(Form::Raw, 9, line.as_bytes()), Err(error), "{line:?}");
    }
    // The sum of the sizes must not wrap around either.
    let mut decoder = ChunkedDecoder::new(u64::MAX);
    let mut input = Bytes::from_static(b"ffffffffffffffff\r\nx");
    assert_eq!(decoder.next_data(&mut input), Ok(Some(Bytes::from_static(b"x"))));
    assert_eq!(reframe(Form::Raw, 1, b"0000001\r\na\r\n000\r\n\r\n").unwrap(), "a");
}

#[test]
fn malformed_chunk_headers_are_errors() {
    for line in [
        "\r\n",
        ";x\r\n",
        "g\r\n",
        "0x1\r\n",
        "+1\r\n",
        "-1\r\n",
        " 1\r\n",
        "1 \r\n",
        "1 ;x\r\n",
        "1\n",
        "1;chunk-signature=0\n",
        "1\r\r\n",
        "1;a\rb\r\n",
        "1;a\0b\r\n",
        "1_0\r\n",
    ] {
        let body = [line.as_bytes(), b"a\r\n0\r\n\r\n"].concat();
        assert_eq!(reframe(Form::Raw, 1, &body), Err(ChunkedError::ChunkHeader), "{line:?}");
    }
}

#[test]
fn data_must_be_followed_by_crlf_and_nothing_else() {
    for end in ["\n", "\r", "\r\r\n", "b\r\n", "\n\r"] {
        let body = format!("1\r\na{end}0\r\n\r\n");
        let result = reframe(Form::Raw, 1, body.as_bytes());
        assert_eq!(result, Err(ChunkedError::ChunkEnd), "{end:?}");
    }
}

#[test]
fn shapes_of_the_end_that_clients_send_are_understood() {
    let trailer = "x-amz-checksum-crc32c:sOO8/Q==";
    let plain = reframe(Form::Signed, 1, b"1\r\na\r\n0\r\n\r\n").unwrap();
    assert_eq!(reframe(Form::Signed, 1, b"1\r\na\r\n0\r\n").unwrap(), plain);
    let expected = reframe(Form::SignedTrailer, 2, &small(b"ab", TAIL)).unwrap();
    for tail in [
        format!("{trailer}\r\n\r\n"),
        format!("{trailer}\r\n"),
        format!("\r\n{trailer}\r\nx-amz-trailer-signature:00\r\n\r\n"),
        format!("{trailer}\n\r\nx-amz-trailer-signature:00\r\n\r\n"),
        format!("{trailer}\n\r\n\r\n\r\n"),
        "X-Amz-Checksum-CRC32C:  sOO8/Q== \r\n\r\n".to_owned(),
    ] {
        let result = reframe(Form::SignedTrailer, 2, &small(b"ab", &tail));
        assert_eq!(result.as_ref(), Ok(&expected), "{tail:?}");
    }
}

#[test]
fn malformed_missing_and_undeclared_trailers_are_errors() {
    let other = HeaderName::from_static("x-amz-meta-a");
    let unexpected = ChunkedError::TrailerUnexpected;
    for (tail, error) in [
        ("\r\n", ChunkedError::TrailerMissing(CRC32C)),
        ("x-amz-trailer-signature:00\r\n\r\n", ChunkedError::TrailerMissing(CRC32C)),
        ("x-amz-checksum-crc32c:sOO8/Q==\r\nx-amz-meta-a:1\r\n\r\n", unexpected(other)),
        (
            "x-amz-checksum-crc32c:sOO8/Q==\r\nx-amz-checksum-crc32c:sOO8/Q==\r\n\r\n",
            unexpected(CRC32C),
        ),
        ("x-amz-checksum-crc32c:sOO8/Q=\r\n\r\n", ChunkedError::TrailerLength(CRC32C)),
        ("x-amz-checksum-crc32c:\r\n\r\n", ChunkedError::TrailerSyntax),
        ("x-amz-checksum-crc32c\r\n\r\n", ChunkedError::TrailerSyntax),
        ("x-amz-checksum-crc32c :sOO8/Q==\r\n\r\n", ChunkedError::TrailerSyntax),
        ("x-amz-checksum-crc32c:sOO\r8/Q==\r\n\r\n", ChunkedError::TrailerSyntax),
        ("x-amz-checksum-crc32c:sOO8/Q==\r\n\r\nGET / HTTP/1.1\r\n", ChunkedError::TrailerSyntax),
        ("x-amz-checksum-crc32c:sOO8/Q==", ChunkedError::EndsEarly),
    ] {
        let result = reframe(Form::SignedTrailer, 2, &small(b"ab", tail));
        assert_eq!(result, Err(error), "{tail:?}");
    }
    let undeclared = reframe(Form::Signed, 2, &small(b"ab", TAIL));
    assert_eq!(undeclared, Err(unexpected(CRC32C)));
}

#[test]
fn framing_is_bounded() {
    let endless = format!("1;{}", "x".repeat(MAX_LINE));
    let result = push_all(&mut reframer(Form::Raw, 1), &endless.into(), 100);
    assert_eq!(result, Err(ChunkedError::FramingTooLong(MAX_LINE)));
    let tail = small(b"ab", &"\r\n".repeat(MAX_TAIL));
    let result = push_all(&mut reframer(Form::Signed, 2), &tail, 100);
    assert_eq!(result, Err(ChunkedError::FramingTooLong(MAX_TAIL)));
    let line = format!("1;{}\r\na\r\n0\r\n\r\n", "x".repeat(MAX_LINE - 4));
    assert_eq!(reframe(Form::Raw, 1, line.as_bytes()).unwrap(), "a");
}

#[test]
fn nothing_may_follow_the_end() {
    let mut reframer = reframer(Form::Raw, 1);
    assert_eq!(reframer.push(Bytes::from_static(b"1\r\na\r\n0\r\n\r\n"), true).unwrap(), "a");
    assert_eq!(reframer.push(Bytes::new(), true).unwrap(), "", "an end may be told twice");
    let more = reframer.push(Bytes::from_static(b"x"), true);
    assert_eq!(more, Err(ChunkedError::TooLong));
    assert_eq!(reframer.push(Bytes::new(), true), Err(ChunkedError::Broken));
}

#[test]
fn a_form_that_would_lose_the_trailers_is_refused() {
    for (form, trailers) in [
        (Form::Raw, vec![CRC32C]),
        (Form::Signed, vec![CRC32C]),
        (Form::UnsignedTrailer, vec![]),
        (Form::SignedTrailer, vec![]),
    ] {
        let encoder = ChunkedEncoder::new(form, example_seed(false));
        let result = Reframer::new(encoder, incoming(1, &trailers));
        assert_eq!(result.err(), Some(ChunkedError::TrailerForm), "{form:?}");
    }
    for tls in [true, false] {
        assert!(Form::choose(tls, true).has_trailers());
        assert!(!Form::choose(tls, false).has_trailers());
    }
    assert_eq!(Form::choose(true, false), Form::Raw);
}

#[test]
fn raw_slices_share_the_memory_of_the_input() {
    let body = Bytes::from(vec![b'a'; 100]);
    let mut input = BytesMut::from(&b"64\r\n"[..]);
    input.put(body);
    let input = input.freeze();
    let out = reframer(Form::Raw, 100).push(input.clone(), false).unwrap();
    assert_eq!(out.as_ptr(), input.slice(4..).as_ptr());
}
