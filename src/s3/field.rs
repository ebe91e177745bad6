//! Syntax of header fields shared by several modules: tokens, and the options of `Connection`.

use http::header::{CONNECTION, HeaderMap, HeaderName};

/// Whether a byte may be in a token (RFC 9110, section 5.6.2).
pub(crate) const fn is_token_byte(byte: u8) -> bool {
    TOKEN[byte as usize]
}

/// Whether bytes are a token.
pub(crate) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|byte| is_token_byte(*byte))
}

/// The options of all `Connection` headers, in their order (RFC 9110, section 7.6.1).
pub(crate) fn connection_options(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let lines = headers.get_all(CONNECTION).iter();
    let options = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    options.map(<[u8]>::trim_ascii).filter(|option| !option.is_empty())
}

/// Whether a `Connection` header names this header, so that it is hop-by-hop.
pub(crate) fn is_connection_option(headers: &HeaderMap, name: &HeaderName) -> bool {
    connection_options(headers).any(|option| option.eq_ignore_ascii_case(name.as_str().as_bytes()))
}

const TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 128_usize {
        #[allow(clippy::cast_possible_truncation, reason = "below 128")]
        let b = byte as u8;
        table[byte] = b.is_ascii_alphanumeric()
            || matches!(
                b,
                b'!' | b'#'
                    | b'$'
                    | b'%'
                    | b'&'
                    | b'\''
                    | b'*'
                    | b'+'
                    | b'-'
                    | b'.'
                    | b'^'
                    | b'_'
                    | b'`'
                    | b'|'
                    | b'~'
            );
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn tokens_are_letters_digits_and_fifteen_signs() {
        let count = (0..=u8::MAX).filter(|byte| is_token_byte(*byte)).count();
        assert_eq!(count, 26 + 26 + 10 + 15);
        assert!(is_token(b"x-amz-Date_1") && is_token(b"!#$%&'*+-.^_`|~"));
        for other in [&b""[..], b"a b", b"a:", b"(a)", b"a\"", b"\xfc", b"a/b", b"a\0"] {
            assert!(!is_token(other), "{other:?}");
        }
    }

    #[test]
    fn options_of_all_lines_are_read_without_the_space_around_them() {
        let mut headers = HeaderMap::new();
        for line in ["close, X-One", ",", " \tx-two ,,"] {
            headers.append(CONNECTION, HeaderValue::from_static(line));
        }
        headers.append(CONNECTION, HeaderValue::from_bytes(b"\xfc, x-three").unwrap());
        let options: Vec<_> = connection_options(&headers).collect();
        assert_eq!(options, [&b"close"[..], b"X-One", b"x-two", b"\xfc", b"x-three"]);
        for (name, expected) in
            [("x-one", true), ("x-three", true), ("x", false), ("x-one2", false)]
        {
            let name = HeaderName::from_static(name);
            assert_eq!(is_connection_option(&headers, &name), expected, "{name}");
        }
    }
}
