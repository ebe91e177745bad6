//! How an origin goes wrong, and for which requests.
//!
//! A fault is given as *which requests* ([`Matcher`]), *how often* ([`Repeat`]) and *what*
//! ([`Fault`]). The first rule that matches a request, and is not used up, applies to it alone;
//! use [`Fault::All`] for several at once. There is no fault "delay": a [`Gate`] holds a request
//! until the test says go.
//!
//! Invariant: a fault happens at an exact byte or step, never at a time.

use super::{Object, Seen};
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
    /// A closed gate.
    #[must_use]
    pub fn new() -> Gate {
        Gate { open: Arc::new(watch::Sender::new(false)), reached: Arc::new(watch::Sender::new(0)) }
    }

    /// Lets everyone pass who waits, and everyone who comes later.
    pub fn open(&self) {
        self.open.send_replace(true);
    }

    /// How many have arrived so far, those who passed included.
    #[must_use]
    pub fn reached(&self) -> usize {
        *self.reached.borrow()
    }

    /// Waits until someone has arrived; panics after 10 s.
    #[track_caller]
    pub fn wait_reached(&self) -> impl Future<Output = ()> {
        self.wait_reached_by(1)
    }

    /// Waits until `count` have arrived; panics after 10 s.
    #[track_caller]
    pub fn wait_reached_by(&self, count: usize) -> impl Future<Output = ()> {
        let mut reached = self.reached.subscribe();
        let what = format!("{count} to reach the gate");
        within(&what, async move {
            reached.wait_for(|n| *n >= count).await.expect("the gate outlives its waiters");
        })
    }

    /// Arrives, and waits until the gate is open; without a limit, as the test's own wait has one.
    ///
    /// # Panics
    /// Never: the gate lives as long as this borrow of it.
    pub async fn pass(&self) {
        self.reached.send_modify(|n| *n += 1);
        let mut open = self.open.subscribe();
        open.wait_for(|open| *open).await.expect("the gate outlives its waiters");
    }
}

/// How often a fault strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// The first `n` matching requests.
    Times(u32),
    /// Every matching request.
    Always,
}

/// What goes wrong. Offsets count body bytes of the answer; one past its end is never reached.
///
/// Every fault but [`Fault::Status`] and [`Fault::RefuseBody`] lets the origin act first: a write
/// whose answer is cut or reset *has* happened.
#[derive(Clone, Debug)]
pub enum Fault {
    /// Answers this status with S3's error XML of this code, and does nothing. In place of
    /// `100 Continue` when the client asked for that.
    Status(u16, &'static str),
    /// As `Status`, before reading the request's body; then closes.
    RefuseBody(u16, &'static str),
    /// The request is read, done, and the connection reset (RST) instead of an answer.
    ResetBeforeAnswer,
    /// The request is read, done, and the connection closed (FIN) instead of an answer.
    CloseBeforeAnswer,
    /// Closes (FIN) after so many bytes of body.
    CutAfter(u64),
    /// Resets (RST) after so many bytes of body. Bytes still under way may be lost with it.
    ResetAfter(u64),
    /// Sends no more after so many bytes, but keeps the connection open until the client closes it.
    StallAfter(u64),
    /// Holds after reading so many bytes of the *request's* body.
    HoldRequestAfter(u64, Gate),
    /// Holds the request, wholly read, before it is acted on: a write is not done yet.
    HoldRequest(Gate),
    /// Holds the answer's first byte; the request is done, and the object read.
    HoldHeader(Gate),
    /// Holds the answer after so many bytes of body (0: after the header).
    HoldBodyAfter(u64, Gate),
    /// For `CompleteMultipartUpload`: sends the 200 and whitespace, waits at the gate, then commits
    /// and sends the result, as S3 does with large uploads.
    LateCommit(Gate),
    /// As `LateCommit`, but commits nothing and ends with an `<Error>` of this code inside the 200.
    LateFailure(Gate, &'static str),
    /// `Content-Range` names the range one byte further.
    WrongContentRange,
    /// `Content-Length` is one too small, and so many bytes are sent.
    ShortContentLength,
    /// `Content-Length` is one too large; closes after the true bytes.
    LongContentLength,
    /// The whole object as 200 although a range was asked for.
    IgnoreRange,
    /// The whole object as 200 although a part was asked for, as servers answer that know no parts.
    IgnorePart,
    /// The current object although `If-Match` names another.
    IgnoreIfMatch,
    /// Puts the object in the place of the one being read after so many bytes of body; the
    /// answer goes on with the old bytes, as S3's does.
    ChangeObjectAfter(u64, Object),
    /// 1,000 bytes more than `Content-Length`, on a connection that stays open.
    TooManyBytes,
    /// One bit of the answer's body is another, in the byte at this offset.
    FlipBit(u64),
    /// An `ETag` that is not the object's.
    WrongETag,
    /// Sets a header of the answer.
    SetHeader(&'static str, String),
    /// Leaves out a header of the answer.
    DropHeader(&'static str),
    /// `Transfer-Encoding: chunked` in place of `Content-Length`.
    Chunked,
    /// Closes (FIN) after a whole answer that promised to keep the connection.
    CloseAfterAnswer,
    /// All of these on one answer.
    All(Vec<Fault>),
}

type Condition = Arc<dyn Fn(&Seen) -> bool + Send + Sync>;

/// Which requests a fault strikes; conditions are chained and must all hold.
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
    /// Every request.
    #[must_use]
    pub fn any() -> Matcher {
        Matcher::default()
    }

    /// GETs of this key, in any bucket.
    #[must_use]
    pub fn get(key: &str) -> Matcher {
        Matcher::any().method(Method::GET).key(key)
    }

    /// HEADs of this key.
    #[must_use]
    pub fn head(key: &str) -> Matcher {
        Matcher::any().method(Method::HEAD).key(key)
    }

    /// PUTs of this key.
    #[must_use]
    pub fn put(key: &str) -> Matcher {
        Matcher::any().method(Method::PUT).key(key)
    }

    /// Deletions of this key.
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

    /// Requests whose query has this name.
    #[must_use]
    pub fn query(self, name: &str) -> Matcher {
        let name = name.to_owned();
        self.when(move |seen| seen.has_param(&name))
    }

    /// Requests for a range that holds the byte at `offset`.
    #[must_use]
    pub fn covering(self, offset: u64) -> Matcher {
        self.when(move |seen| seen.range.as_ref().is_some_and(|range| range.contains(&offset)))
    }

    /// Requests for a range that begins at `offset`.
    #[must_use]
    pub fn starting_at(self, offset: u64) -> Matcher {
        self.when(move |seen| seen.range.as_ref().is_some_and(|range| range.start == offset))
    }

    /// Requests with a `Range` header, whatever it says.
    #[must_use]
    pub fn ranged(self) -> Matcher {
        self.when(|seen| seen.headers.contains_key("range"))
    }

    /// Requests without a `Range` header.
    #[must_use]
    pub fn whole(self) -> Matcher {
        self.when(|seen| !seen.headers.contains_key("range"))
    }

    /// Any other condition on the request's head.
    #[must_use]
    pub fn when(mut self, condition: impl Fn(&Seen) -> bool + Send + Sync + 'static) -> Matcher {
        self.conditions.push(Arc::new(condition));
        self
    }

    /// Only the `n`th request (from 1) that meets the other conditions, counted from when the
    /// fault was given.
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

/// The faults given so far, in the order given.
#[derive(Debug, Default)]
pub(super) struct Faults(Vec<Rule>);

impl Faults {
    pub(super) fn add(&mut self, matcher: Matcher, repeat: Repeat, fault: Fault) {
        self.0.push(Rule { matcher, repeat, fault, met: 0 });
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// The fault for this request. Every rule counts the request, also when another one strikes.
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
