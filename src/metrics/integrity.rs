//! Comparisons of fetched bytes with their checksums, and of hits with the origin.

use metrics::{Counter, Unit, counter, describe_counter};

use super::recorder::Registered;

const CHECKSUMS: &str = "hotset_origin_checksums_total";
const VERIFIED: &str = "hotset_hit_verifications_total";

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
        /// The bytes match the checksum.
        Match = "match",
        /// The bytes differ, and were dropped.
        Mismatch = "mismatch",
        /// Not compared: too many others took its place before all of its bytes were fetched.
        Skipped = "skipped",
    }
}

label! {
    /// Outcome of a comparison of a hit with the origin.
    HitVerification {
        /// The origin has the same version and the same bytes.
        Match = "match",
        /// The origin has another version, or no such object: the entry was dropped.
        Changed = "changed",
        /// The origin has other bytes of the same version: the entry was dropped.
        Corrupt = "corrupt",
        /// The origin gave no comparable response.
        Failed = "failed",
        /// The comparison was skipped: too many were under way, the origin fails, memory is scarce, or the object was
        /// invalidated meanwhile.
        Skipped = "skipped",
    }
}

struct Handles {
    verified: [Counter; HitVerification::ALL.len()],
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
        let verified = std::array::from_fn(
            |outcome| counter!(VERIFIED, "outcome" => HitVerification::ALL[outcome].label()),
        );
        Self { checksums: std::array::from_fn(checksums), verified }
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
        "Objects and parts whose fetched bytes were compared with the origin's checksum (rules[].verify_checksums), by algorithm and outcome; after a mismatch they are dropped and fetched again; skipped: of too many at once, or only partly fetched, they were not compared"
    );
    describe_counter!(
        VERIFIED,
        Unit::Count,
        "Hits that were compared with the origin in the background (rules[].verify_hits), by outcome; changed and corrupt ones were dropped from the cache"
    );
}

/// Counts a comparison of fetched bytes with a checksum.
pub fn checksum(algorithm: Algorithm, outcome: ChecksumOutcome) {
    if let Some(handles) = HANDLES.get() {
        handles.checksums[algorithm as usize][outcome as usize].increment(1);
    }
}

/// Counts a comparison of a hit with the origin.
pub fn verified(outcome: HitVerification) {
    if let Some(handles) = HANDLES.get() {
        handles.verified[outcome as usize].increment(1);
    }
}
