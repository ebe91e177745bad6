//! Usage of the disk tier.

use std::ops::Range;

use super::DiskTier;
use crate::cache::disk::log::index;
use crate::cache::key::BlockKey;
use crate::metrics::disk::Holds;

impl DiskTier {
    /// Returns the path that a block is on, and its part there as offsets in the object; without I/O.
    pub(in crate::cache) fn lies_on(&self, key: &BlockKey) -> Option<(&str, Range<u64>)> {
        let entry = self.index.get(&key.digest())?;
        let span = index::span(&entry);
        let path = self.volumes[usize::from(entry.volume)].name();
        Some((path, key.start() + span.start..key.start() + span.end))
    }

    /// Sets the gauges of each path.
    pub(in crate::cache) fn set_gauges(&self) {
        let (object_bytes, objects) = self.objects.usage();
        for (number, volume) in self.volumes.iter().enumerate() {
            // Metadata is on the first path.
            let first = number == 0;
            volume.queue.metrics.set_holds(Holds {
                device_bytes: volume.log.size() + if first { object_bytes } else { 0 },
                blocks: self.index.entries_of(number),
                objects: first.then_some(objects),
                queued_bytes: volume.queue.bytes(),
            });
        }
    }

    pub(in crate::cache) fn usage(&self) -> DiskUsage {
        let (data_bytes, blocks) = self.index.usage();
        let (object_bytes, objects) = self.objects.usage();
        let log_bytes: u64 = self.volumes.iter().map(|v| v.log.size()).sum();
        DiskUsage {
            device_bytes: log_bytes + object_bytes,
            data_bytes,
            blocks,
            objects,
            queued_bytes: self.volumes.iter().map(|v| v.queue.bytes()).sum(),
        }
    }
}

/// Current content of the tier, for gauges.
#[derive(Debug, Clone, Copy)]
pub struct DiskUsage {
    pub device_bytes: u64,
    pub data_bytes: u64,
    pub blocks: u64,
    pub objects: u64,
    pub queued_bytes: u64,
}
