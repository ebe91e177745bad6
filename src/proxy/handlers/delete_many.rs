//! `DeleteObjects`: no part of the body goes to the origin before every key in it is known (R8), so that it is done
//! as a whole or not at all. A body that cannot be parsed is refused.
//!
//! If the sender may delete some keys of the bucket but not all (R21), the body is read before anything is sent. Then
//! pingora passes it on like any other request. pingora replays bytes that were read before only out of a buffer of
//! 64 KiB. So replay is switched on for the tail, which is then replaced by the whole body. For all other senders the
//! body is held in transit.

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http::header::{CONTENT_LENGTH, EXPECT, HeaderName, TRANSFER_ENCODING};
use pingora::Result;
use pingora::proxy::Session;

use super::held_list::MAX_LISTED;
use super::replay::REPLAYED;
use super::touched::Touched;
use crate::auth::ListedKeys;
use crate::auth::chunked::{ChunkedDecoder, Incoming};
use crate::proxy::context::Forward;
use crate::proxy::gateway::Gateway;
use crate::s3::delete_objects::parse_keys;
use crate::s3::{BucketName, Effect, ObjectKey, Operation, S3Error};

const DECODED_LENGTH: HeaderName = HeaderName::from_static("x-amz-decoded-content-length");

impl Gateway {
    /// Reads the body and authorizes the deletion of every key in it.
    ///
    /// The outer error is the client's connection, the inner one the response to the client.
    pub(in crate::proxy) async fn allow_by_key(
        &self,
        session: &mut Session,
        forward: &mut Forward,
        listed: &ListedKeys,
    ) -> Result<Result<(), S3Error>> {
        let Operation::PassThrough(Effect::ListedInBody(bucket)) = &forward.parsed.operation else {
            return Ok(Err(S3Error::access_denied()));
        };
        let bucket = bucket.clone();
        let length = match announced(session) {
            Ok(length) => length,
            Err(error) => return Ok(Err(error)),
        };
        let Some(mut body) = read_whole(session, length).await? else {
            return Ok(Err(S3Error::internal()));
        };
        if let Some(mut digester) = forward.digester.take() {
            match digester.push(body.split().freeze(), true) {
                Ok(checked) => body = checked.into(),
                Err(error) => return Ok(Err(error)),
            }
        }
        let keys = match parse_keys(&body) {
            Ok(keys) => keys,
            Err(error) => return Ok(Err(error)),
        };
        if let Err(error) = listed.authorize(&bucket, &keys) {
            return Ok(Err(error));
        }
        forward.touched = self.deleted(&bucket, keys);
        forward.listed = None;
        forward.whole = Some(body.freeze());
        Ok(Ok(()))
    }

    /// Holds the next part of the body. Returns the bytes for the origin: none, or with `end` the whole body, once
    /// the write of its keys has begun.
    ///
    /// # Errors
    /// The body is too long, or is not a valid list of keys, or one of them may not be deleted.
    pub(in crate::proxy) async fn hold_list(
        &self,
        headers: &HeaderMap,
        forward: &mut Forward,
        part: Option<Bytes>,
        end: bool,
    ) -> Result<Option<Bytes>, S3Error> {
        let Some(listed) = &mut forward.listed else { return Ok(part) };
        listed.push(part.as_deref().unwrap_or_default())?;
        if !end {
            // pingora would take `None` for the end of the body.
            return Ok(Some(Bytes::new()));
        }
        let body = listed.body.split().freeze();
        let keys = keys_of(headers, &body)?;
        if let Some(sender) = &listed.sender {
            sender.authorize(&listed.bucket, &keys)?;
        }
        forward.touched = self.deleted(&listed.bucket, keys);
        forward.listed = None;
        self.begin_write(forward).await;
        Ok(Some(body))
    }

    /// Returns the cached objects that a `DeleteObjects` of these keys may change.
    fn deleted(&self, bucket: &BucketName, keys: Vec<ObjectKey>) -> Touched {
        let objects: Vec<_> = keys.into_iter().map(|key| (bucket.clone(), key)).collect();
        Touched::objects(&objects, &self.origins)
    }
}

/// Parses the keys in a body, which may be framed by `aws-chunked`.
fn keys_of(headers: &HeaderMap, body: &Bytes) -> Result<Vec<ObjectKey>, S3Error> {
    let malformed = |_| S3Error::malformed_xml();
    match Incoming::framed_length(headers).map_err(malformed)? {
        None => parse_keys(body),
        Some(length) => {
            parse_keys(&ChunkedDecoder::decode_whole(body.clone(), length).map_err(malformed)?)
        }
    }
}

/// Returns the announced length of a body, if it can be held and parsed as it is.
fn announced(session: &Session) -> Result<usize, S3Error> {
    let headers = &session.req_header().headers;
    if headers.contains_key(DECODED_LENGTH) {
        // Framed by aws-chunked, which no client does to a list of keys.
        return Err(S3Error::not_implemented());
    }
    let length = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    let length = length.and_then(|text| text.parse::<usize>().ok());
    match length {
        None if headers.contains_key(TRANSFER_ENCODING) || session.is_http2() => {
            Err(S3Error::missing_content_length())
        }
        None | Some(0) => Err(S3Error::malformed_xml()),
        Some(length) if length > MAX_LISTED => Err(S3Error::message_too_long(MAX_LISTED)),
        Some(length) => Ok(length),
    }
}

/// Reads the whole body; `None` when pingora would not replay it.
async fn read_whole(session: &mut Session, length: usize) -> Result<Option<BytesMut>> {
    if session.req_header_mut().remove_header(&EXPECT).is_some() {
        session.downstream_session.write_continue_response().await?;
    }
    let mut body = BytesMut::with_capacity(length);
    loop {
        if length.saturating_sub(body.len()) <= REPLAYED {
            session.downstream_session.enable_retry_buffering();
        }
        match session.downstream_session.read_request_body().await? {
            Some(part) => body.extend_from_slice(&part),
            None => break,
        }
    }
    let replays = session.downstream_session.get_retry_buffer().is_some();
    Ok(replays.then_some(body))
}
