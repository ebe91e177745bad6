//! Power cuts at any moment: every read is right or a miss, and nothing invalidated comes back (R11).

use std::collections::HashMap;

use rand::Rng;
use rand::seq::SliceRandom;

use super::*;

/// Returns the number of runs of each kind; more with `HOTSET_POWER_CUTS`.
fn runs(usual: u64) -> u64 {
    std::env::var("HOTSET_POWER_CUTS").ok().and_then(|n| n.parse().ok()).unwrap_or(usual)
}

/// Model of the metadata that may be known.
#[derive(Debug, Default)]
struct Model {
    next: u64,
    /// Versions below this were invalidated, and the invalidation was acknowledged.
    floors: HashMap<ObjectId, u64>,
    /// Versions below this were invalidated by this process, acknowledged or not.
    live_floors: HashMap<ObjectId, u64>,
    tickets: Vec<(Ticket, Vec<ObjectId>, u64)>,
    /// Whether devices fail: then tombstones may be missing of records that a later process is to confirm.
    faulty: bool,
}

impl Model {
    fn next(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Records that an invalidation of `ids` was applied.
    fn forgotten(&mut self, ids: Vec<ObjectId>, ticket: Option<Ticket>) {
        let floor = self.next();
        for id in &ids {
            self.live_floors.insert(id.clone(), floor);
        }
        match ticket {
            Some(ticket) => self.tickets.push((ticket, ids, floor)),
            None => self.acknowledged(&ids, floor),
        }
    }

    fn acknowledged(&mut self, ids: &[ObjectId], floor: u64) {
        for id in ids {
            let known = self.floors.entry(id.clone()).or_default();
            *known = floor.max(*known);
        }
    }

    async fn acknowledge(&mut self, objects: &Objects) {
        for (ticket, ids, floor) in std::mem::take(&mut self.tickets) {
            if objects.durable(ticket, FLUSH_TIMEOUT).await {
                self.acknowledged(&ids, floor);
            }
        }
    }

    /// Returns whether metadata of the object is known, and checks that it is right.
    async fn check(&self, objects: &Objects, id: &ObjectId, alive: bool) -> bool {
        let Some(found) = objects.recall(id).await else { return false };
        let version = version_of(id, &found.object.meta);
        if self.faulty && !alive && !found.is_confirmed {
            return true;
        }
        let floors = if alive { &self.live_floors } else { &self.floors };
        let floor = floors.get(id).copied().unwrap_or(0);
        assert!(version > floor, "{id:?}: version {version} came back, void below {floor}");
        assert!(version <= self.next);
        true
    }

    /// Drops what was true of the process that ended.
    fn restarted(&mut self) {
        self.tickets.clear();
        self.live_floors.clear();
    }

    /// Does one random operation on metadata.
    async fn step(&mut self, objects: &Objects, random: &mut StdRng, ids: &[ObjectId]) {
        let id = &ids[random.gen_range(0..ids.len())];
        match random.gen_range(0..20) {
            0..10 => {
                let record = ObjectRecord { meta: meta(id, self.next()), learned: UNIX_EPOCH };
                objects.remember(id, &record, || true);
            }
            10..14 => self.forgotten(vec![id.clone()], objects.forget(id)),
            14 => {
                let gone = ids.iter().filter(|other| other.bucket() == id.bucket());
                let gone = gone.cloned().collect();
                self.forgotten(gone, objects.forget_bucket(id.realm(), id.bucket()));
            }
            15 => self.acknowledge(objects).await,
            _ => drop(self.check(objects, id, true).await),
        }
    }
}

fn ids() -> Vec<ObjectId> {
    (0..24).map(|n| id(if n % 3 == 0 { "one" } else { "two" }, n)).collect()
}

/// Tests metadata alone, in segments so small that they are reclaimed all the time; returns the number of records that
/// survived.
async fn cut_metadata(seed: u64, faulty: bool) -> usize {
    let mut random = StdRng::seed_from_u64(seed);
    let (mut model, ids) = (Model { faulty, ..Model::default() }, ids());
    let mut folder = SimFolder::new();
    let mut survived = 0;
    for _ in 0..5 {
        let size = (40_000, 5_000);
        let objects = match faulty {
            true => start_objects(&folder, "sim", size),
            false => believed_objects(&folder, "sim", size),
        };
        for id in &ids {
            survived += usize::from(model.check(&objects, id, false).await);
        }
        for _ in 0..random.gen_range(0..150) {
            model.step(&objects, &mut random, &ids).await;
            if faulty && random.gen_bool(0.02) {
                let op = *Op::ALL.choose(&mut random).expect("not empty");
                folder.fail(op, rustix::io::Errno::IO, random.gen_range(1..5));
            }
        }
        if random.gen_bool(0.3) {
            objects.finish().await;
        }
        // Some processes are killed first; a power cut may follow before all of their writes are durable.
        let seed = random.r#gen();
        folder = if random.gen_bool(0.4) { folder.kill() } else { folder.power_cut(seed) };
        model.restarted();
    }
    survived
}

#[tokio::test]
async fn r11_nothing_invalidated_comes_back_after_a_power_cut() {
    let mut survived = 0;
    for seed in 0..runs(300) {
        println!("seed {seed}");
        survived += cut_metadata(seed, false).await;
    }
    assert!(survived as u64 > runs(300), "{survived}");
}

#[tokio::test]
async fn r11_nothing_invalidated_comes_back_when_the_device_fails_before_the_power_does() {
    for seed in 0..runs(300) {
        println!("seed {seed}");
        cut_metadata(seed, true).await;
    }
}

/// An invalidation that finds no metadata leaves no tombstone: then none may be on the device.
#[tokio::test]
async fn r11_what_is_forgotten_while_its_segment_goes_does_not_come_back() {
    let folder = SimFolder::new();
    let start = |folder: &SimFolder| believed_objects(folder, "sim", (8_000, 1_000));
    let ids: Vec<_> = (0..200).map(|n| id("one", n)).collect();
    let remember = |objects: &Objects, id: &ObjectId| {
        objects.remember(id, &ObjectRecord { meta: meta(id, 1), learned: UNIX_EPOCH }, || true);
    };
    for rotation in 0..4 {
        let folder = folder.kill();
        let objects = start(&folder);
        for id in &ids[..100 + rotation] {
            remember(&objects, id);
        }
        objects.finish().await;
        assert!(folder.names().len() >= 6);
        // The writer hangs while the oldest segment is removed, or a new one is created.
        folder.hang(Op::SyncFolder);
        for id in &ids[150..] {
            remember(&objects, id);
        }
        while folder.hanging() == 0 {
            tokio::task::yield_now().await;
        }
        let gone: Vec<_> = ids[..100].iter().filter(|id| objects.forget(id).is_none()).collect();
        for seed in 0..30 {
            let objects = start(&folder.power_cut(seed));
            for id in &gone {
                assert!(objects.recall(id).await.is_none(), "{id:?} came back");
            }
        }
        folder.release();
    }
}

/// A tombstone that a killed process left in the page cache is trusted only when it is durable.
#[tokio::test]
async fn r11_what_the_next_process_knows_nothing_of_does_not_come_back_after_it() {
    let (device, id) = (Device::new(), id("one", 1));
    let tier = device.open();
    tier.remember(&id, &meta(&id, 1), SystemTime::now(), || true);
    tier.finish().await;
    device.objects.hang(Op::Sync);
    assert!(tier.forget(&id).is_some());
    while device.objects.hanging() == 0 {
        tokio::task::yield_now().await;
    }
    let killed = device.kill();
    device.objects.release();
    assert!(killed.open().forget(&id).is_none());
    for seed in 0..30 {
        assert_eq!(recall(&killed.power_cut(seed).open(), &id).await, None);
    }
}

async fn cut_tier(seed: u64) -> usize {
    let mut random = StdRng::seed_from_u64(seed);
    let (mut model, ids) = (Model::default(), ids());
    let mut keys: Vec<BlockKey> = Vec::new();
    let mut device = Device::new();
    let mut survived = 0;
    for _ in 0..3 {
        let tier = device.open();
        for key in &keys {
            survived += usize::from(read(&tier, key, 0).await);
        }
        for _ in 0..random.gen_range(0..40) {
            let id = &ids[random.gen_range(0..ids.len())];
            match random.gen_range(0..8) {
                0..3 => {
                    let key = block_key(id, random.gen_range(0..3), random.gen_range(0..3));
                    let skip = if random.r#gen() { 0 } else { random.gen_range(0..key.len()) };
                    tier.offer(&key, &block(&key, skip), true);
                    keys.push(key);
                }
                3 if !keys.is_empty() => {
                    let key = &keys[random.gen_range(0..keys.len())];
                    read(&tier, key, random.gen_range(0..key.len())).await;
                }
                4 if random.gen_bool(0.2) => tier.finish().await,
                _ => model.step(&tier.objects, &mut random, &ids).await,
            }
        }
        let seed = random.r#gen();
        device = if random.gen_bool(0.3) { device.kill() } else { device.power_cut(seed) };
        model.restarted();
    }
    // The tier still works.
    let tier = device.open();
    let key = block_key(&ids[0], 9, 0);
    write(&tier, std::slice::from_ref(&key)).await;
    assert!(read(&tier, &key, 0).await);
    let (id, version) = (&ids[1], model.next());
    tier.remember(id, &meta(id, version), SystemTime::now(), || true);
    tier.finish().await;
    assert_eq!(recall(&tier, id).await, Some(version));
    survived
}

#[tokio::test]
async fn after_a_power_cut_each_read_is_right_or_a_miss() {
    let mut survived = 0;
    for seed in 0..runs(60) {
        println!("seed {seed}");
        survived += cut_tier(seed).await;
    }
    assert!(survived as u64 > runs(60), "{survived}");
}
