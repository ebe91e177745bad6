//! Warming of one object: opens it and reads its missing ranges, piece by piece.

use std::ops::Range;

use super::bounded_tasks::BoundedTasks;
use super::pace::Rate;
use super::span::Span;
use super::warmer::Warmer;
use crate::cache::{CacheError, Found, OpenRequest, PieceSource, Policy, Source};
use crate::metrics::cache::InvalidationCause;
use crate::metrics::warm as metrics;
use crate::s3::ObjectId;

/// Successful outcome of warming an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// Its requested ranges are in the cache.
    Warm,
    /// Its rule, or its own headers, forbid caching.
    NotCacheable,
    /// The object is larger than the job may still warm.
    NotAllowed,
}

impl Warmer {
    /// Warms an object. `size`: its presumed size, whose bytes are allowed already; if unknown, `allow` is called with
    /// its bytes. `warmed` is called with the bytes that are warm now, and the number of them that were fetched.
    pub(super) async fn warm_object(
        &self,
        id: &ObjectId,
        span: Span,
        mut size: Option<u64>,
        rate: &Rate,
        allow: impl Fn(u64) -> bool,
        warmed: impl Fn(u64, u64),
    ) -> Result<Ended, CacheError> {
        let policy = self.rules.policy(id, false).map(Policy::in_background);
        let Some(policy) = policy else { return Ok(Ended::NotCacheable) };
        let allow = |bytes, known: &mut Option<u64>, real| {
            let allowed = known.is_some() || allow(bytes);
            *known = Some(real);
            allowed
        };
        let mut again = true;
        loop {
            match self.read_object(id, span, &mut size, &policy, rate, &allow, &warmed).await {
                Err(CacheError::Changed) if again => {
                    self.cache.invalidate(id, InvalidationCause::Origin);
                    again = false;
                }
                Err(CacheError::Uncacheable) => return Ok(Ended::NotCacheable),
                ended => return ended,
            }
        }
    }

    #[allow(clippy::too_many_arguments, reason = "one attempt of the above")]
    async fn read_object(
        &self,
        id: &ObjectId,
        span: Span,
        size: &mut Option<u64>,
        policy: &Policy,
        rate: &Rate,
        allow: &impl Fn(u64, &mut Option<u64>, u64) -> bool,
        warmed: &impl Fn(u64, u64),
    ) -> Result<Ended, CacheError> {
        let chunk = rate.chunk(self.cache.block_size(), self.cache.fetch_size());
        let granularity = self.cache.granularity(span.head);
        let turn = self.pace.turn(rate).await;
        let (found, opened) = match span.first(*size, chunk) {
            Some(first) => {
                let request = OpenRequest { range: Some(first), ..OpenRequest::default() };
                (self.cache.open(id, &request, policy).await?, true)
            }
            None => (self.cache.head(id, policy).await?, false),
        };
        let real = found.meta.size;
        if !allow(span.bytes(real, granularity), size, real) {
            return Ok(Ended::NotAllowed);
        }
        let ranges = span.ranges(real, granularity);
        let mut chunks = ranges.into_iter().flat_map(|range| cut(range, chunk));
        let other = found.again();
        if let Some(first) = chunks.next() {
            // First, with the handle of the cold fetch, which fetched all of this chunk.
            let fetched = match opened && found.source == Source::Miss {
                true => self.read(found, first.clone(), rate, true).await?,
                false => self.read_missing(&found, first.clone(), rate).await?,
            };
            warmed(first.end - first.start, fetched);
        }
        drop(turn);
        let mut reads = BoundedTasks::new(self.pace.reads());
        for chunk in chunks {
            reads.add(self.read_chunk(&other, chunk, rate, warmed)).await?;
        }
        reads.finish().await?;
        Ok(Ended::Warm)
    }

    /// Reads the missing bytes of a chunk, once the pace allows it.
    async fn read_chunk(
        &self,
        found: &Found,
        chunk: Range<u64>,
        rate: &Rate,
        warmed: &impl Fn(u64, u64),
    ) -> Result<(), CacheError> {
        // A large object that is warm already has no other await point.
        tokio::task::consume_budget().await;
        let mut fetched = 0;
        if !self.cache.missing(found, chunk.clone()).is_empty() {
            let _turn = self.pace.turn(rate).await;
            fetched = self.read_missing(found, chunk.clone(), rate).await?;
        }
        warmed(chunk.end - chunk.start, fetched);
        Ok(())
    }

    /// Reads the missing bytes of a chunk. Returns the number of bytes fetched.
    async fn read_missing(
        &self,
        found: &Found,
        chunk: Range<u64>,
        rate: &Rate,
    ) -> Result<u64, CacheError> {
        let mut fetched = 0;
        for gap in self.cache.missing(found, chunk) {
            fetched += self.read(found.again(), gap, rate, false).await?;
        }
        Ok(fetched)
    }

    /// Reads a range. Returns the number of bytes fetched; with `opened`, all of them were, whether or not they have
    /// arrived.
    async fn read(
        &self,
        found: Found,
        range: Range<u64>,
        rate: &Rate,
        opened: bool,
    ) -> Result<u64, CacheError> {
        let mut reader = self.cache.reader(found, range);
        let mut fetched = 0;
        while let Some(piece) = reader.next().await? {
            if opened || piece.source == PieceSource::Origin {
                fetched += piece.bytes.len() as u64;
            }
        }
        rate.pay(fetched);
        metrics::fetched(fetched);
        Ok(fetched)
    }
}

/// Cuts a range at multiples of `chunk`.
fn cut(range: Range<u64>, chunk: u64) -> impl Iterator<Item = Range<u64>> {
    let mut at = range.start;
    std::iter::from_fn(move || {
        let from = at;
        at = ((from / chunk + 1) * chunk).min(range.end);
        (from < range.end).then_some(from..at)
    })
}

#[cfg(test)]
#[allow(clippy::single_range_in_vec_init, reason = "a list of one range is meant")]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_cut_at_multiples_and_nothing_is_left_out() {
        let cut = |range, chunk| cut(range, chunk).collect::<Vec<_>>();
        assert_eq!(cut(5..25, 10), [5..10, 10..20, 20..25]);
        assert_eq!(cut(10..20, 10), [10..20]);
        assert!(cut(10..10, 10).is_empty());
    }
}
