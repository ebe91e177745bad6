//! Checksums of fetched bytes.

use metrics::{Counter, Unit, counter, describe_counter};

use super::recorder::Registered;

const CHECKSUMS: &str = "hotset_origin_checksums_total";

label! {
    /// A checksum algorithm.
    Algorithm {
        /// CRC-64 of NVMe.
        Crc64Nvme = "crc64nvme",
        /// CRC-32 of iSCSI.
        Crc32c = "crc32c",
        /// CRC-32 of zlib.
        Crc32 = "crc32",
    }
}

label! {
    /// Outcome of a comparison of fetched bytes with the origin's checksum.
    ChecksumOutcome {
        /// They are the bytes over which it was made.
        Match = "match",
        /// They are others: they were dropped.
        Mismatch = "mismatch",
    }
}

struct Handles {
    checksums: [[Counter; ChecksumOutcome::ALL.len()]; Algorithm::ALL.len()],
}

static HANDLES: Registered<Handles> = Registered::none();

impl Handles {
    fn new() -> Self {
        let checksums = |algorithm: usize| {
            std::array::from_fn(|outcome| {
                let (algorithm, outcome) =
                    (Algorithm::ALL[algorithm], ChecksumOutcome::ALL[outcome]);
                counter!(CHECKSUMS, "algorithm" => algorithm.label(), "outcome" => outcome.label())
            })
        };
        Self { checksums: std::array::from_fn(checksums) }
    }
}

/// Describes and registers these metrics with the recorder in scope.
pub(super) fn register() {
    describe();
    HANDLES.keep(Handles::new());
}

fn describe() {
    describe_counter!(
        CHECKSUMS,
        Unit::Count,
        "Objects and parts whose fetched bytes were compared with the origin's checksum (rules[].verify_checksums), by algorithm and outcome; after a mismatch they are dropped and fetched again"
    );
}

/// Counts a comparison of fetched bytes with a checksum.
pub fn checksum(algorithm: Algorithm, outcome: ChecksumOutcome) {
    if let Some(handles) = HANDLES.get() {
        handles.checksums[algorithm as usize][outcome as usize].increment(1);
    }
}
