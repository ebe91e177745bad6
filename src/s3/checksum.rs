//! CRCs of objects and parts: read from responses in checksum mode, computed, and combined from those of ranges.
//!
//! Only a CRC over the bytes themselves can be compared: the checksum of a multipart upload may be *composite*, a
//! checksum of the parts' checksums (`...-N`), which does not apply to bytes read in ranges. SHA-1 and SHA-256 cannot
//! be combined from ranges.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{HeaderName, HeaderValue};

use super::etag::ETag;

const TYPE: &str = "x-amz-checksum-type";

/// A CRC algorithm supported by S3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CrcAlgorithm {
    /// CRC-64/NVME, S3's default.
    Crc64Nvme,
    /// CRC-32C (Castagnoli, iSCSI).
    Crc32c,
    /// CRC-32 (zlib).
    Crc32,
}

impl CrcAlgorithm {
    const ALL: [Self; 3] = [Self::Crc64Nvme, Self::Crc32c, Self::Crc32];

    /// Returns the name used in headers.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Crc64Nvme => "crc64nvme",
            Self::Crc32c => "crc32c",
            Self::Crc32 => "crc32",
        }
    }

    fn header(self) -> &'static str {
        match self {
            Self::Crc64Nvme => "x-amz-checksum-crc64nvme",
            Self::Crc32c => "x-amz-checksum-crc32c",
            Self::Crc32 => "x-amz-checksum-crc32",
        }
    }

    /// Parses a header value: big-endian, in base64.
    fn parse(self, value: &HeaderValue) -> Option<u64> {
        let bytes = STANDARD.decode(value.as_bytes()).ok()?;
        match self {
            Self::Crc64Nvme => Some(u64::from_be_bytes(bytes.try_into().ok()?)),
            Self::Crc32c | Self::Crc32 => Some(u32::from_be_bytes(bytes.try_into().ok()?).into()),
        }
    }

    fn engine(self) -> crc_fast::CrcAlgorithm {
        match self {
            Self::Crc64Nvme => crc_fast::CrcAlgorithm::Crc64Nvme,
            Self::Crc32c => crc_fast::CrcAlgorithm::Crc32Iscsi,
            Self::Crc32 => crc_fast::CrcAlgorithm::Crc32IsoHdlc,
        }
    }

    fn field(self) -> &'static Field {
        match self {
            Self::Crc64Nvme => &CRC64_NVME,
            Self::Crc32c => &CRC32C,
            Self::Crc32 => &CRC32,
        }
    }

    /// Returns the CRC of two concatenated byte sequences, from the CRC of each and the length of the second.
    #[must_use]
    pub fn combine(self, first: u64, second: u64, length_of_second: u64) -> u64 {
        self.field().shift(first, length_of_second) ^ second
    }
}

/// A CRC of consecutive bytes, as announced by a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AnnouncedCrc {
    pub algorithm: CrcAlgorithm,
    pub value: u64,
}

impl AnnouncedCrc {
    /// Returns the CRC of a whole object from its `x-amz-checksum-*` headers; `None`: it has none, or a composite one.
    ///
    /// Without `x-amz-checksum-type` the checksum of a multipart object may be composite, but for CRC64NVME, which never
    /// is.
    #[must_use]
    pub fn of_object(checksums: &[(HeaderName, HeaderValue)], etag: &ETag) -> Option<Self> {
        let kind = kind(checksums);
        let is_multipart = etag.part_count().is_some();
        let is_full = |algorithm| match kind {
            Kind::FullObject => true,
            Kind::Composite => false,
            Kind::Unsaid => !is_multipart || algorithm == CrcAlgorithm::Crc64Nvme,
        };
        Self::find(checksums, is_full)
    }

    /// Returns the CRC of a part from the headers of a response for the part. S3 keeps no checksums of parts if the
    /// object has one of the whole: such a response has the object's checksum, which is the part's only if `is_whole`.
    #[must_use]
    pub fn of_part(checksums: &[(HeaderName, HeaderValue)], is_whole: bool) -> Option<Self> {
        let is_of_part = kind(checksums) != Kind::FullObject || is_whole;
        Self::find(checksums, |_| is_of_part)
    }

    fn find(
        checksums: &[(HeaderName, HeaderValue)],
        is_usable: impl Fn(CrcAlgorithm) -> bool,
    ) -> Option<Self> {
        let usable = CrcAlgorithm::ALL.into_iter().filter(|algorithm| is_usable(*algorithm));
        let mut found = usable.filter_map(|algorithm| {
            let (_, value) = checksums.iter().find(|(name, _)| name == algorithm.header())?;
            Some(Self { algorithm, value: algorithm.parse(value)? })
        });
        found.next()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    FullObject,
    Composite,
    Unsaid,
}

fn kind(checksums: &[(HeaderName, HeaderValue)]) -> Kind {
    let kind = checksums.iter().find(|(name, _)| name == TYPE);
    match kind.map(|(_, value)| value.as_bytes()) {
        None => Kind::Unsaid,
        Some(b"FULL_OBJECT") => Kind::FullObject,
        Some(_) => Kind::Composite,
    }
}

/// A CRC computed incrementally over consecutive bytes.
pub struct Crc {
    algorithm: CrcAlgorithm,
    digest: crc_fast::Digest,
}

impl Crc {
    #[must_use]
    pub fn new(algorithm: CrcAlgorithm) -> Self {
        Self { algorithm, digest: crc_fast::Digest::new(algorithm.engine()) }
    }

    #[must_use]
    pub fn algorithm(&self) -> CrcAlgorithm {
        self.algorithm
    }

    pub fn update(&mut self, bytes: &[u8]) {
        self.digest.update(bytes);
    }

    /// Returns the CRC of all bytes since the last call, and starts anew.
    pub fn take(&mut self) -> u64 {
        self.digest.finalize_reset()
    }
}

/// Polynomials over GF(2) modulo that of a CRC, with the coefficient of x^0 in the highest of `width` bits.
struct Field {
    width: u32,
    polynomial: u64,
    /// Powers x^(8 * 2^k), by k.
    powers: [u64; 64],
}

static CRC64_NVME: Field = Field::new(64, 0x9A6C_9329_AC4B_C9B5);
static CRC32C: Field = Field::new(32, 0x82F6_3B78);
static CRC32: Field = Field::new(32, 0xEDB8_8320);

impl Field {
    const fn new(width: u32, polynomial: u64) -> Self {
        let mut field = Self { width, polynomial, powers: [0; 64] };
        // x^8.
        field.powers[0] = 1 << (width - 9);
        let mut k = 1;
        while k < field.powers.len() {
            field.powers[k] = field.times(field.powers[k - 1], field.powers[k - 1]);
            k += 1;
        }
        field
    }

    const fn times(&self, a: u64, mut b: u64) -> u64 {
        let mut bit = 1 << (self.width - 1);
        let mut product = 0;
        while bit != 0 {
            if a & bit != 0 {
                product ^= b;
            }
            b = if b & 1 == 0 { b >> 1 } else { (b >> 1) ^ self.polynomial };
            bit >>= 1;
        }
        product
    }

    /// Returns the CRC after this many zero bytes are appended.
    fn shift(&self, mut crc: u64, mut bytes: u64) -> u64 {
        let mut k = 0;
        while bytes != 0 {
            if bytes & 1 == 1 {
                crc = self.times(self.powers[k], crc);
            }
            bytes >>= 1;
            k += 1;
        }
        crc
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crc(algorithm: CrcAlgorithm, bytes: &[u8]) -> u64 {
        let mut crc = Crc::new(algorithm);
        crc.update(bytes);
        crc.take()
    }

    /// Computes a CRC bit by bit, by its definition.
    fn naive(algorithm: CrcAlgorithm, bytes: &[u8]) -> u64 {
        let Field { width, polynomial, .. } = *algorithm.field();
        let ones = u64::MAX >> (64 - width);
        let step = |crc: u64, byte: &u8| {
            (0..8).fold(crc ^ u64::from(*byte), |crc, _| (crc >> 1) ^ (polynomial * (crc & 1)))
        };
        bytes.iter().fold(ones, step) ^ ones
    }

    fn headers(pairs: &[(&'static str, &'static str)]) -> Vec<(HeaderName, HeaderValue)> {
        let own = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        pairs.iter().map(own).collect()
    }

    #[test]
    fn crcs_have_the_published_check_values() {
        let check = |algorithm| crc(algorithm, b"123456789");
        assert_eq!(check(CrcAlgorithm::Crc64Nvme), 0xAE8B_1486_0A79_9888);
        assert_eq!(check(CrcAlgorithm::Crc32c), 0xE306_9283);
        assert_eq!(check(CrcAlgorithm::Crc32), 0xCBF4_3926);
    }

    #[test]
    fn crcs_of_pieces_combine_to_that_of_the_whole() {
        let bytes: Vec<u8> = (0..5000_u32).map(|n| u8::try_from(n * 7 % 251).unwrap()).collect();
        for algorithm in CrcAlgorithm::ALL {
            let whole = crc(algorithm, &bytes);
            assert_eq!(whole, naive(algorithm, &bytes));
            for cut in [0, 1, 7, 64, 2500, 4999, 5000] {
                let (first, second) = bytes.split_at(cut);
                let combined = algorithm.combine(
                    crc(algorithm, first),
                    crc(algorithm, second),
                    second.len() as u64,
                );
                assert_eq!(combined, whole, "{algorithm:?} at {cut}");
            }
            // Far more than any object has.
            let zeros = |length| algorithm.combine(whole, 0, length);
            assert_eq!(
                zeros(1 << 50),
                (0..2).fold(whole, |crc, _| { algorithm.combine(crc, 0, 1 << 49) })
            );
        }
    }

    #[test]
    fn a_full_checksum_is_told_from_a_composite_one() {
        let single = ETag::new(HeaderValue::from_static("\"abc\""));
        let multipart = ETag::new(HeaderValue::from_static("\"abc-3\""));
        let of = |pairs: &[(&'static str, &'static str)], etag| {
            AnnouncedCrc::of_object(&headers(pairs), etag).map(|crc| (crc.algorithm, crc.value))
        };
        let (crc32, crc64) = (CrcAlgorithm::Crc32, CrcAlgorithm::Crc64Nvme);
        let (full, composite) = ((TYPE, "FULL_OBJECT"), (TYPE, "COMPOSITE"));
        let value = ("x-amz-checksum-crc32", "y/Q5Jg==");
        assert_eq!(of(&[value], &single), Some((crc32, 0xCBF4_3926)));
        assert_eq!(of(&[value, full], &multipart), Some((crc32, 0xCBF4_3926)));
        assert_eq!(of(&[value], &multipart), None);
        assert_eq!(of(&[value, composite], &single), None);
        assert_eq!(of(&[("x-amz-checksum-crc32", "y/Q5Jg==-3")], &multipart), None);
        assert_eq!(of(&[("x-amz-checksum-crc32", "y/Q5Jg==-3"), full], &single), None);
        let nvme = ("x-amz-checksum-crc64nvme", "rosUhgp5mIg=");
        assert_eq!(of(&[value, nvme], &multipart), Some((crc64, 0xAE8B_1486_0A79_9888)));
        for useless in ["", "y/Q5Jg", "rosUhgp5mIg=", "%%%%"] {
            assert_eq!(of(&[("x-amz-checksum-crc32", useless)], &single), None, "{useless}");
        }
        assert_eq!(of(&[("x-amz-checksum-sha256", "y/Q5Jg==")], &single), None);
    }

    #[test]
    fn the_checksum_of_a_whole_object_is_not_taken_for_that_of_a_part() {
        let value = ("x-amz-checksum-crc32", "y/Q5Jg==");
        let of = |pairs: &[(&'static str, &'static str)], whole| {
            AnnouncedCrc::of_part(&headers(pairs), whole).is_some()
        };
        assert!(of(&[value], false) && of(&[value, (TYPE, "COMPOSITE")], false));
        assert!(!of(&[value, (TYPE, "FULL_OBJECT")], false));
        assert!(of(&[value, (TYPE, "FULL_OBJECT")], true));
    }
}
