//! Delays, rates and injected faults of a synthetic origin.

use std::time::Duration;

use crate::content::Random;

/// Delays, rates and faults of an origin.
#[derive(Clone, Copy)]
pub struct Pace {
    /// Delay from the request's last byte to the response's first.
    pub first_byte: Duration,
    /// Bytes a second of one connection; `None`: as fast as the socket accepts them.
    pub rate: Option<u64>,
    /// Bytes a second of all connections together.
    pub total: Option<u64>,
    pub mishaps: Mishaps,
}

impl Pace {
    /// No delay and no limit.
    pub const NEAR: Self =
        Self { first_byte: Duration::ZERO, rate: None, total: None, mishaps: Mishaps::NONE };
    /// A region away: 30 ms to the first byte, 80 MB/s a connection.
    pub const FAR: Self =
        Self { first_byte: Duration::from_millis(30), rate: Some(80_000_000), ..Self::NEAR };
}

/// Shares of GET requests, in thousandths, that get each kind of fault. The same requests in every run, in no order.
#[derive(Clone, Copy)]
pub struct Mishaps {
    /// Response delayed by a second.
    pub late: u64,
    /// Answered with 503.
    pub refused: u64,
    /// Connection closed in the middle of the body.
    pub cut: u64,
    /// Body stalled for ever in the middle.
    pub stalled: u64,
}

impl Mishaps {
    /// Delay of a late response.
    pub const LATE: Duration = Duration::from_secs(1);
    pub const NONE: Self = Self { late: 0, refused: 0, cut: 0, stalled: 0 };

    /// Returns the fault of the request with this number, if it has one.
    pub(crate) fn of(self, number: u64) -> Mishap {
        let mut chance = Random::new(number.wrapping_mul(0x9e37_79b9_7f4a_7c15)).below(1000);
        for (share, mishap) in [
            (self.late, Mishap::Late),
            (self.refused, Mishap::Refused),
            (self.cut, Mishap::Cut),
            (self.stalled, Mishap::Stalled),
        ] {
            if chance < share {
                return mishap;
            }
            chance -= share;
        }
        Mishap::None
    }
}

/// A fault of one request.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mishap {
    None,
    Late,
    Refused,
    Cut,
    Stalled,
}
