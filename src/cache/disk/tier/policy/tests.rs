use super::*;

const MIB: u64 = 1 << 20;

/// Returns a fingerprint; they are uniformly distributed, as digests are.
fn fingerprint(n: u64) -> u64 {
    crate::cache::disk::Digest::of(&n.to_le_bytes()).hash64()
}

fn candidates(touches: &[u8]) -> Vec<Candidate<usize>> {
    let candidate =
        |(block, touches): (usize, &u8)| Candidate { touches: *touches, bytes: MIB, block };
    touches.iter().enumerate().map(candidate).collect()
}

fn blocks(candidates: &[Candidate<usize>]) -> Vec<usize> {
    candidates.iter().map(|c| c.block).collect()
}

#[test]
fn a_block_deserves_memory_when_it_was_read_over_within_two_turnovers() {
    let mut block = Hotness::default();
    assert!(!block.touch(1 << 20, 1 << 20, 0));
    assert!(block.touch(64 << 10, 1 << 20, 1));
    for part in 0..16 {
        assert!(!block.touch(64 << 10, 1 << 20, 2), "{part}");
    }
    assert!(!block.touch(1 << 20, 1 << 20, 4), "long ago");
}

#[test]
fn the_second_time_a_block_leaves_memory_it_is_written() {
    let mut admission = Admission::new(AdmissionMode::SecondTouch, 64 << 10);
    assert!(!admission.admit(fingerprint(1), false, false));
    assert!(!admission.admit(fingerprint(2), false, false));
    assert!(admission.admit(fingerprint(1), false, false));
    assert!(!admission.admit(fingerprint(1), false, false), "a hit takes it out of the queue");
}

#[test]
fn what_was_read_again_in_memory_and_what_displaces_nothing_is_written_at_once() {
    let mut admission = Admission::new(AdmissionMode::SecondTouch, 64 << 10);
    assert!(admission.admit(fingerprint(1), true, false));
    assert!(admission.admit(fingerprint(2), false, true));
}

#[test]
fn first_touch_writes_everything_and_remembers_nothing() {
    let mut admission = Admission::new(AdmissionMode::FirstTouch, u64::MAX);
    assert!((0..1000).all(|n| admission.admit(fingerprint(n), false, false)));
}

#[test]
fn a_block_that_had_to_go_from_disk_is_written_when_it_comes_again() {
    let mut admission = Admission::new(AdmissionMode::SecondTouch, 64 << 10);
    admission.evicted(fingerprint(1));
    admission.evicted(fingerprint(1));
    assert!(admission.admit(fingerprint(1), false, false));
    assert!(!admission.admit(fingerprint(1), false, false), "it was remembered once");
}

#[test]
fn the_ghost_queue_forgets_the_oldest() {
    let mut ghost = Ghost::new(1024);
    let entries = 1024 * Ghost::WAYS as u64;
    for n in 0..4 * entries {
        assert!(!ghost.take(fingerprint(n)), "{n} was never there");
    }
    let per_cent = |ghost: &mut Ghost, range: std::ops::Range<u64>| {
        let all = range.end - range.start;
        range.filter(|n| ghost.take(fingerprint(*n))).count() as u64 * 100 / all
    };
    let newest = per_cent(&mut ghost, 4 * entries - entries / 2..4 * entries);
    assert!(newest >= 95, "{newest} % of the newest half");
    let oldest = per_cent(&mut ghost, 0..entries);
    assert!(oldest <= 1, "{oldest} % of the oldest");
}

#[test]
fn the_ghost_queue_follows_the_disk_and_keeps_to_its_memory() {
    let memory = 1 << 20;
    let bytes = |admission: &Admission| admission.ghost.sets.len() as u64 * Ghost::SET_BYTES;
    let mut admission = Admission::with_ghosts(AdmissionMode::SecondTouch, memory, 2);
    assert!((1..memory).contains(&bytes(&admission)), "it works before anything is on disk");
    admission.fit(16 << 10);
    assert_eq!(bytes(&admission), 2 * (16 << 10) * 4);
    assert!(!admission.admit(fingerprint(1), false, false));
    admission.fit(20 << 10);
    assert!(admission.admit(fingerprint(1), false, false), "a little more does not empty it");
    admission.fit(u64::MAX / 4);
    assert_eq!(bytes(&admission), memory);
    admission.fit(16 << 10);
    assert_eq!(bytes(&admission), 2 * (16 << 10) * 4);
}

#[test]
fn a_ghost_queue_without_memory_knows_nothing() {
    let mut admission = Admission::new(AdmissionMode::SecondTouch, 63);
    assert!((0..2).all(|_| !admission.admit(7, false, false)));
}

/// A disk with segments of 10 blocks of 1 MiB; `read` returns `false` for a miss.
struct Disk {
    admission: Admission,
    reinsertion: Reinsertion,
    segments: std::collections::VecDeque<Vec<(u64, Hotness)>>,
    limit: usize,
}

impl Disk {
    fn new(mode: AdmissionMode, limit: usize) -> Self {
        let (admission, reinsertion) = (Admission::new(mode, MIB), Reinsertion::default());
        Self { admission, reinsertion, segments: [vec![]].into(), limit }
    }

    fn read(&mut self, block: u64) -> bool {
        let there = self.segments.iter_mut().flatten().find(|(there, _)| *there == block);
        if let Some((_, hotness)) = there {
            hotness.touch(1 << 20, 1 << 20, 0);
            return true;
        }
        if self.admission.admit(fingerprint(block), false, false) {
            self.append(block);
            self.reinsertion.admitted(MIB, MIB);
        }
        false
    }

    fn append(&mut self, block: u64) {
        if self.segments.back().is_none_or(|open| open.len() == 10) {
            self.segments.push_back(Vec::new());
        }
        self.segments.back_mut().expect("pushed above").push((block, Hotness::default()));
        if self.segments.len() > self.limit {
            let oldest = self.segments.pop_front().expect("many");
            let candidate = |(block, hotness): &(u64, Hotness)| Candidate {
                touches: hotness.touches(),
                bytes: MIB,
                block: *block,
            };
            let mut candidates: Vec<_> = oldest.iter().map(candidate).collect();
            self.reinsertion.survivors(&mut candidates, 10 * MIB);
            for survivor in candidates {
                self.append(survivor.block);
            }
        }
    }

    fn hits(&mut self, blocks: std::ops::Range<u64>) -> usize {
        blocks.filter(|block| self.read(*block)).count()
    }
}

#[test]
fn a_scan_does_not_flush_the_hot_set() {
    let mut disk = Disk::new(AdmissionMode::SecondTouch, 20);
    for _ in 0..5 {
        disk.hits(0..100);
    }
    assert_eq!(disk.hits(0..100), 100);
    assert_eq!(disk.hits(1000..11_000), 0, "the scan finds nothing");
    assert_eq!(disk.hits(0..100), 100);
}

#[test]
fn a_scan_that_is_written_leaves_what_is_read_beside_it() {
    let mut disk = Disk::new(AdmissionMode::FirstTouch, 20);
    disk.hits(0..4);
    // Ten times what the disk holds.
    for part in 0..200 {
        disk.hits(1000 + part * 10..1010 + part * 10);
        assert_eq!(disk.hits(0..4), 4, "part {part}");
    }
}

#[test]
fn the_hottest_are_written_again_as_far_as_the_budget_reaches() {
    let mut reinsertion = Reinsertion::new(20, 1);
    reinsertion.admitted(15 * MIB, 15 * MIB);
    let mut segment = candidates(&[0, 1, 3, 2, 2, 0]);
    reinsertion.survivors(&mut segment, 20 * MIB);
    assert_eq!(blocks(&segment), [2, 3, 4]);
    let mut segment = candidates(&[3]);
    reinsertion.survivors(&mut segment, 20 * MIB);
    assert!(segment.is_empty(), "the budget is used up");
}

#[test]
fn what_was_not_read_is_not_written_again_whatever_the_budget() {
    let mut reinsertion = Reinsertion::new(20, 2);
    reinsertion.admitted(1000 * MIB, 1000 * MIB);
    let mut segment = candidates(&[0, 1, 2]);
    reinsertion.survivors(&mut segment, 20 * MIB);
    assert_eq!(blocks(&segment), [2]);
}

#[test]
fn a_segment_that_goes_makes_room_though_all_of_it_is_hot() {
    let mut reinsertion = Reinsertion::default();
    reinsertion.admitted(1000 * MIB, 1000 * MIB);
    let mut segment = candidates(&[3; 20]);
    reinsertion.survivors(&mut segment, 20 * MIB);
    assert_eq!(segment.len(), 10);
}

#[test]
fn write_amplification_stays_within_its_bound_though_everything_is_hot() {
    for length in [100_u64, 4 << 10, 64 << 10, MIB] {
        let device = length + 16;
        let mut reinsertion = Reinsertion::default();
        let (mut admitted, mut written) = (0, 0);
        for _ in 0..50 {
            for _ in 0..20 {
                reinsertion.admitted(length, device);
                (admitted, written) = (admitted + length, written + device);
            }
            let hot = |block| Candidate { touches: 3, bytes: device, block };
            let mut segment: Vec<_> = (0..24).map(hot).collect();
            reinsertion.survivors(&mut segment, 24 * device);
            written += device * segment.len() as u64;
        }
        assert!(written * 100 <= admitted * 120, "{length}: {written} for {admitted}");
        assert!(length < 1000 || written * 100 >= admitted * 118, "{length}: the budget is used");
    }
}
