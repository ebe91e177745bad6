//! State of one request, from its head to its log line.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;
use tokio::time::Instant;

use super::client_limits::Charge;
use super::conn::admission::RequestHeld;
use super::handlers::held_list::HeldList;
use super::handlers::keeping::Keeping;
use super::handlers::observed::Observed;
use super::handlers::owners::OwnerCheck;
use super::handlers::restore::RestoreBody;
use super::handlers::touched::Touched;
use super::handlers::upload::Upload;
use super::response::bucket_name::Renaming;
use super::response::page_access::{Asking, PageHeaders};
use super::response::refusal::Refusal;
use crate::auth::chunked::Reframer;
use crate::auth::verify::Digester;
use crate::auth::{BodyCheck, Identity, Signer};
use crate::cache::{PageEvidence, Policy, Ticket, Writing};
use crate::cluster::PeerWrite;
use crate::metrics::attribution::OriginUse;
use crate::metrics::cache::MissReason;
use crate::metrics::traffic::Traffic;
use crate::metrics::{self, CacheResult, GaugeGuard, Operation as OperationLabel, wire};
use crate::origin::{Domain, PassThrough, Place, Site};
use crate::s3::{AccountId, BucketName, Effect, ObjectId, ObjectKey, Parsed, Realm, S3Error};
use crate::tracing::{OpenSpan, Trace};

/// The state of one request.
pub struct RequestContext {
    pub started: Instant,
    pub request_id: RequestId,
    pub operation: OperationLabel,
    pub cache: CacheResult,
    /// Reason that the cache alone does not answer, as the lookup reported it.
    pub miss: Option<MissReason>,
    /// Whether the object is read from another origin than its bucket's, which is down.
    pub elsewhere: bool,
    pub first_byte: Option<Duration>,
    /// Bytes of the body that came from memory, from disk, and from the origin by way of the cache.
    pub from_memory: u64,
    pub from_disk: u64,
    pub from_origin: u64,
    /// Identity of the sender, in `verify` mode.
    pub identity: Option<Arc<Identity>>,
    /// Region that clients sign for, named in responses in place of the origin's, in `verify` mode.
    pub(super) region: Option<HeaderValue>,
    /// CORS headers for what the cache answers to a web page.
    pub(super) page: PageHeaders,
    /// Whether headers that depend on the caller are left out of hits.
    pub hides: bool,
    /// Bucket and key of the request, once it is parsed.
    pub(super) named: Option<(BucketName, Option<ObjectKey>)>,
    /// Traffic counters of the rule that matches the object.
    pub(super) rule: Option<&'static Traffic>,
    /// Size of the whole object, in bytes.
    pub(super) object_size: Option<u64>,
    /// Request id of the origin's response.
    pub(super) origin_request_id: Option<Box<str>>,
    /// The object that the request reads and the rule for it, as the fast path found them.
    pub(super) cacheable: Option<(ObjectId, Policy)>,
    pub forward: Option<Box<Forward>>,
    /// Requests to the origin made for this one; `None`: nobody watched requests when it began.
    pub(super) origin_use: Option<Arc<OriginUse>>,
    /// `None`: the request is not traced.
    pub(super) trace: Option<Trace>,
    /// Reason that the request was refused before its operation was known.
    pub(super) refused: Option<Refusal>,
    /// The error that hotset answered with.
    pub(super) answered: Option<LoggedError>,
    /// Its permit among the requests in flight.
    pub(super) held: Option<RequestHeld>,
    /// Its charge against the limits of its client.
    pub(super) charge: Charge,
    pub(super) _in_flight: GaugeGuard,
}

impl RequestContext {
    /// Starts the state of a request that has just arrived.
    pub(super) fn begin() -> Self {
        Self {
            started: Instant::now(),
            request_id: RequestId::next(),
            operation: OperationLabel::Other,
            cache: CacheResult::Bypass,
            miss: None,
            elsewhere: false,
            first_byte: None,
            from_memory: 0,
            from_disk: 0,
            from_origin: 0,
            identity: None,
            region: None,
            page: PageHeaders::default(),
            hides: false,
            named: None,
            rule: None,
            object_size: None,
            origin_request_id: None,
            cacheable: None,
            forward: None,
            origin_use: None,
            trace: None,
            refused: None,
            answered: None,
            held: None,
            charge: Charge::default(),
            _in_flight: metrics::request_in_flight(),
        }
    }

    /// Returns the bucket and the key of the request.
    pub(super) fn names(&self) -> (Option<&str>, Option<&str>) {
        match &self.named {
            Some((bucket, key)) => (Some(bucket.as_str()), key.as_ref().map(ObjectKey::as_str)),
            None => (None, None),
        }
    }

    /// Returns the name of the sender's identity, also of a request that was refused.
    pub(super) fn identity_name(&self) -> Option<&str> {
        match &self.identity {
            Some(identity) => Some(identity.name()),
            None => self.answered.as_ref().and_then(|answered| answered.identity.as_deref()),
        }
    }

    /// Records and counts a request that is refused for its form.
    pub(super) fn refuse(&mut self, why: Refusal) {
        self.refused = Some(why);
        wire::refused(why.label());
    }
}

/// An error that hotset answered with, as it is logged.
pub(super) struct LoggedError {
    /// S3 error code.
    pub code: Cow<'static, str>,
    /// `None` if the code says everything.
    pub message: Option<Cow<'static, str>>,
    /// Name of the identity whose request was refused.
    pub identity: Option<Box<str>>,
}

impl LoggedError {
    pub(super) fn of(error: &S3Error) -> Self {
        let of_the_object = matches!(error.status.as_u16(), 404 | 412 | 416);
        Self {
            code: error.code.clone(),
            message: (!of_the_object).then(|| error.message.clone()),
            identity: error.identity.clone(),
        }
    }
}

/// A request that is passed through to the origin.
pub struct Forward {
    pub parsed: Parsed,
    /// Domain whose credentials sign the request to the origin.
    pub domain: Arc<Domain>,
    /// The origin of the bucket, and the bucket's name there.
    pub(super) place: Place,
    /// Realm of the objects that the request reads and writes.
    pub(super) realm: Realm,
    /// Rewrites the origin's name of the bucket to the client's in the response.
    pub(super) renaming: Option<Renaming>,
    /// Cached objects and buckets that the request may change; empty for reads.
    pub(super) touched: Touched,
    /// Check of the body against the client's signature, while it streams.
    pub body: BodyCheck,
    pub digester: Option<Digester>,
    pub reframer: Option<Reframer>,
    /// The whole body, if it was read before anything was sent.
    pub whole: Option<Bytes>,
    /// The body of a `DeleteObjects`, held until all of its keys are known.
    pub(super) listed: Option<HeldList>,
    /// The body of a `RestoreObject`, held until it is parsed.
    pub(super) restore: Option<RestoreBody>,
    /// A browser's form, which is rewritten on its way.
    pub(super) form: Option<Box<Upload>>,
    /// Whether bytes of the request body were sent: it is never sent again (R9).
    pub body_began: bool,
    /// The error for a client whose body does not match what it announced or signed.
    pub refusal: Option<S3Error>,
    pub connect_tries: u32,
    pub(super) connection: PassThrough,
    /// The site that the last attempt was sent to.
    pub(super) site: Option<Arc<Site>>,
    /// Whether it was sent to another region before.
    pub(super) was_moved: bool,
    /// The signer of the last attempt; `None`: hotset did not sign it.
    pub(super) signed_with: Option<Arc<Signer>>,
    /// Whether the request is sent again with other credentials.
    pub(super) resend: Resend,
    /// The last invalidation that a power failure might still undo.
    pub unsettled: Option<Ticket>,
    /// The span of the last attempt; `None`: it is not traced.
    pub(super) span: Option<OpenSpan>,
    /// Set if the response may contradict cached metadata (R34).
    pub(super) observed: Option<Box<Observed>>,
    /// A listing in transit that may contradict cached metadata.
    pub(super) page: Option<Box<PageEvidence>>,
    /// The response of a list, to be cached when it is complete.
    pub(super) keeping: Option<Box<Keeping>>,
    /// The owner that the origin was asked to confirm for the bucket.
    pub(super) expected_owner: Option<(AccountId, OwnerCheck)>,
    /// Set if the response has CORS headers to learn.
    pub(super) asking: Option<Box<Asking>>,
    /// Whether S3 refuses the write: when that response is complete, nothing was changed (R40).
    pub(super) refused: bool,
    /// A response body that replaces the origin's.
    pub(super) instead: Option<Bytes>,
    /// Guards of the write in the cache, held while its outcome may be unknown.
    pub writing: Vec<Writing>,
    /// The guard of the write at other replicas.
    pub peer_write: Option<PeerWrite>,
}

impl Forward {
    pub(super) fn new(
        parsed: Parsed,
        (domain, realm, place): (Arc<Domain>, Realm, Place),
        touched: Touched,
        body: BodyCheck,
    ) -> Box<Self> {
        let listed = match &parsed.operation {
            crate::s3::Operation::PassThrough(Effect::ListedInBody(bucket)) => {
                Some(HeldList::new(bucket.clone()))
            }
            _ => None,
        };
        Box::new(Self {
            parsed,
            domain,
            place,
            realm,
            renaming: None,
            touched,
            digester: match &body {
                BodyCheck::Sha256(claimed) => Some(Digester::new(*claimed)),
                BodyCheck::Unsigned | BodyCheck::Chunks { .. } => None,
            },
            body,
            reframer: None,
            whole: None,
            listed,
            restore: None,
            form: None,
            body_began: false,
            refusal: None,
            connect_tries: 0,
            connection: PassThrough::default(),
            site: None,
            was_moved: false,
            signed_with: None,
            resend: Resend::default(),
            unsettled: None,
            span: None,
            observed: None,
            page: None,
            keeping: None,
            expected_owner: None,
            asking: None,
            refused: false,
            instead: None,
            writing: Vec::new(),
            peer_write: None,
        })
    }
}

/// State of the one retry with other credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Resend {
    #[default]
    NotYet,
    Due,
    Done,
}

impl Resend {
    /// Returns whether a retry is due, and marks it as done.
    pub(super) fn take(&mut self) -> bool {
        let is_due = *self == Self::Due;
        if is_due {
            *self = Self::Done;
        }
        is_due
    }
}

/// Id of a request in its response and in the log: 16 hexadecimal digits, as S3's own.
#[derive(Debug, Clone, Copy)]
pub struct RequestId(u64);

impl RequestId {
    /// Returns the next id: unique within the process, and different in other processes.
    pub fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        static SEED: std::sync::OnceLock<u64> = std::sync::OnceLock::new();
        let seed = *SEED.get_or_init(rand::random);
        // An odd multiplier permutes 64-bit numbers: no two requests get the same id.
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        Self(seed ^ n.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    /// Returns the id as a number: the ids of one process are spread evenly over all 64-bit numbers.
    pub(super) fn number(self) -> u64 {
        self.0
    }

    /// Returns the id as hexadecimal digits.
    pub fn digits(self) -> [u8; 16] {
        const HEX: &[u8; 16] = b"0123456789ABCDEF";
        std::array::from_fn(|i| HEX[((self.0 >> (60 - 4 * i)) & 15) as usize])
    }
}

impl std::fmt::Display for RequestId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016X}", self.0)
    }
}
