//! Metrics of the HTTP listener for events.

use metrics::{Counter, Unit, counter, describe_counter};

use super::recorder::Registered;

const REQUESTS: &str = "hotset_webhook_requests_total";

label! {
    /// Outcome of a request to the event listener.
    Outcome {
        /// Applied durably.
        Accepted = "accepted",
        /// A confirmed SNS subscription.
        Confirmed = "confirmed",
        /// A HEAD that checks whether the listener is there.
        Probe = "probe",
        /// Without credentials.
        Unauthenticated = "unauthenticated",
        /// With a wrong secret or signature.
        Forged = "forged",
        /// Sent by a web page, where senders are not authenticated.
        WebPage = "web_page",
        /// Signed for another time than now.
        Expired = "expired",
        /// Signed with SHA-1, which `events.webhook.sns.allow_sha1` does not allow.
        Sha1 = "sha1",
        /// Signed like one that was applied already.
        Replayed = "replayed",
        /// For an SNS topic that is not configured.
        WrongTopic = "wrong_topic",
        /// With a URL that is not one of SNS's.
        WrongUrl = "wrong_url",
        /// With a body over the limit.
        TooLarge = "too_large",
        /// The body did not arrive in time.
        SlowBody = "slow_body",
        /// The body ended too early.
        Broken = "broken",
        /// The body is nested too deeply.
        TooDeep = "too_deep",
        /// Nothing in the body could be decoded.
        Undecodable = "undecodable",
        /// Neither POST nor HEAD.
        Method = "method",
        /// Too many concurrent bodies.
        Busy = "busy",
        /// Not made durable, or SNS not reached, in time.
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

/// Counts a request to the event listener.
pub fn request(outcome: Outcome) {
    if let Some(handles) = HANDLES.get() {
        handles.0[outcome as usize].increment(1);
    }
}
