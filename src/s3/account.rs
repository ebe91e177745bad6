//! The account that a bucket is expected to belong to.

/// An account's id: 12 digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AccountId(u64);

impl AccountId {
    /// Reads the 12 digits.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        let digits = text.len() == 12 && text.iter().all(u8::is_ascii_digit);
        let number = text.iter().fold(0, |number, digit| number * 10 + u64::from(digit & 15));
        digits.then_some(AccountId(number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_twelve_digits() {
        assert_eq!(AccountId::parse(b"000000000012"), Some(AccountId(12)));
        assert_eq!(AccountId::parse(b"999999999999"), Some(AccountId(999_999_999_999)));
        for text in [&b""[..], b"1", b"1234567890123", b"12345678901a", b"            "] {
            assert_eq!(AccountId::parse(text), None);
        }
    }
}
