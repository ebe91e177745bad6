//! The admission window in front of the memory tier's policy: the most recently fetched blocks, in order of arrival.
//!
//! W-TinyLFU compares a newcomer with the entry it would replace, and refuses it if that one was read more often. A
//! read of a refused block seconds later would fetch it a second time. So a block first enters the window, where only
//! younger blocks replace it. It is compared when it leaves, with the reads that it had meanwhile.

use std::collections::{HashMap, VecDeque};

use foldhash::fast::RandomState;
use parking_lot::Mutex;

use super::block::Block;
use crate::cache::key::BlockKey;

/// A first-in, first-out queue of blocks: reads do not change the order, so that only the policy counts them.
#[derive(Default)]
pub(crate) struct Window {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    blocks: HashMap<BlockKey, Held, RandomState>,
    /// Blocks in order of arrival, oldest first. An entry whose number is not the block's is void.
    order: VecDeque<(u64, BlockKey)>,
    /// Weight of the blocks that are not leaving.
    bytes: u64,
    /// Maximum weight.
    limit: u64,
    last_number: u64,
}

struct Held {
    number: u64,
    block: Block,
    /// Whether it is on its way to the policy, and readable until it is there.
    leaving: bool,
}

/// A block on its way from the window to the policy; see [`Window::left`].
pub(crate) struct Leaving {
    pub key: BlockKey,
    pub block: Block,
    number: u64,
}

impl Window {
    /// Creates a window for blocks of up to `limit` bytes, their entries' cost included.
    pub(crate) fn new(limit: u64) -> Self {
        let window = Self::default();
        window.state.lock().limit = limit;
        window
    }

    pub(crate) fn get(&self, key: &BlockKey) -> Option<Block> {
        self.state.lock().blocks.get(key).map(|held| held.block.clone())
    }

    /// Adds a block, which replaces an older one of the same key; returns the blocks that have to leave for it.
    pub(crate) fn push(&self, key: BlockKey, block: Block) -> Vec<Leaving> {
        let mut state = self.state.lock();
        state.last_number += 1;
        let number = state.last_number;
        state.bytes += block.weight();
        state.order.push_back((number, key.clone()));
        let replaced = state.blocks.insert(key, Held { number, block, leaving: false });
        state.discount(replaced.as_ref());
        state.overflow()
    }

    /// Notes that the policy has a block that left. `false`: it was removed or replaced meanwhile, and the policy must
    /// drop it.
    pub(crate) fn left(&self, leaving: &Leaving) -> bool {
        let mut state = self.state.lock();
        let is_same = state.blocks.get(&leaving.key).is_some_and(|h| h.number == leaving.number);
        if is_same {
            state.blocks.remove(&leaving.key);
        }
        is_same
    }

    /// Removes a block, even one on its way to the policy.
    pub(crate) fn remove(&self, key: &BlockKey) {
        let mut state = self.state.lock();
        let removed = state.blocks.remove(key);
        state.discount(removed.as_ref());
    }

    /// Sets the limit, in bytes; returns the blocks that have to leave.
    pub(crate) fn set_limit(&self, limit: u64) -> Vec<Leaving> {
        let mut state = self.state.lock();
        state.limit = limit;
        state.overflow()
    }

    /// Returns all blocks, oldest first.
    pub(crate) fn blocks(&self) -> Vec<(BlockKey, Block)> {
        let state = self.state.lock();
        let block = |(number, key): &(u64, BlockKey)| {
            let held = state.blocks.get(key).filter(|held| held.number == *number)?;
            Some((key.clone(), held.block.clone()))
        };
        let leaving = state.blocks.iter().filter(|(_, held)| held.leaving);
        let leaving = leaving.map(|(key, held)| (key.clone(), held.block.clone()));
        leaving.chain(state.order.iter().filter_map(block)).collect()
    }

    /// Returns the weight of the blocks that are not leaving, and the number of all blocks.
    pub(crate) fn usage(&self) -> (u64, u64) {
        let state = self.state.lock();
        (state.bytes, state.blocks.len() as u64)
    }
}

impl State {
    fn discount(&mut self, gone: Option<&Held>) {
        if let Some(Held { block, leaving: false, .. }) = gone {
            self.bytes -= block.weight();
        }
    }

    /// Marks the oldest blocks above the limit as leaving.
    fn overflow(&mut self) -> Vec<Leaving> {
        let mut overflow = Vec::new();
        while self.bytes > self.limit
            && let Some((number, key)) = self.order.pop_front()
        {
            let Some(held) = self.blocks.get_mut(&key) else { continue };
            if held.number == number {
                held.leaving = true;
                self.bytes -= held.block.weight();
                overflow.push(Leaving { key, block: held.block.clone(), number });
            }
        }
        overflow
    }
}
