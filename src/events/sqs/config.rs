//! Configuration of an SQS queue, an item of `events.sqs`.

use http::Uri;
use serde::{Deserialize, Serialize};

use crate::config::units::HumanDuration;

/// An SQS queue. Its requests are signed with the credentials of the origin that it names, by default `origin`; where
/// that one is anonymous, of the default chain of the AWS SDKs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct SqsConfig {
    /// URL of the queue, such as `https://sqs.us-east-1.amazonaws.com/123456789012/hotset-1`.
    pub queue: String,
    /// Region in the signatures of requests; `None`: the one in the URL, or the default of the AWS
    /// SDKs.
    pub region: Option<String>,
    /// Endpoint for requests, such as a VPC endpoint; `None`: AWS, or the server in the URL if that
    /// is not AWS.
    pub endpoint: Option<String>,
    /// Name of the origin whose buckets its messages name, and whose credentials sign requests to the queue; `None`: they
    /// may name any origin's, and are requested with the credentials of `origin`.
    pub origin: Option<String>,
    /// Long polling time of a receive request, at most 20s.
    pub wait: HumanDuration,
    /// Visibility timeout of received messages; it is extended while a message is being applied.
    pub visibility: HumanDuration,
    /// Maximum concurrent receive requests. One is used while there are few messages, more while
    /// each returns a full batch.
    pub receivers: usize,
}

impl SqsConfig {
    /// Maximum wait that SQS accepts.
    pub const WAIT_MAX: HumanDuration = HumanDuration::secs(20);
    /// Minimum and maximum visibility timeout.
    pub const VISIBILITY: [HumanDuration; 2] =
        [HumanDuration::secs(2), HumanDuration::secs(12 * 3600)];
    /// Maximum concurrent requests.
    pub const RECEIVERS_MAX: usize = 32;

    /// Validates the settings; an error is the name of the key and the problem.
    ///
    /// # Errors
    /// The first invalid key.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        let [shortest, longest] = Self::VISIBILITY;
        let whole = |time: HumanDuration| time.0.subsec_millis() == 0;
        if server(&self.queue).is_none_or(|(_, path)| path.trim_matches('/').is_empty()) {
            return Err(("queue", format!("`{}` is not the URL of a queue", self.queue)));
        }
        if let Some(endpoint) = &self.endpoint
            && server(endpoint).is_none()
        {
            return Err(("endpoint", format!("`{endpoint}` is not http(s)://host[:port]")));
        }
        if self.region.as_ref().is_some_and(|region| region.trim().is_empty()) {
            return Err(("region", "must be the name of a region".to_owned()));
        }
        if self.wait.0 > Self::WAIT_MAX.0 || !whole(self.wait) {
            return Err(("wait", format!("must be whole seconds, at most {}", Self::WAIT_MAX)));
        }
        if self.visibility < shortest || self.visibility > longest || !whole(self.visibility) {
            return Err((
                "visibility",
                format!("must be whole seconds, from {shortest} to {longest}"),
            ));
        }
        if self.receivers == 0 || self.receivers > Self::RECEIVERS_MAX {
            return Err(("receivers", format!("must be from 1 to {}", Self::RECEIVERS_MAX)));
        }
        Ok(())
    }

    /// Returns the region for signatures, as far as the settings name it.
    pub fn region(&self) -> Option<String> {
        self.region.clone().or_else(|| region_of(server(&self.queue)?.0.host()?))
    }

    /// Returns the endpoint for requests; `None`: the SDK's default.
    pub fn endpoint(&self) -> Option<String> {
        if self.endpoint.is_some() {
            return self.endpoint.clone();
        }
        let (uri, _) = server(&self.queue)?;
        let (scheme, authority) = (uri.scheme_str()?, uri.authority()?);
        (!is_aws(authority.host())).then(|| format!("{scheme}://{authority}"))
    }

    /// Returns the queue's name, for logs and metrics.
    pub fn name(&self) -> &str {
        self.queue.trim_end_matches('/').rsplit('/').next().unwrap_or(&self.queue)
    }
}

impl Default for SqsConfig {
    fn default() -> Self {
        Self {
            queue: String::new(),
            region: None,
            endpoint: None,
            origin: None,
            wait: Self::WAIT_MAX,
            visibility: HumanDuration::secs(60),
            receivers: 8,
        }
    }
}

/// Parses an http or https URL; returns it and its path.
fn server(text: &str) -> Option<(Uri, String)> {
    let uri: Uri = text.parse().ok()?;
    let known = matches!(uri.scheme_str(), Some("http" | "https"));
    let path = uri.path().to_owned();
    (known && uri.host().is_some_and(|host| !host.is_empty())).then_some((uri, path))
}

fn is_aws(host: &str) -> bool {
    host.ends_with(".amazonaws.com") || host.ends_with(".amazonaws.com.cn")
}

/// Returns the region in `sqs.REGION.amazonaws.com`, `REGION.queue.amazonaws.com` (legacy) and their FIPS and China
/// forms. Source: AWS General Reference, "Amazon SQS endpoints and quotas".
fn region_of(host: &str) -> Option<String> {
    let name =
        host.strip_suffix(".amazonaws.com.cn").or_else(|| host.strip_suffix(".amazonaws.com"))?;
    match name.split('.').collect::<Vec<_>>()[..] {
        ["queue"] => Some("us-east-1".to_owned()),
        ["sqs" | "sqs-fips", region] | [region, "queue"] => Some(region.to_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(queue: &str) -> SqsConfig {
        SqsConfig { queue: queue.to_owned(), ..SqsConfig::default() }
    }

    #[test]
    fn the_region_and_the_server_are_in_the_url_of_the_queue() {
        for (url, region, endpoint) in [
            ("https://sqs.eu-west-1.amazonaws.com/123456789012/q", Some("eu-west-1"), None),
            ("https://sqs-fips.us-gov-west-1.amazonaws.com/1/q", Some("us-gov-west-1"), None),
            ("https://eu-west-3.queue.amazonaws.com/1/q", Some("eu-west-3"), None),
            ("https://queue.amazonaws.com/1/q", Some("us-east-1"), None),
            ("https://sqs.cn-north-1.amazonaws.com.cn/1/q", Some("cn-north-1"), None),
            ("http://127.0.0.1:5000/1/q", None, Some("http://127.0.0.1:5000")),
            (
                "https://amazonaws.com.example.org/1/q",
                None,
                Some("https://amazonaws.com.example.org"),
            ),
        ] {
            let config = of(url);
            config.check().unwrap();
            assert_eq!(config.region().as_deref(), region, "{url}");
            assert_eq!(config.endpoint().as_deref(), endpoint, "{url}");
            assert_eq!(config.name(), "q");
        }
        let told = SqsConfig {
            region: Some("eu-west-2".to_owned()),
            endpoint: Some("https://vpce-1.sqs.eu-west-2.vpce.amazonaws.com".to_owned()),
            ..of("https://sqs.eu-west-1.amazonaws.com/1/q")
        };
        assert_eq!(told.region().as_deref(), Some("eu-west-2"));
        assert_eq!(told.endpoint(), told.endpoint);
    }

    #[test]
    fn what_sqs_would_refuse_is_refused_here_with_its_key() {
        let good = || of("https://sqs.eu-west-1.amazonaws.com/1/q");
        let wrong = |config: SqsConfig| config.check().unwrap_err().0;
        for url in ["", "q", "arn:aws:sqs:eu-west-1:1:q", "https://sqs.eu-west-1.amazonaws.com/"] {
            assert_eq!(wrong(of(url)), "queue", "{url}");
        }
        assert_eq!(wrong(SqsConfig { endpoint: Some("sqs".to_owned()), ..good() }), "endpoint");
        assert_eq!(wrong(SqsConfig { region: Some(String::new()), ..good() }), "region");
        assert_eq!(wrong(SqsConfig { wait: HumanDuration::secs(21), ..good() }), "wait");
        assert_eq!(wrong(SqsConfig { visibility: HumanDuration::secs(1), ..good() }), "visibility");
        assert_eq!(
            wrong(SqsConfig { visibility: HumanDuration::millis(2500), ..good() }),
            "visibility"
        );
        assert_eq!(wrong(SqsConfig { receivers: 0, ..good() }), "receivers");
    }
}
