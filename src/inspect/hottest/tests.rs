use super::*;

fn close(a: f64, b: f64, part: f64) -> bool {
    (a - b).abs() <= b.abs() * part
}

/// Returns the id of the `n`-th request.
fn id(n: u64) -> u64 {
    n.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

fn request(n: u64, key: &str, bytes: u64) -> Counted<'_> {
    Counted { id: id(n), bucket: Some("data"), key: Some(key), bytes, ..Counted::default() }
}

impl Hottest {
    fn count_at(&self, request: &Counted<'_>, now: Instant) {
        let threshold = self.threshold(request.bytes);
        if request.id <= threshold {
            self.count_sampled(request, threshold, now);
        }
    }

    fn names(&self, of: Kind, by: By, now: Instant) -> Vec<String> {
        self.top_at(of, by, 10, now).entries.into_iter().map(|entry| entry.name).collect()
    }
}

#[test]
fn each_kind_is_listed_by_each_amount() {
    let start = Instant::now();
    let hottest = Hottest::starting(start);
    let address: &dyn Display = &"192.0.2.1:80";
    let counted =
        Counted { identity: Some("app"), address: Some(address), ..request(1, "a/k", 10) };
    for _ in 0..3 {
        hottest.count_at(&counted, start);
    }
    let large = Counted { is_miss: true, ..request(2, "a/large", 1000) };
    hottest.count_at(&large, start);
    let list = Counted { key: None, is_error: true, ..request(3, "", 1) };
    hottest.count_at(&list, start);
    let names = |of, by| hottest.names(of, by, start).join(" ");
    assert_eq!(names(Kind::Objects, By::Requests), "data/a/k data/a/large");
    assert_eq!(names(Kind::Objects, By::Bytes), "data/a/large data/a/k");
    assert_eq!(names(Kind::Objects, By::Misses), "data/a/large");
    assert_eq!(names(Kind::Prefixes, By::Requests), "data/ data/a/");
    assert_eq!(names(Kind::Prefixes, By::Errors), "data/");
    assert_eq!(names(Kind::Identities, By::Requests), "app");
    assert_eq!(names(Kind::Addresses, By::Bytes), "192.0.2.1");
    let top = hottest.top_at(Kind::Prefixes, By::Requests, 10, start);
    let shares: Vec<_> = top.entries.iter().map(|entry| entry.share).collect();
    assert_eq!(shares, [1.0, 0.8], "what is in a folder is in those above it");
}

#[test]
fn what_was_hot_before_makes_way_for_what_is_hot_now() {
    let start = Instant::now();
    let hottest = Hottest::starting(start);
    let second = |n: u64| start + Duration::from_secs(n);
    for n in 0..60 {
        for i in 0..100 {
            hottest.count_at(&request(n * 100 + i, "old", 1), second(n));
        }
    }
    let top = hottest.top_at(Kind::Objects, By::Requests, 10, second(60));
    assert!(close(top.entries[0].per_second, 100.0, 0.05), "{top:?}");
    for n in 60..180 {
        for i in 0..20 {
            hottest.count_at(&request(n * 100 + i, "new", 1), second(n));
        }
    }
    let top = hottest.top_at(Kind::Objects, By::Requests, 10, second(180));
    assert_eq!(top.entries[0].name, "data/new");
    assert!(close(top.entries[0].per_second, 20.0, 0.1), "{top:?}");
    assert!(top.entries[1].per_second < 10.0, "{top:?}");
    // Long after the last request nothing is hot, and weights are scaled without loss.
    let much_later = second(180) + HALF_LIFE * 200;
    assert!(hottest.names(Kind::Objects, By::Requests, much_later).is_empty());
    hottest.count_at(&request(1, "again", 1), much_later);
    assert_eq!(hottest.names(Kind::Objects, By::Requests, much_later), ["data/again"]);
}

#[test]
fn many_requests_a_second_are_sampled_and_weigh_as_much() {
    let start = Instant::now();
    let hottest = Hottest::starting(start);
    let (mut n, mut now) = (0, start);
    // 40,000 requests per second: each fourth is for one hot object, which is large.
    for _ in 0..20 * 40_000 {
        now += Duration::from_micros(25);
        let cold = format!("cold{}", n % 4999);
        let (key, bytes) = if n % 4 == 0 { ("hot", 1 << 20) } else { (cold.as_str(), 4096) };
        hottest.count_at(&request(n, key, bytes), now);
        n += 1;
    }
    let top = hottest.top_at(Kind::Objects, By::Requests, 1, now);
    assert!(top.sampled_one_in >= 16, "{top:?}");
    assert!(close(top.per_second, 40_000.0, 0.05), "{top:?}");
    let hot = &top.entries[0];
    assert!(hot.name == "data/hot" && close(hot.share, 0.25, 0.05), "{top:?}");
    assert!(hot.error_per_second <= top.error_share * top.per_second, "{top:?}");
    let bytes = hottest.top_at(Kind::Objects, By::Bytes, 1, now);
    assert!(close(bytes.entries[0].per_second, 10_000.0 * f64::from(1 << 20), 0.05), "{bytes:?}");
    // Under low load, every request is counted again.
    for _ in 0..3 {
        now += Duration::from_secs(10);
        hottest.count_at(&Counted { id: 0, ..request(0, "quiet", 1) }, now);
    }
    assert_eq!(hottest.top_at(Kind::Objects, By::Requests, 1, now).sampled_one_in, 1);
}

#[test]
fn names_beyond_the_counters_are_bounded() {
    let start = Instant::now();
    let hottest = Hottest::starting(start);
    for n in 0..450 {
        hottest.count_at(&request(n, &format!("k{n}"), 1), start);
    }
    let top = hottest.top_at(Kind::Objects, By::Requests, usize::MAX, start);
    assert_eq!(top.entries.len(), COUNTERS);
    assert!(top.entries.iter().all(|entry| entry.share <= 2.0 * top.error_share + 1e-9), "{top:?}");
}
