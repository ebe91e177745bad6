//! A browser's form on its way to the origin: its fields are read and authorized before anything is sent; then it is
//! rewritten and its file streams through.
//!
//! pingora reads the rest of the body, and replays bytes that were read before only out of a buffer of 64 KiB. Replay
//! is switched on for the end of a body, since a body that has arrived whole would not be passed on otherwise. The
//! replayed bytes are skipped, as the form has them already.

use http::HeaderMap;
use http::header::{
    ACCEPT, ACCEPT_ENCODING, ACCEPT_LANGUAGE, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HOST,
    HeaderName, HeaderValue, ORIGIN, TRANSFER_ENCODING, USER_AGENT,
};
use pingora::Result;
use pingora::http::RequestHeader;
use pingora::proxy::Session;
use tokio::time::timeout;

use super::replay::REPLAYED;
use super::upload::Upload;
use crate::auth::FormGate;
use crate::auth::form::{Boundary, FormBody, FormHead, HeadReader, Outgoing};
use crate::origin::CDN_LOOP;
use crate::proxy::context::Forward;
use crate::proxy::errors::bad_request;
use crate::proxy::gateway::Gateway;
use crate::s3::{Effect, Operation, Parsed, S3Error};

/// Headers of the request around a form that are forwarded: those about the sender. None may say more of the object
/// than the form does.
const FORWARDED: [HeaderName; 6] =
    [ACCEPT, ACCEPT_ENCODING, ACCEPT_LANGUAGE, CDN_LOOP, ORIGIN, USER_AGENT];

impl Gateway {
    /// Reads the fields of a form and authorizes it. Afterwards `parsed` has the effect of its key.
    ///
    /// The outer error is the client's connection, the inner one the response to the client.
    pub(in crate::proxy) async fn read_form(
        &self,
        session: &mut Session,
        parsed: &mut Parsed,
        gate: &FormGate,
    ) -> Result<Result<Box<Upload>, S3Error>> {
        let (boundary, length) = match announced(session) {
            Ok(announced) => announced,
            Err(error) => return Ok(Err(error)),
        };
        let read = match session.is_http2() {
            // Over HTTP/1 the gate enforces the timeout.
            false => read_head(session, &boundary, length).await?,
            true => {
                let read = read_head(session, &boundary, length);
                match timeout(self.limits.load().body_timeout.0, read).await {
                    Ok(read) => read?,
                    Err(_) => Err(S3Error::request_timeout()),
                }
            }
        };
        let upload = read.and_then(|form| {
            let bucket = parsed.bucket.clone().ok_or_else(S3Error::internal)?;
            let at_most = form.file_at_most(&boundary, length).ok_or_else(HeadReader::ended)?;
            let headers = &session.req_header().headers;
            let admitted = self.access.admit_form(gate, headers, &bucket, &form, at_most)?;
            let effect = Effect::of_form(
                &bucket,
                &admitted.key,
                form.fields.iter().map(|field| &*field.known_as),
            );
            parsed.operation = Operation::PassThrough(effect);
            let replays = session.downstream_session.get_retry_buffer().is_some();
            Ok(Upload { bucket, boundary, form, admitted, length, replays, body: None })
        });
        Ok(upload.map(Box::new))
    }

    /// Rewrites the head of a form's request for the origin, and prepares the form that follows it.
    pub(in crate::proxy) fn rewrite_form(
        head: &mut RequestHeader,
        forward: &mut Forward,
    ) -> Result<()> {
        let site = Self::site_of(forward);
        let Some(upload) = &mut forward.form else { return Ok(()) };
        let bucket = forward.place.alias_of().unwrap_or(&upload.bucket).clone();
        let target = site.endpoint().target(Some(&bucket), None);
        forward.signed_with = forward.domain.signer();
        let signer = forward.signed_with.as_ref().map(|signer| site.signer(signer));
        let now = forward.place.origin.now();
        let Upload { boundary, form, admitted, length, .. } = &**upload;
        let outgoing = Outgoing::new(form, &bucket, admitted.size, signer.as_deref(), now);
        let length = outgoing.length(form, boundary, *length);
        let length = length.ok_or_else(|| bad_request(&HeadReader::ended()))?;

        let mut rewritten =
            RequestHeader::build(head.method.clone(), target.path.as_bytes(), Some(12))?;
        rewritten.set_version(http::Version::HTTP_11);
        let host = HeaderValue::from_str(&target.host).map_err(|error| bad_request(&error))?;
        rewritten.append_header(HOST, host)?;
        rewritten.append_header(CONTENT_TYPE, outgoing.content_type())?;
        rewritten.append_header(CONTENT_LENGTH, HeaderValue::from(length))?;
        for name in FORWARDED {
            for value in head.headers.get_all(&name) {
                rewritten.append_header(name.clone(), value.clone())?;
            }
        }
        *head = rewritten;
        upload.body = Some(FormBody::new(boundary, &form.rest, admitted.size, outgoing));
        Ok(())
    }
}

/// Returns the boundary and the length of a body that S3 would accept.
fn announced(session: &Session) -> Result<(Boundary, u64), S3Error> {
    let headers: &HeaderMap = &session.req_header().headers;
    let length = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    match length.and_then(|text| text.parse().ok()) {
        None if headers.contains_key(TRANSFER_ENCODING) || session.is_http2() => {
            Err(S3Error::missing_content_length())
        }
        None | Some(0) => Err(HeadReader::ended()),
        Some(length) => Ok((Boundary::of(headers)?, length)),
    }
}

/// Reads the body up to the first bytes of the file.
async fn read_head(
    session: &mut Session,
    boundary: &Boundary,
    length: u64,
) -> Result<Result<FormHead, S3Error>> {
    if session.req_header_mut().remove_header(&EXPECT).is_some() {
        session.downstream_session.write_continue_response().await?;
    }
    let mut reader = HeadReader::new(boundary);
    let mut left = length;
    loop {
        if left <= REPLAYED as u64 {
            session.downstream_session.enable_retry_buffering();
        }
        let Some(piece) = session.downstream_session.read_request_body().await? else {
            return Ok(Err(HeadReader::ended()));
        };
        left = left.saturating_sub(piece.len() as u64);
        match reader.push(&piece) {
            Ok(None) => {}
            Ok(Some(form)) => return Ok(Ok(form)),
            Err(error) => return Ok(Err(error)),
        }
    }
}
