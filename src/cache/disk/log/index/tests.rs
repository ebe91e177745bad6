use super::*;

fn record(data_len: u32) -> Record {
    let digest = Digest::of(b"a");
    Record { kind: Kind::Block, digest, key_len: 9, data_len, start: 0, tag: 0 }
}

#[test]
fn an_entry_costs_what_is_set_aside_for_it_however_many_there_are() {
    // With 8 bytes of the ghost queue.
    const { assert!(Index::ENTRY_COST + 8 <= 100) }
    let index = Index::new(u64::MAX);
    let mut digests = (0_u64..).map(|n| Digest::of(&n.to_le_bytes()));
    let record =
        |digest| Record { kind: Kind::Block, digest, key_len: 1, data_len: 1, start: 0, tag: 0 };
    while index.usage().1 < 1 << 18 {
        for digest in digests.by_ref().take(1 << 14) {
            index.insert(digest, Entry::new(0, 1, 0, &record(digest)));
        }
        let slots: usize =
            { index.shards.iter() }.map(|shard| shard.lock().entries.capacity() * 8 / 7).sum();
        let cost = slots as u64 * Index::SLOT / index.usage().1;
        assert!(cost <= Index::ENTRY_COST, "{cost} with {} entries", index.usage().1);
    }
}

#[test]
fn a_record_is_found_again_in_its_entry() {
    let digest = Digest::of(b"a");
    let most = ((1 << START_BITS) - 1, u32::try_from(DATA_MAX).unwrap(), KEY_MAX);
    for (start, data_len, key_len) in [(0, 1, 0), (1, 0, 1), (65_536, 70_000, 300), most] {
        let key_len = u32::try_from(key_len).unwrap();
        let record = Record { kind: Kind::Block, digest, key_len, data_len, start, tag: 0 };
        assert_eq!(Entry::new(3, 7, 32, &record).record(Kind::Block, digest), record);
    }
}

#[test]
fn a_group_is_removed_whatever_became_of_its_entries() {
    let index = Index::grouped(1 << 20);
    let digests = [b"a", b"b", b"c", b"d"].map(|name| Digest::of(name));
    let of = |start| Entry::new(0, 1, 32, &Record { start, ..record(1) });
    for (digest, start) in digests.iter().zip([1, 1, 1, 2]) {
        index.insert(*digest, of(start));
    }
    index.insert(digests[0], of(2));
    assert!(index.remove_at(&digests[1], of(1).place()));
    assert!(index.replace(&digests[2], of(1).place(), Entry { segment: 7, ..of(1) }));
    let sizes = |shard: &Mutex<Shard>| -> usize {
        shard.lock().groups.iter().flat_map(HashMap::values).map(HashSet::len).sum()
    };
    let grouped: usize = index.shards.iter().map(sizes).sum();
    assert_eq!((grouped as u64, index.usage().1), (3, 3), "nothing that is gone");
    assert_eq!(index.remove_group(1), 1);
    assert_eq!((index.remove_group(1), index.usage().1), (0, 2));
    assert_eq!(index.remove_where(|digest, _| *digest == digests[3]), 1);
    assert_eq!((index.remove_group(2), index.usage().1), (1, 0));
    let is_empty = |shard: &Mutex<Shard>| shard.lock().groups.iter().all(HashMap::is_empty);
    assert!(index.shards.iter().all(is_empty));
}

#[test]
fn what_is_counted_is_what_is_there() {
    let index = Index::new(1 << 20);
    let digest = Digest::of(b"a");
    index.insert(digest, Entry::new(0, 1, 32, &record(10)));
    index.insert(digest, Entry::new(0, 2, 32, &record(20)));
    assert_eq!(index.usage(), (20, 1));
    let old = Place { volume: 0, segment: 1, offset: 32 };
    assert!(!index.remove_at(&digest, old));
    assert_eq!(index.remove_where(|_, e| e.segment == 2), 1);
    assert_eq!(index.usage(), (0, 0));
}
