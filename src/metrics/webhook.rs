//! Metrics of the HTTP listener for events.

use metrics::{Counter, Unit, counter, describe_counter};

use super::recorder::Registered;

const REQUESTS: &str = "hotset_webhook_requests_total";

label! {
    /// Outcome of a request to the event listener.
    Outcome {
        /// Applied, and it would survive a power cut.
        Accepted = "accepted",
        /// A subscription of SNS that was confirmed.
        Confirmed = "confirmed",
        /// A HEAD: somebody asks whether we are there.
        Probe = "probe",
        /// Nobody says who sends it.
        Unauthenticated = "unauthenticated",
        /// The secret or the signature is wrong.
        Forged = "forged",
        /// A web page sends it, where nothing but the connection tells senders apart.
        WebPage = "web_page",
        /// Signed for another time than now.
        Expired = "expired",
        /// Signed by SHA-1, which `events.webhook.sns.allow_sha1` does not allow.
        Sha1 = "sha1",
        /// Signed as one that was applied already.
        Replayed = "replayed",
        /// Of a topic of SNS that is not ours.
        WrongTopic = "wrong_topic",
        /// It names an address that is none of SNS.
        WrongUrl = "wrong_url",
        /// The body is longer than it may be.
        TooLarge = "too_large",
        /// The body did not come in time.
        SlowBody = "slow_body",
        /// The body ended too early.
        Broken = "broken",
        /// The body is nested more deeply than it may be.
        TooDeep = "too_deep",
        /// Nothing in the body could be read.
        Undecodable = "undecodable",
        /// Neither POST nor HEAD.
        Method = "method",
        /// More bodies at the same time than there may be.
        Busy = "busy",
        /// It could not be made durable, or SNS could not be asked, in time.
        Unavailable = "unavailable",
    }
}

struct Handles([Counter; Outcome::ALL.len()]);

static HANDLES: Registered<Handles> = Registered::none();

impl Handles {
    fn new() -> Self {
        let outcome = |at: usize| counter!(REQUESTS, "outcome" => Outcome::ALL[at].label());
        Self(std::array::from_fn(outcome))
    }
}

/// Describes and registers these metrics with the recorder in scope.
pub(super) fn register() {
    describe();
    HANDLES.keep(Handles::new());
}

fn describe() {
    describe_counter!(
        REQUESTS,
        Unit::Count,
        "Requests to the event listener (events.webhook), by outcome"
    );
}

/// Counts a request to the receiver of notifications.
pub fn request(outcome: Outcome) {
    if let Some(handles) = HANDLES.get() {
        handles.0[outcome as usize].increment(1);
    }
}
