//! Units as types: a size in bytes, a span of time, and a string that is never printed.
//!
//! Every module's configuration uses these types, so that `512MiB` and `30s` mean the same everywhere, and a number
//! without a unit is never guessed at. [`FromStr`] parses the output of [`fmt::Display`] to the same value.
//!
//! This module imports no other module of hotset, and all may import it.

mod sample_rate;

pub use sample_rate::SampleRate;

use std::fmt::{self, Write as _};
use std::str::FromStr;
use std::time::Duration;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Reason for which a text is not a value with a unit. Its display names the expected format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidUnit {
    /// Not a size in bytes.
    #[error("`{0}` is not a size: write a whole number of bytes, or one with KiB, MiB, GiB or TiB")]
    Size(String),
    /// Not a span of time.
    #[error("`{0}` is not a duration: write whole numbers with ms, s, m, h or d, such as 30s")]
    Duration(String),
    /// Too large for 64 bits.
    #[error("`{0}` is too large")]
    TooLarge(String),
}

/// An amount of US dollars, in billionths: `0.0004`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Dollars(pub u64);

impl Serialize for Dollars {
    #[allow(clippy::cast_precision_loss, reason = "prices are small")]
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.0 as f64 / 1e9)
    }
}

impl<'de> Deserialize<'de> for Dollars {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct DollarsVisitor;
        impl Visitor<'_> for DollarsVisitor {
            type Value = Dollars;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an amount of dollars from 0 to 1000000, such as 0.0004")
            }

            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "in range")]
            fn visit_f64<E: de::Error>(self, amount: f64) -> Result<Dollars, E> {
                match (0.0..=1e6).contains(&amount) {
                    true => Ok(Dollars((amount * 1e9).round() as u64)),
                    false => Err(E::invalid_value(de::Unexpected::Float(amount), &self)),
                }
            }

            #[allow(clippy::cast_precision_loss, reason = "it is too large then")]
            fn visit_u64<E: de::Error>(self, amount: u64) -> Result<Dollars, E> {
                self.visit_f64(amount as f64)
            }

            #[allow(clippy::cast_precision_loss, reason = "it is too large then")]
            fn visit_i64<E: de::Error>(self, amount: i64) -> Result<Dollars, E> {
                self.visit_f64(amount as f64)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Dollars, E> {
                match text.parse() {
                    Ok(amount) => self.visit_f64(amount),
                    Err(_) => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
                }
            }
        }
        deserializer.deserialize_any(DollarsVisitor)
    }
}

/// A size in bytes: `4096`, `512MiB` (powers of 1024), `1GB` (powers of 1000).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ByteSize(pub u64);

const SIZE_UNITS: [(&str, u64); 11] = [
    ("PiB", 1 << 50),
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("PB", 1_000_000_000_000_000),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1_000),
    ("B", 1),
];

impl ByteSize {
    /// Creates a size of `n` times 1024 bytes.
    #[must_use]
    pub const fn kib(n: u64) -> Self {
        Self(n << 10)
    }

    /// Creates a size of `n` times 1024 * 1024 bytes.
    #[must_use]
    pub const fn mib(n: u64) -> Self {
        Self(n << 20)
    }

    /// Creates a size of `n` times 1024 * 1024 * 1024 bytes.
    #[must_use]
    pub const fn gib(n: u64) -> Self {
        Self(n << 30)
    }

    /// Returns the number of bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

impl fmt::Display for ByteSize {
    /// Writes the shortest exact form: `1GiB`, `1500MB`, `4095`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let candidates = SIZE_UNITS
            .iter()
            .filter(|(name, unit)| *name != "B" && self.0 != 0 && self.0.is_multiple_of(*unit))
            .map(|(name, unit)| format!("{}{name}", self.0 / unit));
        // `min_by_key` takes the first of equals: `4KiB` rather than `4096`.
        let shortest = candidates
            .chain(std::iter::once(self.0.to_string()))
            .min_by_key(String::len)
            .expect("the plain number is always a candidate");
        f.pad(&shortest)
    }
}

impl FromStr for ByteSize {
    type Err = InvalidUnit;

    fn from_str(text: &str) -> Result<Self, InvalidUnit> {
        let invalid = || InvalidUnit::Size(text.to_owned());
        let (number, unit) = split_number(text.trim()).ok_or_else(invalid)?;
        let unit = match unit.trim() {
            "" => 1,
            // Kubernetes writes quantities without the B.
            name => SIZE_UNITS
                .iter()
                .find(|(known, _)| {
                    known.eq_ignore_ascii_case(name)
                        || known.strip_suffix("iB").is_some_and(|short| {
                            name.strip_suffix('i').is_some_and(|n| n.eq_ignore_ascii_case(short))
                        })
                })
                .map(|(_, unit)| *unit)
                .ok_or_else(invalid)?,
        };
        let number: u64 =
            number.parse().map_err(|_| InvalidUnit::TooLarge(text.trim().to_owned()))?;
        number
            .checked_mul(unit)
            .map(Self)
            .ok_or_else(|| InvalidUnit::TooLarge(text.trim().to_owned()))
    }
}

/// A duration in whole milliseconds: `30s`, `10ms`, `1h`, `2m30s`.
///
/// The maximum in text is a hundred years, so that adding it to a clock cannot overflow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct HumanDuration(pub Duration);

const TIME_UNITS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

const LONGEST_MILLIS: u64 = 36_525 * 86_400_000;

impl HumanDuration {
    /// Creates a duration of `n` milliseconds.
    #[must_use]
    pub const fn millis(n: u64) -> Self {
        Self(Duration::from_millis(n))
    }

    /// Creates a duration of `n` seconds.
    #[must_use]
    pub const fn secs(n: u64) -> Self {
        Self(Duration::from_secs(n))
    }

    /// Returns the standard library's type.
    #[must_use]
    pub const fn get(self) -> Duration {
        self.0
    }

    /// Whether the duration is zero.
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.0.is_zero()
    }
}

impl From<HumanDuration> for Duration {
    fn from(value: HumanDuration) -> Self {
        value.0
    }
}

impl fmt::Display for HumanDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        if rest == 0 {
            return f.pad("0s");
        }
        let mut text = String::new();
        for (name, unit) in TIME_UNITS {
            if rest >= unit {
                write!(text, "{}{name}", rest / unit)?;
                rest %= unit;
            }
        }
        f.pad(&text)
    }
}

impl FromStr for HumanDuration {
    type Err = InvalidUnit;

    fn from_str(text: &str) -> Result<Self, InvalidUnit> {
        let invalid = || InvalidUnit::Duration(text.to_owned());
        let too_large = || InvalidUnit::TooLarge(text.trim().to_owned());
        let mut rest = text.trim();
        if rest == "0" {
            return Ok(Self(Duration::ZERO));
        }
        let mut total: u64 = 0;
        let mut previous = u64::MAX;
        while !rest.is_empty() {
            let (number, after) = split_number(rest).ok_or_else(invalid)?;
            let end = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
            let unit = TIME_UNITS
                .iter()
                .find(|(name, _)| *name == &after[..end])
                .map(|(_, unit)| *unit)
                .ok_or_else(invalid)?;
            // Each unit once, the larger first: `30s2m` is more likely a slip than a wish.
            if unit >= previous {
                return Err(invalid());
            }
            previous = unit;
            let number: u64 = number.parse().map_err(|_| too_large())?;
            total = number
                .checked_mul(unit)
                .and_then(|part| total.checked_add(part))
                .filter(|total| *total <= LONGEST_MILLIS)
                .ok_or_else(too_large)?;
            rest = &after[end..];
        }
        if previous == u64::MAX { Err(invalid()) } else { Ok(Self(Duration::from_millis(total))) }
    }
}

/// A text that is never printed: its `Debug` and its serialised form are `***`.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secret(String);

impl Secret {
    /// Wraps a text that must not be printed from here on.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Returns the text itself; the name makes its uses easy to review.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("***")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self)
    }
}

impl Serialize for ByteSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SizeVisitor;
        impl Visitor<'_> for SizeVisitor {
            type Value = ByteSize;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size such as 512MiB")
            }

            fn visit_u64<E: de::Error>(self, bytes: u64) -> Result<ByteSize, E> {
                Ok(ByteSize(bytes))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<ByteSize, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(SizeVisitor)
    }
}

impl Serialize for HumanDuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for HumanDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct DurationVisitor;
        impl Visitor<'_> for DurationVisitor {
            type Value = HumanDuration;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration with a unit, such as 30s")
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<HumanDuration, E> {
                // Only nothing is the same in every unit.
                if number == 0 {
                    return Ok(HumanDuration(Duration::ZERO));
                }
                Err(E::custom(InvalidUnit::Duration(number.to_string())))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<HumanDuration, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(DurationVisitor)
    }
}

/// Splits `12MiB` into `12` and `MiB`; `None` if it does not begin with a digit.
fn split_number(text: &str) -> Option<(&str, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(text: &str) -> Option<u64> {
        text.parse::<ByteSize>().ok().map(ByteSize::bytes)
    }

    fn millis(text: &str) -> Option<u128> {
        text.parse::<HumanDuration>().ok().map(|d| d.get().as_millis())
    }

    #[test]
    fn sizes_are_read_in_powers_of_1024_and_of_1000() {
        assert_eq!(size("4096"), Some(4096));
        assert_eq!(size("512MiB"), Some(512 << 20));
        assert_eq!(size("1GB"), Some(1_000_000_000));
        assert_eq!(size("64 KiB"), Some(64 << 10));
        assert_eq!(size("2gib"), Some(2 << 30));
        assert_eq!(size("2Gi"), Some(2 << 30));
        assert_eq!(size("7B"), Some(7));
        assert_eq!(size("0"), Some(0));
    }

    #[test]
    fn sizes_that_would_be_guesses_are_refused() {
        for text in ["", "MiB", "1.5GiB", "-1", "1M", "1 MiB 2", "1e6", "18446744073709551616"] {
            assert_eq!(size(text), None, "{text}");
        }
        assert_eq!(
            "16384PiB".parse::<ByteSize>().unwrap_err().to_string(),
            "`16384PiB` is too large"
        );
    }

    #[test]
    fn a_size_is_written_in_its_shortest_exact_form() {
        for (bytes, text) in [
            (0, "0"),
            (1 << 30, "1GiB"),
            (1_500_000_000, "1500MB"),
            (4095, "4095"),
            (3 << 20, "3MiB"),
            (4096, "4KiB"),
        ] {
            assert_eq!(ByteSize(bytes).to_string(), text);
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        for bytes in [0, 1, 999, 1000, 1023, 1024, 1_000_000, 1 << 20, (1 << 20) + 1, u64::MAX] {
            assert_eq!(size(&ByteSize(bytes).to_string()), Some(bytes));
        }
        for ms in [0, 1, 999, 1000, 1001, 60_000, 150_000, 3_600_000, 90_061_001] {
            assert_eq!(millis(&HumanDuration::millis(ms).to_string()), Some(u128::from(ms)));
        }
    }

    #[test]
    fn durations_are_read_with_their_units() {
        assert_eq!(millis("30s"), Some(30_000));
        assert_eq!(millis("10ms"), Some(10));
        assert_eq!(millis("1h"), Some(3_600_000));
        assert_eq!(millis("2m30s"), Some(150_000));
        assert_eq!(millis("0"), Some(0));
        assert_eq!(millis("1s500ms"), Some(1_500));
    }

    #[test]
    fn durations_without_a_unit_or_out_of_order_are_refused() {
        for text in [
            "",
            "30",
            "s",
            "1.5s",
            "-1s",
            "30s2m",
            "1s1s",
            "1y",
            "5 s",
            "40000d",
            "999999999999999999d",
        ] {
            assert_eq!(millis(text), None, "{text}");
        }
    }

    #[test]
    fn units_are_read_from_yaml_as_text_or_as_a_plain_number() {
        assert_eq!(crate::yaml::from_str::<ByteSize>("4096").unwrap(), ByteSize(4096));
        assert_eq!(crate::yaml::from_str::<ByteSize>("1MiB").unwrap(), ByteSize::mib(1));
        assert_eq!(crate::yaml::from_str::<HumanDuration>("0").unwrap(), HumanDuration::default());
        assert!(crate::yaml::from_str::<HumanDuration>("30").is_err());
        assert!(crate::yaml::from_str::<ByteSize>("-4096").is_err());
    }

    #[test]
    fn a_secret_is_never_printed() {
        let secret = Secret::new("hunter2");
        assert_eq!(format!("{secret:?}"), "***");
        assert_eq!(serde_json::to_string(&secret).unwrap(), "\"***\"");
        assert_eq!(secret.expose(), "hunter2");
    }
}
