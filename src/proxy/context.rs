//! What is remembered of one request from its head to its log line.

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
    /// Why it is not answered from the cache alone, as the look-up said.
    pub miss: Option<MissReason>,
    /// It is read at another origin than its bucket's, which is down.
    pub elsewhere: bool,
    pub first_byte: Option<Duration>,
    /// Bytes of the body that came from memory, from disk, and from the origin by way of the cache.
    pub from_memory: u64,
    pub from_disk: u64,
    pub from_origin: u64,
    /// Who asks, in `verify` mode.
    pub identity: Option<Arc<Identity>>,
    /// What stands for the origin's region in answers, in `verify` mode.
    pub(super) region: Option<HeaderValue>,
    /// CORS headers of what the cache answers to a web page.
    pub(super) page: PageHeaders,
    /// Headers that depend on the caller are left out of what the cache answers.
    pub hides: bool,
    /// The bucket and the key that it names, once it is parsed.
    pub(super) named: Option<(BucketName, Option<ObjectKey>)>,
    /// The rule that matches the object.
    pub(super) rule: Option<&'static Traffic>,
    /// Size of the whole object that is read.
    pub(super) object_size: Option<u64>,
    /// The id that the origin gave its answer.
    pub(super) origin_request_id: Option<Box<str>>,
    /// The object that it reads and the rule for it, as the fast path found them.
    pub(super) cacheable: Option<(ObjectId, Policy)>,
    pub forward: Option<Box<Forward>>,
    /// Requests to the origin that were made for it; `None`: nobody watched when it began.
    pub(super) origin_use: Option<Arc<OriginUse>>,
    /// `None`: it is not traced.
    pub(super) trace: Option<Trace>,
    /// Why it was refused before its operation was looked at.
    pub(super) refused: Option<Refusal>,
    /// The error that it was answered with.
    pub(super) answered: Option<LoggedError>,
    /// Its place among those under way.
    pub(super) held: Option<RequestHeld>,
    /// What it holds of the limits of its client.
    pub(super) charge: Charge,
    pub(super) _in_flight: GaugeGuard,
}

impl RequestContext {
    /// Of a request that came just now.
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

    /// The bucket and the key that it names.
    pub(super) fn names(&self) -> (Option<&str>, Option<&str>) {
        match &self.named {
            Some((bucket, key)) => (Some(bucket.as_str()), key.as_ref().map(ObjectKey::as_str)),
            None => (None, None),
        }
    }

    /// Whose request it is, also of one that was refused.
    pub(super) fn identity_name(&self) -> Option<&str> {
        match &self.identity {
            Some(identity) => Some(identity.name()),
            None => self.answered.as_ref().and_then(|answered| answered.identity.as_deref()),
        }
    }

    /// Remembers and counts a request that is refused for its form.
    pub(super) fn refuse(&mut self, why: Refusal) {
        self.refused = Some(why);
        wire::refused(why.label());
    }
}

/// What the log says of an error that hotset answered with.
pub(super) struct LoggedError {
    /// S3's code.
    pub code: Cow<'static, str>,
    /// `None` where the code says it all.
    pub message: Option<Cow<'static, str>>,
    /// Whose request it refused.
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

/// A request that streams through to the origin.
pub struct Forward {
    pub parsed: Parsed,
    /// In whose name it goes to the origin.
    pub domain: Arc<Domain>,
    /// Where its bucket is.
    pub(super) place: Place,
    /// Of what it reads and writes.
    pub(super) realm: Realm,
    /// Puts the client's name of its bucket into the answer.
    pub(super) renaming: Option<Renaming>,
    /// What it may change of what is cached; empty for reads.
    pub(super) touched: Touched,
    /// What the client's signature says of the body.
    pub body: BodyCheck,
    pub digester: Option<Digester>,
    pub reframer: Option<Reframer>,
    /// All of its body, when it was read before anything went out.
    pub whole: Option<Bytes>,
    /// The body of a `DeleteObjects`, held until all of its keys are known.
    pub(super) listed: Option<HeldList>,
    /// The body of a `RestoreObject`, held back until it is understood.
    pub(super) restore: Option<RestoreBody>,
    /// A browser's form, which goes out written anew.
    pub(super) form: Option<Box<Upload>>,
    /// Bytes of the request's body went out: it is never sent again (R9).
    pub body_began: bool,
    /// What the client is told when its body is not what it announced or signed.
    pub refusal: Option<S3Error>,
    pub connect_tries: u32,
    pub(super) connection: PassThrough,
    /// Where the last try was sent.
    pub(super) site: Option<Arc<Site>>,
    /// It was sent to another region before.
    pub(super) was_moved: bool,
    /// What the last try was signed with; `None`: not by us.
    pub(super) signed_with: Option<Arc<Signer>>,
    /// Whether it is sent again with other keys.
    pub(super) resend: Resend,
    /// The last invalidation that might still be undone by a power cut.
    pub unsettled: Option<Ticket>,
    /// The span of the last try; `None`: it is not traced.
    pub(super) span: Option<OpenSpan>,
    /// Its answer may contradict cached metadata (R34).
    pub(super) observed: Option<Box<Observed>>,
    /// A listing on its way that may.
    pub(super) page: Option<Box<PageEvidence>>,
    /// The answer of a list, to be kept when it is complete.
    pub(super) keeping: Option<Box<Keeping>>,
    /// Whom the origin was asked to find as the bucket's owner.
    pub(super) expected_owner: Option<(AccountId, OwnerCheck)>,
    /// Its answer has CORS headers to learn.
    pub(super) asking: Option<Box<Asking>>,
    /// S3 refuses it: when that answer is complete, nothing was changed (R40).
    pub(super) refused: bool,
    /// The answer's body, in place of the origin's.
    pub(super) instead: Option<Bytes>,
    /// As long as the outcome may not be known.
    pub writing: Vec<Writing>,
    /// The same, for other replicas.
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

/// Whether a request is sent again with other keys: once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Resend {
    #[default]
    NotYet,
    Due,
    Done,
}

impl Resend {
    /// Whether it is due, which it then is no more.
    pub(super) fn take(&mut self) -> bool {
        let is_due = *self == Self::Due;
        if is_due {
            *self = Self::Done;
        }
        is_due
    }
}

/// Names one request in the answer and in the log: 16 hexadecimal digits, as S3's own.
#[derive(Debug, Clone, Copy)]
pub struct RequestId(u64);

impl RequestId {
    /// Unique within the process, and not alike between processes.
    pub fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        static SEED: std::sync::OnceLock<u64> = std::sync::OnceLock::new();
        let seed = *SEED.get_or_init(rand::random);
        // An odd multiplier permutes 64-bit numbers: no two requests get the same id.
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        Self(seed ^ n.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    /// The number itself: ids of one process are spread evenly over all numbers.
    pub(super) fn number(self) -> u64 {
        self.0
    }

    /// The digits.
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
