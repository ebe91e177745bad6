//! Bucket reads that a rule may cache for a moment (R27): `ListObjectsV2` and `HeadBucket`, by allow-list like every
//! cached read (R16).

use http::header::HeaderMap;
use http::method::Method;

use super::operation::Parsed;
use super::read::{demands_freshness, plain_header};
use super::target::Query;

/// Query parameters of a list, besides the signature's and `x-id`.
const LIST_QUERY: [&str; 8] = [
    "list-type",
    "prefix",
    "delimiter",
    "max-keys",
    "start-after",
    "continuation-token",
    "encoding-type",
    "fetch-owner",
];

/// Query parameter without effect on the response.
const SILENT: &str = "x-id";

/// A list of a bucket's keys, or a check that the bucket exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// Common prefix of the listed keys; `None`: the request lists no keys.
    pub prefix: Option<String>,
    /// Everything that decides the response: method and query, in a canonical order.
    pub question: String,
    /// Whether the client demands freshness.
    pub no_cache: bool,
}

impl Listing {
    /// Parses a listing; `None`: the request is another one, or has an unknown parameter.
    #[must_use]
    pub fn of(
        method: &Method,
        headers: &HeaderMap,
        has_body: bool,
        parsed: &Parsed,
    ) -> Option<Self> {
        if parsed.bucket.is_none() || parsed.key.is_some() || has_body {
            return None;
        }
        if !headers.keys().all(plain_header) {
            return None;
        }
        let query = parsed.query.without_signature().without(&[SILENT]);
        let prefix = match *method {
            Method::HEAD if query.is_empty() => None,
            Method::GET if is_list(&query) => Some(query.get("prefix").unwrap_or_default()),
            _ => return None,
        };
        let mut pairs: Vec<_> = query.iter().collect();
        pairs.sort_unstable();
        Some(Listing {
            prefix: prefix.map(str::to_owned),
            question: format!("{method} {pairs:?}"),
            no_cache: demands_freshness(headers),
        })
    }
}

/// Whether the query is version 2 of a list, with known parameters only and none repeated.
fn is_list(query: &Query) -> bool {
    let once = |name: &str| query.iter().filter(|(n, _)| *n == name).count() == 1;
    let known = |(name, _): (&str, Option<&str>)| LIST_QUERY.contains(&name) && once(name);
    query.get("list-type") == Some("2") && query.iter().all(known)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::s3::operation::parse;
    use crate::s3::request_head::RequestHead;
    use http::HeaderValue;

    fn listing(
        method: &str,
        target: &str,
        pairs: &[(&'static str, &'static str)],
    ) -> Option<Listing> {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        let raw_target = target.as_bytes();
        let head = RequestHead {
            method: &method,
            raw_target,
            host: None,
            headers: &headers,
            has_body: false,
        };
        let parsed = parse(&head, &crate::s3::HostNames::default()).unwrap();
        assert_eq!(Listing::of(&method, &headers, true, &parsed), None, "with a body");
        Listing::of(&method, &headers, false, &parsed)
    }

    #[test]
    fn r27_the_whole_query_decides_whatever_its_order_and_its_signature() {
        let one = listing("GET", "/bkt?list-type=2&prefix=a%2Fb&max-keys=2", &[]).unwrap();
        assert_eq!(one.prefix.as_deref(), Some("a/b"));
        for same in [
            "/bkt/?max-keys=2&prefix=a/b&list-type=2",
            "/bkt?list-type=2&prefix=a%2Fb&max-keys=2&x-id=ListObjectsV2&X-Amz-Date=1&X-Amz-Signature=s",
        ] {
            assert_eq!(listing("GET", same, &[]).unwrap(), one, "{same}");
        }
        for other in [
            "/bkt?list-type=2&prefix=a%2Fb",
            "/bkt?list-type=2&prefix=a%2Fb&max-keys=2&delimiter=%2F",
            "/bkt?list-type=2&prefix=a%2Fb&max-keys=2&continuation-token=t",
            "/bkt?list-type=2&prefix=a%2Fb&max-keys=2&start-after=x",
            "/bkt?list-type=2&prefix=a%2Fb&max-keys=2&encoding-type=url",
            "/bkt?list-type=2&prefix=a%2Fb&max-keys=2&fetch-owner=true",
        ] {
            assert_ne!(listing("GET", other, &[]).unwrap().question, one.question, "{other}");
        }
        assert_eq!(listing("GET", "/bkt?list-type=2", &[]).unwrap().prefix.as_deref(), Some(""));
    }

    #[test]
    fn a_head_of_a_bucket_names_no_keys() {
        let head = listing("HEAD", "/bkt", &[("x-amz-date", "d")]).unwrap();
        assert_eq!(head.prefix, None);
        assert_eq!(listing("HEAD", "/bkt/", &[]).unwrap(), head);
    }

    #[test]
    fn r16_what_is_not_known_is_no_listing() {
        for (method, target) in [
            ("GET", "/bkt"),
            ("GET", "/bkt?prefix=a"),
            ("GET", "/bkt?list-type=1"),
            ("GET", "/bkt?list-type=2&versions"),
            ("GET", "/bkt?list-type=2&prefix=a&prefix=b"),
            ("GET", "/bkt?list-type=2&Prefix=a"),
            ("GET", "/bkt?list-type=2&x-amz-expected-bucket-owner=1"),
            ("GET", "/bkt/k?list-type=2"),
            ("GET", "/?list-type=2"),
            ("HEAD", "/bkt?list-type=2"),
            ("HEAD", "/bkt/k"),
            ("PUT", "/bkt"),
        ] {
            assert_eq!(listing(method, target, &[]), None, "{method} {target}");
        }
        for name in [
            "x-amz-optional-object-attributes",
            "x-amz-request-payer",
            "x-amz-expected-bucket-owner",
            "x-rgw-x",
            "origin",
        ] {
            assert_eq!(listing("GET", "/bkt?list-type=2", &[(name, "1")]), None, "{name}");
            assert_eq!(listing("HEAD", "/bkt", &[(name, "1")]), None, "{name}");
        }
        assert!(listing("HEAD", "/bkt", &[("cache-control", "no-cache")]).unwrap().no_cache);
    }
}
