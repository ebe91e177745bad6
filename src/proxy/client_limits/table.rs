//! Table of limited clients: a bounded number of entries, the idle ones in the order in which they became idle.
//!
//! Invariants: a client with a request in flight keeps its entry; the entry that is evicted is the one that has been
//! idle for the longest time in its shard. When every entry of a shard has requests in flight, new clients share one
//! entry, so a full table limits too much rather than nothing.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::token_bucket::{Nanos, TokenBucket};
use crate::auth::ClientLimit;

const SHARDS: usize = 16;
/// Index of the entry shared by clients for which there is no room; also the end of the list of idle entries.
const SHARED: u32 = 0;

/// Limit that a refused request exceeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::proxy) enum Exceeded {
    RequestsPerSecond,
    Requests,
}

/// Use and limit of the client that is closest to its limit. `None`: no client has such a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Closest(pub Option<(u64, u64)>);

impl Closest {
    fn consider(&mut self, used: u64, limit: Option<u64>) {
        let Some(limit) = limit else { return };
        let is_closer = |(most, its): (u64, u64)| {
            u128::from(used) * u128::from(its) > u128::from(most) * u128::from(limit)
        };
        if self.0.is_none_or(is_closer) {
            self.0 = Some((used, limit));
        }
    }
}

/// Clients that are closest to their limits, one for each kind of limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Use {
    /// Over the last whole second.
    pub requests_per_second: Closest,
    pub bytes_per_second: Closest,
    /// At present.
    pub requests: Closest,
}

impl Use {
    fn consider(&mut self, limit: &ClientLimit, [rate, bytes, requests]: [u64; 3]) {
        self.requests_per_second.consider(rate, limit.requests_per_second.map(u64::from));
        self.bytes_per_second.consider(bytes, limit.bytes_per_second.map(|bytes| bytes.0));
        self.requests.consider(requests, limit.requests.map(u64::from));
    }
}

/// Table of limited clients, by key `K`.
pub(super) struct Table<K> {
    shards: [Mutex<Shard<K>>; SHARDS],
    hasher: RandomState,
    since: Instant,
}

struct Shard<K> {
    by_key: HashMap<K, u32>,
    slots: Vec<Slot<K>>,
    /// Maximum number of entries.
    capacity: usize,
    /// Both ends of the list of idle entries.
    idle_longest: u32,
    idle_last: u32,
}

struct Slot<K> {
    /// `None` for the shared entry.
    key: Option<K>,
    limit: ClientLimit,
    requests: TokenBucket,
    bytes: TokenBucket,
    in_flight: u32,
    seen: Seen,
    /// Neighbours in the list of idle entries.
    before: u32,
    after: u32,
}

/// Requests and bytes counted in this second and in the one before.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    second: u64,
    requests: u64,
    bytes: u64,
    requests_before: u64,
    bytes_before: u64,
}

impl Seen {
    fn move_to(&mut self, now: Nanos) {
        let second = now / 1_000_000_000;
        if second == self.second {
            return;
        }
        *self = match second == self.second + 1 {
            true => Self {
                second,
                requests_before: self.requests,
                bytes_before: self.bytes,
                ..Self::default()
            },
            false => Self { second, ..Self::default() },
        };
    }
}

impl<K> Slot<K> {
    fn new(key: Option<K>) -> Self {
        Self {
            key,
            limit: ClientLimit::default(),
            requests: TokenBucket::default(),
            bytes: TokenBucket::default(),
            in_flight: 0,
            seen: Seen::default(),
            before: SHARED,
            after: SHARED,
        }
    }

    /// Counts a request if it is within the limits.
    fn begin(&mut self, limit: &ClientLimit, now: Nanos) -> Result<(), Exceeded> {
        self.limit = *limit;
        if limit.requests.is_some_and(|most| self.in_flight >= most) {
            return Err(Exceeded::Requests);
        }
        if let Some(rate) = limit.requests_per_second
            && !self.requests.take_one(rate.into(), now)
        {
            return Err(Exceeded::RequestsPerSecond);
        }
        self.in_flight += 1;
        self.seen.move_to(now);
        self.seen.requests += 1;
        Ok(())
    }
}

impl<K: Hash + Eq + Clone> Shard<K> {
    fn new(capacity: usize) -> Self {
        let slots = vec![Slot::new(None)];
        let (idle_longest, idle_last) = (SHARED, SHARED);
        Self { by_key: HashMap::new(), slots, capacity, idle_longest, idle_last }
    }

    fn slot(&mut self, index: u32) -> &mut Slot<K> {
        &mut self.slots[index as usize]
    }

    /// Returns the entry of a client, adding it if there is none; it is not in the list of idle ones.
    fn find_or_add<Q>(&mut self, key: &Q) -> u32
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        if let Some(index) = self.by_key.get(key).copied() {
            if self.slot(index).in_flight == 0 {
                self.remove_from_idle(index);
            }
            return index;
        }
        let index = if self.slots.len() <= self.capacity {
            self.slots.push(Slot::new(None));
            u32::try_from(self.slots.len() - 1).unwrap_or(SHARED)
        } else {
            let longest = self.idle_longest;
            if longest == SHARED {
                return SHARED;
            }
            self.remove_from_idle(longest);
            if let Some(evicted) = self.slot(longest).key.take() {
                self.by_key.remove(evicted.borrow());
            }
            longest
        };
        let key = key.to_owned();
        *self.slot(index) = Slot::new(Some(key.clone()));
        self.by_key.insert(key, index);
        index
    }

    fn remove_from_idle(&mut self, index: u32) {
        let Slot { before, after, .. } = *self.slot(index);
        match before {
            SHARED => self.idle_longest = after,
            before => self.slot(before).after = after,
        }
        match after {
            SHARED => self.idle_last = before,
            after => self.slot(after).before = before,
        }
    }

    /// Appends an entry without requests in flight to the list of idle ones.
    fn becomes_idle(&mut self, index: u32) {
        if index == SHARED {
            return;
        }
        let last = std::mem::replace(&mut self.idle_last, index);
        let slot = self.slot(index);
        (slot.before, slot.after) = (last, SHARED);
        match last {
            SHARED => self.idle_longest = index,
            last => self.slot(last).after = index,
        }
    }
}

impl<K: Hash + Eq + Clone> Table<K> {
    /// Makes a table of at most `capacity` clients.
    pub(super) fn new(capacity: usize) -> Arc<Self> {
        let shards = std::array::from_fn(|_| Mutex::new(Shard::new(capacity.div_ceil(SHARDS))));
        Arc::new(Self { shards, hasher: RandomState::new(), since: Instant::now() })
    }

    fn now(&self) -> Nanos {
        Nanos::try_from(self.since.elapsed().as_nanos()).unwrap_or(Nanos::MAX)
    }

    /// Counts a request of a client until the returned guard is dropped.
    ///
    /// # Errors
    /// The limit that the client has reached; nothing is then counted.
    pub(super) fn begin<Q>(
        self: &Arc<Self>,
        key: &Q,
        limit: &ClientLimit,
    ) -> Result<Held<K>, Exceeded>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let now = self.now();
        let hash = usize::try_from(self.hasher.hash_one(key) >> 32).unwrap_or_default();
        let shard = hash % SHARDS;
        let mut entries = self.shards[shard].lock();
        let slot = entries.find_or_add(key);
        let begun = entries.slot(slot).begin(limit, now);
        if begun.is_err() && entries.slot(slot).in_flight == 0 {
            entries.becomes_idle(slot);
        }
        drop(entries);
        begun.map(|()| Held { table: self.clone(), shard, slot, limit: *limit })
    }

    /// Returns the use of each limit by the client that is closest to it; `configured` is the limit of an idle
    /// client.
    pub(super) fn in_use(&self, configured: &ClientLimit) -> Use {
        let now = self.now();
        let mut closest = Use::default();
        closest.consider(configured, [0; 3]);
        for shard in &self.shards {
            for slot in &mut shard.lock().slots {
                slot.seen.move_to(now);
                let Seen { requests_before, bytes_before, .. } = slot.seen;
                let used = [requests_before, bytes_before, slot.in_flight.into()];
                closest.consider(&slot.limit, used);
            }
        }
        closest
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().by_key.len()).sum()
    }
}

/// Guard of a limited client's request in flight.
pub(super) struct Held<K: Hash + Eq + Clone> {
    table: Arc<Table<K>>,
    shard: usize,
    slot: u32,
    /// Limits of the client when the request began.
    limit: ClientLimit,
}

impl<K: Hash + Eq + Clone> Held<K> {
    /// Byte rate limit, in bytes a second; `None`: unlimited.
    pub(super) fn byte_rate(&self) -> Option<u64> {
        self.limit.bytes_per_second.map(|bytes| bytes.0)
    }

    /// Whether bytes can be sent without waiting.
    pub(super) fn has_credit(&self) -> bool {
        self.byte_rate().is_none()
            || self.on_slot(|slot, now| slot.bytes.debt(now)) == Duration::ZERO
    }

    /// Takes bytes, and returns the time that they have to wait.
    pub(super) fn take_bytes(&self, bytes: u64) -> Duration {
        let Some(rate) = self.byte_rate() else { return Duration::ZERO };
        self.on_slot(|slot, now| {
            slot.seen.move_to(now);
            slot.seen.bytes += bytes;
            slot.bytes.take(bytes, rate, now)
        })
    }

    /// Returns bytes that were taken and not sent.
    pub(super) fn put_back(&self, bytes: u64) {
        let Some(rate) = self.byte_rate() else { return };
        self.on_slot(|slot, _| slot.bytes.put_back(bytes, rate));
    }

    fn on_slot<T>(&self, work: impl FnOnce(&mut Slot<K>, Nanos) -> T) -> T {
        let now = self.table.now();
        work(self.table.shards[self.shard].lock().slot(self.slot), now)
    }
}

impl<K: Hash + Eq + Clone> Drop for Held<K> {
    fn drop(&mut self) {
        let mut entries = self.table.shards[self.shard].lock();
        let slot = entries.slot(self.slot);
        slot.in_flight -= 1;
        if slot.in_flight == 0 {
            entries.becomes_idle(self.slot);
        }
    }
}

impl<K: Hash + Eq + Clone> std::fmt::Debug for Held<K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Held").field("limit", &self.limit).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
