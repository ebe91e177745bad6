//! Open connections to origins, by address, in a bounded number of series.
//!
//! Addresses come and go (S3 returns others every few seconds): each page shows those of the last count and no older
//! ones.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::SocketAddr;

use metrics::Unit;
use parking_lot::Mutex;

use super::computed::{Family, Kind};

const CONNECTIONS: Family = Family {
    name: "hotset_origin_connections",
    kind: Kind::Gauge,
    unit: Unit::Count,
    help: "Open connections to the origin by address and state (in_use or idle); the 100 addresses of an origin with the most have series, others are counted as `other`",
};
/// Maximum addresses of an origin with series of their own.
const MOST: usize = 100;

/// Open connections to one address.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Open {
    pub in_use: usize,
    pub idle: usize,
}

type Series = Vec<(String, Open)>;

/// Open connections by origin; `None`: the default one.
static OPEN: Mutex<BTreeMap<Option<String>, Series>> = Mutex::new(BTreeMap::new());

/// Sets the open connections of all origins, by name: of each known address, including zeros.
pub fn set(all: impl IntoIterator<Item = (Option<String>, BTreeMap<SocketAddr, Open>)>) {
    *OPEN.lock() = all.into_iter().map(|(origin, open)| (origin, series(open))).collect();
}

fn series(open: BTreeMap<SocketAddr, Open>) -> Series {
    let mut open: Vec<_> = open.into_iter().collect();
    open.sort_by_key(|(address, open)| (Reverse(open.in_use + open.idle), *address));
    let others = open.split_off(open.len().min(MOST));
    let mut series: Series =
        open.into_iter().map(|(address, open)| (address.to_string(), open)).collect();
    if !others.is_empty() {
        let sum = |sum: Open, (_, open): &(SocketAddr, Open)| Open {
            in_use: sum.in_use + open.in_use,
            idle: sum.idle + open.idle,
        };
        series.push(("other".to_owned(), others.iter().fold(Open::default(), sum)));
    }
    series
}

pub(super) fn describe() {
    CONNECTIONS.describe();
}

/// Appends the open connections as last set.
#[allow(clippy::cast_precision_loss, reason = "counts of connections")]
pub(super) fn write(out: &mut String) {
    let open = OPEN.lock();
    let samples = open.iter().flat_map(|(origin, series)| {
        series.iter().flat_map(move |(address, open)| {
            [("idle", open.idle), ("in_use", open.in_use)].map(|(state, count)| {
                let mut labels = vec![("address", address.as_str()), ("state", state)];
                labels.extend(origin.as_deref().map(|origin| ("origin", origin)));
                (labels, count as f64)
            })
        })
    });
    CONNECTIONS.write(out, samples);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_beyond_a_hundred_are_counted_together() {
        let address = |n: u16| SocketAddr::from(([10, 0, 0, 1], n));
        let of = |n: u16| (address(n), Open { in_use: usize::from(n), idle: 1 });
        let series = series((0..150).map(of).collect());
        assert_eq!(series.len(), MOST + 1);
        assert_eq!(series[0], ("10.0.0.1:149".to_owned(), Open { in_use: 149, idle: 1 }));
        let others = Open { in_use: (0..50).sum(), idle: 50 };
        assert_eq!(series[MOST], ("other".to_owned(), others));
    }

    #[test]
    fn what_is_no_longer_known_has_no_series() {
        let [one, two] = [1, 2].map(|n| SocketAddr::from(([10, 0, 0, n], 443)));
        let open = Open { in_use: 3, idle: 2 };
        for (address, gone) in [(one, two), (two, one)] {
            set([(Some("t-replica".to_owned()), [(address, open)].into())]);
            let mut page = String::new();
            write(&mut page);
            let line = format!(
                "hotset_origin_connections{{address=\"{address}\",state=\"in_use\",origin=\"t-replica\"}} 3\n"
            );
            assert!(page.contains(&line), "{page}");
            assert!(!page.contains(&gone.to_string()));
        }
    }
}
