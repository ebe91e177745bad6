//! CORS headers for reads that the cache answers.
//!
//! Whether a page may read a response depends on the bucket's CORS rules, the page's origin and the method, and not
//! on the object. Those rules are the origin's. So a read with an `Origin` passes through until the origin has
//! answered one; the CORS headers of that response are then added to hits with the same `Origin`. Invariants: headers
//! learned for one `Origin` are given to no other; a write to the bucket itself, `?cors` among them, ends what was
//! learned before its response; nothing is used for longer than [`KEPT_FOR`]; no more than [`LIMIT`] answers are
//! kept.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, ORIGIN, VARY};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use moka::sync::Cache as Moka;
use tokio::time::Instant;

use crate::cache::Cache;
use crate::s3::{BucketName, ObjectId, Operation, Parsed, ReadMethod, Realm};

/// Maximum number of answers kept.
const LIMIT: u64 = 1000;
/// Age after which one read passes through to refresh the answer, while others use the known one.
const FRESH_FOR: Duration = Duration::from_secs(30);
const KEPT_FOR: Duration = Duration::from_mins(1);
/// Maximum bytes of an `Origin`.
const LONGEST_ORIGIN: usize = 512;
/// Maximum bytes of the headers of one answer.
const LONGEST_ANSWER: usize = 2048;

/// CORS headers for a response.
#[derive(Debug, Clone, Default)]
pub(in crate::proxy) struct PageHeaders(Option<Arc<[(HeaderName, HeaderValue)]>>);

impl PageHeaders {
    pub(in crate::proxy) fn iter(&self) -> impl Iterator<Item = &(HeaderName, HeaderValue)> {
        self.0.iter().flat_map(|headers| headers.iter())
    }
}

/// Key of the learned answers: the parts of a request that the origin's CORS answer depends on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Question {
    realm: Realm,
    bucket: BucketName,
    origin: HeaderValue,
    is_head: bool,
}

#[derive(Debug)]
struct Learned {
    headers: PageHeaders,
    /// Time just before the request was sent.
    since: Instant,
    bucket_writes: u64,
    /// Whether a read passes through to refresh the answer.
    renews: AtomicBool,
}

/// A read in transit to the origin, whose response has CORS headers to learn.
#[derive(Debug)]
pub(in crate::proxy) struct Asking {
    question: Question,
    since: Instant,
    bucket_writes: u64,
}

/// CORS headers of the origin's latest responses to reads of web pages.
#[derive(Debug)]
pub(in crate::proxy) struct PageAccess {
    answers: Moka<Question, Arc<Learned>>,
}

impl Default for PageAccess {
    fn default() -> Self {
        let answers =
            Moka::builder().name("page access").max_capacity(LIMIT).time_to_live(KEPT_FOR).build();
        Self { answers }
    }
}

impl PageAccess {
    /// Returns the CORS headers for a read; `None`: it has to pass through. `passes`: whether it can.
    pub(in crate::proxy) fn of_read(
        &self,
        cache: &Cache,
        headers: &HeaderMap,
        id: &ObjectId,
        method: ReadMethod,
        passes: bool,
    ) -> Option<PageHeaders> {
        if !headers.contains_key(ORIGIN) {
            return Some(PageHeaders::default());
        }
        let known = self.answers.get(&Question::of(headers, id, method)?)?;
        let age = known.since.elapsed();
        if age >= KEPT_FOR || known.bucket_writes != cache.writes_of_bucket(id.realm(), id.bucket())
        {
            return None;
        }
        let is_due = age >= FRESH_FOR && !known.renews.load(Ordering::Relaxed);
        let renews = is_due && (!passes || !known.renews.swap(true, Ordering::Relaxed));
        (!renews).then(|| known.headers.clone())
    }

    /// Learns from the response to a read that passed through. One that names another origin is not kept.
    pub(in crate::proxy) fn learn(&self, asked: Asking, status: StatusCode, headers: &HeaderMap) {
        let Asking { question, since, bucket_writes } = asked;
        let is_of_object = matches!(status, StatusCode::OK | StatusCode::PARTIAL_CONTENT);
        if !is_of_object {
            return;
        }
        let mut allowed = headers.get_all(ACCESS_CONTROL_ALLOW_ORIGIN).iter();
        let is_kept = |(name, _): &(&HeaderName, &HeaderValue)| {
            *name == VARY || name.as_str().starts_with("access-control-")
        };
        let of_page: Arc<[_]> = headers
            .iter()
            .filter(is_kept)
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        let bytes = of_page.iter().map(|(name, value)| name.as_str().len() + value.len());
        if !allowed.all(|named| named == "*" || *named == question.origin)
            || bytes.sum::<usize>() > LONGEST_ANSWER
        {
            self.answers.invalidate(&question);
            return;
        }
        let headers = PageHeaders((!of_page.is_empty()).then_some(of_page));
        let renews = AtomicBool::new(false);
        self.answers.insert(question, Arc::new(Learned { headers, since, bucket_writes, renews }));
    }
}

impl Asking {
    /// Returns the record of a read about to be sent with these headers; `None`: its response is not learned from.
    pub(in crate::proxy) fn of(
        cache: &Cache,
        headers: &HeaderMap,
        parsed: &Parsed,
        realm: &Realm,
    ) -> Option<Self> {
        let (Operation::Read(read), Some((bucket, key))) = (&parsed.operation, parsed.object())
        else {
            return None;
        };
        let id = read.id(realm, bucket, key);
        let question = Question::of(headers, &id, read.method)?;
        let bucket_writes = cache.writes_of_bucket(id.realm(), id.bucket());
        Some(Self { question, since: Instant::now(), bucket_writes })
    }
}

impl Question {
    fn of(headers: &HeaderMap, id: &ObjectId, method: ReadMethod) -> Option<Self> {
        let mut origins = headers.get_all(ORIGIN).iter();
        let origin = origins.next().filter(|origin| origin.len() <= LONGEST_ORIGIN)?;
        let is_head = method == ReadMethod::Head;
        let (realm, bucket) = (id.realm().clone(), id.bucket().clone());
        origins.next().is_none().then(|| Self { realm, bucket, origin: origin.clone(), is_head })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::s3::ObjectKey;

    #[tokio::test]
    async fn r39_no_more_than_so_many_origins_are_remembered() {
        let access = PageAccess::default();
        let bucket = BucketName::new("data").unwrap();
        let id = ObjectId::new(
            &Realm::new("http://origin", "own"),
            bucket,
            ObjectKey::new("k").unwrap(),
        );
        for n in 0..10_000 {
            let origin = HeaderValue::from_str(&format!("https://{n}.example")).unwrap();
            let headers = HeaderMap::from_iter([(ORIGIN, origin.clone())]);
            let question = Question::of(&headers, &id, ReadMethod::Get).unwrap();
            let asked = Asking { question, since: Instant::now(), bucket_writes: 0 };
            let answer = HeaderMap::from_iter([(ACCESS_CONTROL_ALLOW_ORIGIN, origin)]);
            access.learn(asked, StatusCode::OK, &answer);
        }
        access.answers.run_pending_tasks();
        assert!((1..=LIMIT).contains(&access.answers.entry_count()));
    }
}
