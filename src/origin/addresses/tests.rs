use tokio::time::advance;

use super::*;

fn addresses(count: u8) -> Vec<SocketAddr> {
    (1..=count).map(|n| SocketAddr::from(([127, 0, 0, n], 80))).collect()
}

fn fail(addresses: &Addresses, address: SocketAddr) {
    (0..FAILURES).for_each(|_| addresses.fails(address));
}

#[tokio::test(start_paused = true)]
async fn the_report_says_which_are_set_aside_and_why() {
    let (all, known) = (Addresses::default(), addresses(4));
    all.choose(&known, false);
    fail(&all, known[0]);
    all.fails(known[1]);
    all.is_slow(known[2]);
    all.answered(known[3], Duration::from_millis(20));
    let report = all.report(&known);
    let totals: Vec<_> = report.iter().map(|of| of.failures_total).collect();
    assert_eq!(totals, [u64::from(FAILURES), 1, 0, 0]);
    let states: Vec<_> = report.iter().map(|of| (of.state, of.failures)).collect();
    let expected = [
        (AddressState::Failing, FAILURES),
        (AddressState::Used, 1),
        (AddressState::Slow, 0),
        (AddressState::Used, 0),
    ];
    assert_eq!(states, expected);
    assert_eq!(report[0].probe_in_seconds, Some(FIRST_PAUSE.as_secs()));
    assert!(report[3].usual_seconds.is_some_and(|usual| (usual - 0.02).abs() < 1e-9));
    assert_eq!((report[1].usual_seconds, report[1].probe_in_seconds), (None, None));
}

#[tokio::test(start_paused = true)]
async fn all_addresses_are_used_evenly() {
    let (addresses, known) = (Addresses::default(), addresses(4));
    let mut used: HashMap<SocketAddr, u32> = HashMap::new();
    for _ in 0..400 {
        let (chosen, probe) = addresses.choose(&known, false);
        assert!(chosen.len() == 4 && probe.is_none());
        *used.entry(chosen[0]).or_default() += 1;
    }
    assert!(used.len() == 4 && used.values().all(|count| *count == 100));
}

#[tokio::test(start_paused = true)]
async fn what_fails_is_set_aside_until_a_probe_succeeds() {
    let (addresses, known) = (Addresses::default(), addresses(3));
    addresses.choose(&known, false);
    addresses.fails(known[1]);
    addresses.fails(known[1]);
    addresses.answers(known[1]);
    addresses.fails(known[1]);
    assert_eq!(addresses.choose(&known, false).0.len(), 3);
    fail(&addresses, known[1]);
    assert_eq!(addresses.good(&known), (vec![known[0], known[2]], None));
    for pause in [5, 10, 20, 40, 80, 160, 300, 300] {
        advance(Duration::from_secs(pause - 1)).await;
        assert_eq!(addresses.good(&known).1, None);
        advance(Duration::from_secs(1)).await;
        let (good, probe) = addresses.good(&known);
        assert_eq!((good.len(), probe), (2, Some(known[1])));
        addresses.fails(known[1]);
    }
    addresses.answers(known[1]);
    assert_eq!(addresses.choose(&known, false).0.len(), 3);
}

/// Lets each of the addresses answer, the first of them after `slow`.
fn answer(addresses: &Addresses, known: &[SocketAddr], slow: Duration) {
    for _ in 0..100 {
        for (n, address) in known.iter().enumerate() {
            let usual = Duration::from_millis(30);
            addresses.answered(*address, if n == 0 { slow } else { usual });
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_much_slower_than_the_others_is_set_aside_each_time_for_longer() {
    let (addresses, known) = (Addresses::default(), addresses(4));
    addresses.choose(&known, false);
    answer(&addresses, &known, Duration::from_millis(60));
    assert_eq!(addresses.choose(&known, false).0.len(), 4);
    for pause in [5, 10, 20, 40, 80, 160, 300, 300] {
        answer(&addresses, &known, Duration::from_millis(500));
        let (good, probe) = addresses.good(&known);
        assert_eq!((good, probe), (known[1..].to_vec(), None), "whatever it answers meanwhile");
        advance(Duration::from_secs(pause - 1)).await;
        assert_eq!(addresses.good(&known).1, None, "{pause}");
        advance(Duration::from_secs(1)).await;
        assert_eq!(addresses.good(&known).1, Some(known[0]), "{pause}");
        addresses.admit(known[0]);
        assert_eq!(addresses.good(&known).0.len(), 4);
    }
}

#[tokio::test(start_paused = true)]
async fn at_most_half_are_set_aside_for_being_slow() {
    let (addresses, known) = (Addresses::default(), addresses(4));
    addresses.choose(&known, false);
    for address in &known {
        addresses.is_slow(*address);
    }
    assert_eq!(addresses.choose(&known, false).0.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn ipv6_comes_last_until_a_connection_was_made_over_it() {
    let (addresses, mut known) = (Addresses::default(), addresses(2));
    known.insert(0, "[::1]:80".parse().unwrap());
    let mut probes = 0;
    for _ in 0..60 {
        let (chosen, probe) = addresses.choose(&known, false);
        assert!(chosen.len() == 3 && chosen[2].is_ipv6());
        assert!(probe.is_none_or(|probe| probe.is_ipv6()));
        probes += u32::from(probe.is_some());
        advance(Duration::from_secs(1)).await;
    }
    assert_eq!(probes, 4, "after 0, 5, 15 and 35 s");
    addresses.admit(known[0]);
    let first = |_| addresses.choose(&known, false).0[0];
    assert_eq!((0..30).map(first).filter(SocketAddr::is_ipv6).count(), 10);
    // An only address is used.
    let only = Addresses::default();
    assert_eq!(only.choose(&known[..1], false), (vec![known[0]], None));
}

#[tokio::test(start_paused = true)]
async fn ipv6_comes_last_again_once_connections_over_it_fail() {
    let (addresses, mut known) = (Addresses::default(), addresses(2));
    let v6 = ["[::1]:80", "[::2]:80", "[::3]:80"].map(|text| text.parse::<SocketAddr>().unwrap());
    known.extend(v6);
    let has_turn = || (0..30).any(|_| addresses.choose(&known, false).0[0].is_ipv6());
    addresses.connected(v6[0]);
    assert!(has_turn());
    // A route that is gone fails for each address once.
    addresses.connect_failed(v6[0]);
    addresses.connect_failed(v6[1]);
    assert!(has_turn());
    addresses.connected(v6[0]);
    addresses.connect_failed(v6[0]);
    addresses.connect_failed(v6[1]);
    assert!(has_turn(), "not in a row");
    addresses.connect_failed(v6[2]);
    assert!(!has_turn());
    assert_eq!(addresses.choose(&known, false).1, None, "not at once");
    advance(FIRST_PAUSE).await;
    assert!(addresses.choose(&known, false).1.is_some_and(|probe| probe.is_ipv6()));
    addresses.admit(v6[0]);
    assert!(has_turn());
}

#[tokio::test(start_paused = true)]
async fn a_retry_goes_to_an_address_whose_last_request_did_not_fail() {
    let (addresses, known) = (Addresses::default(), addresses(3));
    addresses.choose(&known, false);
    addresses.fails(known[1]);
    let begins =
        |is_retry| (0..30).filter(|_| addresses.choose(&known, is_retry).0[0] == known[1]).count();
    assert_eq!((begins(false), begins(true)), (10, 0));
    assert_eq!(addresses.choose(&known, true).0.len(), 3);
    addresses.answers(known[1]);
    assert_eq!(begins(true), 10);
}

#[tokio::test(start_paused = true)]
async fn what_fails_again_after_a_probe_is_set_aside_for_longer() {
    let (addresses, known) = (Addresses::default(), addresses(3));
    addresses.choose(&known, false);
    for pause in [5, 10, 20, 40, 80, 160, 300, 300] {
        fail(&addresses, known[1]);
        advance(Duration::from_secs(pause - 1)).await;
        assert_eq!(addresses.good(&known), (vec![known[0], known[2]], None), "{pause}");
        advance(Duration::from_secs(1)).await;
        assert_eq!(addresses.good(&known).1, Some(known[1]), "{pause}");
        addresses.admit(known[1]);
        assert_eq!(addresses.good(&known).0.len(), 3, "{pause}");
    }
    advance(AGAIN).await;
    fail(&addresses, known[1]);
    advance(FIRST_PAUSE).await;
    assert_eq!(addresses.good(&known).1, Some(known[1]), "long ago");
}

#[tokio::test(start_paused = true)]
async fn where_all_fail_all_are_used_and_one_alone_is_never_set_aside() {
    let (addresses, known) = (Addresses::default(), addresses(2));
    addresses.choose(&known, false);
    for address in &known {
        fail(&addresses, *address);
    }
    assert_eq!(addresses.choose(&known, false).0.len(), 2);
    let alone = Addresses::default();
    alone.choose(&known[..1], false);
    fail(&alone, known[0]);
    assert!(alone.failing.lock().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_given_up_after_a_while_is_a_failure() {
    let (addresses, known) = (Arc::new(Addresses::default()), addresses(2));
    addresses.choose(&known, false);
    for _ in 0..10 {
        drop(addresses.watch(known[0]));
        let stale = addresses.watch(known[0]);
        advance(SOON).await;
        stale.was_stale();
    }
    assert_eq!(addresses.choose(&known, false).0.len(), 2);
    for _ in 0..FAILURES {
        let given_up = addresses.watch(known[0]);
        advance(SOON).await;
        drop(given_up);
    }
    assert_eq!(addresses.choose(&known, false).0, [known[1]]);
    addresses.watch(known[0]).answered();
    assert_eq!(addresses.choose(&known, false).0.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_new_connection_that_breaks_is_a_failure_at_once() {
    let (addresses, known) = (Arc::new(Addresses::default()), addresses(2));
    addresses.choose(&known, false);
    (0..FAILURES).for_each(|_| addresses.watch(known[0]).failed());
    assert_eq!(addresses.choose(&known, false).0, [known[1]]);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_cancelled_within_the_usual_time_is_no_failure() {
    let (addresses, known) = (Arc::new(Addresses::default()), addresses(4));
    addresses.choose(&known, false);
    answer(&addresses, &known, Duration::from_millis(30));
    for _ in 0..1000 {
        for of in &known {
            addresses.answered(*of, Duration::from_millis(300));
        }
    }
    for _ in 0..FAILURES {
        let cancelled = addresses.watch(known[0]);
        advance(Duration::from_millis(500)).await;
        drop(cancelled);
    }
    assert_eq!(addresses.choose(&known, false).0.len(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_takes_its_time_fails_once_that_has_passed() {
    let (addresses, known) = (Arc::new(Addresses::default()), addresses(2));
    addresses.choose(&known, false);
    let limit = SOON * 100;
    for (waited, left) in [(limit / 2, 2), (limit, 1)] {
        for _ in 0..FAILURES {
            let watch = addresses.watch_for(known[0], limit);
            advance(waited).await;
            drop(watch);
        }
        assert_eq!(addresses.choose(&known, false).0.len(), left);
    }
    addresses.watch_for(known[0], limit).began();
    assert_eq!(addresses.choose(&known, false).0.len(), 2);
    assert_eq!(addresses.report(&known)[0].usual_seconds, None);
}

#[tokio::test(start_paused = true)]
async fn a_request_whose_copy_elsewhere_was_faster_is_a_failure() {
    let (addresses, known) = (Arc::new(Addresses::default()), addresses(4));
    addresses.choose(&known, false);
    answer(&addresses, &known, Duration::from_millis(30));
    for (waited, left) in [(59, 4), (61, 3)] {
        for _ in 0..FAILURES {
            let copied = addresses.watch(known[0]);
            advance(Duration::from_millis(waited)).await;
            drop(copied);
        }
        assert_eq!(addresses.choose(&known, false).0.len(), left);
    }
}
