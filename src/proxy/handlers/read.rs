//! GET and HEAD from the cache: find the version, evaluate the conditions, resolve the range, stream the bytes.

use std::borrow::Cow;
use std::ops::Range;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode};
use pingora::Result;
use pingora::proxy::Session;
use tokio::select;
use tokio::time::Instant;

use super::disconnect::or_gone;
use super::transparent::strip;
use crate::cache::{
    BlockReader, CacheError, Found, OpenRequest, Piece, PieceSource, Policy, Source, YieldBudget,
};
use crate::metrics::cache::{InvalidationCause, MissReason};
use crate::proxy::context::RequestContext;
use crate::proxy::gateway::Gateway;
use crate::proxy::response::head::{CacheStatus, Head, broken, send_error};
use crate::s3::{ByteRange, ObjectId, ObjectMeta, Query, Read, ReadMethod, S3Error, Verdict};

/// A client that lets a write wait for longer than this is slow: under memory pressure, no blocks are held ahead for
/// it.
const SLOW: Duration = Duration::from_millis(250);
/// A client that lets a write wait for longer than this has stopped reading: under memory pressure, nothing is held
/// for it.
const STALLED: Duration = Duration::from_secs(1);

/// Outcome of a read.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::proxy) enum Outcome {
    Answered,
    /// The response may not be cached: it is to be streamed through.
    PassThrough,
}

/// Response to a read, once the version of the object is known.
pub(in crate::proxy) enum Answer {
    NotModified,
    Refused(S3Error),
    /// 206 with a range, 200 without.
    Bytes {
        range: Range<u64>,
        partial: bool,
    },
}

impl Gateway {
    /// Answers a read from the cache. If the object changes during the read and no byte was sent, it is read again
    /// from the start, once. If its origin is down, it is read at another one, if its rule names one.
    pub(in crate::proxy) async fn read(
        &self,
        session: &mut Session,
        ctx: &mut RequestContext,
        id: &ObjectId,
        read: &Read,
        query: &Query,
        policy: &Policy,
    ) -> Result<Outcome> {
        let transparent = self.access.transparent();
        ctx.hides = transparent.is_some();
        let (mut id, mut policy, mut again) = (Cow::Borrowed(id), *policy, true);
        ctx.miss = self.cache.miss_reason(&id, &policy);
        // The reason for reading at another origin.
        let mut down = None;
        loop {
            let found = or_gone(session, self.find(&id, read, &policy)).await?;
            let found = match found {
                // Another origin's copy may be old: no read is refused because of it (R33).
                Ok(found) if down.is_some() && refuses(read, &found.meta) => {
                    Err(CacheError::Unconfirmed)
                }
                Ok(found) if refuses(read, &found.meta) => match confirmation(ctx, &found) {
                    Confirmation::Done => Ok(found),
                    // If the confirmation was not waited for, it is made for a read that would be refused without it.
                    Confirmation::Needed
                        if !policy.demand || found.source == Source::StaleWhileRevalidate =>
                    {
                        policy = policy.demanding();
                        continue;
                    }
                    Confirmation::Needed | Confirmation::Failed => Err(CacheError::Unconfirmed),
                },
                found => found,
            };
            let known = found.as_ref().ok().map(|found| found.meta.clone());
            if let (Some(transparent), Some(meta)) = (transparent, known)
                && !self.permits(transparent, session, query, &id, &meta).await?
            {
                return Ok(Outcome::PassThrough);
            }
            let failure = match found {
                Ok(found) => match self.answer(session, ctx, &id, read, &policy, found).await? {
                    Ok(()) => return Ok(Outcome::Answered),
                    Err(failure) => failure,
                },
                Err(failure) => failure,
            };
            match failure {
                CacheError::Uncacheable if down.is_none() => return Ok(Outcome::PassThrough),
                CacheError::Changed if again => again = false,
                // The error concerns our credentials and not the caller's, who is answered by S3.
                _ if transparent.is_some() => return Ok(Outcome::PassThrough),
                failure => {
                    if down.is_none()
                        && let Some((other, its)) = self.fail_over(&id, &policy, &failure)
                    {
                        ctx.miss = self.cache.miss_reason(&other, &its);
                        ctx.elsewhere = true;
                        (id, policy, again, down) = (Cow::Owned(other), its, true, Some(failure));
                        continue;
                    }
                    let failure = down.filter(|_| !failure.is_absence()).unwrap_or(failure);
                    let (error, cache) = refusal(&failure, ctx.miss.unwrap_or(MissReason::New));
                    refuse(session, ctx, error, cache).await?;
                    return Ok(Outcome::Answered);
                }
            }
        }
    }

    async fn find(&self, id: &ObjectId, read: &Read, policy: &Policy) -> Result<Found, CacheError> {
        if let Some(part) = read.part {
            return match read.method {
                ReadMethod::Head => self.cache.head_part(id, part, policy).await,
                ReadMethod::Get => self.cache.open_part(id, part, policy).await,
            };
        }
        let whole = read.range.is_none() && read.checksum_mode;
        let preconditions = Some(&read.preconditions);
        let request = OpenRequest { range: read.range, checksums: whole, preconditions };
        let found = match read.method {
            ReadMethod::Head => self.cache.head(id, policy).await?,
            // Its size must be known to refuse it.
            ReadMethod::Get if read.range == Some(ByteRange::Suffix(0)) => {
                match self.cache.head(id, policy).await {
                    Err(CacheError::HeadRefused(_)) => {
                        self.cache.open(id, &request, policy).await?
                    }
                    found => found?,
                }
            }
            ReadMethod::Get => {
                return self.cache.open(id, &request, policy).await;
            }
        };
        match whole && found.meta.checksums.is_none() {
            true => self.cache.with_checksums(id, found).await,
            false => Ok(found),
        }
    }

    /// Answers a read from a known version. The inner error means that nothing was sent yet.
    async fn answer(
        &self,
        session: &mut Session,
        ctx: &mut RequestContext,
        id: &ObjectId,
        read: &Read,
        policy: &Policy,
        found: Found,
    ) -> Result<Result<(), CacheError>> {
        let meta = found.meta.clone();
        ctx.object_size = Some(meta.size);
        let cache = status(&found, ctx.miss);
        let (range, partial) = match evaluate(read, &meta) {
            Answer::NotModified => {
                ctx.cache = cache.label();
                let mut head = Head::new(StatusCode::NOT_MODIFIED, ctx.request_id, cache);
                head.identify(&meta);
                head.origin(ctx, cache);
                head.allow_page(&ctx.page);
                head.send(session).await?;
                session.downstream_session.write_response_body(Bytes::new(), true).await?;
                return Ok(Ok(()));
            }
            Answer::Refused(error) => return refuse(session, ctx, error, cache).await.map(Ok),
            Answer::Bytes { range, partial } => (range, partial),
        };
        let drawn = self.cache.draws(&found, policy).then(|| found.again());
        let followed = self.cache.may_read_ahead(&found).then(|| found.again());
        let mut missing = MissReason::New;
        let mut reader = match read.method {
            ReadMethod::Head => None,
            ReadMethod::Get => {
                missing = match found.source {
                    Source::Hit => self.cache.missing_block_reason(&found.version, &range),
                    _ => missing,
                };
                Some(self.cache.reader(found, range.clone()))
            }
        };
        let first = match &mut reader {
            None => None,
            Some(reader) => match or_gone(session, reader.next()).await? {
                Ok(first) => first,
                Err(failure) => {
                    if matches!(failure, CacheError::Changed) {
                        self.cache.invalidate(id, InvalidationCause::Origin);
                    }
                    return Ok(Err(failure));
                }
            },
        };
        if let (Some(found), ReadMethod::Get) = (&followed, read.method) {
            self.cache.read_follows(found, &range);
        }
        let cache = match (&first, &reader) {
            (Some(piece), Some(reader)) => match promised(cache, piece.source, reader).await {
                CacheStatus::Partial(_) => {
                    ctx.miss = Some(missing);
                    CacheStatus::Partial(missing)
                }
                cache => cache,
            },
            _ => cache,
        };
        ctx.cache = cache.label();
        head_of(ctx, read, &meta, &range, partial, cache).send(session).await?;
        let body = if reader.is_some() { range } else { 0..0 };
        stream(session, ctx, reader, first).await?;
        if let Some(found) = drawn.filter(|_| ctx.from_origin == 0) {
            self.cache.verify_hit(found, body, policy);
        }
        Ok(Ok(()))
    }
}

/// Answers with an error; the requesting web page may see it if it may see the object.
async fn refuse(
    session: &mut Session,
    ctx: &mut RequestContext,
    mut error: S3Error,
    cache: CacheStatus,
) -> Result<()> {
    error.headers.extend(ctx.page.iter().cloned());
    send_error(session, ctx, &error, cache).await
}

/// Makes the head of a 200, or of a 206 when the response is `partial`.
pub(in crate::proxy) fn head_of(
    ctx: &RequestContext,
    read: &Read,
    meta: &ObjectMeta,
    range: &Range<u64>,
    partial: bool,
    cache: CacheStatus,
) -> Head {
    let status = if partial { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK };
    let mut head = Head::new(status, ctx.request_id, cache);
    head.describe(meta, checksums(read, meta, range, partial), &read.overrides);
    head.origin(ctx, cache);
    if ctx.hides {
        strip(&mut head);
    }
    head.allow_page(&ctx.page);
    head.length(range.end - range.start);
    if partial {
        head.content_range(range, meta.size);
    }
    if let (Some(_), Some(count)) = (read.part, meta.parts.count) {
        head.parts_count(count);
    }
    head
}

/// Returns the checksums of the bytes that are sent, if the read asks for them: those of the whole object, or of a
/// part if the bytes are exactly that part's; never those of other bytes.
fn checksums<'a>(
    read: &Read,
    meta: &'a ObjectMeta,
    range: &Range<u64>,
    partial: bool,
) -> &'a [(HeaderName, HeaderValue)] {
    let known = match (read.checksum_mode, partial) {
        (false, _) => None,
        (true, false) => meta.checksums.as_deref(),
        (true, true) => meta.parts.spanning(range).map(|part| part.checksums.as_slice()),
    };
    known.unwrap_or_default()
}

/// Sends the pieces as they arrive. Any error after the head breaks the transfer.
async fn stream(
    session: &mut Session,
    ctx: &mut RequestContext,
    reader: Option<BlockReader>,
    first: Option<Piece>,
) -> Result<()> {
    ctx.first_byte = Some(ctx.started.elapsed());
    let (Some(mut reader), Some(mut piece)) = (reader, first) else {
        return session.downstream_session.write_response_body(Bytes::new(), true).await;
    };
    let mut budget = YieldBudget::default();
    loop {
        let length = piece.bytes.len() as u64;
        let counter = match piece.source {
            PieceSource::Memory => &mut ctx.from_memory,
            PieceSource::Disk => &mut ctx.from_disk,
            PieceSource::Origin => &mut ctx.from_origin,
        };
        *counter += length;
        let last = reader.is_done();
        send_piece(session, ctx, &mut reader, piece, last).await?;
        if last {
            return Ok(());
        }
        budget.spend(length).await;
        piece = match or_gone(session, reader.next()).await? {
            Ok(Some(piece)) => piece,
            Ok(None) => return Err(broken(&"the object ended early")),
            Err(failure) => return Err(broken(&failure)),
        };
    }
}

/// Sends a piece within the byte rate limits of its client.
async fn send_piece(
    session: &mut Session,
    ctx: &RequestContext,
    reader: &mut BlockReader,
    piece: Piece,
    last: bool,
) -> Result<()> {
    let step = ctx.charge.step();
    // The bytes count in the memory budget until they are sent.
    let mut bytes = piece.bytes.clone();
    loop {
        let part = bytes.split_to(step.unwrap_or(usize::MAX).min(bytes.len()));
        if step.is_some() {
            let paced = async {
                let pace = ctx.charge.pace(part.len() as u64);
                tokio::pin!(pace);
                select! {
                    biased;
                    () = &mut pace => {}
                    () = yield_under_pressure(reader) => pace.await,
                }
            };
            or_gone(session, paced).await?;
        }
        let is_end = bytes.is_empty();
        send_part(session, reader, part, last && is_end).await?;
        if is_end {
            return Ok(());
        }
    }
}

async fn send_part(
    session: &mut Session,
    reader: &mut BlockReader,
    part: Bytes,
    last: bool,
) -> Result<()> {
    let length = part.len() as u64;
    let write = session.downstream_session.write_response_body(part, last);
    tokio::pin!(write);
    // Most pieces are written at once; only a write that has to wait shows how fast the client is.
    if let Poll::Ready(written) = futures_util::poll!(write.as_mut()) {
        return written;
    }
    let started = Instant::now();
    let written = select! {
        biased;
        written = &mut write => written,
        () = yield_under_pressure(reader) => write.await,
    };
    reader.sent(length, started.elapsed());
    written
}

/// Releases memory in two steps while a write waits for its client, under memory pressure.
async fn yield_under_pressure(reader: &mut BlockReader) {
    tokio::time::sleep(SLOW).await;
    reader.memory_pressure().await;
    reader.release_ahead();
    tokio::time::sleep(STALLED).await;
    reader.memory_pressure().await;
    reader.release();
}

/// Evaluates the conditions first, then the range, as S3 does: 412 takes precedence over 416.
pub(in crate::proxy) fn evaluate(read: &Read, meta: &ObjectMeta) -> Answer {
    match read.preconditions.evaluate(&meta.etag, meta.last_modified) {
        Verdict::Pass => {}
        Verdict::NotModified => return Answer::NotModified,
        Verdict::Failed => {
            let condition = read.preconditions.failed_condition();
            return Answer::Refused(S3Error::precondition_failed(condition));
        }
    }
    if let Some(part) = read.part {
        return match meta.parts.get(part) {
            Some(part) => Answer::Bytes { range: part.range.clone(), partial: true },
            None => Answer::Refused(S3Error::service_unavailable()),
        };
    }
    let ranged = read.range.filter(|range| !range.is_suffix_of_nothing(meta.size)).filter(|_| {
        read.if_range.as_ref().is_none_or(|c| c.matches(&meta.etag, meta.last_modified))
    });
    match ranged.map(|range| (range, range.resolve(meta.size))) {
        None => Answer::Bytes { range: 0..meta.size, partial: false },
        Some((_, Ok(range))) => Answer::Bytes { range, partial: true },
        Some((asked, Err(_))) => {
            Answer::Refused(S3Error::invalid_range(&asked.to_string(), meta.size))
        }
    }
}

/// Whether a read would be refused with 412 or 416 because of this metadata.
fn refuses(read: &Read, meta: &ObjectMeta) -> bool {
    let refused = [StatusCode::PRECONDITION_FAILED, StatusCode::RANGE_NOT_SATISFIABLE];
    matches!(evaluate(read, meta), Answer::Refused(error) if refused.contains(&error.status))
}

/// Whether metadata was confirmed after the request arrived, so that the read may be refused by it (R33).
enum Confirmation {
    Done,
    Needed,
    /// The origin was asked, and did not answer.
    Failed,
}

fn confirmation(ctx: &RequestContext, found: &Found) -> Confirmation {
    match found.source {
        Source::Stale => Confirmation::Failed,
        _ if found.is_confirmed_since(ctx.started) => Confirmation::Done,
        _ => Confirmation::Needed,
    }
}

fn status(found: &Found, miss: Option<MissReason>) -> CacheStatus {
    match found.source {
        Source::Hit => CacheStatus::Hit,
        Source::Miss => CacheStatus::Miss(miss.unwrap_or(MissReason::New)),
        Source::Revalidated => CacheStatus::Revalidated,
        Source::Stale => CacheStatus::Stale,
        Source::StaleWhileRevalidate => CacheStatus::StaleWhileRevalidate,
    }
}

/// Returns the cache status of a read whose first bytes come from `source`: a hit only if the rest is in memory or on
/// disk.
async fn promised(cache: CacheStatus, source: PieceSource, reader: &BlockReader) -> CacheStatus {
    if !matches!(cache, CacheStatus::Hit | CacheStatus::Stale | CacheStatus::StaleWhileRevalidate) {
        return cache;
    }
    match source {
        PieceSource::Origin => CacheStatus::Partial(MissReason::New),
        _ if !reader.rest_is_held().await => CacheStatus::Partial(MissReason::New),
        PieceSource::Disk if cache == CacheStatus::Hit => CacheStatus::DiskHit,
        PieceSource::Memory | PieceSource::Disk => cache,
    }
}

fn refusal(failure: &CacheError, miss: MissReason) -> (S3Error, CacheStatus) {
    match failure {
        CacheError::Absent(error) => ((**error).clone(), CacheStatus::Negative),
        CacheError::Origin(error) | CacheError::HeadRefused(error) => {
            (error.to_s3(), CacheStatus::Miss(miss))
        }
        CacheError::NoMemory => (S3Error::slow_down(), CacheStatus::Miss(miss)),
        CacheError::Changed | CacheError::Uncacheable | CacheError::Unconfirmed => {
            (S3Error::service_unavailable(), CacheStatus::Miss(miss))
        }
    }
}
