//! Faults of an origin, and the requests that they affect.
//!
//! A fault is given as a condition on requests ([`Matcher`]), a repetition ([`Repeat`]) and an effect ([`Fault`]).
//! The first rule that matches a request, and is not used up, applies to it alone; use [`Fault::All`] for several at
//! once. There is no fault "delay": a [`Gate`] holds a request until the test opens it.
//!
//! Invariant: a fault happens at an exact byte or step, never at a time; only a [`Pace`] takes time.

use super::{Object, Pace, Seen};
use crate::support::within;
use http::Method;
use std::fmt;
use std::sync::Arc;
use tokio::sync::watch;

/// A point where requests wait until the test opens it; clones are the same gate.
#[derive(Clone, Debug)]
pub struct Gate {
    open: Arc<watch::Sender<bool>>,
    reached: Arc<watch::Sender<usize>>,
}

impl Default for Gate {
    fn default() -> Gate {
        Gate::new()
    }
}

impl Gate {
    /// Makes a closed gate.
    #[must_use]
    pub fn new() -> Gate {
        Gate { open: Arc::new(watch::Sender::new(false)), reached: Arc::new(watch::Sender::new(0)) }
    }

    /// Lets all waiting and later requests pass.
    pub fn open(&self) {
        self.open.send_replace(true);
    }

    /// Returns the number of requests that have arrived so far, including those that passed.
    #[must_use]
    pub fn reached(&self) -> usize {
        *self.reached.borrow()
    }

    /// Waits until a request has arrived; panics after 10 s.
    #[track_caller]
    pub fn wait_reached(&self) -> impl Future<Output = ()> {
        self.wait_reached_by(1)
    }

    /// Waits until `count` requests have arrived; panics after 10 s.
    #[track_caller]
    pub fn wait_reached_by(&self, count: usize) -> impl Future<Output = ()> {
        let mut reached = self.reached.subscribe();
        let what = format!("{count} to reach the gate");
        within(&what, async move {
            reached.wait_for(|n| *n >= count).await.expect("the gate outlives its waiters");
        })
    }

    /// Arrives, and waits until the gate is open; without a timeout, as the test's own wait has one.
    ///
    /// # Panics
    /// Never: the gate lives as long as this borrow of it.
    pub async fn pass(&self) {
        self.reached.send_modify(|n| *n += 1);
        let mut open = self.open.subscribe();
        open.wait_for(|open| *open).await.expect("the gate outlives its waiters");
    }
}

/// Repetition of a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// The first `n` matching requests.
    Times(u32),
    /// Every matching request.
    Always,
}

/// Effect of a fault. Offsets count body bytes of the response; an offset past its end is never reached.
///
/// Every fault but [`Fault::Status`] and [`Fault::RefuseBody`] lets the origin act first: a write whose response is
/// cut or reset *has* happened.
#[derive(Clone, Debug)]
pub enum Fault {
    /// Answers with this status and S3's error XML with this code, and does nothing. In place of `100 Continue` if
    /// the client asked for that.
    Status(u16, &'static str),
    /// As `Status`, before reading the request's body; then closes the connection.
    RefuseBody(u16, &'static str),
    /// The request is read and executed, and the connection reset (RST) instead of a response.
    ResetBeforeAnswer,
    /// The request is read and executed, and the connection closed (FIN) instead of a response.
    CloseBeforeAnswer,
    /// Closes (FIN) after this many bytes of body.
    CutAfter(u64),
    /// Resets (RST) after this many bytes of body. Bytes in flight may be lost with it.
    ResetAfter(u64),
    /// Sends no more after this many bytes, but keeps the connection open until the client closes it.
    StallAfter(u64),
    /// Stops reading after this many bytes of the *request's* body.
    HoldRequestAfter(u64, Gate),
    /// Holds the completely read request before it is executed: a write is not done yet.
    HoldRequest(Gate),
    /// Holds the first byte of the response; the request is executed, and the object read.
    HoldHeader(Gate),
    /// Holds the response after this many bytes of body (0: after the head).
    HoldBodyAfter(u64, Gate),
    /// For `CompleteMultipartUpload`: sends the 200 and whitespace, waits at the gate, then commits
    /// and sends the result, as S3 does with large uploads.
    LateCommit(Gate),
    /// As `LateCommit`, but commits nothing and ends with an `<Error>` of this code inside the 200.
    LateFailure(Gate, &'static str),
    /// Answers and sends at this speed.
    Paced(Pace),
    /// `Content-Range` is shifted by one byte.
    WrongContentRange,
    /// `Content-Length` is one too small, and that many bytes are sent.
    ShortContentLength,
    /// `Content-Length` is one too large; closes after the true bytes.
    LongContentLength,
    /// Sends the whole object as 200 although a range was requested.
    IgnoreRange,
    /// Sends the whole object as 200 although a part was requested, as servers do that know no parts.
    IgnorePart,
    /// Sends the current object although `If-Match` names another.
    IgnoreIfMatch,
    /// Replaces the object that is being read after this many bytes of body; the response continues with the old
    /// bytes, as S3's does.
    ChangeObjectAfter(u64, Object),
    /// Sends 1,000 bytes more than `Content-Length`, on a connection that stays open.
    TooManyBytes,
    /// Flips one bit of the response body, in the byte at this offset.
    FlipBit(u64),
    /// Sends an `ETag` that is not the object's.
    WrongETag,
    /// Sets a header of the response.
    SetHeader(&'static str, String),
    /// Removes a header of the response.
    DropHeader(&'static str),
    /// Sends `Transfer-Encoding: chunked` in place of `Content-Length`.
    Chunked,
    /// Closes (FIN) after a complete response that announced to keep the connection.
    CloseAfterAnswer,
    /// All of these faults on one response.
    All(Vec<Fault>),
}

type Condition = Arc<dyn Fn(&Seen) -> bool + Send + Sync>;

/// Condition on the requests that a fault affects; conditions are chained and must all hold.
#[derive(Clone, Default)]
pub struct Matcher {
    conditions: Vec<Condition>,
    nth: Option<u32>,
}

impl fmt::Debug for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Matcher({} conditions, nth {:?})", self.conditions.len(), self.nth)
    }
}

impl Matcher {
    /// Matches every request.
    #[must_use]
    pub fn any() -> Matcher {
        Matcher::default()
    }

    /// Matches GETs of this key, in any bucket.
    #[must_use]
    pub fn get(key: &str) -> Matcher {
        Matcher::any().method(Method::GET).key(key)
    }

    /// Matches HEADs of this key.
    #[must_use]
    pub fn head(key: &str) -> Matcher {
        Matcher::any().method(Method::HEAD).key(key)
    }

    /// Matches PUTs of this key.
    #[must_use]
    pub fn put(key: &str) -> Matcher {
        Matcher::any().method(Method::PUT).key(key)
    }

    /// Matches DELETE requests of this key.
    #[must_use]
    pub fn delete(key: &str) -> Matcher {
        Matcher::any().method(Method::DELETE).key(key)
    }

    #[must_use]
    pub fn method(self, method: Method) -> Matcher {
        self.when(move |seen| seen.method == method)
    }

    #[must_use]
    pub fn bucket(self, bucket: &str) -> Matcher {
        let bucket = bucket.to_owned();
        self.when(move |seen| seen.bucket == bucket)
    }

    #[must_use]
    pub fn key(self, key: &str) -> Matcher {
        let key = key.to_owned();
        self.when(move |seen| seen.key == key)
    }

    /// Matches requests whose query has this name.
    #[must_use]
    pub fn query(self, name: &str) -> Matcher {
        let name = name.to_owned();
        self.when(move |seen| seen.has_param(&name))
    }

    /// Matches requests for a range that contains the byte at `offset`.
    #[must_use]
    pub fn covering(self, offset: u64) -> Matcher {
        self.when(move |seen| seen.range.as_ref().is_some_and(|range| range.contains(&offset)))
    }

    /// Matches requests for a range that begins at `offset`.
    #[must_use]
    pub fn starting_at(self, offset: u64) -> Matcher {
        self.when(move |seen| seen.range.as_ref().is_some_and(|range| range.start == offset))
    }

    /// Matches requests with any `Range` header.
    #[must_use]
    pub fn ranged(self) -> Matcher {
        self.when(|seen| seen.headers.contains_key("range"))
    }

    /// Matches requests without a `Range` header.
    #[must_use]
    pub fn whole(self) -> Matcher {
        self.when(|seen| !seen.headers.contains_key("range"))
    }

    /// Matches by any other condition on the request's head.
    #[must_use]
    pub fn when(mut self, condition: impl Fn(&Seen) -> bool + Send + Sync + 'static) -> Matcher {
        self.conditions.push(Arc::new(condition));
        self
    }

    /// Matches only the `n`th request (from 1) that meets the other conditions, counted from when the fault was set.
    #[must_use]
    pub fn nth(mut self, n: u32) -> Matcher {
        self.nth = Some(n);
        self
    }

    fn matches(&self, seen: &Seen) -> bool {
        self.conditions.iter().all(|condition| condition(seen))
    }
}

#[derive(Debug)]
struct Rule {
    matcher: Matcher,
    repeat: Repeat,
    fault: Fault,
    met: u32,
}

/// The faults set so far, in order.
#[derive(Debug, Default)]
pub(super) struct Faults(Vec<Rule>);

impl Faults {
    pub(super) fn add(&mut self, matcher: Matcher, repeat: Repeat, fault: Fault) {
        self.0.push(Rule { matcher, repeat, fault, met: 0 });
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Returns the fault for this request. Every rule counts the request, even if another rule applies.
    pub(super) fn take(&mut self, seen: &Seen) -> Option<Fault> {
        let mut taken = None;
        for rule in self.0.iter_mut().filter(|rule| rule.matcher.matches(seen)) {
            rule.met += 1;
            if taken.is_some() || rule.matcher.nth.is_some_and(|n| n != rule.met) {
                continue;
            }
            match &mut rule.repeat {
                Repeat::Times(0) => continue,
                Repeat::Times(left) => *left -= 1,
                Repeat::Always => {}
            }
            taken = Some(rule.fault.clone());
        }
        taken
    }
}
