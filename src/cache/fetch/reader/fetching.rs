//! Fetches of a reader: the bytes that it needs now, and those that it reads ahead.

use std::ops::Range;
use std::sync::Arc;

use super::{BlockReader, Granularity};
use crate::cache::fetch::budget::Paid;
use crate::cache::fetch::fetcher::Fetcher;
use crate::cache::fetch::fill::Claim;
use crate::cache::fetch::flight::{NewFetch, Reading};
use crate::cache::fetch::origin_fetch::{self, FetchTarget};
use crate::cache::fetch::plan::{self, Cuts, UNIT};
use crate::cache::key::BlockKey;
use crate::cache::lookup::error::CacheError;
use crate::cache::memory::block::Block;
use crate::origin::{Class, Width};

/// Bytes left at which a range counts as done: the next one is requested before the connection is idle.
const ALMOST_NONE: u64 = 4 * UNIT;

impl BlockReader {
    /// Whether the client takes less than a block per second.
    fn is_slow(&self) -> bool {
        self.pace.rate() < self.version.block_size()
    }

    /// Whether to fetch only what the client takes in a second, since it is slow and memory is scarce.
    pub(in crate::cache) fn is_thrifty(&self) -> bool {
        self.is_slow() && !self.fetcher.budget.has_plenty()
    }

    /// Claims or fetches the bytes at the reader's position, waiting for memory if necessary.
    pub(in crate::cache) async fn fetch(&mut self) -> Result<(), CacheError> {
        self.pace.fetches();
        // The planned fetches did not bring these bytes: they were evicted meanwhile, or never claimed.
        self.planned = self.at;
        if !self.slow {
            self.window = self.window.max(self.fetcher.fetch_size);
        }
        let block_end = self.version.block_at(self.at).end();
        let window = self.window.min(self.may_begin(self.window).max(1) * self.cuts.bytes());
        let ahead = self.end.min(self.at + window).max(block_end.min(self.end));
        let wanted = self.at..ahead;
        let reading = self.reading(self.class());
        let (claims, fetches) = self.join(&reading, &wanted, ahead, None);
        self.keep(claims, fetches);
        self.opening = None;
        if self.planned > self.at {
            return Ok(());
        }
        let opening = self.fetcher.flights.opening_at(&self.reading(self.class()), self.at);
        if let Some(mut opening) = opening {
            // Whatever the result, the next round finds its bytes in flight, or no fetch for them.
            let _ = opening.answer().await;
            self.opening = Some(opening);
            return Ok(());
        }
        let fetch_end = match self.granularity {
            Granularity::Block => self.fetch_end(ahead),
            Granularity::Unit => {
                self.fetcher.locality.fetch_end(&self.id, &wanted, self.block_end(ahead))
            }
        };
        let (paid, fetch_end) = self.pay(block_end, fetch_end).await?;
        let wanted = self.at..ahead.min(fetch_end);
        let reading = self.reading(self.class());
        let (claims, fetches) = self.join(&reading, &wanted, fetch_end, Some(paid));
        self.keep(claims, fetches);
        Ok(())
    }

    /// Acquires memory for the bytes up to `fetch_end`, or at least for those of the block that is needed now. For a
    /// slow client, while memory is scarce, it acquires the part that the client takes in a second. Returns the permit
    /// with its bytes, and the end that it covers.
    async fn pay(
        &mut self,
        block_end: u64,
        fetch_end: u64,
    ) -> Result<((Paid, u64), u64), CacheError> {
        let all = fetch_end - self.at + UNIT;
        if !self.is_thrifty()
            && let Some(paid) = self.fetcher.budget.try_fill(all)
        {
            return Ok(((paid, all), fetch_end));
        }
        self.release();
        let mut fetch_end = block_end.min(fetch_end);
        if self.is_slow() {
            fetch_end = fetch_end.min((self.at + self.pace.rate()).next_multiple_of(UNIT));
        }
        let start = plan::fetch_start(self.at, self.version.block_at(self.at).start(), self.unit);
        let bytes = fetch_end - start;
        let paid = self.fetcher.budget.fill(bytes).await.ok_or(CacheError::NoMemory)?;
        Ok(((paid, bytes), fetch_end))
    }

    /// Returns the end of the block that holds the last byte before `end`.
    fn block_end(&self, end: u64) -> u64 {
        self.version.block_at(end - 1).end()
    }

    /// Returns the end of the fetch when the bytes up to `end` are wanted.
    fn fetch_end(&self, end: u64) -> u64 {
        match self.granularity {
            Granularity::Block => self.block_end(end),
            Granularity::Unit => plan::fetch_end(end, self.block_end(end), self.unit),
        }
    }

    /// Refills the read-ahead window once a whole fetch fits into it, or the rest of the range.
    pub(in crate::cache) fn read_ahead(&mut self) {
        let target = self.end.min(self.at + self.window);
        let planned = self.planned.max(self.at);
        if target >= planned + self.fetcher.fetch_size || target == self.end && planned < self.end {
            self.plan_ahead();
        }
    }

    fn plan_ahead(&mut self) {
        // A block that is read from memory now is usually in memory up to its end; bytes behind a claim may not be.
        let block_end = self.at.next_multiple_of(self.version.block_size());
        let from = if self.planned > self.at { self.planned } else { block_end };
        let upto = self.end.min(self.at + self.window);
        if from >= upto {
            return;
        }
        let most = self.may_begin(upto - from) * self.cuts.bytes();
        if most == 0 {
            return;
        }
        let upto = self.end.min(self.block_end(upto.min(from + most)));
        let fetch_end = self.fetch_end(upto);
        let bytes = fetch_end - from + UNIT;
        let Some(paid) = self.fetcher.budget.try_read_ahead(bytes) else {
            self.window /= 2;
            return;
        };
        let reading = self.reading(self.fetching.class_ahead());
        let paid = Some((paid, bytes));
        let (claims, fetches) = self.join(&reading, &(from..upto), fetch_end, paid);
        self.keep(claims, fetches);
        self.planned = upto;
    }

    /// Returns the number of ranges that may be fetched in addition to those under way, for `wanted` bytes.
    fn may_begin(&mut self, wanted: u64) -> u64 {
        let width = self.width.clone().unwrap_or_else(|| self.look_up_width());
        let mut under_way = 0;
        let mut last: Option<&Claim> = None;
        for claim in &self.claims {
            if last.is_none_or(|last| !last.is_beside(claim)) && claim.left() > ALMOST_NONE {
                under_way += 1;
            }
            last = Some(claim);
        }
        let free = width.ranges().saturating_sub(under_way) as u64;
        if wanted > free * self.cuts.bytes() {
            width.held_back();
        }
        free
    }

    /// Looks up its origin's width, which decides the size of its ranges.
    fn look_up_width(&mut self) -> Arc<Width> {
        let width = self.fetcher.origin.width_of(&self.id);
        let size = width.range_size(self.end - self.at, self.fetcher.range_sizes());
        let part = self.version.etag().part_size(self.version.size());
        self.cuts = Cuts::along_parts(part, self.version.block_size(), size);
        self.width = Some(width.clone());
        width
    }

    fn join(
        &self,
        reading: &Reading<'_>,
        wanted: &Range<u64>,
        fetch_end: u64,
        paid: Option<(Paid, u64)>,
    ) -> (Vec<Claim>, Vec<NewFetch>) {
        let Fetcher { flights, blocks, .. } = &*self.fetcher;
        let here = self.version.block_at(self.at).index();
        let held = |key: &BlockKey| {
            if self.insists && key.index() == here {
                return Vec::new();
            }
            let refuses = self.refused.contains(&key.start().max(self.at));
            let on_disk = if refuses { None } else { blocks.on_disk(key) };
            let in_memory = blocks.memory.find(key);
            in_memory.iter().flat_map(Block::spans).chain(on_disk).collect()
        };
        flights.join(reading, wanted, fetch_end, &held, self.cuts, paid)
    }

    fn reading(&self, class: Class) -> Reading<'_> {
        let Self { id, version, generation, unit, .. } = self;
        Reading { id, version, generation: *generation, class, unit: *unit }
    }

    /// Returns the priority class of the bytes at its position.
    pub(in crate::cache) fn class(&self) -> Class {
        self.fetching.class(self.end - self.at)
    }

    pub(in crate::cache) fn keep(&mut self, claims: Vec<Claim>, fetches: Vec<NewFetch>) {
        self.claims.extend(claims);
        while let Some(claim) = self.claims.iter().find(|c| c.covers(self.planned.max(self.at))) {
            self.planned = claim.end();
        }
        for new in fetches {
            let (version, fetching) = (&self.version, self.fetching);
            let of = FetchTarget { id: &self.id, version, meta: &self.meta, fetching };
            origin_fetch::spawn(&self.fetcher, of, self.generation, new);
        }
    }
}
