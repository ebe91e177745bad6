//! A randomly sampled share of requests or hits.

use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Units of the rate in one per cent.
const PERCENT: u32 = 10_000;

/// A share in millionths, written as per cent with up to four decimals, such as `0.1%`; nothing by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SampleRate(u32);

impl SampleRate {
    /// A share of one per cent.
    pub const ONE_PERCENT: Self = Self(PERCENT);
    /// A share of everything.
    pub const ALL: Self = Self(100 * PERCENT);

    /// Draws a sample: true with the probability of the share.
    pub fn draws(self) -> bool {
        self.0 != 0 && (self == Self::ALL || rand::random::<u32>() % Self::ALL.0 < self.0)
    }
}

impl FromStr for SampleRate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refused = || format!("`{text}` is not a share from 0.0001% to 100%");
        let number = text.strip_suffix('%').ok_or_else(refused)?.trim_end();
        let (whole, decimals) = number.split_once('.').unwrap_or((number, "0"));
        let digits = |text: &str, most| {
            let legal =
                (1..=most).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
            legal.then(|| text.parse::<u32>().ok()).flatten().ok_or_else(refused)
        };
        let millionths = digits(whole, 3)? * PERCENT + digits(&format!("{decimals:0<4}"), 4)?;
        let legal = !decimals.is_empty() && (1..=Self::ALL.0).contains(&millionths);
        legal.then_some(Self(millionths)).ok_or_else(refused)
    }
}

impl Serialize for SampleRate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (whole, decimals) = (self.0 / PERCENT, self.0 % PERCENT);
        let number = format!("{whole}.{decimals:04}");
        let number = number.trim_end_matches('0').trim_end_matches('.');
        serializer.collect_str(&format_args!("{number}%"))
    }
}

impl<'de> Deserialize<'de> for SampleRate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_written_as_it_is_read() {
        for text in ["0.0001%", "0.1%", "1%", "12.5%", "99.9999%", "100%"] {
            let rate: SampleRate = text.parse().unwrap();
            assert_eq!(serde_json::to_value(rate).unwrap(), text);
        }
        assert_eq!("100%".parse(), Ok(SampleRate::ALL));
        assert_eq!("0.1%".parse(), Ok(SampleRate(1000)));
        for text in ["", "%", "1", "0%", "0.00001%", "100.1%", "1.%", ".1%", "-1%", "1e1%", "+1%"] {
            assert!(text.parse::<SampleRate>().is_err(), "{text}");
        }
    }

    #[test]
    fn as_many_hits_are_drawn_as_the_rate_says() {
        let drawn = |rate: SampleRate| (0..100_000).filter(|_| rate.draws()).count();
        assert_eq!(drawn(SampleRate::default()), 0);
        assert_eq!(drawn(SampleRate::ALL), 100_000);
        // A thousand are expected; ten standard deviations are 315.
        assert!((685..1315).contains(&drawn("1%".parse().unwrap())));
    }
}
