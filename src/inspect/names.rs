//! Names under which a request is counted.

use std::fmt::{Display, Write as _};

/// Number of levels of folders that are counted, the bucket being the first.
pub(super) const LEVELS: usize = 4;

/// Replaces `out` by `bucket/key`.
pub(super) fn object(out: &mut String, bucket: &str, key: &str) {
    out.clear();
    out.push_str(bucket);
    out.push('/');
    out.push_str(key);
}

/// Returns the folders of `bucket/key`, from `bucket/` on, each with its slash at the end.
pub(super) fn prefixes(object: &str) -> impl Iterator<Item = &str> {
    object.match_indices('/').take(LEVELS).map(|(at, _)| &object[..=at])
}

/// Replaces `out` by the address of a client without its port.
pub(super) fn address(out: &mut String, client: &dyn Display) {
    out.clear();
    let _ = write!(out, "{client}");
    let has_port = out.parse::<std::net::SocketAddr>().is_ok();
    if has_port && let Some(colon) = out.rfind(':') {
        out.truncate(colon);
        if out.starts_with('[') {
            out.retain(|c| c != '[' && c != ']');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_in_each_of_its_first_folders() {
        let mut name = String::new();
        object(&mut name, "data", "a/b/c/d/e");
        let folders: Vec<_> = prefixes(&name).collect();
        assert_eq!(folders, ["data/", "data/a/", "data/a/b/", "data/a/b/c/"]);
        object(&mut name, "data", "k");
        assert_eq!(prefixes(&name).collect::<Vec<_>>(), ["data/"]);
    }

    #[test]
    fn addresses_have_no_port() {
        let mut out = String::new();
        let cases = [
            ("192.0.2.1:80", "192.0.2.1"),
            ("[2001:db8::1]:80", "2001:db8::1"),
            ("2001:db8::1", "2001:db8::1"),
            ("/run/s3.sock", "/run/s3.sock"),
        ];
        for (client, expected) in cases {
            address(&mut out, &client);
            assert_eq!(out, expected);
        }
    }
}
