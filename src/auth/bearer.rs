//! Bearer tokens in `Authorization` (RFC 6750).

/// Returns the token of `Bearer token`, or `None` for another scheme; the scheme's case does not matter (RFC 9110,
/// section 11.1).
pub fn bearer(authorization: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = authorization.split_at_checked(b"bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_told_by_its_scheme() {
        assert_eq!(bearer(b"bEARER  t "), Some(b"t".as_slice()));
        for other in [&b"Basic t"[..], b"Bearer", b"Bearert", b"t", b""] {
            assert_eq!(bearer(other), None, "{other:?}");
        }
    }
}
