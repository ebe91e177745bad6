use super::*;

const MIB: u64 = 1 << 20;

/// Evenly spread, as digests are.
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
fn the_ghost_queue_keeps_to_its_memory_and_forgets_the_oldest() {
    let entries = 16 * 1024;
    let mut ghost = Ghost::new(entries * size_of::<u32>() as u64);
    assert_eq!(ghost.sets.len() as u64 * Ghost::WAYS as u64, entries);
    for n in 0..4 * entries {
        assert!(!ghost.seen(fingerprint(n)), "{n} was never there");
    }
    let seen = |ghost: &mut Ghost, range: std::ops::Range<u64>| {
        let all = range.end - range.start;
        range.filter(|n| ghost.seen(fingerprint(*n))).count() as u64 * 100 / all
    };
    let newest = seen(&mut ghost, 4 * entries - entries / 2..4 * entries);
    assert!(newest >= 95, "{newest} % of the newest half");
    let oldest = seen(&mut ghost, 0..entries);
    assert!(oldest <= 1, "{oldest} % of the oldest");
}

#[test]
fn a_ghost_queue_without_memory_knows_nothing() {
    let mut ghost = Ghost::new(63);
    assert!(!ghost.seen(7) && !ghost.seen(7));
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
