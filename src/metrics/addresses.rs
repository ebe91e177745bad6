//! Health of each address of the origin. The series of an address end when the origin's name no longer resolves to it.

use std::net::SocketAddr;

use metrics::Unit;
use parking_lot::Mutex;

use super::computed::{Family, Kind};

const UP: Family = Family {
    name: "hotset_origin_address_up",
    kind: Kind::Gauge,
    unit: Unit::Count,
    help: "1 while requests go to an address of the origin, 0 while it is set aside because it fails or is slow. Of others than the default origin with `origin`, the name",
};
const FAILURES: Family = Family {
    name: "hotset_origin_address_failures_total",
    kind: Kind::Counter,
    unit: Unit::Count,
    help: "Requests and connections that an address of the origin did not answer",
};

/// Maximum addresses with series, of all origins together.
const MOST: usize = 200;

/// The health of one address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddressHealth {
    /// Name of the origin; `None`: the default one.
    pub origin: Option<String>,
    pub address: SocketAddr,
    /// Whether requests are sent to the address.
    pub is_used: bool,
    /// Failed requests in total.
    pub failures: u64,
}

static NOW: Mutex<Vec<AddressHealth>> = Mutex::new(Vec::new());

/// Sets the health of all addresses.
pub fn set(mut addresses: Vec<AddressHealth>) {
    addresses.truncate(MOST);
    *NOW.lock() = addresses;
}

/// Describes these metrics with the recorder in scope.
pub(super) fn describe() {
    UP.describe();
    FAILURES.describe();
}

/// Appends the metrics of all addresses.
pub(super) fn write(out: &mut String) {
    let now = NOW.lock().clone();
    if !now.is_empty() {
        append(out, &now);
    }
}

#[allow(clippy::cast_precision_loss, reason = "exact up to 2^53")]
fn append(out: &mut String, addresses: &[AddressHealth]) {
    let named: Vec<String> = addresses.iter().map(|of| of.address.to_string()).collect();
    let samples = |value: fn(&AddressHealth) -> f64| {
        let labels = addresses.iter().zip(&named).map(|(of, address)| labels(of, address));
        labels.zip(addresses.iter().map(value)).collect::<Vec<_>>()
    };
    UP.write(out, samples(|of| f64::from(u8::from(of.is_used))));
    FAILURES.write(out, samples(|of| of.failures as f64));
}

fn labels<'a>(of: &'a AddressHealth, address: &'a str) -> Vec<(&'static str, &'a str)> {
    let origin = of.origin.as_deref().map(|name| ("origin", name));
    std::iter::once(("address", address)).chain(origin).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_has_series_with_its_origin() {
        let of = |port, origin: Option<&str>, is_used, failures| AddressHealth {
            origin: origin.map(str::to_owned),
            address: SocketAddr::from(([127, 0, 0, 1], port)),
            is_used,
            failures,
        };
        let mut out = String::new();
        append(&mut out, &[of(1, None, true, 0), of(2, Some("eu"), false, 3)]);
        let samples: Vec<&str> = out.lines().filter(|line| line.contains('{')).collect();
        let expected = [
            r#"hotset_origin_address_up{address="127.0.0.1:1"} 1"#,
            r#"hotset_origin_address_up{address="127.0.0.1:2",origin="eu"} 0"#,
            r#"hotset_origin_address_failures_total{address="127.0.0.1:1"} 0"#,
            r#"hotset_origin_address_failures_total{address="127.0.0.1:2",origin="eu"} 3"#,
        ];
        assert_eq!(samples, expected);
    }
}
