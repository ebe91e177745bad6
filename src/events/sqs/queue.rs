//! Requests to an SQS queue with the AWS SDK, with their timeouts and the classification of errors.

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

#[cfg(test)]
use aws_config::BehaviorVersion;
use aws_config::Region;
use aws_config::identity::IdentityCache;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_credential_types::provider::ProvideCredentials;
use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::Builder;
#[cfg(test)]
use aws_sdk_sqs::config::Credentials;
use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sqs::types::{
    ChangeMessageVisibilityBatchRequestEntry, DeleteMessageBatchRequestEntry, Message,
    QueueAttributeName,
};

use super::config::SqsConfig;
use super::keys::OriginKeys;
use crate::origin::credentials::sdk_loader;
use crate::origin::{Origins, with_causes};

/// Maximum messages per request, SQS's own limit.
pub(super) const BATCH: usize = 10;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Timeout of an attempt, in addition to its long polling time.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Region in signatures for servers other than AWS, if none is configured.
const ANY_REGION: &str = "us-east-1";

/// A queue and its client.
pub(super) struct Queue {
    client: Client,
    /// Keys of the origin; `None`: fixed ones.
    keys: Option<Arc<OriginKeys>>,
    url: String,
    wait: Duration,
    visibility: Duration,
}

impl Queue {
    /// Determines the region. Each request is signed with the keys of the configured origin at that time.
    pub(super) async fn connect(config: &SqsConfig, origins: &Origins) -> Self {
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .operation_attempt_timeout(ANSWER_TIMEOUT)
            .build();
        let keys = OriginKeys::new(origins.clone(), config.origin.clone());
        let provider: Arc<dyn ProvideCredentials> = keys.clone();
        let mut loader = sdk_loader(timeouts)
            .identity_cache(IdentityCache::no_cache())
            .credentials_provider(provider);
        if let Some(region) = config.region() {
            loader = loader.region(Region::new(region));
        }
        if let Some(endpoint) = config.endpoint() {
            loader = loader.endpoint_url(endpoint);
        }
        let found = loader.load().await;
        let mut conf = Builder::from(&found);
        if found.region().is_none() {
            conf = conf.region(Region::new(ANY_REGION));
        }
        Self {
            client: Client::from_conf(conf.build()),
            keys: Some(keys),
            url: config.queue.clone(),
            wait: config.wait.0,
            visibility: config.visibility.0,
        }
    }

    /// Creates a queue on a test's own server.
    #[cfg(test)]
    pub(super) fn at(url: &str, visibility: Duration) -> Self {
        let conf = Builder::new()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(ANY_REGION))
            .credentials_provider(Credentials::new("AKTEST", "sktest", None, None, "test"))
            .endpoint_url(url.trim_end_matches("/1/queue"))
            .http_client(aws_smithy_http_client::Builder::new().build_http());
        let client = Client::from_conf(conf.build());
        Self { client, keys: None, url: url.to_owned(), wait: Duration::ZERO, visibility }
    }

    pub(super) fn visibility(&self) -> Duration {
        self.visibility
    }

    /// Receives up to [`BATCH`] messages, as soon as there are some; none when the wait is over, or at once if not
    /// `patient`.
    ///
    /// Makes one attempt: the receiver reports failures and retries.
    pub(super) async fn receive(&self, patient: bool) -> Result<Vec<Message>, String> {
        let wait = if patient { self.wait } else { Duration::ZERO };
        let timeouts = TimeoutConfig::builder().operation_attempt_timeout(wait + ANSWER_TIMEOUT);
        let once = Builder::new()
            .retry_config(RetryConfig::disabled())
            .timeout_config(timeouts.connect_timeout(CONNECT_TIMEOUT).build());
        let answer = self
            .client
            .receive_message()
            .queue_url(&self.url)
            .max_number_of_messages(seconds_or_count(BATCH as u64))
            .wait_time_seconds(seconds_or_count(wait.as_secs()))
            .visibility_timeout(seconds_or_count(self.visibility.as_secs()))
            .customize()
            .config_override(once)
            .send()
            .await;
        match answer {
            Ok(found) => Ok(found.messages.unwrap_or_default()),
            Err(error) => {
                if let Some(keys) = self.keys.as_ref().filter(|_| refuses_keys(&error)) {
                    keys.refused().await;
                }
                Err(why(&error, "ReceiveMessage"))
            }
        }
    }

    /// Extends the invisibility of these messages by one visibility timeout.
    pub(super) async fn extend(&self, handles: &[String]) -> Result<(), String> {
        let seconds = seconds_or_count(self.visibility.as_secs());
        let mut request = self.client.change_message_visibility_batch().queue_url(&self.url);
        for (id, handle) in handles.iter().enumerate() {
            let entry = ChangeMessageVisibilityBatchRequestEntry::builder()
                .id(id.to_string())
                .receipt_handle(handle)
                .visibility_timeout(seconds);
            request = request.entries(entry.build().map_err(|e| e.to_string())?);
        }
        request.send().await.map(|_| ()).map_err(|e| why(&e, "ChangeMessageVisibility"))
    }

    /// Deletes these messages, at most [`BATCH`].
    pub(super) async fn delete(&self, handles: &[String]) -> Result<(), String> {
        let mut request = self.client.delete_message_batch().queue_url(&self.url);
        for (id, handle) in handles.iter().enumerate() {
            let entry =
                DeleteMessageBatchRequestEntry::builder().id(id.to_string()).receipt_handle(handle);
            request = request.entries(entry.build().map_err(|e| e.to_string())?);
        }
        let answer = request.send().await.map_err(|e| why(&e, "DeleteMessage"))?;
        match answer.failed.first() {
            Some(one) => Err(format!(
                "{} of {} not deleted, the first: {} {}",
                answer.failed.len(),
                handles.len(),
                one.code,
                one.message.as_deref().unwrap_or_default()
            )),
            None => Ok(()),
        }
    }

    /// Returns the approximate number of messages waiting to be received.
    pub(super) async fn depth(&self) -> Result<u64, String> {
        const NAME: QueueAttributeName = QueueAttributeName::ApproximateNumberOfMessages;
        let request = self.client.get_queue_attributes().queue_url(&self.url).attribute_names(NAME);
        let answer = request.send().await.map_err(|e| why(&e, "GetQueueAttributes"))?;
        let count = answer.attributes.as_ref().and_then(|all| all.get(&NAME)?.parse().ok());
        count.ok_or_else(|| "GetQueueAttributes: no number of messages".to_owned())
    }
}

/// Converts a number to SQS's 32 bits; the values were validated to be far less.
fn seconds_or_count(number: u64) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// Whether other keys may be accepted.
fn refuses_keys<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>) -> bool {
    let code = error.as_service_error().and_then(ProvideErrorMetadata::code).unwrap_or_default();
    matches!(
        code.rsplit('.').next().unwrap_or(code),
        "ExpiredToken"
            | "ExpiredTokenException"
            | "InvalidAccessKeyId"
            | "InvalidClientTokenId"
            | "UnrecognizedClientException"
    )
}

/// Returns a failure as one line for operators.
fn why<E, R>(error: &SdkError<E, R>, action: &str) -> String
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
    R: std::fmt::Debug,
{
    let Some(service) = error.as_service_error() else {
        return format!(
            "{action}: {}",
            error.source().map_or_else(|| error.to_string(), with_causes)
        );
    };
    let code = service.code().unwrap_or("an unknown error");
    let message = service.message().unwrap_or_default();
    // The names of the query protocol stand beside those of JSON: servers that imitate SQS use either.
    match code.rsplit('.').next().unwrap_or(code) {
        "QueueDoesNotExist" | "NonExistentQueue" => {
            format!("there is no such queue ({action}: {code})")
        }
        "AccessDenied" | "AccessDeniedException" => {
            format!("these credentials may not do sqs:{action}: {message}")
        }
        "InvalidClientTokenId"
        | "UnrecognizedClientException"
        | "SignatureDoesNotMatch"
        | "InvalidAccessKeyId"
        | "ExpiredToken"
        | "ExpiredTokenException" => {
            format!("the credentials are not accepted ({action}: {code}): {message}")
        }
        _ => format!("{action}: {code}: {message}"),
    }
}
