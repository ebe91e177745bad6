//! Tests with the published signed uploads, and with every byte of a small one changed to every other.

use bytes::{BufMut, Bytes, BytesMut};
use http::header::HeaderName;

use super::*;
use crate::auth::chunked::tests::published;
use crate::auth::chunked::{ChunkedEncoder, Form, Incoming, Reframer};
use crate::auth::sign::tests::example_seed;

const CRC32C: HeaderName = HeaderName::from_static("x-amz-checksum-crc32c");

/// Returns a verifying reframer; seed and key are the client's, so that a signed body comes out unchanged.
fn reframer(form: Form, length: u64) -> Reframer {
    let trailer = form.has_trailers();
    let trailer_names = if trailer { vec![CRC32C] } else { Vec::new() };
    let incoming = Incoming { decoded_length: length, trailer_names };
    let encoder = ChunkedEncoder::new(form, example_seed(trailer));
    Reframer::new(encoder, incoming).unwrap().verifying(example_seed(trailer), trailer).unwrap()
}

/// Returns the output, and whether the transfer succeeded.
fn push(form: Form, length: u64, body: &[u8], step: usize) -> (Bytes, Result<(), ChunkedError>) {
    let mut reframer = reframer(form, length);
    let mut out = BytesMut::new();
    let mut rest = Bytes::copy_from_slice(body);
    loop {
        let piece = rest.split_to(step.min(rest.len()));
        let end = rest.is_empty();
        match reframer.push(piece, end) {
            Ok(framed) => out.put(framed),
            Err(error) => return (out.freeze(), Err(error)),
        }
        if end {
            return (out.freeze(), Ok(()));
        }
    }
}

/// Returns `data` in correctly signed chunks of seven bytes.
fn signed(data: &[u8], trailer: bool) -> Vec<u8> {
    let mut chain = example_seed(trailer);
    let mut body = Vec::new();
    for chunk in data.chunks(7).chain([&b""[..]]) {
        let signature = chain.advance_chunk(chunk);
        body.extend_from_slice(
            format!("{:x};chunk-signature={signature}\r\n", chunk.len()).as_bytes(),
        );
        body.extend_from_slice(chunk);
        if !chunk.is_empty() {
            body.extend_from_slice(b"\r\n");
        }
    }
    if trailer {
        let signature = chain.advance_trailer(b"x-amz-checksum-crc32c:sOO8/Q==\n");
        body.extend_from_slice(
            format!("x-amz-checksum-crc32c:sOO8/Q==\r\nx-amz-trailer-signature:{signature}\r\n")
                .as_bytes(),
        );
    }
    body.extend_from_slice(b"\r\n");
    body
}

#[test]
fn the_published_uploads_are_verified_in_pieces_of_any_size() {
    for form in [Form::Signed, Form::SignedTrailer] {
        let body = published(form.has_trailers());
        for step in [usize::MAX, 65_536, 1000, 7] {
            let (out, result) = push(form, 66_560, &body, step);
            assert_eq!((out == body, result), (true, Ok(())), "{form:?} {step}");
        }
    }
    let (out, result) = push(Form::Raw, 66_560, &published(false), 1000);
    assert_eq!((out.len(), result), (66_560, Ok(())));
}

#[test]
fn no_byte_of_a_signed_body_can_be_changed_to_bring_other_data() {
    let data = b"data in three chunks";
    for (form, trailer) in [(Form::Raw, false), (Form::UnsignedTrailer, true)] {
        let body = signed(data, trailer);
        let (whole, result) = push(form, 20, &body, usize::MAX);
        assert_eq!(result, Ok(()));
        let (mut refused, mut same) = (0, 0);
        let mut compare = |changed: &[u8]| {
            let (out, result) = push(form, 20, changed, 9);
            match result {
                Ok(()) => {
                    assert_eq!(out, whole, "{}", String::from_utf8_lossy(changed));
                    same += 1;
                }
                Err(_) => {
                    assert!(out.len() < whole.len(), "the end went out before it was verified");
                    refused += 1;
                }
            }
        };
        for at in 0..body.len() {
            let flipped = (0..8).map(|bit| body[at] ^ (1 << bit));
            for byte in flipped.chain([body[at], 0, b'\r', b'\n', b'0', b'a', b';', b':', b' ']) {
                compare(&[&body[..at], &[byte], &body[at + 1..]].concat());
            }
            compare(&body[..at]);
            compare(&[&body[..at], &body[at + 1..]].concat());
            compare(&[&body[..at], b"a", &body[at..]].concat());
        }
        assert!(refused > 12 * body.len() && same >= body.len(), "{refused} {same}");
    }
}

#[test]
fn a_chunk_that_is_left_out_repeated_or_moved_breaks_the_chain() {
    let body = signed(b"1234567abcdefg", false);
    let chunk = 1 + ";chunk-signature=".len() + 64 + 2 + 7 + 2;
    let (one, two, end) = (&body[..chunk], &body[chunk..2 * chunk], &body[2 * chunk..]);
    assert_eq!(push(Form::Raw, 14, &body, 1000).1, Ok(()));
    for (length, parts) in [
        (14, vec![two, one, end]),
        (14, vec![one, one, end]),
        (7, vec![one, end]),
        (7, vec![two, end]),
        (0, vec![end]),
        (21, vec![one, two, two, end]),
    ] {
        let (_, result) = push(Form::Raw, length, &parts.concat(), 1000);
        assert_eq!(result, Err(ChunkedError::ChunkSignature), "{length}");
    }
}

#[test]
fn the_last_chunk_and_the_trailers_are_signed_too() {
    let text = |body: Vec<u8>| String::from_utf8(body).unwrap();
    let body = text(signed(b"data", false));
    let at = body.rfind("0;chunk-signature=").unwrap();
    let forged = format!("{}0;chunk-signature={}\r\n\r\n", &body[..at], "0".repeat(64));
    for step in [usize::MAX, 1] {
        let (out, result) = push(Form::Raw, 4, forged.as_bytes(), step);
        assert_eq!(result, Err(ChunkedError::ChunkSignature));
        assert!(out.len() < 4, "the origin would have a whole body: {out:?}");
    }
    let body = text(signed(b"data", true));
    for (from, to, error) in [
        ("sOO8/Q==", "sOO9/Q==", ChunkedError::TrailerSignature),
        ("x-amz-trailer-signature:", "x-amz-trailer-signatur:", ChunkedError::TrailerSignature),
        ("\r\nx-amz-trailer", "\r\nx-amz-more:1\r\nx-amz-trailer", ChunkedError::TrailerSignature),
    ] {
        let changed = body.replace(from, to);
        let (out, result) = push(Form::UnsignedTrailer, 4, changed.as_bytes(), 11);
        assert_eq!(result, Err(error), "{from}");
        assert!(!out.ends_with(b"\r\n\r\n"));
    }
    let unsigned = &body[..body.find("x-amz-trailer-signature").unwrap()];
    let (_, result) = push(Form::UnsignedTrailer, 4, unsigned.as_bytes(), 11);
    assert_eq!(result, Err(ChunkedError::TrailerSignature));
    // An unannounced trailer is not accepted from a body with unsigned trailers.
    let plain = text(signed(b"data", false));
    let added = format!("{}x-amz-checksum-crc32c:sOO8/Q==\r\n\r\n", plain.trim_end());
    assert!(push(Form::Raw, 4, added.as_bytes(), 1000).1.is_err());
}

#[test]
fn an_unsigned_chunk_in_a_signed_body_is_refused() {
    for body in
        ["4\r\ndata\r\n0\r\n\r\n", "4;chunk-signature=\r\ndata\r\n0;chunk-signature=\r\n\r\n"]
    {
        let (out, result) = push(Form::Raw, 4, body.as_bytes(), 1000);
        assert_eq!((out.len(), result), (0, Err(ChunkedError::ChunkSignature)), "{body}");
    }
}

#[test]
fn a_signed_form_and_its_announced_trailers_must_agree() {
    for (trailer, names) in [(false, vec![CRC32C]), (true, vec![])] {
        let form = if names.is_empty() { Form::Raw } else { Form::UnsignedTrailer };
        let encoder = ChunkedEncoder::new(form, example_seed(trailer));
        let incoming = Incoming { decoded_length: 1, trailer_names: names };
        let result =
            Reframer::new(encoder, incoming).unwrap().verifying(example_seed(false), trailer);
        assert_eq!(result.err(), Some(ChunkedError::TrailerNames));
    }
}
