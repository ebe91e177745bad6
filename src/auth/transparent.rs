//! The `transparent` mode: S3 authorises each caller by the caller's own request (R22).
//!
//! An authorised request is remembered for a moment, as a hash of that very request and of the version that it read: it
//! covers repeats of the request and nothing else. Never under an access key: the permissions of a key depend on
//! policies, tags and times that are not known here. `crate::proxy` sends the requests to S3.

use std::time::{Duration, Instant, SystemTime};

use http::header::{
    AUTHORIZATION, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, RANGE,
};
use http::{HeaderMap, HeaderName};
use moka::policy::EvictionPolicy;
use moka::sync::Cache as Moka;
use parking_lot::Mutex;
use ring::digest::{Context, SHA256};

use super::AuthConfig;
use crate::s3::{ETag, Query, RequestHead};

/// Maximum decisions remembered; each takes about 200 bytes.
const LIMIT: u64 = 100_000;
/// Headers that select bytes of a readable object and do not affect S3's authorisation.
const CHOOSE_BYTES: [HeaderName; 4] = [RANGE, IF_MATCH, IF_UNMODIFIED_SINCE, IF_RANGE];
/// Headers that would replace or affect the `If-None-Match` that hotset adds.
const NOT_BESIDE_OURS: [HeaderName; 2] = [IF_NONE_MATCH, IF_MODIFIED_SINCE];

/// Requests that S3 authorised recently.
pub struct Transparent {
    ttl: Duration,
    /// Time before which decisions are void.
    ended: Mutex<Option<Instant>>,
    decisions: Moka<Decision, Asked>,
}

/// Hash of one request about one version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Decision([u8; 32]);

/// The moment before S3 was asked, by two clocks: one stops while the machine is suspended, one may be set back (R15).
#[derive(Debug, Clone, Copy)]
pub struct Asked {
    monotonic: Instant,
    wall: SystemTime,
}

impl Asked {
    #[must_use]
    pub fn now() -> Self {
        Self { monotonic: Instant::now(), wall: SystemTime::now() }
    }

    fn is_within(self, ttl: Duration) -> bool {
        self.monotonic.elapsed() < ttl && self.wall.elapsed().is_ok_and(|age| age < ttl)
    }
}

impl Transparent {
    pub(super) fn new(config: &AuthConfig) -> Self {
        let ttl = config.decision_ttl.0;
        let decisions = Moka::builder()
            .name("decisions")
            .max_capacity(LIMIT)
            .eviction_policy(EvictionPolicy::lru())
            .time_to_live(ttl.max(Duration::from_millis(1)))
            .build();
        Self { ttl, ended: Mutex::default(), decisions }
    }

    /// Whether a request can be sent with `If-None-Match` added, so that the response tells S3's decision.
    #[must_use]
    pub fn may_ask(headers: &HeaderMap, query: &Query) -> bool {
        NOT_BESIDE_OURS
            .iter()
            .all(|name| !headers.contains_key(name) && !signs(headers, query, name.as_str()))
    }

    /// Returns the decision's key for this request and this version of the object.
    ///
    /// It includes everything received (the method, the target with a presigned query, the host, `Authorization`, every
    /// header, signed or not, since policies consider unsigned ones), except for an unsigned selection of bytes.
    ///
    /// # Panics
    /// Never: SHA-256 has 32 bytes.
    #[must_use]
    pub fn decision(head: &RequestHead<'_>, query: &Query, version: &ETag) -> Decision {
        let mut hash = Context::new(&SHA256);
        // With its length before it, no part can be taken for the start or the end of another.
        let mut add = |part: &[u8]| {
            hash.update(&(part.len() as u64).to_be_bytes());
            hash.update(part);
        };
        add(version.as_header().as_bytes());
        add(head.method.as_str().as_bytes());
        add(head.raw_target);
        add(head.host.unwrap_or_default().as_bytes());
        let in_header = head.headers.contains_key(AUTHORIZATION);
        let is_free = |name: &HeaderName| {
            !in_header && CHOOSE_BYTES.contains(name) && !signs(head.headers, query, name.as_str())
        };
        let mut counted: Vec<&HeaderName> = head.headers.keys().filter(|n| !is_free(n)).collect();
        counted.sort_unstable_by_key(|name| name.as_str());
        for name in counted {
            for value in head.headers.get_all(name) {
                add(name.as_str().as_bytes());
                add(value.as_bytes());
            }
        }
        let digest = hash.finish();
        Decision(digest.as_ref().try_into().expect("SHA-256 has 32 bytes"))
    }

    /// Whether S3 authorised this request recently.
    #[must_use]
    pub fn has_decided(&self, decision: &Decision) -> bool {
        if self.ttl.is_zero() {
            return false;
        }
        let asked = self.decisions.get(decision).filter(|asked| asked.is_within(self.ttl));
        asked.is_some_and(|asked| self.ended.lock().is_none_or(|ended| ended < asked.monotonic))
    }

    /// Voids all decisions, including those under way, because another store decides from now on.
    pub fn forget_all(&self) {
        *self.ended.lock() = Some(Instant::now());
        self.decisions.invalidate_all();
    }

    /// Records that S3 authorised a request sent after `asked`.
    pub fn remember(&self, decision: Decision, asked: Asked) {
        if !self.ttl.is_zero() {
            self.decisions.insert(decision, asked);
        }
    }
}

/// Whether a request's signature, in any form, covers this header (in lower case).
#[must_use]
pub fn signs(headers: &HeaderMap, query: &Query, name: &str) -> bool {
    let in_header = headers.get_all(AUTHORIZATION).iter().filter_map(|value| value.to_str().ok());
    let in_header = in_header
        .flat_map(|text| text.split([',', ' ']))
        .filter_map(|field| field.trim().strip_prefix("SignedHeaders="));
    let in_query =
        query.iter().filter(|(name, _)| name.eq_ignore_ascii_case("X-Amz-SignedHeaders"));
    let in_query = in_query.filter_map(|(_, value)| value);
    in_header.chain(in_query).any(|list| list.split(';').any(|n| n.eq_ignore_ascii_case(name)))
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, Method};

    use super::*;
    use crate::config::units::HumanDuration;

    const PRESIGNED: &str = "/b/k?X-Amz-SignedHeaders=host&X-Amz-Signature=00";

    fn decision(target: &str, fields: &[(&'static str, &'static str)]) -> Decision {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_static(value));
        }
        let head = RequestHead {
            method: &Method::GET,
            raw_target: target.as_bytes(),
            host: Some("s3.local"),
            headers: &headers,
            has_body: false,
        };
        let query = Query::parse(target.split_once('?').unwrap_or_default().1).unwrap();
        Transparent::decision(&head, &query, &ETag::new(HeaderValue::from_static("\"v\"")))
    }

    #[test]
    fn r22_a_decision_is_about_the_whole_request() {
        let signed =
            "AWS4-HMAC-SHA256 Credential=A/d/r/s3/aws4_request,SignedHeaders=host,Signature=1";
        let other =
            "AWS4-HMAC-SHA256 Credential=A/d/r/s3/aws4_request,SignedHeaders=host,Signature=2";
        let first = decision("/b/k", &[("authorization", signed)]);
        assert_eq!(first, decision("/b/k", &[("authorization", signed)]));
        let others = [
            decision("/b/k", &[("authorization", other)]),
            decision("/b/k", &[]),
            decision("/b/j", &[("authorization", signed)]),
            decision("/b/k?x-id=GetObject", &[("authorization", signed)]),
            decision("/b/k", &[("authorization", signed), ("range", "bytes=0-1")]),
            decision("/b/k", &[("authorization", signed), ("referer", "http://a")]),
            decision("/b/k", &[("authorization", signed), ("x-amz-security-token", "t")]),
        ];
        assert!(others.iter().all(|other| *other != first));
    }

    #[test]
    fn r22_what_one_store_said_is_nothing_that_another_has_said() {
        let transparent = Transparent::new(&AuthConfig::default());
        let (before, decision) = (Asked::now(), decision("/b/k", &[]));
        transparent.remember(decision, before);
        assert!(transparent.has_decided(&decision));
        transparent.forget_all();
        assert!(!transparent.has_decided(&decision));
        // A decision that was under way is void, too.
        transparent.remember(decision, before);
        assert!(!transparent.has_decided(&decision));
        transparent.remember(decision, Asked::now());
        assert!(transparent.has_decided(&decision));
    }

    #[test]
    fn r22_an_unsigned_choice_of_bytes_is_not_a_part_of_a_presigned_request() {
        let first = decision(PRESIGNED, &[]);
        assert_eq!(first, decision(PRESIGNED, &[("range", "bytes=0-1")]));
        assert_ne!(first, decision(PRESIGNED, &[("user-agent", "other")]));
        let signs_range = "/b/k?X-Amz-SignedHeaders=host%3Brange&X-Amz-Signature=00";
        let ranged = decision(signs_range, &[("range", "bytes=0-1")]);
        assert_ne!(ranged, decision(signs_range, &[("range", "bytes=0-2")]));
    }

    #[test]
    fn r22_a_request_with_a_condition_of_its_own_cannot_be_asked_for() {
        let none = Query::default();
        let may_ask = |name: &'static str, value: &'static str| {
            let headers = [(HeaderName::from_static(name), HeaderValue::from_static(value))];
            Transparent::may_ask(&HeaderMap::from_iter(headers), &none)
        };
        assert!(may_ask("range", "bytes=0-1"));
        assert!(may_ask("if-match", "\"v\""));
        assert!(!may_ask("if-none-match", "\"v\""));
        assert!(!may_ask("if-modified-since", "Wed, 01 Jan 2025 00:00:00 GMT"));
        let absent = "AWS4-HMAC-SHA256 Credential=c, SignedHeaders=host;if-none-match, Signature=1";
        assert!(!may_ask("authorization", absent));
    }

    #[test]
    fn r22_decisions_are_kept_only_as_long_as_is_configured() {
        let kept = |ttl: HumanDuration| {
            let config = AuthConfig { decision_ttl: ttl, ..AuthConfig::default() };
            let transparent = Transparent::new(&config);
            transparent.remember(decision("/b/k", &[]), Asked::now());
            transparent.has_decided(&decision("/b/k", &[]))
        };
        assert!(kept(HumanDuration::secs(60)));
        assert!(!kept(HumanDuration::secs(0)));
        let transparent = Transparent::new(&AuthConfig::default());
        let before = Instant::now().checked_sub(Duration::from_secs(5)).unwrap();
        let suspended = Asked { wall: SystemTime::now() - Duration::from_secs(5), ..Asked::now() };
        let set_back = Asked { wall: SystemTime::now() + Duration::from_secs(5), ..Asked::now() };
        for old in [Asked { monotonic: before, ..Asked::now() }, suspended, set_back] {
            transparent.remember(decision("/b/k", &[]), old);
            assert!(!transparent.has_decided(&decision("/b/k", &[])), "{old:?}");
        }
    }
}
