use super::*;

fn limit(requests_per_second: u32, requests: u32) -> ClientLimit {
    let (requests_per_second, requests) = (Some(requests_per_second), Some(requests));
    ClientLimit { requests_per_second, requests, bytes_per_second: None }
}

fn bytes(rate: u64) -> ClientLimit {
    let bytes_per_second = Some(crate::config::units::ByteSize(rate));
    ClientLimit { bytes_per_second, ..ClientLimit::default() }
}

/// A capacity of one entry per shard.
const SMALL: usize = SHARDS;
const MANY: u32 = 10_000;

#[tokio::test(start_paused = true)]
async fn each_client_has_limits_of_its_own() {
    let table = Table::<u32>::new(100);
    let limit = limit(2, 10);
    for client in [1, 2] {
        drop(table.begin(&client, &limit).unwrap());
        drop(table.begin(&client, &limit).unwrap());
        assert_eq!(table.begin(&client, &limit).unwrap_err(), Exceeded::RequestsPerSecond);
    }
    tokio::time::advance(Duration::from_millis(500)).await;
    assert!(table.begin(&1, &limit).is_ok());
    assert!(table.begin(&1, &limit).is_err());
}

#[tokio::test(start_paused = true)]
async fn requests_in_flight_come_back_when_they_end_and_refused_ones_take_no_token() {
    let table = Table::<u32>::new(100);
    let limit = limit(3, 1);
    let held = table.begin(&1, &limit).unwrap();
    for _ in 0..10 {
        assert_eq!(table.begin(&1, &limit).unwrap_err(), Exceeded::Requests);
    }
    drop(held);
    for _ in 0..2 {
        assert!(table.begin(&1, &limit).is_ok());
    }
    assert_eq!(table.begin(&1, &limit).unwrap_err(), Exceeded::RequestsPerSecond);
}

#[tokio::test(start_paused = true)]
async fn stays_within_its_capacity_whoever_comes() {
    let table = Table::<u32>::new(SMALL);
    for client in 0..MANY {
        drop(table.begin(&client, &limit(1, 1)).unwrap());
    }
    assert_eq!(table.len(), SMALL);
    assert!(table.shards.iter().all(|shard| shard.lock().slots.len() == 2));
}

#[tokio::test(start_paused = true)]
async fn evicts_who_has_been_idle_for_the_longest_time_and_nobody_with_a_request_in_flight() {
    let table = Table::<u32>::new(3 * SHARDS);
    let limit = limit(1, 1);
    let shard_of =
        |client: &u32| usize::try_from(table.hasher.hash_one(client) >> 32).unwrap() % SHARDS;
    let clients: Vec<u32> = (0..MANY).filter(|client| shard_of(client) == 0).take(6).collect();
    let is_held = |client: &u32| table.shards[0].lock().by_key.contains_key(client);
    let under_way = table.begin(&clients[0], &limit).unwrap();
    for client in &clients[1..3] {
        drop(table.begin(client, &limit).unwrap());
    }
    // The request is refused, but still makes its client the most recent one.
    assert!(table.begin(&clients[1], &limit).is_err());
    drop(table.begin(&clients[3], &limit).unwrap());
    assert_eq!(
        clients.iter().map(is_held).collect::<Vec<_>>(),
        [true, true, false, true, false, false]
    );
    drop(table.begin(&clients[4], &limit).unwrap());
    drop(table.begin(&clients[5], &limit).unwrap());
    assert_eq!(
        clients.iter().map(is_held).collect::<Vec<_>>(),
        [true, false, false, false, true, true]
    );
    drop(under_way);
    drop(table.begin(&clients[1], &limit).unwrap());
    assert!(!is_held(&clients[4]) && is_held(&clients[0]));
}

#[tokio::test(start_paused = true)]
async fn clients_without_room_share_one_entry() {
    let table = Table::<u32>::new(SMALL);
    let limit = limit(1000, 3);
    let mut held = Vec::new();
    let mut refused = 0;
    for client in 0..MANY {
        match table.begin(&client, &limit) {
            Ok(one) => held.push(one),
            Err(exceeded) => {
                assert_eq!(exceeded, Exceeded::Requests);
                refused += 1;
            }
        }
    }
    // One client with an entry of its own and three that share one, in each shard.
    assert_eq!((held.len(), refused), (4 * SHARDS, MANY as usize - 4 * SHARDS));
    held.clear();
    assert!((0..100).all(|client| table.begin(&client, &limit).is_ok()));
}

#[tokio::test(start_paused = true)]
async fn bytes_wait_in_turn_and_those_that_were_not_sent_are_put_back() {
    let table = Table::<u32>::new(100);
    let held = table.begin(&1, &bytes(1024)).unwrap();
    assert!(held.has_credit());
    assert_eq!(held.take_bytes(3 * 1024), Duration::ZERO);
    assert!(!held.has_credit());
    assert_eq!(held.take_bytes(1024).as_secs(), 2);
    held.put_back(1024);
    assert_eq!(held.take_bytes(1024).as_secs(), 2);
    tokio::time::advance(Duration::from_secs(3)).await;
    assert!(held.has_credit());
    // What is not limited never waits.
    let other = table.begin(&2, &limit(1, 1)).unwrap();
    assert_eq!(other.take_bytes(u64::MAX), Duration::ZERO);
    assert!(other.has_credit());
}

#[tokio::test(start_paused = true)]
async fn use_is_that_of_the_last_whole_second_by_who_is_closest_to_its_limit() {
    let table = Table::<u32>::new(100);
    let of = |requests_per_second, requests| ClientLimit {
        bytes_per_second: bytes(1 << 20).bytes_per_second,
        ..limit(requests_per_second, requests)
    };
    let (configured, own) = (of(9, 9), of(4, 20));
    let in_use = |rate, bytes, requests| Use {
        requests_per_second: Closest(Some(rate)),
        bytes_per_second: Closest(Some((bytes, 1 << 20))),
        requests: Closest(Some(requests)),
    };
    assert_eq!(table.in_use(&ClientLimit::default()), Use::default());
    let held: Vec<_> = (0..3).map(|_| table.begin(&1, &own).unwrap()).collect();
    held[0].take_bytes(100);
    let other: Vec<_> = (0..4).map(|_| table.begin(&2, &configured).unwrap()).collect();
    assert_eq!(table.in_use(&configured), in_use((0, 9), 0, (4, 9)));
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(table.in_use(&configured), in_use((3, 4), 100, (4, 9)));
    drop((held, other));
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(table.in_use(&configured), in_use((0, 9), 0, (0, 9)));
}

#[tokio::test(start_paused = true)]
async fn requests_are_counted_in_their_own_second_whether_or_not_anybody_looks() {
    let table = Table::<u32>::new(100);
    let limit = limit(9, 9);
    for requests in [3, 1] {
        for _ in 0..requests {
            drop(table.begin(&1, &limit).unwrap());
        }
        tokio::time::advance(Duration::from_secs(1)).await;
    }
    assert_eq!(table.in_use(&limit).requests_per_second, Closest(Some((1, 9))));
}
